//! [`Membership`] keeps the place of an engine in its cluster: it renews the lease, carries out
//! what other nodes ask for, and answers.
//!
//! It has a thread of its own. A cluster whose calls hang therefore delays no timer; and the lease
//! is watched by the control thread, so that it also lapses if this thread hangs.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt as _};
use quell_core::cluster::{Answer, Asked, AskedStop, Cluster};
use quell_core::lifecycle::later;
use quell_core::store::{BoxFuture, Store, StoreError};
use quell_core::{Disposition, Payload, RunId, limits};

use crate::cluster::{Member, Phase};
use crate::control::acts::{self, Progress};
use crate::foreign::{self, Barred};
use crate::node::wait::Wait;
use crate::node::{Node, Shared, State};
use crate::sync::loops::{self, Loop, Turn};
use crate::sync::{self, Mutex};

/// Starts the loop of a member.
pub(crate) fn start(shared: &Arc<Shared>, member: &Arc<Member>) -> std::io::Result<()> {
    let membership = Membership {
        shared: Arc::downgrade(shared),
        member: Arc::clone(member),
        renewal: None,
        renew_at: None,
        inbox: None,
        read_at: None,
        answers: FuturesUnordered::new(),
        decided: HashMap::new(),
        leave: None,
    };
    // A cluster may use the runtime.
    loops::start("quell-cluster", &shared.runtime, shared.couriers.are_tasks(), membership)
}

struct Membership {
    shared: Weak<Shared>,
    member: Arc<Member>,
    /// A renewal that is under way, and when it was sent.
    renewal: Option<(Instant, BoxFuture<'static, Result<(), StoreError>>)>,
    /// When the lease is renewed next, if that failed last.
    renew_at: Option<Instant>,
    inbox: Option<BoxFuture<'static, Result<Vec<Asked>, StoreError>>>,
    /// When the inbox is read next, if that failed last.
    read_at: Option<Instant>,
    answers: FuturesUnordered<BoxFuture<'static, (u64, Result<(), StoreError>)>>,
    /// What was decided of that whose answers are not known to be given, and whether one is under
    /// way: what is read again is answered as it was decided.
    decided: HashMap<u64, Decided>,
    leave: Option<BoxFuture<'static, Result<(), StoreError>>>,
}

/// What is known of something that was asked for.
#[derive(Debug, Default)]
struct Decided {
    /// Of a stop; none while the run is not in memory.
    answer: Option<Disposition>,
    /// Of an act.
    progress: Arc<Mutex<Progress>>,
    is_under_way: bool,
    /// Its answer could not be given, and is not tried again before this instant. Meanwhile it
    /// holds up no other one.
    rests_until: Option<Instant>,
    /// How often that was so.
    failures: u32,
}

impl Decided {
    /// Tells whether it needs not be read.
    const fn is_known(&self) -> bool {
        self.is_under_way || self.rests_until.is_some()
    }

    /// Notes that its answer could not be given. One of a run that nobody has decided yet rests
    /// longer each time, so that however many there are others come through.
    fn rest(&mut self, now: Instant) {
        self.is_under_way = false;
        let factor = if self.answer.is_none() { 1 << self.failures.min(DOUBLINGS_MAX) } else { 1 };
        self.failures = self.failures.saturating_add(1);
        self.rests_until = Some(later(now, REST * factor));
    }
}

impl Loop for Membership {
    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let Some(shared) = self.shared.upgrade() else {
            // The engine is gone, and so is all that it ran.
            self.member.begin_to_leave(later(sync::now(), limits::STORE_WAIT));
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
            self.member.begin_to_leave(later(now, limits::STORE_WAIT));
            drop(shared);
            return self.turn_without(cx);
        }
        let renew_at = self.renew_at.unwrap_or_else(|| lease.renew_at());
        let hangs_at = self.renewal.as_ref().map(|(sent, _)| later(*sent, lease.renewal_wait()));
        if hangs_at.is_none_or(|at| at <= now) && renew_at <= now {
            let cluster = Arc::clone(&self.member.cluster);
            let renewal = Box::pin(async move { cluster.renew().await });
            let hung = self.renewal.replace((now, renewal));
            foreign::release(hung);
            self.poll_renewal(&shared, cx);
        }
        self.poll_answers(cx);
        self.wake(now);
        self.poll_inbox(&shared, now, cx);
        let (_, lease) = self.member.look(cx.waker());
        let renew_at = self.renew_at.unwrap_or_else(|| lease.renew_at());
        let hangs_at = self.renewal.as_ref().map(|(sent, _)| later(*sent, lease.renewal_wait()));
        let next = [Some(hangs_at.unwrap_or(renew_at)), self.read_at, self.wakes_at()];
        Turn::Next(next.into_iter().flatten().min())
    }
}

impl Membership {
    /// A turn of an engine that is no member any more, or is leaving.
    fn turn_without(&mut self, cx: &mut Context<'_>) -> Turn {
        self.drop_calls();
        let (Phase::Leaving(until), _) = self.member.look(cx.waker()) else {
            let leave = self.leave.take();
            foreign::release(leave);
            return Turn::Last;
        };
        let cluster = &self.member.cluster;
        let leave = self.leave.get_or_insert_with(|| {
            let cluster = Arc::clone(cluster);
            Box::pin(async move { cluster.leave().await })
        });
        let polled = foreign::catch_panic(|| Pin::new(leave).poll(cx));
        let is_over = until <= sync::now() || !matches!(polled, Ok(Poll::Pending));
        if !is_over {
            return Turn::Next(Some(until));
        }
        foreign::release(self.leave.take());
        self.member.end();
        let member = Arc::clone(&self.member);
        // Nothing of the engine is held here.
        foreign::release(foreign::catch_panic(|| member.left.cancel()));
        Turn::Last
    }

    fn drop_calls(&mut self) {
        foreign::release(self.renewal.take());
        foreign::release(self.inbox.take());
        foreign::release(std::mem::take(&mut self.answers));
    }

    fn poll_renewal(&mut self, shared: &Shared, cx: &mut Context<'_>) {
        let Some((sent, mut renewal)) = self.renewal.take() else { return };
        let done = match foreign::catch_panic(|| Pin::new(&mut renewal).poll(cx)) {
            Ok(Poll::Pending) => return self.renewal = Some((sent, renewal)),
            Ok(Poll::Ready(done)) => done,
            Err(panic) => Err(StoreError::Io { what: panic.to_string() }),
        };
        foreign::release(renewal);
        self.renew_at = None;
        match done {
            Ok(()) => self.member.renewed(sent),
            Err(StoreError::LeaseLost { .. }) => {
                shared.hear_of_loss();
            }
            Err(error) => {
                self.renew_at = Some(later(sync::now(), REST));
                shared.couriers.send_words(Box::new(move || {
                    tracing::warn!(%error, "lease was not renewed, and is tried again");
                }));
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
            let read = match foreign::catch_panic(|| Pin::new(&mut inbox).poll(cx)) {
                Ok(Poll::Pending) => return self.inbox = Some(inbox),
                Ok(Poll::Ready(read)) => read,
                Err(panic) => Err(StoreError::Io { what: panic.to_string() }),
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
                self.decided.retain(|nr, decided| decided.is_known() || is_asked(nr));
            }
            for asked in asked {
                match asked {
                    Asked::Stop(stop) => self.carry_out(shared, &stop),
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

    fn read_inbox(&self) -> BoxFuture<'static, Result<Vec<Asked>, StoreError>> {
        let cluster = Arc::clone(&self.member.cluster);
        let known = self.decided.iter().filter(|(_, decided)| decided.is_known());
        let known = known.map(|(nr, _)| *nr).collect();
        Box::pin(async move { cluster.inbox(known).await })
    }

    /// Carries out a stop, unless that was done, and answers it when it is stored: an answer is an
    /// acknowledgement, which outlives this process (I34).
    fn carry_out(&mut self, shared: &Arc<Shared>, stop: &AskedStop) {
        let node = shared.registry.get(stop.run);
        let decided = self.decided.entry(stop.nr).or_default();
        if std::mem::replace(&mut decided.is_under_way, true) {
            return;
        }
        if let Some(node) = &node
            && decided.answer.is_none()
        {
            decided.answer = Some(node.cancel(&stop.request));
        }
        let (cluster, nr) = (Arc::clone(&self.member.cluster), stop.nr);
        let (answer, run) = (decided.answer.clone(), stop.run);
        let store = shared.journal.as_ref().map(|journal| Arc::clone(&journal.store));
        self.answers.push(Box::pin(async move {
            let given = match (node, answer) {
                (Some(node), Some(answer)) => give(&*cluster, &node, nr, answer).await,
                (_, Some(answer)) => cluster.answer(nr, Answer::Stop(answer)).await,
                (_, None) => give_of_stored(&*cluster, store, nr, run).await,
            };
            (nr, given)
        }));
    }

    /// Carries out an act. One of a run that is not in memory is left where it is: it lapses,
    /// unless that run comes in time.
    fn carry_out_act(&mut self, shared: &Arc<Shared>, run: RunId, (nr, words): (u64, Payload)) {
        let node = shared.registry.get(run);
        let decided = self.decided.entry(nr).or_default();
        if std::mem::replace(&mut decided.is_under_way, true) {
            return;
        }
        let (cluster, couriers) = (Arc::clone(&self.member.cluster), shared.couriers.clone());
        let progress = Arc::clone(&decided.progress);
        self.answers.push(Box::pin(async move {
            let Some(node) = node else { return (nr, Err(StoreError::Unknown { run })) };
            (nr, acts::carry_out(&*cluster, &couriers, node, (nr, words), progress).await)
        }));
    }

    fn poll_answers(&mut self, cx: &mut Context<'_>) {
        loop {
            match foreign::catch_panic(|| self.answers.poll_next_unpin(cx)) {
                Ok(Poll::Ready(Some((nr, Ok(()))))) => drop(self.decided.remove(&nr)),
                Ok(Poll::Ready(Some((nr, Err(_))))) => {
                    if let Some(decided) = self.decided.get_mut(&nr) {
                        decided.rest(sync::now());
                    }
                }
                Ok(Poll::Ready(None) | Poll::Pending) => return,
                // Which one is not known: all of them are read again.
                Err(_) => {
                    foreign::release(std::mem::take(&mut self.answers));
                    self.decided.values_mut().for_each(|decided| decided.is_under_way = false);
                    foreign::release(self.inbox.take());
                    self.read_at = Some(later(sync::now(), REST));
                }
            }
        }
    }
}

/// Gives an answer, once what it says is stored.
async fn give(
    cluster: &dyn Cluster,
    node: &Arc<Node>,
    nr: u64,
    answer: Disposition,
) -> Result<(), StoreError> {
    Wait::until(node, |state: &State| node.stored(state)).await?;
    cluster.answer(nr, Answer::Stop(answer)).await
}

/// Answers a stop of a run that is not in memory, as the store has it. One that is live there is
/// not decided by this process yet, or was left to the next one: its stop stays where it is, and is
/// honoured by whoever decides the run (I34).
async fn give_of_stored(
    cluster: &dyn Cluster,
    store: Option<Arc<dyn Store>>,
    nr: u64,
    run: RunId,
) -> Result<(), StoreError> {
    let stored = match store {
        Some(store) => store.get(run).await?,
        None => None,
    };
    match stored.map(|record| record.status) {
        None => cluster.answer(nr, Answer::Stop(Disposition::Unknown)).await,
        Some(status) if status.is_terminal() => {
            cluster.answer(nr, Answer::Stop(Disposition::AlreadyTerminal { status })).await
        }
        Some(_) => Err(StoreError::Unknown { run }),
    }
}

/// How long a cluster in trouble is left alone, and what could not be answered.
const REST: Duration = Duration::from_millis(200);

/// How often that of something which nobody can decide yet is doubled.
const DOUBLINGS_MAX: u32 = 4;
