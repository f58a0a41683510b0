//! How stops are decided that other nodes have asked of this one, and answered; and acts that are
//! about no run here.

use std::sync::Arc;
use std::time::Instant;

use quell_core::cluster::{Answer, AskedStop, Cluster, RunMeant};
use quell_core::lifecycle::later;
use quell_core::store::{RunRecord, Store, StoreError};
use quell_core::{Disposition, Payload};

use crate::cluster::{Claim, Member};
use crate::control::acts::{Progress, Said};
use crate::control::membership::REST;
use crate::node::wait::Wait;
use crate::node::{Node, State};
use crate::sync::{self, Mutex};

/// What is known of something that was asked for.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// The stop, if it is one.
    pub(super) stop: Option<AskedStop>,
    /// Of a stop; none while the run is not in memory, or what has taken it in decides.
    pub(super) answer: Option<Disposition>,
    /// Of an act.
    pub(super) progress: Arc<Mutex<Progress>>,
    pub(super) is_under_way: bool,
    /// Its answer could not be given, and is not tried again before this instant. Meanwhile it
    /// holds up no other one.
    pub(super) rests_until: Option<Instant>,
    /// How often that was so.
    failures: u32,
}

impl Decided {
    /// Tells whether it needs not be read.
    pub(super) const fn is_known(&self) -> bool {
        self.is_under_way || self.rests_until.is_some()
    }

    /// Notes that its answer could not be given. One of a run that nobody has decided yet rests
    /// longer each time, so that however many there are others come through.
    pub(super) fn rest(&mut self, now: Instant) {
        self.is_under_way = false;
        let factor = if self.answer.is_none() { 1 << self.failures.min(DOUBLINGS_MAX) } else { 1 };
        self.failures = self.failures.saturating_add(1);
        self.rests_until = Some(later(now, REST * factor));
    }

    /// When it is to be answered again, if it is a stop that was decided, and could not be.
    pub(super) fn answers_at(&self, now: Instant) -> Option<Instant> {
        let waits = !self.is_under_way && self.stop.is_some() && self.answer.is_some();
        waits.then(|| self.rests_until.unwrap_or(now))
    }

    /// Yields the stop if that time has come.
    pub(super) fn take_rested(&mut self, now: Instant) -> Option<AskedStop> {
        self.answers_at(now).filter(|at| *at <= now)?;
        self.rests_until = None;
        self.stop.clone()
    }
}

/// Decides a stop, unless what has taken its run in does. None while that is not known, and while
/// the run is not in memory, or was left to others.
pub(super) fn decide(
    member: &Member,
    node: Option<&Arc<Node>>,
    stop: &AskedStop,
) -> Option<Disposition> {
    let Some(node) = node else { return member.answer_unplaced(stop.nr) };
    match member.claim_unplaced(stop.nr) {
        Claim::Own => {
            // It is unknown if it was left in this moment.
            Some(node.cancel(&stop.request)).filter(|said| *said != Disposition::Unknown)
        }
        Claim::Taken(answer) => answer,
    }
}

/// Gives an answer, once what it says is stored: of an end all of it, otherwise the stops, and not
/// what the run does meanwhile.
pub(super) async fn give(
    cluster: &dyn Cluster,
    node: &Arc<Node>,
    nr: u64,
    answer: Disposition,
) -> Result<(), StoreError> {
    let has_ended = matches!(answer, Disposition::AlreadyTerminal { .. });
    let stored = |state: &State| {
        if has_ended { node.stored(state) } else { node.stops_stored(state) }
    };
    Wait::until(node, stored).await?;
    cluster.answer(nr, Answer::Stop(answer)).await
}

/// Answers a stop of a run that is not in memory, as the store has it. One that is live there is
/// not decided by this process yet, or was left to the next one: its stop stays where it is, and is
/// honoured by whoever decides the run (I34).
pub(super) async fn give_of_stored(
    cluster: &dyn Cluster,
    store: Option<Arc<dyn Store>>,
    stop: &AskedStop,
) -> Result<(), StoreError> {
    let stored = match store {
        Some(store) => store.get(stop.run).await?,
        None => None,
    };
    // A later run that has its id is not the one that is meant, which is gone.
    let answer = match stored.filter(|record| stop.means(record.accepted.at)) {
        Some(record) if !record.status.is_terminal() => {
            return Err(StoreError::Unknown { run: stop.run });
        }
        Some(record) => answer_of_ended(&record, stop),
        // When the stop was asked for, the run was there: it was taken back.
        None if stop.request.is_rollback() => accepted(),
        None => Disposition::Unknown,
    };
    cluster.answer(stop.nr, Answer::Stop(answer)).await
}

/// Answers an act about a run that is not in memory. It is left where it is, and lapses, unless the
/// run comes in time. One about a run that is forgotten, as the store has it, is answered at once.
pub(super) async fn say_of_stored(
    cluster: &dyn Cluster,
    store: Option<Arc<dyn Store>>,
    run: RunMeant,
    nr: u64,
) -> Result<(), StoreError> {
    let unknown = || Err(StoreError::Unknown { run: run.id() });
    // By its id alone it is whichever comes.
    let Some(store) = store.filter(|_| run.accepted_ms().is_some()) else { return unknown() };
    if store.get(run.id()).await?.is_some_and(|record| run.is(record.accepted.at)) {
        return unknown();
    }
    if !cluster.take(nr).await? {
        return Ok(());
    }
    say(cluster, nr, &Said::Gone).await
}

/// Answers an act that was taken.
pub(super) async fn say(cluster: &dyn Cluster, nr: u64, said: &Said) -> Result<(), StoreError> {
    let said = Payload::json(said).map_err(|error| StoreError::Io { what: error.to_string() })?;
    cluster.answer(nr, Answer::Act(said)).await
}

/// Says what came of a stop of a run that has ended. When it was asked for the run was live. If it
/// is the one that has ended it, a former owner has accepted it and could not say so, or a
/// take-over or a recovery has given it to its run.
fn answer_of_ended(record: &RunRecord, stop: &AskedStop) -> Disposition {
    let cause = record.report.as_ref().and_then(|report| report.own_row().cause.as_ref());
    match cause {
        // Its instant is that of the acceptance, or that at which it was asked for.
        Some(cause) if stop.request.to_cause(cause.at, stop.run) == **cause => accepted(),
        _ => Disposition::AlreadyTerminal { status: record.status },
    }
}

/// The answer to a stop that was carried out: its run has ended by now.
fn accepted() -> Disposition {
    Disposition::Accepted { hard_deadline: sync::now() }
}

/// How often the rest of something which nobody can decide yet is doubled.
const DOUBLINGS_MAX: u32 = 4;
