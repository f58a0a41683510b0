//! [`Claims`] knows which run an idempotency key has started.
//!
//! Invariants, under the one lock:
//!
//! 1. A key is in `runs` exactly as long as its run is in the registry, and leads to that very run:
//!    a root with a key enters the registry and leaves it under this lock. So of two submits with
//!    one key the second one finds the run of the first (I37), whatever else it would be refused
//!    for.
//! 2. When its run leaves, a key goes over to `forgotten`, and stays there for its time: nobody
//!    starts the run again because it was quick.
//!
//! Lock order: this → node → the tables below it. It comes before every other lock of an engine,
//! and is taken only for runs that have a key. Nothing foreign is dropped under it: the node of a
//! submit that is refused belongs to the caller of the locking function.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use quell_core::RunId;
use quell_core::lifecycle::later;
use quell_core::limits;

use crate::config::Limits;
use crate::failure::SubmitError;
use crate::idempotency::IdempotencyKey;
use crate::sync::{Mutex, MutexGuard, RandomState};
use crate::tables::aged::{Aged, Amount};

#[derive(Debug)]
pub(crate) struct Claims(Mutex<Keys>);

/// The keys of all owners.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Those of runs that are live or kept.
    runs: HashMap<Address, Claim, RandomState>,
    /// Those of runs that were forgotten.
    forgotten: Aged<Address, Claim>,
}

/// A key with its owner: the same text of two owners is two keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Address {
    owner: Option<Arc<str>>,
    key: Arc<str>,
}

/// What a key stands for.
#[derive(Clone, Copy, Debug)]
struct Claim {
    payload: [u8; 32],
    run: RunId,
}

/// The run that was submitted with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submitted {
    /// It is in the registry.
    Kept(RunId),
    /// It was forgotten.
    Forgotten(RunId),
}

impl Claims {
    pub(crate) fn new(limits: &Limits) -> Self {
        let bytes = limits.keys_max.saturating_mul(limits::KEY_BYTES_MAX);
        let max = Amount { entries: limits.keys_max, bytes };
        let forgotten = Aged::new(max, limits.owner_share_percent);
        Self(Mutex::new(Keys { runs: HashMap::default(), forgotten }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Keys> {
        self.0.lock()
    }
}

impl Keys {
    /// Tells whether a submit may go on: the key is free.
    pub(crate) fn ask(
        &mut self,
        owner: Option<&Arc<str>>,
        key: &IdempotencyKey,
        now: Instant,
    ) -> Result<(), SubmitError> {
        match self.find(owner, key, now) {
            None => Ok(()),
            Some(Err(Conflict)) => Err(SubmitError::KeyConflict),
            Some(Ok(Submitted::Kept(run))) => Err(SubmitError::AlreadySubmitted(run)),
            Some(Ok(Submitted::Forgotten(run))) => Err(SubmitError::KeyForgotten(run)),
        }
    }

    /// Finds the run that was submitted with a key.
    pub(crate) fn find(
        &mut self,
        owner: Option<&Arc<str>>,
        key: &IdempotencyKey,
        now: Instant,
    ) -> Option<Result<Submitted, Conflict>> {
        let address = Address::of(owner, key);
        let (claim, submitted) = if let Some(claim) = self.runs.get(&address) {
            (claim, Submitted::Kept(claim.run))
        } else {
            let claim = self.forgotten.get(&address, now)?;
            (claim, Submitted::Forgotten(claim.run))
        };
        Some(if claim.payload == key.payload() { Ok(submitted) } else { Err(Conflict) })
    }

    /// Yields the run that is kept and has a key, whatever its payload.
    pub(crate) fn holder(&self, owner: Option<&Arc<str>>, key: &IdempotencyKey) -> Option<RunId> {
        self.runs.get(&Address::of(owner, key)).map(|claim| claim.run)
    }

    /// Claims a key that is free for a run that has entered the registry.
    pub(crate) fn claim(&mut self, owner: Option<&Arc<str>>, key: &IdempotencyKey, run: RunId) {
        let claim = Claim { payload: key.payload(), run };
        let before = self.runs.insert(Address::of(owner, key), claim);
        debug_assert!(before.is_none(), "{key:?} was asked for under the same lock");
    }

    /// Lets go of the run of a key, which has left the registry. Its id is kept for a while from
    /// `forgotten_at` on, if there is one.
    pub(crate) fn let_go(
        &mut self,
        owner: Option<&Arc<str>>,
        key: &IdempotencyKey,
        forgotten_at: Option<Instant>,
    ) {
        let address = Address::of(owner, key);
        if let Some(claim) = self.runs.remove(&address)
            && let Some(now) = forgotten_at
        {
            let of = (owner.map(Arc::clone), key.as_str().len());
            self.forgotten.put(address, claim, of, (now, later(now, limits::KEYS_TTL)));
        }
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn len(&self) -> usize {
        self.runs.len() + self.forgotten.len()
    }
}

/// The key stands for another payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conflict;

impl Address {
    fn of(owner: Option<&Arc<str>>, key: &IdempotencyKey) -> Self {
        Self { owner: owner.map(Arc::clone), key: Arc::clone(key.text()) }
    }
}
