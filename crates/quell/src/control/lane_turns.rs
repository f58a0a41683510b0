//! [`TurnTaking`] asks the other nodes whose turn it is in the lanes that they share.
//!
//! It asks when a run of this node has come to the front of its lane here, when one that had the
//! lane is over, and when it hears from another node. A word that is lost is made up for: while any
//! run waits, all lanes of such are asked for once a second.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt as _};
use quell_core::cluster::TurnAsk;
use quell_core::lifecycle::later;
use quell_core::store::BoxFuture;
use quell_core::{Disposition, RunId, limits};

use crate::cluster::Member;
use crate::control::calls::{self, Call};
use crate::control::membership::REST;
use crate::foreign;
use crate::node::Shared;
use crate::sync;
use crate::tables::lane_turns::FarStop;

/// Lanes that are asked for, and the call that does so.
type Asking = (Vec<Arc<str>>, Call<Vec<RunId>>);

/// What is asked of the others for lanes.
#[derive(Default)]
pub(super) struct TurnTaking {
    /// The call that asks for lanes.
    call: Option<Asking>,
    heard: Option<BoxFuture<'static, Vec<Arc<str>>>>,
    /// Stops of runs of other nodes in whose place others are.
    stops: FuturesUnordered<BoxFuture<'static, (FarStop, bool)>>,
    /// Stops that could not be asked for.
    again: Vec<FarStop>,
    /// When it goes on after something has failed.
    rests_until: Option<Instant>,
    /// When all lanes are asked for in which a run waits; none if none does.
    look_at: Option<Instant>,
}

impl TurnTaking {
    /// Goes on. Yields when it is to be polled again, if nothing wakes it before.
    pub(super) fn poll(
        &mut self,
        shared: &Shared,
        member: &Arc<Member>,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Option<Instant> {
        self.poll_heard(member, cx);
        self.look(shared, member, now);
        self.poll_stops(shared, member, cx);
        if self.rests_until.is_some_and(|until| until > now) {
            return self.rests_until;
        }
        self.rests_until = None;
        for stop in std::mem::take(&mut self.again) {
            self.stop(member, stop);
        }
        while self.rests_until.is_none() {
            let max = if self.call.is_none() { limits::STORE_PAGE_MAX } else { 0 };
            let (lanes, stops) = member.turns.take(max, cx.waker());
            for stop in stops {
                self.stop(member, stop);
            }
            if !lanes.is_empty() {
                self.call = Some((lanes.clone(), call(shared, member, lanes)));
            }
            if !self.poll_call(shared, member, cx) {
                break;
            }
        }
        self.poll_stops(shared, member, cx);
        [self.rests_until, self.look_at].into_iter().flatten().min()
    }

    /// Drops what is under way.
    pub(super) fn end(&mut self) {
        foreign::release(self.call.take());
        foreign::release(self.heard.take());
        foreign::release(std::mem::take(&mut self.stops));
    }

    fn poll_heard(&mut self, member: &Arc<Member>, cx: &mut Context<'_>) {
        loop {
            let mut heard = self.heard.take().unwrap_or_else(|| {
                let cluster = Arc::clone(&member.cluster);
                Box::pin(async move { cluster.turn_heard().await })
            });
            match foreign::catch_panic(|| heard.as_mut().poll(cx)) {
                Ok(Poll::Pending) => return self.heard = Some(heard),
                Ok(Poll::Ready(lanes)) => member.turns.ask_all(&lanes),
                // It is asked from time to time.
                Err(_) => return foreign::release(heard),
            }
            foreign::release(heard);
        }
    }

    /// Has all lanes be asked for in which a run waits, if the time for that has come.
    fn look(&mut self, shared: &Shared, member: &Member, now: Instant) {
        if self.look_at.is_some_and(|at| at > now) {
            return;
        }
        let mut lanes = shared.admission.awaited_lanes(None);
        let is_due = self.look_at.take().is_some();
        while let Some(last) = lanes.last() {
            self.look_at = Some(later(now, LOOK));
            if !is_due {
                return;
            }
            member.turns.ask_all(&lanes);
            lanes = shared.admission.awaited_lanes(Some(last));
        }
    }

    fn stop(&self, member: &Member, stop: FarStop) {
        let (cluster, asked) = (Arc::clone(&member.cluster), stop.request.clone());
        let run = stop.run.into();
        let mut call: Call<Disposition> = Box::pin(async move { cluster.ask(run, asked).await });
        self.stops.push(Box::pin(async move {
            // One that panics has failed, and is not lost: it is asked for again.
            let asked = poll_fn(|cx| calls::poll(&mut call, cx)).await;
            foreign::release(call);
            (stop, asked.is_ok())
        }));
    }

    fn poll_stops(&mut self, shared: &Shared, member: &Member, cx: &mut Context<'_>) {
        while let Poll::Ready(Some((stop, is_asked))) = self.stops.poll_next_unpin(cx) {
            foreign::wake(&shared.couriers, member.turns.tried(stop.nr));
            if !is_asked {
                self.again.push(stop);
                self.rests_until = Some(later(sync::now(), REST));
            }
        }
    }

    /// Tells whether a call was answered, so that there may be another one.
    fn poll_call(&mut self, shared: &Shared, member: &Member, cx: &mut Context<'_>) -> bool {
        let Some((lanes, mut call)) = self.call.take() else { return false };
        let Poll::Ready(done) = calls::poll(&mut call, cx) else {
            self.call = Some((lanes, call));
            return false;
        };
        foreign::release(call);
        if let Ok(runs) = done {
            for run in runs {
                shared.give_turn(run);
            }
        } else {
            member.turns.ask_all(&lanes);
            self.rests_until = Some(later(sync::now(), REST));
        }
        true
    }
}

fn call(shared: &Shared, member: &Arc<Member>, lanes: Vec<Arc<str>>) -> Call<Vec<RunId>> {
    let ask = |lane: Arc<str>| TurnAsk { next: shared.admission.awaits_turn(&lane), lane };
    let asks = lanes.into_iter().map(ask).collect();
    let cluster = Arc::clone(&member.cluster);
    Box::pin(async move { cluster.turns(asks).await })
}

/// After how long it is asked although nothing was heard.
const LOOK: Duration = Duration::from_secs(1);
