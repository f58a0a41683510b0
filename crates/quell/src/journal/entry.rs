//! [`Entry`] is one thing that is to be stored, and [`Recorded`] what the journal asks of a run.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell_core::cluster::RunMeant;
use quell_core::store::{Record, StopAccepted, StoreError, StoredHold, StoredPause};
use quell_core::{Annotations, Payload, RunEvent, RunId};

use crate::journal::{Doubted, Journal};
use crate::sync::waiters::Wakers;
use crate::time::ticks::Ticks;

/// One thing that is to be stored; `R` is what a run is.
#[derive(Debug)]
pub(crate) enum Entry<R> {
    /// A run was accepted.
    Accepted {
        /// The run.
        run: Arc<R>,
        /// The root of its tree, then.
        root: RunId,
        /// Its parent, then.
        parent: Option<RunId>,
        /// When.
        at: Ticks,
    },
    /// Its body starts.
    Started {
        /// The run.
        run: Arc<R>,
        /// When.
        at: Ticks,
        /// Whether it waits until this is stored.
        is_awaited: bool,
    },
    /// Its body has added annotations: these are all that it has.
    Annotated(Arc<R>, Box<Annotations>),
    /// A stop of it was accepted or scheduled, or became more urgent.
    Stop(Arc<R>, Box<StopAccepted>),
    /// Something is in the log of its tree, the root of which is at this attempt.
    Event(u32, Box<RunEvent>),
    /// It has saved a state, in a lane, for the root of its tree.
    Saved {
        /// The run.
        run: Arc<R>,
        /// The lane.
        lane: Arc<str>,
        /// The root of its tree.
        root: RunId,
        /// The state.
        state: Payload,
        /// When.
        at: Ticks,
    },
    /// It waits for an answer.
    Paused(Arc<R>, Box<StoredPause>),
    /// It was given its answer, and waits for that to be stored.
    Resumed(Arc<R>, Box<Given>),
    /// Work of it is about to begin that does not end with the process.
    HoldBegan(Arc<R>, StoredHold),
    /// The work of this number has ended.
    HoldEnded(Arc<R>, u32),
    /// It is terminal, and what it has saved is taken back if this says so.
    Ended(Arc<R>, bool),
    /// It ended non-quiescent, and nothing of it executes any more.
    Quiesced(Arc<R>, Ticks),
    /// It leaves, with its tree: when, and when it was accepted.
    Forgotten(Arc<R>, Ticks, SystemTime),
    /// It is taken back: it is terminal, and leaves in the same append. So no crash comes between
    /// the two, and nobody finds a run that was taken back.
    TakenBack(Arc<R>, Ticks),
}

/// An answer that a run was given.
#[derive(Debug)]
pub(crate) struct Given {
    /// The number of the attempt that has it.
    pub(crate) attempt: u32,
    pub(crate) answer: Payload,
    /// How long the timeout of the run has stood still so far.
    pub(crate) stood: Duration,
    /// When.
    pub(crate) at: Ticks,
}

/// What the journal asks of a run. It holds no lock when it does.
pub(crate) trait Recorded: Send + Sync + Sized + 'static {
    /// Yields its id.
    fn id(&self) -> RunId;

    /// Makes the record of an entry, or the two that are stored together.
    fn records(entry: &Entry<Self>, journal: &Journal<Self>) -> (Record, Option<Record>);

    /// Yields the root that an entry takes back, if the store may have another run with its id; and
    /// an id that no run has.
    fn doubted(entry: &Entry<Self>) -> Option<(Doubted, RunId)>;

    /// Tells whether an entry that has waited for a store in trouble is not to be stored any more:
    /// the start of a run that was left to the next process before it began.
    fn is_withdrawn(entry: &Entry<Self>) -> bool;

    /// Tells the run that an entry is durable, or withdrawn, and yields whom to wake for that: once
    /// for a whole append.
    fn stored(entry: Entry<Self>, wakers: &mut Wakers);

    /// Tells the run that an entry was not stored and never will be. Yields whether that is a loss:
    /// it is none if the store has it already, or has refused the run, which was never accepted.
    fn refused(entry: Entry<Self>, error: &StoreError) -> bool;

    /// Wakes those who wait for an entry of the run, so that they see that the store is in trouble.
    fn tell_waiters(&self);
}

impl<R> Entry<R> {
    /// Yields the run that wants to know when it is stored.
    pub(crate) const fn run(&self) -> Option<&Arc<R>> {
        match self {
            Self::Accepted { run, .. }
            | Self::Started { run, .. }
            | Self::Annotated(run, _)
            | Self::Stop(run, _)
            | Self::Saved { run, .. }
            | Self::Paused(run, _)
            | Self::Resumed(run, _)
            | Self::HoldBegan(run, _)
            | Self::HoldEnded(run, _)
            | Self::Ended(run, _)
            | Self::Quiesced(run, _)
            | Self::Forgotten(run, ..)
            | Self::TakenBack(run, _) => Some(run),
            Self::Event(..) => None,
        }
    }

    /// Yields the root that the store has no longer once this is stored.
    pub(crate) const fn leaving(&self) -> Option<&Arc<R>> {
        match self {
            Self::Forgotten(root, ..) | Self::TakenBack(root, _) => Some(root),
            _ => None,
        }
    }

    /// Yields the root that is forgotten by this, which the store has.
    pub(crate) fn forgets(&self) -> Option<RunMeant>
    where
        R: Recorded,
    {
        let Self::Forgotten(root, _, accepted) = self else { return None };
        Some(RunMeant::accepted_at(root.id(), *accepted))
    }

    /// Tells whether somebody waits for it from the moment it comes, or it is worth a commit of its
    /// own. Who waits for another one hurries it.
    pub(crate) const fn is_urgent(&self) -> bool {
        match self {
            Self::Accepted { parent, .. } => parent.is_none(),
            Self::Started { .. }
            | Self::Annotated(..)
            | Self::Event(..)
            | Self::HoldEnded(..)
            | Self::Ended(..)
            | Self::Quiesced(..) => false,
            Self::Stop(..)
            | Self::Saved { .. }
            | Self::Paused(..)
            | Self::Resumed(..)
            | Self::HoldBegan(..)
            | Self::Forgotten(..)
            | Self::TakenBack(..) => true,
        }
    }

    /// Yields the run below a root that was accepted.
    pub(crate) const fn accepted_below(&self) -> Option<&Arc<R>> {
        match self {
            Self::Accepted { run, parent: Some(_), .. } => Some(run),
            _ => None,
        }
    }

    /// Tells whether a root waits for this to start, and is refused if it cannot be stored.
    pub(crate) const fn is_awaited(&self) -> bool {
        matches!(self, Self::Accepted { parent: None, .. })
    }
}
