//! [`Membership`] keeps the place of an engine in its cluster: it renews the lease, carries out
//! what other nodes ask for, and answers.
//!
//! It has a thread of its own. A cluster whose calls hang therefore delays no timer; and the lease
//! is watched by the control thread, so that it also lapses if this thread hangs.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt as _};
use quell_core::cluster::{Answer, Asked, AskedStop, RunMeant};
use quell_core::lifecycle::later;
use quell_core::store::{BoxFuture, StoreError};
use quell_core::{Payload, limits};

use crate::cluster::{Leave, Member, Phase};
use crate::control::acts;
use crate::control::answering::{self, Decided};
use crate::control::calls::{self, Call};
use crate::control::forgetting::{Forgetting, Release};
use crate::control::giving_up::GivingUp;
use crate::control::lane_turns::TurnTaking;
use crate::control::leaving::{LEAVE_WAIT, Leaving};
use crate::control::slots::Slots;
use crate::foreign::{self, Barred};
use crate::node::{Node, Shared};
use crate::sync;
use crate::sync::loops::{self, Loop, Turn};

/// Starts the loop of a member.
pub(crate) fn start(shared: &Arc<Shared>, of: &Arc<Member>, release: Release) -> io::Result<()> {
    let membership = Membership {
        shared: Arc::downgrade(shared),
        member: Arc::clone(of),
        renewal: None,
        renew_at: None,
        inbox: None,
        read_at: None,
        answers: FuturesUnordered::new(),
        decided: HashMap::new(),
        giving_up: GivingUp::default(),
        forgetting: Forgetting::new(release),
        turns: TurnTaking::default(),
        slots: Slots::new(&shared.config.all_nodes),
        leaving: Leaving::default(),
        not_given_up: 0,
    };
    // A cluster may use the runtime.
    loops::start("quell-cluster", &shared.runtime, shared.couriers.are_tasks(), membership)
}

struct Membership {
    shared: Weak<Shared>,
    member: Arc<Member>,
    /// A renewal that is under way, and when it was sent.
    renewal: Option<(Instant, Call<()>)>,
    /// When the lease is renewed next, if that failed last.
    renew_at: Option<Instant>,
    inbox: Option<Call<Vec<Asked>>>,
    /// When the inbox is read next, if that failed last.
    read_at: Option<Instant>,
    answers: FuturesUnordered<BoxFuture<'static, (u64, Result<(), StoreError>)>>,
    /// What was decided of that whose answers are not known to be given, and whether one is under
    /// way: what is read again is answered as it was decided.
    decided: HashMap<u64, Decided>,
    giving_up: GivingUp,
    forgetting: Forgetting,
    turns: TurnTaking,
    slots: Slots,
    leaving: Leaving,
    /// Roots that it could not give up before it left.
    not_given_up: usize,
}

impl Loop for Membership {
    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let Some(shared) = self.shared.upgrade() else {
            // The engine is gone, and so is all that it ran.
            self.member.begin_to_leave(abandoned());
            return self.turn_without(cx);
        };
        let _barred = Barred::new();
        let now = sync::now();
        // The lease is looked at behind its renewal: else it seems due again when that has come.
        self.poll_renewal(&shared, cx);
        let (phase, lease) = self.member.look(cx.waker());
        if phase != Phase::In {
            drop(shared);
            return self.turn_without(cx);
        }
        if shared.is_abandoned() {
            // A handle of a run may keep it for long.
            self.member.begin_to_leave(abandoned());
            drop(shared);
            return self.turn_without(cx);
        }
        let renew_at = self.renew_at.unwrap_or_else(|| lease.renew_at());
        let hangs_at = self.renewal.as_ref().map(|(sent, _)| later(*sent, lease.renewal_wait()));
        if hangs_at.is_none_or(|at| at <= now) && renew_at <= now {
            let cluster = Arc::clone(&self.member.cluster);
            let renewal = Box::pin(async move { cluster.renew().await });
            let hung = self.renewal.replace((now, renewal));
            if hung.is_some() {
                let what = "the renewal of the lease is not answered".to_owned();
                self.member.not_renewed(StoreError::Io { what });
            }
            foreign::release(hung);
            self.poll_renewal(&shared, cx);
        }
        self.poll_answers(cx);
        self.giving_up.poll(&self.member, now, cx);
        self.forgetting.poll(&self.shared, &self.member, now, cx);
        let slots_at = self.slots.poll(&shared, &self.member, now, cx);
        self.wake(now);
        self.poll_inbox(&shared, now, cx);
        let turns_at = self.turns.poll(&shared, &self.member, now, cx);
        self.member.note_asked(self.decided.len());
        let (_, lease) = self.member.look(cx.waker());
        let renew_at = self.renew_at.unwrap_or_else(|| lease.renew_at());
        let hangs_at = self.renewal.as_ref().map(|(sent, _)| later(*sent, lease.renewal_wait()));
        let due = Some(hangs_at.unwrap_or(renew_at));
        let of_others = [self.giving_up.again_at(), self.forgetting.again_at(), turns_at, slots_at];
        let next = [due, self.read_at, self.wakes_at()].into_iter().chain(of_others);
        Turn::Next(next.flatten().min())
    }
}

impl Membership {
    /// A turn of an engine that is no member any more, or is leaving.
    fn turn_without(&mut self, cx: &mut Context<'_>) -> Turn {
        self.drop_calls();
        let (Phase::Leaving(leave), _) = self.member.look(cx.waker()) else {
            foreign::release(std::mem::take(&mut self.answers));
            self.giving_up.end(&self.member);
            self.leaving.end();
            return Turn::Last;
        };
        let (now, until) = (sync::now(), leave.until);
        // First, so that others have it at once, and that whoever has asked hears what was decided.
        // Then there is time left to give the lease back.
        if !self.leaving.has_begun() && later(now, LEAVE_WAIT) < until {
            self.answer_again(now);
            self.poll_answers(cx);
            let answers_at = self.answers_at(now);
            if !self.giving_up.poll(&self.member, now, cx)
                || !self.answers.is_empty()
                || answers_at.is_some()
            {
                let last_at = until.checked_sub(LEAVE_WAIT);
                let next = [self.giving_up.again_at(), answers_at, last_at];
                return Turn::Next(next.into_iter().flatten().min());
            }
        }
        foreign::release(std::mem::take(&mut self.answers));
        self.not_given_up += self.giving_up.end(&self.member);
        if let Some(next) = self.leaving.poll(&self.member, leave, now, cx) {
            return Turn::Next(Some(next));
        }
        self.leaving.end();
        self.member.end();
        let (member, count) = (Arc::clone(&self.member), self.not_given_up);
        // Nothing of the engine is held here.
        if count > 0 {
            foreign::release(foreign::catch_panic(|| {
                tracing::warn!(
                    runs = count,
                    "runs that wait could not be given up: others have them when the lease is over"
                );
            }));
        }
        foreign::release(foreign::catch_panic(|| member.left.cancel()));
        Turn::Last
    }

    /// Gives answers again that could not be given, when they have rested: nobody reads any more
    /// what was asked for.
    fn answer_again(&mut self, now: Instant) {
        let Some(shared) = self.shared.upgrade() else { return };
        let rested = self.decided.values_mut().filter_map(|decided| decided.take_rested(now));
        for stop in rested.collect::<Vec<_>>() {
            self.carry_out(&shared, stop);
        }
    }

    /// When the next one of them has. Of an engine that is gone nothing is known any more.
    fn answers_at(&self, now: Instant) -> Option<Instant> {
        let of_engine = self.decided.values().filter(|_| self.shared.strong_count() > 0);
        of_engine.filter_map(|decided| decided.answers_at(now)).min()
    }

    fn drop_calls(&mut self) {
        foreign::release(self.renewal.take());
        self.slots.end();
        foreign::release(self.inbox.take());
        self.forgetting.end();
        self.turns.end();
        let waiting = self.member.turns.end();
        if let Some(shared) = self.shared.upgrade() {
            foreign::wake(&shared.couriers, waiting);
        }
    }

    fn poll_renewal(&mut self, shared: &Shared, cx: &mut Context<'_>) {
        let Some((sent, mut renewal)) = self.renewal.take() else { return };
        let Poll::Ready(done) = calls::poll(&mut renewal, cx) else {
            return self.renewal = Some((sent, renewal));
        };
        foreign::release(renewal);
        let has_failed_before = self.renew_at.take().is_some();
        match done {
            Ok(()) => self.member.renewed(sent),
            Err(StoreError::LeaseLost { .. }) => {
                shared.hear_of_loss();
            }
            Err(error) => {
                self.renew_at = Some(later(sync::now(), REST));
                self.member.not_renewed(error.clone());
                // Once: it is tried some times a second.
                if !has_failed_before {
                    shared.couriers.send_words(Box::new(move || {
                        tracing::warn!(%error, "lease was not renewed, and is tried again");
                    }));
                }
            }
        }
    }

    fn poll_inbox(&mut self, shared: &Arc<Shared>, now: Instant, cx: &mut Context<'_>) {
        // Again after stops were read: nothing else has the waker be kept.
        loop {
            // An answer that was not given has it be read later, and one that is given wakes it.
            if self.read_at.is_some_and(|at| at > now)
                || self.answers.len() >= limits::ASKED_STOPS_MAX
            {
                return;
            }
            self.read_at = None;
            let mut inbox = self.inbox.take().unwrap_or_else(|| self.read_inbox());
            let Poll::Ready(read) = calls::poll(&mut inbox, cx) else {
                return self.inbox = Some(inbox);
            };
            foreign::release(inbox);
            let Ok(asked) = read else {
                // The renewal says what is wrong.
                return self.read_at = Some(later(now, REST));
            };
            let stops = asked.iter().filter(|asked| matches!(asked, Asked::Stop(_))).count();
            let acts = asked.len() - stops;
            if stops < limits::ASKED_STOPS_MAX && acts < limits::ASKED_ACTS_MAX {
                // What is answered is not asked any more.
                let is_asked = |nr: &u64| asked.iter().any(|asked| asked.nr() == *nr);
                let member = &self.member;
                self.decided.retain(|nr, decided| {
                    let stays = decided.is_known() || is_asked(nr);
                    if !stays {
                        member.forget_unplaced(*nr);
                    }
                    stays
                });
            }
            for asked in asked {
                match asked {
                    Asked::Stop(stop) => self.carry_out(shared, stop),
                    Asked::Act { nr, run, words } => self.carry_out_act(shared, run, (nr, words)),
                }
            }
            self.poll_answers(cx);
        }
    }

    /// When the first of the stops that rest has done so.
    fn wakes_at(&self) -> Option<Instant> {
        self.decided.values().filter_map(|decided| decided.rests_until).min()
    }

    /// Has stops be read again that have rested.
    fn wake(&mut self, now: Instant) {
        if self.wakes_at().is_none_or(|at| at > now) {
            return;
        }
        // Those that are about to wake as well: each time the inbox is read anew.
        let soon = later(now, REST / 2);
        for decided in self.decided.values_mut() {
            decided.rests_until = decided.rests_until.filter(|until| *until > soon);
        }
        // The read that is under way takes them for known.
        foreign::release(self.inbox.take());
    }

    fn read_inbox(&self) -> Call<Vec<Asked>> {
        let cluster = Arc::clone(&self.member.cluster);
        let known = self.decided.iter().filter(|(_, decided)| decided.is_known());
        let known = known.map(|(nr, _)| *nr).collect();
        Box::pin(async move { cluster.inbox(known).await })
    }

    /// Carries out a stop, unless that was done, and answers it when it is stored: an answer is an
    /// acknowledgement, which outlives this process (I34).
    fn carry_out(&mut self, shared: &Arc<Shared>, stop: AskedStop) {
        let decided = self.decided.entry(stop.nr).or_default();
        if std::mem::replace(&mut decided.is_under_way, true) {
            return;
        }
        let meant = RunMeant::of_stored(stop.run, stop.accepted_ms);
        let mut node = here(shared, meant);
        if decided.answer.is_none() {
            if node.is_none() {
                self.member.note_unplaced(&stop);
                // What takes the run in looks for that note behind it: one of both sees the other.
                node = here(shared, meant);
            }
            decided.answer = answering::decide(&self.member, node.as_ref(), &stop);
        }
        decided.stop = Some(stop.clone());
        let (cluster, nr, answer) =
            (Arc::clone(&self.member.cluster), stop.nr, decided.answer.clone());
        let store = shared.journal.as_ref().map(|journal| Arc::clone(&journal.store));
        self.answers.push(Box::pin(async move {
            let given = match (node, answer) {
                (Some(node), Some(answer)) => answering::give(&*cluster, &node, nr, answer).await,
                (None, Some(answer)) => cluster.answer(nr, Answer::Stop(answer)).await,
                (_, None) => answering::give_of_stored(&*cluster, store, &stop).await,
            };
            (nr, given)
        }));
    }

    /// Carries out an act.
    fn carry_out_act(&mut self, shared: &Arc<Shared>, run: RunMeant, (nr, words): (u64, Payload)) {
        let node = here(shared, run);
        let decided = self.decided.entry(nr).or_default();
        if std::mem::replace(&mut decided.is_under_way, true) {
            return;
        }
        let (cluster, couriers) = (Arc::clone(&self.member.cluster), shared.couriers.clone());
        let progress = Arc::clone(&decided.progress);
        let store = shared.journal.as_ref().map(|journal| Arc::clone(&journal.store));
        self.answers.push(Box::pin(async move {
            let given = match node {
                Some(node) => {
                    acts::carry_out(&*cluster, &couriers, node, (nr, words), progress).await
                }
                None => answering::say_of_stored(&*cluster, store, run, nr).await,
            };
            (nr, given)
        }));
    }

    fn poll_answers(&mut self, cx: &mut Context<'_>) {
        loop {
            match foreign::catch_panic(|| self.answers.poll_next_unpin(cx)) {
                Ok(Poll::Ready(Some((nr, Ok(()))))) => {
                    drop(self.decided.remove(&nr));
                    self.member.forget_unplaced(nr);
                }
                Ok(Poll::Ready(Some((nr, Err(_))))) => {
                    if let Some(decided) = self.decided.get_mut(&nr) {
                        decided.rest(sync::now());
                    }
                }
                Ok(Poll::Ready(None) | Poll::Pending) => return,
                // Which one is not known: all of them are read again.
                Err(_) => {
                    foreign::release(std::mem::take(&mut self.answers));
                    let under_way = self.decided.values_mut().filter(|it| it.is_under_way);
                    under_way.for_each(|decided| decided.rest(sync::now()));
                    foreign::release(self.inbox.take());
                    self.read_at = Some(later(sync::now(), REST));
                }
            }
        }
    }
}

/// Yields the run that is meant, if it is in memory, and was not left to others. One that the store
/// has not taken yet may be a repeat of it, which this node is about to take in.
fn here(shared: &Shared, run: RunMeant) -> Option<Arc<Node>> {
    let node = shared.registry.get(run.id()).filter(|node| run.is(node.began(&node.lock()).0));
    node.filter(|node| !node.is_left_to_next() && !node.is_undecided() && !node.is_namesake())
}

/// How an engine leaves that is gone: nobody has seen to the end of what it ran.
fn abandoned() -> Leave {
    Leave { until: later(sync::now(), limits::STORE_WAIT), is_drained: false }
}

/// How long a cluster in trouble is left alone, and what could not be answered.
pub(super) const REST: Duration = Duration::from_millis(200);
