//! [`Card`]: what callers said of a thread itself, besides its runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use quell::{Engine, Payload};
use quell_http::Charge;

use crate::threads::thread::Thread;
use crate::values::Values;
use crate::wire::asked::micros;
use crate::wire::create::{GRACE, TIMEOUT};
use crate::wire::exact::{Keys, written};
use crate::wire::ttl::Ttl;

/// What callers said of a thread itself.
#[derive(Clone, Debug)]
pub(crate) struct Card {
    /// An object, as it is spelt.
    pub(crate) metadata: Payload,
    pub(crate) ttl: Option<Ttl>,
    /// How often it was changed.
    pub(crate) nr: u32,
    pub(crate) changed_at: Option<SystemTime>,
    /// The values with which it was made: it is the copy of another one.
    pub(crate) base: Option<Arc<Values>>,
}

impl Card {
    pub(crate) fn new(metadata: &Keys) -> Self {
        Self { metadata: written(metadata), ttl: None, nr: 0, changed_at: None, base: None }
    }

    /// Yields the next one: with these keys laid over the metadata, and this time, if one is given.
    pub(crate) fn changed(&self, metadata: Keys, ttl: Option<Ttl>, now: SystemTime) -> Self {
        let mut all: Keys = self.metadata.parse().unwrap_or_default();
        all.extend(metadata);
        Self {
            metadata: written(&all),
            ttl: ttl.or_else(|| self.ttl.clone()),
            nr: self.nr + 1,
            changed_at: Some(now),
            base: self.base.clone(),
        }
    }

    /// Tells whether the time of its thread is over.
    pub(crate) fn is_over(&self, now: SystemTime) -> bool {
        self.ttl.as_ref().and_then(Ttl::deletes_at).is_some_and(|at| at <= now)
    }
}

impl Thread {
    /// Makes it one of which callers have said this.
    pub(crate) fn with_card(mut self, card: Card, values_bytes: usize) -> Self {
        let state = self.state.get_mut();
        if let Some(base) = &card.base {
            (state.values, state.values_bytes) = (Some(Arc::clone(base)), values_bytes);
        }
        state.card = card;
        self
    }

    pub(crate) fn card(&self) -> Card {
        self.state.lock().card.clone()
    }

    /// Tells whether no more is said of it by this.
    pub(crate) fn knows(&self, card: &Card) -> bool {
        let is_whole = self.is_whole.load(Ordering::SeqCst);
        let nr = self.state.lock().card.nr;
        nr > card.nr || nr == card.nr && is_whole
    }

    /// Takes in what callers have said of it since, with the charge for it, unless more is known.
    pub(crate) fn take_card(&self, card: Card, charge: Option<Charge>) {
        if self.knows(&card) {
            return;
        }
        let mut state = self.state.lock();
        state.card = card;
        if state.values.is_none() && state.wrote.is_none() {
            let base = state.base();
            state.go_back(base);
        }
        drop(state);
        let before = std::mem::replace(&mut *self.charge.lock(), charge);
        drop(before);
    }

    /// Yields when that was made of which the store has a record, in microseconds since 1970. It is
    /// found again then if it leaves the memory.
    pub(crate) fn record(&self) -> Option<u64> {
        Some(self.record_us.load(Ordering::SeqCst)).filter(|us| *us > 0)
    }

    /// As [`Thread::record`], of a record that is about to be written: that of a thread without one
    /// says when the thread was made.
    pub(crate) fn record_at(&self) -> SystemTime {
        let at = self.record().map(|us| SystemTime::UNIX_EPOCH + Duration::from_micros(us));
        at.unwrap_or_else(|| self.made_at())
    }

    /// Notes that the store has a record of it, made at this time.
    pub(crate) fn note_record(&self, at: SystemTime) {
        self.record_us.store(micros(at).unwrap_or_default(), Ordering::SeqCst);
    }

    /// Tells whether it may be the one of which the store has this record, or has a run in it.
    pub(crate) fn is_of_record(&self, us: Option<u64>) -> bool {
        us.is_none() || self.record().is_none_or(|own| Some(own) == us)
    }

    /// Tells whether it has left the table.
    pub(crate) fn has_left(&self) -> bool {
        self.state.lock().is_deleted
    }

    /// Tells whether its time is over.
    pub(crate) fn is_over(&self, now: SystemTime) -> bool {
        self.deletes_at().is_some_and(|at| at <= now)
    }

    /// As [`Thread::deletes_at`], for the task that waits for it, which ends if it is never.
    pub(crate) fn deletes_or_untimed(&self) -> Option<SystemTime> {
        let state = self.state.lock();
        let at = state.card.ttl.as_ref().and_then(Ttl::deletes_at);
        // Under the lock: whoever gives it a time next finds that nobody waits.
        self.is_timed.store(at.is_some(), Ordering::SeqCst);
        at
    }

    /// When it is to be deleted.
    pub(crate) fn deletes_at(&self) -> Option<SystemTime> {
        self.state.lock().card.ttl.as_ref()?.deletes_at()
    }

    /// Yields its values as text, and how much that is, and its metadata with the keys of its last
    /// run: what a copy of it has.
    pub(crate) fn to_copy(&self, engine: &Engine) -> (Keys, Option<Arc<Values>>) {
        let mut state = self.state.lock();
        state.settle(engine);
        let mut metadata: Keys = state.card.metadata.parse().unwrap_or_default();
        let graph = state.graph.clone().into_iter().flatten();
        metadata.extend(graph.map(|(key, value)| (key.to_owned(), value)));
        (metadata, state.values.clone())
    }

    /// Yields its metadata with these keys laid over them, as a run of it has them. Limits count
    /// for the run alone of which they were said.
    pub(crate) fn metadata_under(&self, keys: &Keys) -> Keys {
        let own = self.state.lock().card.metadata.clone();
        let mut metadata: Keys = own.parse().unwrap_or_default();
        metadata.retain(|key, _| ![TIMEOUT, GRACE].contains(&&**key));
        metadata.extend(keys.iter().map(|(key, value)| (key.clone(), value.clone())));
        metadata
    }
}

#[cfg(test)]
mod tests {
    use quell::{RunContext, RunSpec};
    use uuid::Uuid;

    use super::*;
    use crate::threads::{Tracked, within};
    use crate::wire::exact::null;

    #[tokio::test]
    async fn a_copy_has_what_a_run_has_left_that_has_ended_just_now() {
        let (engine, id) = (Engine::new(), Uuid::now_v7());
        let thread = Thread::new(id, None, &Keys::new(), false);
        let spec = RunSpec::agent("a").input(null());
        let body = async |ctx: RunContext| Ok(ctx.set_output("said".into()));
        let run = engine.submit(spec, body).unwrap().into_ref();
        run.quiescent().await;
        let tracked = Arc::new(Tracked::of(&(&run).into(), within(id)));
        assert!(thread.add(&tracked));
        let (metadata, values) = thread.to_copy(&engine);
        assert!(metadata.contains_key("graph_id"));
        assert!(values.unwrap().contains_key("output"));
    }

    #[test]
    fn a_run_has_the_metadata_of_its_thread_but_its_limits() {
        let keys = |value: serde_json::Value| Payload::from(value).parse::<Keys>().unwrap();
        let own = keys(serde_json::json!({ TIMEOUT: 5, GRACE: 6, "who": "ada", "n": 1 }));
        let thread = Thread::new(Uuid::now_v7(), None, &own, false);
        let run = thread.metadata_under(&keys(serde_json::json!({ GRACE: 7, "n": 2 })));
        assert_eq!(run, keys(serde_json::json!({ GRACE: 7, "who": "ada", "n": 2 })));
    }
}
