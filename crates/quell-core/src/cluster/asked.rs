//! What members ask of each other, what they answer, and what they take over.

use std::sync::Arc;
use std::time::SystemTime;

#[cfg(doc)]
use crate::cluster::Cluster;
use crate::cluster::RunMeant;
use crate::store::{Epoch, StopAccepted, StoreError};
use crate::{CancelRequest, Disposition, Payload, RunId, RunStatus, limits};

/// What a member has taken over.
///
/// # Examples
///
/// ```
/// use quell_core::cluster::TakenOver;
///
/// let taken = TakenOver { from: "node-2".into(), boot: 9 };
/// assert_eq!(&*taken.from, "node-2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "whose it was, and with what it is written")]
pub struct TakenOver {
    /// The member whose lease was over.
    pub from: Arc<str>,
    /// The boot with which this member writes from now on, of all of its runs. That which the live
    /// runs have that were taken over is one less, so that a member which has not heard of this
    /// answer finds it.
    pub boot: u32,
}

/// What a member is asked for.
///
/// # Examples
///
/// ```
/// use quell_core::cluster::Asked;
/// use quell_core::{Payload, RunId};
///
/// let run = RunId::from_text("order-7");
/// let asked = Asked::Act { nr: 3, run: run.into(), words: Payload::from("rest") };
/// assert_eq!((asked.nr(), asked.run()), (3, run));
/// ```
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "an engine must know everything that it is asked for")]
pub enum Asked {
    /// To stop a run.
    Stop(AskedStop),
    /// Something else.
    Act {
        /// Its number in the cluster.
        nr: u64,
        /// The run that is meant.
        run: RunMeant,
        /// What is asked, in words that engines know.
        words: Payload,
    },
}

impl Asked {
    /// Yields its number in the cluster.
    pub const fn nr(&self) -> u64 {
        match self {
            Self::Stop(stop) => stop.nr,
            Self::Act { nr, .. } => *nr,
        }
    }

    /// Yields the run.
    pub const fn run(&self) -> RunId {
        match self {
            Self::Stop(stop) => stop.run,
            Self::Act { run, .. } => run.id(),
        }
    }
}

/// What the owner of a run answers.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "one for each thing that is asked")]
pub enum Answer {
    /// To a stop.
    Stop(Disposition),
    /// To an act, in words that engines know.
    Act(Payload),
}

/// What comes of an act that was asked for.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "an engine must tell each from the others")]
pub enum ActAnswer {
    /// The owner says this.
    Said(Payload),
    /// No member has such a run that is live; nothing is kept.
    Unknown,
    /// The run has ended; nothing is kept.
    Ended {
        /// How.
        status: RunStatus,
    },
    /// The owner has not taken it: it was withdrawn, and is never carried out.
    Lapsed {
        /// The name of the owner.
        owner: Arc<str>,
    },
    /// The owner has taken it, and not said what came of it: it was carried out, or will be, or
    /// the owner is gone.
    Unanswered {
        /// The name of the owner.
        owner: Arc<str>,
    },
}

/// A stop that a member was asked for, and the owner of the run is to answer.
///
/// # Examples
///
/// ```
/// use std::time::SystemTime;
/// use quell_core::cluster::AskedStop;
/// use quell_core::store::Epoch;
/// use quell_core::{CancelRequest, RunId, StopMode};
///
/// let (run, request) = (RunId::from_text("order-7"), CancelRequest::because("enough").rollback());
/// let asked = AskedStop { nr: 1, run, accepted_ms: None, request, at: SystemTime::now() };
/// let stop = asked.accepted(Epoch::new(2, 1));
/// assert_eq!((stop.mode, stop.rollback), (StopMode::Cooperative, true));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a request with its run is all there is")]
pub struct AskedStop {
    /// Its number in the cluster.
    pub nr: u64,
    /// The run.
    pub run: RunId,
    /// When the run that is meant was accepted ([`RunMeant::accepted_ms`]); none if it is whichever
    /// has the id.
    pub accepted_ms: Option<u64>,
    /// What is asked of it.
    pub request: CancelRequest,
    /// When it was asked for.
    pub at: SystemTime,
}

impl AskedStop {
    /// Says that no further one may wait for a member.
    pub fn too_many(member: &str) -> StoreError {
        let (all, of_run) = (limits::ASKED_STOPS_WAITING_MAX, limits::ASKED_STOPS_MAX);
        let of_owner = limits::ASKED_STOPS_OF_OWNER_MAX;
        let what = format!(
            "{all} stops wait for node {member}, or {of_run} of this run, or {of_owner} of runs of \
             its owner"
        );
        StoreError::Io { what }
    }

    /// Tells whether this is the run that is meant: one that has its id, and was accepted at this
    /// time.
    pub fn means(&self, accepted_at: SystemTime) -> bool {
        RunMeant::of_stored(self.run, self.accepted_ms).is(accepted_at)
    }

    /// Yields it as the stop that a run has whose owner has not answered, and never will.
    pub fn accepted(&self, epoch: Epoch) -> StopAccepted {
        let cause = Arc::new(self.request.to_cause(self.at, self.run));
        let mut stop = StopAccepted::new(self.run, epoch, self.request.mode(), cause);
        stop.rollback = self.request.is_rollback();
        stop
    }
}

/// A stop that is to be remembered for a run to come.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell_core::cluster::StopToCome;
/// use quell_core::{CancelRequest, RunId, limits};
///
/// let request = CancelRequest::because("early").remember_for(Duration::from_secs(60));
/// let (run, max) = (RunId::from_text("order-7"), limits::RESERVATIONS_MAX);
/// let stop = StopToCome { run, scope: None, request, max, share_percent: 25 };
/// assert_eq!(stop.request.remembered_for(), Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a stop and its bounds are all there is")]
pub struct StopToCome {
    /// The id of the run.
    pub run: RunId,
    /// The scope that the run has to be in ([`Accepted::stop_scopes`]); none if it is for any run.
    ///
    /// [`Accepted::stop_scopes`]: crate::store::Accepted::stop_scopes
    pub scope: Option<[u8; 32]>,
    /// What is asked of it, and for how long that is remembered.
    pub request: CancelRequest,
    /// How many stops are remembered at most, in number and for all members together; their bytes
    /// are bounded by [`limits::RESERVATIONS_BYTES_MAX`]. The oldest leave first.
    pub max: usize,
    /// The share of both that those of one [actor](CancelRequest::asked_by) may have, in percent.
    pub share_percent: u8,
}
