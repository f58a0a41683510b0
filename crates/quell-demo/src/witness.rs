//! [`Witness`] and [`Record`]: what component code really did, as the bodies themselves record it.
//! The engine takes no part.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What bodies did, by probe: how often each ticked, and what else it noted, in order.
///
/// It keeps the latest 10,000 probes. Cheap to clone.
///
/// # Examples
///
/// ```
/// use quell_demo::{Record, Witness};
///
/// let witness = Witness::default();
/// let record = Record::start(&witness, Some("probe".to_owned()), "body");
/// record.tick();
/// drop(record);
///
/// let (ticks, marks) = witness.get("probe");
/// assert_eq!(ticks["body"], 1);
/// assert_eq!(marks, ["body:start", "body:dropped"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Witness(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    probes: HashMap<String, Probe>,
    order: VecDeque<String>,
}

#[derive(Clone, Debug, Default)]
struct Probe {
    ticks: BTreeMap<String, u64>,
    marks: Vec<String>,
}

impl Witness {
    /// Counts a tick of `who`.
    pub fn tick(&self, probe: &str, who: &str) {
        let mut held = self.lock();
        *held.probe(probe).ticks.entry(who.to_owned()).or_default() += 1;
    }

    /// Notes a mark, unless the probe has 10,000.
    fn mark(&self, probe: &str, text: String) {
        let mut held = self.lock();
        let marks = &mut held.probe(probe).marks;
        if marks.len() < MARKS_MAX {
            marks.push(text);
        }
    }

    /// Yields the ticks by body, and the marks in order; empty for an unknown probe.
    pub fn get(&self, probe: &str) -> (BTreeMap<String, u64>, Vec<String>) {
        let probe = self.lock().probes.get(probe).cloned().unwrap_or_default();
        (probe.ticks, probe.marks)
    }

    /// A body that panicked while it ticked has left nothing half done.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn probe(&mut self, name: &str) -> &mut Probe {
        if !self.probes.contains_key(name) {
            self.order.push_back(name.to_owned());
            if self.order.len() > PROBES_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.probes.remove(&oldest);
            }
        }
        self.probes.entry(name.to_owned()).or_default()
    }
}

/// What one body records under a probe. Dropped before [`finish`](Self::finish), it notes that the
/// body was dropped.
///
/// Without a probe, or under one of more than 128 bytes, nothing is recorded. [`Witness`] has an
/// example.
#[derive(Debug)]
pub struct Record {
    witness: Witness,
    probe: Option<String>,
    who: String,
    is_done: bool,
}

impl Record {
    /// Marks the start of the body `who`.
    #[must_use]
    pub fn start(witness: &Witness, probe: Option<String>, who: &str) -> Self {
        let is_name = |probe: &String| (1..=PROBE_BYTES_MAX).contains(&probe.len());
        let (witness, probe) = (witness.clone(), probe.filter(is_name));
        let record = Self { witness, probe, who: who.to_owned(), is_done: false };
        record.mark("start");
        record
    }

    /// Counts a tick.
    pub fn tick(&self) {
        if let Some(probe) = &self.probe {
            self.witness.tick(probe, &self.who);
        }
    }

    /// Marks that the body noticed the stop.
    pub fn see_stop(&self) {
        self.mark("stop-seen");
    }

    /// Marks the end.
    pub fn finish(mut self) {
        self.is_done = true;
    }

    fn mark(&self, what: &str) {
        if let Some(probe) = &self.probe {
            self.witness.mark(probe, format!("{}:{what}", self.who));
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.mark(if self.is_done { "done" } else { "dropped" });
    }
}

/// Probes kept. The oldest leave first.
const PROBES_MAX: usize = 10_000;

/// The longest name of a probe, in bytes. Nothing is recorded under a longer one.
const PROBE_BYTES_MAX: usize = 128;

/// Marks kept of one probe. Later ones are left out.
const MARKS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_recorded_under_a_name_of_more_than_128_bytes_or_none() {
        let witness = Witness::default();
        for (bytes, ticks) in [(0, 0), (1, 1), (128, 1), (129, 0)] {
            let probe = "x".repeat(bytes);
            let record = Record::start(&witness, Some(probe.clone()), "who");
            record.tick();
            record.finish();
            let (all, marks) = witness.get(&probe);
            assert_eq!((all.len(), marks.len()), (ticks, 2 * ticks), "{bytes}");
        }
        assert_eq!(witness.lock().probes.len(), 2);
    }
}
