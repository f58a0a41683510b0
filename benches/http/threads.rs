//! Processor time of another process, by the names of its threads, as Linux tells it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::resident;

/// What the threads of a process have used so far, those of one name together.
#[derive(Debug)]
pub(crate) struct Threads(pub(crate) BTreeMap<String, Duration>);

impl Threads {
    /// Reads those of the process that listens where a URL points.
    pub(crate) fn of_listener(url: &str) -> Result<Self, String> {
        resident::listener(url).and_then(|pid| of(&pid)).ok_or(format!(
            "this system does not tell who listens at {url}, or what its threads have used; leave \
             out the parts `cost_…`, or run it where the server runs"
        ))
    }

    /// Yields what was used since an earlier reading.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |name: &str| earlier.0.get(name).copied().unwrap_or_default();
        let since =
            |(name, time): (&String, &Duration)| (name.clone(), time.saturating_sub(before(name)));
        Self(self.0.iter().map(since).collect())
    }
}

fn of(pid: &str) -> Option<Threads> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let read = |file| fs::read_to_string(thread.path().join(file)).ok();
        // One that has ended meanwhile is left out.
        let (Some(name), Some(used)) = (read("comm"), read("schedstat")) else { continue };
        let nanos = used.split_whitespace().next()?.parse().ok()?;
        *threads.entry(name.trim_end().to_owned()).or_default() += Duration::from_nanos(nanos);
    }
    Some(Threads(threads))
}
