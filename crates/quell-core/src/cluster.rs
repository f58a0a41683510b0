//! [`Cluster`]: the port to whatever several engines on one store decide together.
//!
//! What one process decides in memory, several must decide in one place: who owns a root, who has
//! taken over from a process that is gone, and what the owner of a run answers to a stop that
//! another process was asked for. A store for several processes implements [`Store`] and this port
//! for each of its members. Without a cluster an engine is alone, and asks nobody.
//!
//! [`Store`]: crate::store::Store

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

#[cfg(doc)]
use crate::limits;
use crate::store::{BoxFuture, Epoch, StopAccepted, StoreError};
use crate::{CancelRequest, Disposition, Payload, RunId, RunStatus};

/// One member of a cluster: an engine, its lease, and what it asks of the others.
///
/// A member owns the roots that it has accepted, or taken over, for as long as it renews its lease.
/// [`Store::recover`](crate::store::Store::recover) of a member reads the runs that it owns, and no
/// others. All instants that matter to more than one member are by one clock, that of the store.
///
/// Invariants that an implementation keeps:
///
/// 1. A boot is given once: [`Store::boot`](crate::store::Store::boot) of a member, and that of
///    each [`TakenOver`], is larger than every one before, of all members. So a write of a former
///    owner is below the epoch that the next one has given to the run, and is refused (I35).
/// 2. A take-over is one step: it ends the membership of the node, gives all of its roots to this
///    member, raises the epochs of their live runs, and gives every stop that was asked for and not
///    answered to its run, as an accepted stop (I34). Each of those runs that is not paused, or
///    that was rolled back and is not quiescent, gets a hold of
///    [`Work::Node`](crate::Work::Node) with the name of the node, which may execute it still. A
///    member that was taken over from neither writes nor renews nor takes over any more.
///    Who joins under the name of a member does the same, without that hold: it must be known that
///    the process of that one is gone.
/// 3. Of a tree that is not quiescent, [`Store::ended`](crate::store::Store::ended) tells its owner
///    alone, which knows what still executes.
/// 4. A stop is durable when it was asked for. It is in the inbox of the owner of its run until it
///    is answered, whatever notification was lost; until then a run that is recovered has it as its
///    stop.
/// 5. An act is carried out by the owner that has [taken](Self::take) it, once, or never. It is
///    taken or withdrawn, and not both, whoever comes first: an act that lapses is not carried out
///    later, neither by its owner nor by who takes over from that.
///
/// Every call but [`inbox`](Self::inbox) ends within some seconds, also if the store is away.
/// `quell::testing::cluster` (feature `test-util`) has members in one process.
pub trait Cluster: Debug + Send + Sync + 'static {
    /// Yields the name of this member, by which others know it.
    fn name(&self) -> &str;

    /// Yields how long a lease lasts.
    fn lease(&self) -> Duration;

    /// Yields when the join was sent: the lease counts from then on until it is renewed.
    fn joined_at(&self) -> Instant;

    /// Extends the lease, from now on.
    ///
    /// # Errors
    ///
    /// Fails with [`StoreError::LeaseLost`] if another member has taken over, for good; and with
    /// the trouble of the store, in which the lease goes on as it was.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the lease may be extended although the future was dropped.
    fn renew(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Takes over from one member whose lease is over, if there is one.
    ///
    /// # Errors
    ///
    /// As [`renew`](Self::renew).
    ///
    /// # Cancel safety
    ///
    /// Once polled, what a member had may belong to this one although the future was dropped: it
    /// is among what this one [recovers](crate::store::Store::recover).
    fn take_over(&self) -> BoxFuture<'_, Result<Option<TakenOver>, StoreError>>;

    /// Asks the owner of a run to stop it, and yields the answer of the owner. If it does not
    /// answer in time, the answer is [`Disposition::Recorded`]; if no member has such a run that is
    /// live, [`Disposition::Unknown`], and nothing is kept.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. Then the stop may have been recorded.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the stop may be recorded although the future was dropped.
    fn ask(
        &self,
        run: RunId,
        request: CancelRequest,
    ) -> BoxFuture<'_, Result<Disposition, StoreError>>;

    /// Asks the owner of a run for something else than a stop, in words that engines know, and
    /// yields what it says. An owner that has not [taken](Self::take) it within
    /// [`limits::ASKED_STOP_WAIT`] never does: it is withdrawn. One that has is waited for until
    /// [`limits::ASKED_ACT_WAIT`].
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. Then the act may be carried out.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the act may be carried out although the future was dropped: soon, or never.
    fn act(&self, run: RunId, words: Payload) -> BoxFuture<'_, Result<ActAnswer, StoreError>>;

    /// Yields the name of the member that has a run, for words to people; none if it is not known,
    /// or nobody has it. By default none is.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    fn owner(&self, run: RunId) -> BoxFuture<'_, Result<Option<Arc<str>>, StoreError>> {
        let _ = run;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Waits until something is asked of this member that is not among what is `known`, and yields
    /// that: stops, the first first, at most [`limits::ASKED_STOPS_MAX`] of them, and then acts, at
    /// most [`limits::ASKED_ACTS_MAX`]. What is not known is yielded again until it is answered, or
    /// withdrawn. However much is known, it holds up nothing else.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    fn inbox(&self, known: Vec<u64>) -> BoxFuture<'_, Result<Vec<Asked>, StoreError>>;

    /// Takes an act that was asked of this member: if it yields true nobody withdraws it any more,
    /// and this member carries it out, and answers. Once more yields the same until it is answered.
    /// It yields false if the act was withdrawn, is too old, or was taken by a former owner.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. Then this member may have taken it.
    ///
    /// # Cancel safety
    ///
    /// As an error.
    fn take(&self, act: u64) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Answers what was asked of this member. An answer to something that is not there, or not its
    /// own any more, changes nothing.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. Then it stays in the inbox, or it was answered.
    ///
    /// # Cancel safety
    ///
    /// Once polled, it may be answered although the future was dropped.
    fn answer(&self, nr: u64, answer: Answer) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Says that somebody reads the log of a root here, until what this yields is dropped: whoever
    /// writes the log tells this member when there is something new. By default nobody tells, and
    /// this yields none; then, and from time to time in any case, who reads looks.
    fn watch(&self, root: RunId) -> Option<Box<dyn LogWatch>> {
        let _ = root;
        None
    }

    /// Ends the lease: what this member still owns may be taken over at once.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. Then the lease runs out.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the lease may have ended although the future was dropped.
    fn leave(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Hears of what is new in the log of one root, for one who reads it. It only says that it is time
/// to look: a word may be lost, and one may come although nothing is new.
pub trait LogWatch: Debug + Send {
    /// Waits until there is something new since the last call, or since the watch began.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what comes while nobody waits is yielded by the next call.
    fn heard(&mut self) -> BoxFuture<'_, ()>;

    /// Tells whether words come at present, as far as is known.
    fn is_told(&self) -> bool;
}

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
/// let asked = Asked::Act { nr: 3, run, words: Payload::from("rest") };
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
        /// The run.
        run: RunId,
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
            Self::Act { run, .. } => *run,
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
/// let asked = AskedStop { nr: 1, run, request, at: SystemTime::now() };
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
    /// What is asked of it.
    pub request: CancelRequest,
    /// When it was asked for.
    pub at: SystemTime,
}

impl AskedStop {
    /// Yields it as the stop that a run has whose owner has not answered, and never will.
    pub fn accepted(&self, epoch: Epoch) -> StopAccepted {
        let cause = Arc::new(self.request.to_cause(self.at, self.run));
        let mut stop = StopAccepted::new(self.run, epoch, self.request.mode(), cause);
        stop.rollback = self.request.is_rollback();
        stop
    }
}
