//! [`heard`]: what a package has said in the log of this process.

use std::fmt::{self, Write as _};
use std::sync::{Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Begins to listen to a package, once, and yields what it has said so far about something. A
/// process listens to one package.
pub fn heard(package: &'static str, about: &str) -> Vec<String> {
    static BEGUN: OnceLock<()> = OnceLock::new();
    BEGUN.get_or_init(|| {
        let begun = tracing::subscriber::set_global_default(Log { package });
        begun.expect("nobody else listens");
    });
    let said = SAID.lock().expect("nobody panics here");
    said.iter().filter(|words| words.contains(about)).cloned().collect()
}

/// Each event: its message and its other fields.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Log {
    package: &'static str,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(self.package)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        SAID.lock().expect("nobody panics here").push(said.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Said(String);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}
