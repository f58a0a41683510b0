//! A subscriber of `tracing` that acts, for the runs that bear a name of it.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::actor::Actor;
use super::places::Place;

static INSTALLED: Once = Once::new();

/// Yields the name of a run in which the subscriber acts, if it is to.
pub(super) fn name(place: Place, actor: &Arc<Actor>) -> String {
    if !is_of_spans(place) {
        return "child".to_owned();
    }
    install();
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("foreign {number}");
    books().names.insert(name.clone(), (place, Arc::clone(actor)));
    name
}

fn install() {
    INSTALLED.call_once(|| {
        tracing::subscriber::set_global_default(Router).expect("there is no other one");
    });
}

/// Keeps what is told of a run, or of a limit, from now on. A place in the code that told something
/// at the instant of the installation, for the first time, may have kept that nobody listens: it
/// asks again.
pub(crate) fn heed(name: &str) {
    install();
    tracing::callsite::rebuild_interest_cache();
    books().told.insert(name.to_owned(), Vec::new());
}

/// Yields what was told of a run, or of a limit, with all fields.
pub(crate) fn told_of(name: &str) -> Vec<String> {
    books().told.get(name).cloned().unwrap_or_default()
}

const fn is_of_spans(place: Place) -> bool {
    matches!(
        place,
        Place::SpanMade
            | Place::SpanEntered
            | Place::SpanExited
            | Place::SpanClosed
            | Place::EventTold
    )
}

static MADE: AtomicU64 = AtomicU64::new(1);

#[derive(Default)]
struct Books {
    names: HashMap<String, (Place, Arc<Actor>)>,
    spans: HashMap<u64, (Place, Arc<Actor>)>,
    told: HashMap<String, Vec<String>>,
}

fn books() -> MutexGuard<'static, Books> {
    static BOOKS: OnceLock<Mutex<Books>> = OnceLock::new();
    BOOKS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends what it is told to the actor of the run.
struct Router;

impl Router {
    fn at_span(span: &Id, place: Place) {
        let seat = books().spans.get(&span.into_u64()).cloned();
        act(seat, place);
    }
}

fn act(seat: Option<(Place, Arc<Actor>)>, place: Place) {
    if let Some((wanted, actor)) = seat.filter(|(wanted, _)| *wanted == place) {
        let _ = wanted;
        actor.act();
    }
}

impl Subscriber for Router {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("quell")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut named = Named::default();
        span.record(&mut named);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let seat = books().names.get(&named.name).cloned();
        if let Some(seat) = &seat {
            books().spans.insert(number, seat.clone());
        }
        act(seat, Place::SpanMade);
        Id::from_u64(number)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut named = Named::default();
        event.record(&mut named);
        let seat = books().names.get(&named.name).cloned();
        if let Some(told) = books().told.get_mut(&named.name) {
            told.push(named.fields);
        }
        act(seat, Place::EventTold);
    }

    fn enter(&self, span: &Id) {
        Self::at_span(span, Place::SpanEntered);
    }

    fn exit(&self, span: &Id) {
        Self::at_span(span, Place::SpanExited);
    }

    fn try_close(&self, span: Id) -> bool {
        let seat = books().spans.remove(&span.into_u64());
        act(seat, Place::SpanClosed);
        true
    }
}

/// The name of a run, or of a limit, among the fields of a span or an event.
#[derive(Default)]
struct Named {
    name: String,
    fields: String,
}

impl Visit for Named {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if matches!(field.name(), "run.name" | "limit") {
            self.name = format!("{value:?}");
        }
        // A string takes all that is written.
        let _ = write!(self.fields, "{field}={value:?} ");
    }
}
