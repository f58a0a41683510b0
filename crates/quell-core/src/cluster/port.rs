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
use std::time::{Duration, Instant};

use crate::cluster::{
    ActAnswer, Answer, Asked, AskedStop, ForgottenWork, LogWatch, OpenStops, Placed, RunMeant,
    SlotsAsked, SlotsHeld, StopToCome, TakenOver, TurnAsk,
};
#[cfg(doc)]
use crate::limits;
use crate::store::{BoxFuture, StoreError};
use crate::{CancelRequest, Disposition, Payload, RunId};

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
///    [`Work::Node`](crate::Work::Node) with the name of the node, which may execute it still; what
///    it has [given up](Self::release), or [left](Self::leave) without having begun it, gets none,
///    nor what has a due time and no start in the store, for which its body waits.
///    A member that was taken over from neither writes nor renews nor takes over any more.
///    Who joins under the name of a member does the same, without that hold: it must be known that
///    the process of that one is gone. It need not raise the epochs of what had started, if nothing
///    of that process is written any more.
/// 3. Of a tree that is not quiescent, [`Store::ended`](crate::store::Store::ended) tells its owner
///    alone, which knows what still executes.
/// 4. A stop is durable when it was asked for. It is in the inbox of the owner of its run until it
///    is answered, whatever notification was lost; until then a run that is recovered has it as its
///    stop.
/// 5. An act is carried out by the owner that has [taken](Self::take) it, once, or never. It is
///    taken or withdrawn, and not both, whoever comes first: an act that lapses is not carried out
///    later, neither by its owner nor by who takes over from that.
/// 6. Of the roots of a lane that were accepted with a [rule](crate::store::LaneRule), at most one
///    has the turn: from its acceptance, or from the answer of [`turns`](Self::turns) on, until it
///    has ended and is quiescent, whoever has it meanwhile. Of one that was on a member which is
///    lost nobody may learn that it is quiescent: it has the turn until it has ended.
/// 7. Of no limit do all members together have more [slots](Self::slots) than its maximum was when
///    the last one was given. A member that is gone keeps its slots until another one takes over,
///    which has them from then on, in the same step, as has who joins under its name.
///
/// Every call but [`inbox`](Self::inbox) and [`forgotten`](Self::forgotten) ends within some
/// seconds, also if the store is away.
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

    /// Yields when the lease of another member is over at the soonest, as the last
    /// [look](Self::take_over) has found it: it is worth looking again then. None if nothing is
    /// known of that, which it is by default.
    fn next_lease_end(&self) -> Option<Instant> {
        None
    }

    /// Asks the owner of a run to stop it, and yields the answer of the owner. If it does not
    /// answer in time, the answer is [`Disposition::Recorded`]; if no member has such a run that is
    /// live, [`Disposition::Unknown`], and nothing is kept. A run that has the id, and is not the
    /// one that is meant, is none: neither here, nor for the owner, which has to look by what the
    /// [ask](AskedStop::accepted_ms) says, nor for a take-over, which gives it no such stop.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. Then the stop may have been recorded. Fails, and keeps
    /// nothing, if [too many](AskedStop::too_many) wait for that member:
    /// [`limits::ASKED_STOPS_WAITING_MAX`], [`limits::ASKED_STOPS_MAX`] of this run, or
    /// [`limits::ASKED_STOPS_OF_OWNER_MAX`] of the trees of its owner.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the stop may be recorded although the future was dropped.
    fn ask(
        &self,
        run: RunMeant,
        request: CancelRequest,
    ) -> BoxFuture<'_, Result<Disposition, StoreError>>;

    /// Remembers a stop for a run to come, on whatever member that is accepted, and yields true
    /// when that is durable. It yields false, and keeps nothing, if a run with this id is stored:
    /// that one is [asked](Self::ask). Between the two there is no gap: the acceptance of a run
    /// either is before this, and this finds it, or finds the stop. Of several stops for one id
    /// and scope the first one stands, until the latest of their times (I6).
    ///
    /// The append that stores the acceptance of the run uses the stop up, with those of other
    /// scopes that the run is in: the first of them becomes one that the owner of the run was asked
    /// for, in the same step (I34). If that is not answered, and the run is forgotten as of a time
    /// before its acceptance, it was refused, and never was: all of them are remembered again, each
    /// as it was.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. Then the stop may be remembered.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the stop may be remembered although the future was dropped.
    fn remember(&self, stop: StopToCome) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Takes the stops that were remembered for runs whose acceptance an append of this member has
    /// stored since the last call. They are in its inbox as well, until they are answered: this is
    /// so that a run is stopped before it starts.
    fn take_remembered(&self) -> Vec<AskedStop>;

    /// Takes what appends of this member have decided, since the last call, of the roots with a
    /// [rule](crate::store::LaneRule) that they have accepted. What is lost on the way is found by
    /// [`turns`](Self::turns).
    fn take_placed(&self) -> Vec<Placed>;

    /// Asks whose turn it is in lanes, at most [`limits::STORE_PAGE_MAX`] of them, and yields for
    /// which roots of this member it is. A root of it that has the turn already is yielded again,
    /// whichever it is. If nobody has it, the turn is given, durably: to the root that is asked
    /// for, if that is queued, is this member's, and the one of those that wait and are due that
    /// was accepted first is of this member too, or there is none. If that one is another
    /// member's, that hears of it ([`turn_heard`](Self::turn_heard)). A root whose place a queued
    /// one of another member has taken ([`LaneRule::Replace`](crate::store::LaneRule::Replace)) is
    /// not among them: its member may not have heard of that stop yet.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store, and if this member was taken over from. Then turns may
    /// be given: to ask once more yields them.
    ///
    /// # Cancel safety
    ///
    /// As an error.
    fn turns(&self, asks: Vec<TurnAsk>) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>>;

    /// Waits until it may be the turn of roots of this member, and yields their lanes. A word of
    /// that may be lost: who has roots that wait asks from time to time in any case.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what comes while nobody waits is yielded by the next call.
    fn turn_heard(&self) -> BoxFuture<'_, Vec<Arc<str>>>;

    /// Asks the owner of a run, meant as by [`ask`](Self::ask), for something else than a stop, in
    /// words that engines know, and yields what it says. An owner that has not
    /// [taken](Self::take) it within [`limits::ASKED_STOP_WAIT`] never does: it is withdrawn. One
    /// that has is waited for until [`limits::ASKED_ACT_WAIT`].
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. Then the act may be carried out.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the act may be carried out although the future was dropped: soon, or never.
    fn act(&self, run: RunMeant, words: Payload) -> BoxFuture<'_, Result<ActAnswer, StoreError>>;

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

    /// Yields the stops that are open beside those whose run is stopping, on whatever member: of
    /// trees of this owner, or of all; at most [`limits::STORE_PAGE_MAX`] that were asked for, and
    /// as many roots that have ended. For those who ask what stops wait for. By default none is
    /// known.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    fn open_stops(&self, owner: Option<Arc<str>>) -> BoxFuture<'_, Result<OpenStops, StoreError>> {
        let _ = owner;
        Box::pin(std::future::ready(Ok(OpenStops::default())))
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

    /// Gives up roots that this member has, at most [`limits::STORE_PAGE_MAX`], because it is about
    /// to leave: another one [takes them over](Self::take_over) at once, as from a member whose
    /// lease is over. They are paused, or have never started, and nothing of them executes, so they
    /// get no hold of [`Work::Node`](crate::Work::Node); those that have never started are
    /// [`RunRecord::is_unstarted`](crate::store::RunRecord::is_unstarted) then, unless a member had
    /// them before that is lost: whether that has started them nobody knows, but of those that have
    /// a due time. What was asked of them and not answered goes with them. Those that this member
    /// does not have, or that stand otherwise in the store, stay as they are. By default all do.
    ///
    /// # Errors
    ///
    /// As [`renew`](Self::renew). Then they may be given up.
    ///
    /// # Cancel safety
    ///
    /// As an error.
    fn release(&self, roots: Vec<RunId>) -> BoxFuture<'_, Result<(), StoreError>> {
        let _ = roots;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Waits until runs of this member have work of members that are gone for good: somebody who
    /// knows has said so of a name, and of the boots that were given under it by then. Yields the
    /// work of some of them, at most [`limits::STORE_PAGE_MAX`]: their holds of
    /// [`Work::Node`](crate::Work::Node), and what else such a member had begun and executed on
    /// its own host. Of a member under whose name another process has joined since, it yields the
    /// holds of [`Work::Node`](crate::Work::Node) alone: the process before is gone, and programs
    /// may outlive it. Those of which a later process [knows](Self::programs_before) that they have
    /// ended are yielded as well. Both hold also when that process is gone again. Runs of this
    /// member are those that it owns, and those that have ended whose owner is gone. What was
    /// yielded comes again until it is stored that it has
    /// [ended](crate::store::Record::HoldEnded). By default nobody is forgotten, and this waits for
    /// ever.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    fn forgotten(&self) -> BoxFuture<'_, Result<Vec<ForgottenWork>, StoreError>> {
        Box::pin(std::future::pending())
    }

    /// Says of the programs ([`Work::Process`](crate::Work::Process)) that processes before this
    /// one had begun under the name of this member: that all of them have ended, or that nobody
    /// will know it. What was said first of a program stays so. Whoever has its run hears that it
    /// has ended ([`forgotten`](Self::forgotten)), this member as well; what is in doubt stays so
    /// until somebody says that the member is gone for good. Of what this process begins nothing
    /// is said. Yields what has ended of runs of this member, as [`forgotten`](Self::forgotten)
    /// does, but all of it, and without a wait for any: of a run that it has not decided yet it may
    /// store that the work has ended. By default nobody is told, and nothing is yielded.
    ///
    /// Whoever calls it knows that the processes before are gone, and has waited for what ends the
    /// programs that those have left.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store, and if this member was taken over from. Then it may
    /// have been said.
    ///
    /// # Cancel safety
    ///
    /// As an error.
    fn programs_before(
        &self,
        have_ended: bool,
    ) -> BoxFuture<'_, Result<Vec<ForgottenWork>, StoreError>> {
        let _ = have_ended;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Exchanges slots of limits that all members keep together: of each limit that is asked for,
    /// gives some back, and takes some, as [`share`](crate::cluster::share) divides them. Yields
    /// how each of them stands then; without any, each of which this member has slots. What it has
    /// is given back by nobody else. Calls of a member take effect in the order in which they are
    /// made: one that has failed has done so before the next one, or never does.
    ///
    /// By default none is ever given, and no run starts that needs one.
    ///
    /// # Errors
    ///
    /// As [`renew`](Self::renew). Then some of the limits may have changed as was asked.
    ///
    /// # Cancel safety
    ///
    /// As an error.
    fn slots(&self, asked: Vec<SlotsAsked>) -> BoxFuture<'_, Result<Vec<SlotsHeld>, StoreError>> {
        let _ = asked;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Waits until it is time to ask how limits stand: somebody waits for slots, or has given some
    /// back, or this member has got those of another one. Yields their names; none if any may be
    /// meant. It may be late, or for nothing: a word may be lost. By default it never yields.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what comes while nobody waits is yielded by the next call.
    fn slots_moved(&self) -> BoxFuture<'_, Result<Vec<Arc<str>>, StoreError>> {
        Box::pin(std::future::pending())
    }

    /// Ends the lease: what this member still owns may be taken over at once. `is_drained` says
    /// that nothing executes here of those runs of it that are live in the store: it has not taken
    /// them in, or could not [give them up](Self::release). Then they are handed on as if it had:
    /// they get no hold of [`Work::Node`](crate::Work::Node) with its name, and those that have
    /// never started are [`RunRecord::is_unstarted`](crate::store::RunRecord::is_unstarted).
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. Then the lease runs out.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the lease may have ended although the future was dropped.
    fn leave(&self, is_drained: bool) -> BoxFuture<'_, Result<(), StoreError>>;
}
