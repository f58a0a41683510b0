//! [`Record`]: one fact that is appended to a store.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::store::{LaneRule, StoredHold, StoredPause};
use crate::{Annotations, Cause, Labels, Payload, RunEvent, RunId, RunKind, RunReport, StopMode};

/// Whose turn it is to write of a run. Every attempt has its own, and a later one is larger; a
/// write of a smaller one than the run has is refused (I35).
///
/// It is made of the boot of the store ([`Store::boot`](crate::store::Store::boot)) and the number
/// of the attempt, so that what a process left behind never writes again after its successor has.
/// The attempts of a run that one process pauses and resumes have one epoch: nothing of an attempt
/// executes when the next one begins. Their numbers are in the records.
///
/// # Examples
///
/// ```
/// use quell_core::store::Epoch;
///
/// assert!(Epoch::new(1, 9) < Epoch::new(2, 1) && Epoch::new(2, 1) < Epoch::new(2, 2));
/// assert_eq!(Epoch::from_u64(Epoch::new(2, 1).as_u64()), Epoch::new(2, 1));
/// assert_eq!(Epoch::new(2, 1).to_string(), "2.1");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// Puts an epoch together.
    pub const fn new(boot: u32, attempt: u32) -> Self {
        Self((boot as u64) << 32 | attempt as u64)
    }

    /// Takes the number that a store has kept.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Yields it as one number, which is ordered as epochs are.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Yields the boot of the store in which the run was taken.
    pub const fn boot(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Yields the number of the attempt.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    pub const fn attempt(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.boot(), self.attempt())
    }
}

/// One fact of a run. A store keeps it and derives from it how the run stands.
///
/// Every record carries the epoch of the attempt that writes it. One below that of the run is
/// refused with [`Fenced`](crate::store::StoreError::Fenced); a higher one is that of the run from
/// then on.
///
/// Exhaustive on purpose, so that every store must name a new fact.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "every store must name a new fact")]
pub enum Record {
    /// A run was accepted. Its id is new, and its key is free or its own. Below a root its epoch is
    /// not below that of the root: an attempt that was superseded starts nothing (I35).
    Accepted(Box<Accepted>),
    /// The run has other annotations from now on: to begin with, or since its body has added some.
    Annotated {
        /// The run.
        run: RunId,
        /// The epoch of the attempt.
        epoch: Epoch,
        /// All that it has from now on.
        annotations: Annotations,
    },
    /// An attempt begins; what was asked at a pause is answered.
    Started {
        /// The run.
        run: RunId,
        /// The epoch of this attempt.
        epoch: Epoch,
        /// When.
        at: SystemTime,
    },
    /// Something happened in the tree of a root. An event of the kind `Lagged` is a gap: the events
    /// that it names were not stored, and it stands in their place. One of the kind `Detached`
    /// makes its run the root of those below it.
    Event {
        /// The epoch of the root.
        epoch: Epoch,
        /// What happened.
        event: RunEvent,
    },
    /// A stop was accepted. If there are several, the first cause stays, the mode only rises, and
    /// the hard deadline only shrinks.
    StopAccepted(Box<StopAccepted>),
    /// The run, a root, waits for an answer, and nothing of it executes.
    Paused {
        /// The run.
        run: RunId,
        /// The epoch of the attempt.
        epoch: Epoch,
        /// What it asks, and what counts meanwhile.
        pause: Box<StoredPause>,
    },
    /// The run was given its answer, and waits for the start of its next attempt. One that was
    /// stopped keeps the status of that (I34).
    Resumed {
        /// The run.
        run: RunId,
        /// The epoch of the attempt.
        epoch: Epoch,
        /// The number of the next attempt, from 2.
        attempt: u32,
        /// The answer.
        answer: Payload,
        /// How long the timeout of the run has stood still in all of its pauses.
        stood: Duration,
        /// When.
        at: SystemTime,
    },
    /// A state of a lane. The newest one comes first when they are read.
    Checkpoint {
        /// The lane.
        lane: Arc<str>,
        /// The run that saves it.
        run: RunId,
        /// The epoch of the attempt.
        epoch: Epoch,
        /// The state.
        state: Payload,
        /// When.
        at: SystemTime,
    },
    /// Work of the run is about to begin that does not end with its process: a program, a request
    /// to a service. What has its number takes its place.
    HoldBegan {
        /// The run.
        run: RunId,
        /// The epoch of the attempt.
        epoch: Epoch,
        /// What begins.
        hold: StoredHold,
    },
    /// Such work has ended, perhaps after its run. One that is not there changes nothing.
    HoldEnded {
        /// The run.
        run: RunId,
        /// The epoch of the attempt.
        epoch: Epoch,
        /// The number of the work.
        nr: u32,
    },
    /// The run is terminal.
    Ended {
        /// The run.
        run: RunId,
        /// The epoch of the attempt.
        epoch: Epoch,
        /// What remains of it.
        report: Arc<RunReport>,
        /// Whether the checkpoints of the run go with it, all at once (I36).
        rollback: bool,
    },
    /// Nothing of a run that ended non-quiescent executes any more.
    Quiesced {
        /// The run.
        run: RunId,
        /// The epoch of the attempt.
        epoch: Epoch,
        /// When.
        at: SystemTime,
    },
    /// The run, those below it, and all that is stored of them leave. Its idempotency key stays for
    /// [`limits::KEYS_TTL`](crate::limits::KEYS_TTL). All of them must have ended.
    Forgotten {
        /// The run.
        run: RunId,
        /// The epoch of the attempt.
        epoch: Epoch,
        /// When.
        at: SystemTime,
    },
}

impl Record {
    /// Yields the run of which it is; of an event the root, whose log it is in.
    pub fn run(&self) -> RunId {
        match self {
            Self::Accepted(accepted) => accepted.run,
            Self::Event { event, .. } => event.root,
            Self::StopAccepted(stop) => stop.run,
            Self::Annotated { run, .. }
            | Self::Started { run, .. }
            | Self::Paused { run, .. }
            | Self::Resumed { run, .. }
            | Self::Checkpoint { run, .. }
            | Self::HoldBegan { run, .. }
            | Self::HoldEnded { run, .. }
            | Self::Ended { run, .. }
            | Self::Quiesced { run, .. }
            | Self::Forgotten { run, .. } => *run,
        }
    }

    /// Yields the epoch of the attempt that writes it.
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Accepted(accepted) => accepted.epoch,
            Self::StopAccepted(stop) => stop.epoch,
            Self::Event { epoch, .. }
            | Self::Annotated { epoch, .. }
            | Self::Started { epoch, .. }
            | Self::Paused { epoch, .. }
            | Self::Resumed { epoch, .. }
            | Self::Checkpoint { epoch, .. }
            | Self::HoldBegan { epoch, .. }
            | Self::HoldEnded { epoch, .. }
            | Self::Ended { epoch, .. }
            | Self::Quiesced { epoch, .. }
            | Self::Forgotten { epoch, .. } => *epoch,
        }
    }
}

/// What is known of a run when it is accepted.
///
/// # Examples
///
/// ```
/// use std::time::SystemTime;
/// use quell_core::store::{Accepted, Epoch};
/// use quell_core::{RunId, RunKind};
///
/// let (run, at) = (RunId::from_text("order-7"), SystemTime::now());
/// let mut accepted = Accepted::new(run, RunKind::Agent, "order".into(), Epoch::new(1, 1), at);
/// accepted.owner = Some("ada".into());
/// assert_eq!(accepted.root, run);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Accepted {
    /// The run.
    pub run: RunId,
    /// The root of its tree; the run itself by default.
    pub root: RunId,
    /// The run that spawned it; none for a root.
    pub parent: Option<RunId>,
    /// Its first epoch: of a run below a root at least that of the root.
    pub epoch: Epoch,
    /// What it stands for.
    pub kind: RunKind,
    /// Its name.
    pub name: Arc<str>,
    /// Its owner, if it has one.
    pub owner: Option<Arc<str>>,
    /// The key of its lane, if it has one.
    pub lane: Option<Arc<str>>,
    /// What the append asks of that lane; none if the engine alone decides about it, because it
    /// has no [cluster](crate::cluster::Cluster), or the run is no root. It matters to the append
    /// alone, and is not stored.
    pub lane_rule: Option<LaneRule>,
    /// Texts by which it is found.
    pub labels: Labels,
    /// What front ends keep with it to show it again; nothing reads it here.
    pub annotations: Annotations,
    /// The idempotency key that it claims for its owner, if it does (I37).
    pub key: Option<ClaimedKey>,
    /// What else is needed to start it again, as the engine writes it; nothing of most.
    pub spec: Option<Payload>,
    /// Its input.
    pub input: Option<Payload>,
    /// When it was accepted.
    pub at: SystemTime,
    /// When it is due; at once by default.
    pub due: Option<SystemTime>,
    /// The scopes in which a stop may have been remembered for it: at most
    /// [`STOP_SCOPES_MAX`](crate::limits::STOP_SCOPES_MAX). They matter to the append alone, and
    /// are not stored.
    pub stop_scopes: Vec<[u8; 32]>,
}

impl Accepted {
    /// Names a root; the other fields are empty.
    pub const fn new(
        run: RunId,
        kind: RunKind,
        name: Arc<str>,
        epoch: Epoch,
        at: SystemTime,
    ) -> Self {
        Self {
            run,
            root: run,
            parent: None,
            epoch,
            kind,
            name,
            owner: None,
            lane: None,
            lane_rule: None,
            labels: Labels::new(),
            annotations: Annotations::new(),
            key: None,
            spec: None,
            input: None,
            at,
            due: None,
            stop_scopes: Vec::new(),
        }
    }
}

/// An idempotency key, with the hash of the payload that it stands for.
///
/// # Examples
///
/// ```
/// use quell_core::store::ClaimedKey;
///
/// let key = ClaimedKey { key: "order-7".into(), payload: [0; 32] };
/// assert_eq!(&*key.key, "order-7");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a key and a payload are all there is")]
pub struct ClaimedKey {
    /// The text of the key.
    pub key: Arc<str>,
    /// The SHA-256 of the payload.
    pub payload: [u8; 32],
}

/// Which run has an idempotency key, as [`Store::claim`](crate::store::Store::claim) reads it.
///
/// # Examples
///
/// ```
/// use quell_core::RunId;
/// use quell_core::store::Claim;
///
/// let claim = Claim { run: RunId::from_text("order-7"), payload: [0; 32], is_forgotten: false };
/// assert!(!claim.is_forgotten);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a row of the keys of a store")]
pub struct Claim {
    /// The run.
    pub run: RunId,
    /// The SHA-256 of the payload for which it was claimed.
    pub payload: [u8; 32],
    /// Whether the run was forgotten. Its key is kept for a while.
    pub is_forgotten: bool,
}

/// A stop that was accepted: an intent, which outlives the process (I34).
///
/// # Examples
///
/// ```
/// use std::time::SystemTime;
/// use quell_core::store::{Epoch, StopAccepted};
/// use quell_core::{Cause, CauseKind, RunId, StopMode};
/// let run = RunId::from_text("order-7");
/// let cause = Cause::new(CauseKind::UserRequest, SystemTime::now(), run);
/// let stop = StopAccepted::new(run, Epoch::new(1, 1), StopMode::Cooperative, cause.into());
/// assert_eq!(stop.hard_deadline, None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopAccepted {
    /// The run.
    pub run: RunId,
    /// The epoch of the attempt.
    pub epoch: Epoch,
    /// How urgent it is. One of the mode `AfterStep` leaves the status as it is.
    pub mode: StopMode,
    /// Why, by whom and when.
    pub cause: Arc<Cause>,
    /// When the grace ends, if that is known.
    pub hard_deadline: Option<SystemTime>,
    /// Whether what the run has saved goes with its end. Of several stops one is enough.
    pub rollback: bool,
}

impl StopAccepted {
    /// Names a stop without a deadline and without a rollback.
    pub const fn new(run: RunId, epoch: Epoch, mode: StopMode, cause: Arc<Cause>) -> Self {
        Self { run, epoch, mode, cause, hard_deadline: None, rollback: false }
    }
}
