//! [`Leaving`] gives the lease back.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quell_core::lifecycle::later;
use quell_core::store::StoreError;

use crate::cluster::{Leave, Member};
use crate::control::calls::{self, Call};
use crate::control::membership::REST;
use crate::foreign;
use crate::sync;

/// What gives the lease back. What fails is tried again for [`LEAVE_WAIT`]: a session may have been
/// lost.
#[derive(Default)]
pub(super) struct Leaving {
    call: Option<Call<()>>,
    /// Until when it is tried again; none before it is tried first.
    tries_until: Option<Instant>,
    /// When that is, if it failed last.
    again_at: Option<Instant>,
}

impl Leaving {
    /// Tells whether it was tried.
    pub(super) const fn has_begun(&self) -> bool {
        self.tries_until.is_some()
    }

    /// Goes on. Yields when it is to be polled again; none if the lease was given back, or that is
    /// not tried any more.
    pub(super) fn poll(
        &mut self,
        member: &Arc<Member>,
        Leave { until, is_drained }: Leave,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Option<Instant> {
        let tries_until =
            *self.tries_until.get_or_insert_with(|| until.min(later(now, LEAVE_WAIT)));
        if let Some(again_at) = self.again_at.filter(|at| now < *at) {
            return Some(again_at);
        }
        self.again_at = None;
        let mut call = self.call.take().unwrap_or_else(|| {
            let cluster = Arc::clone(&member.cluster);
            Box::pin(async move { cluster.leave(is_drained).await })
        });
        let Poll::Ready(left) = calls::poll(&mut call, cx) else {
            self.call = Some(call);
            return Some(until).filter(|until| sync::now() < *until);
        };
        foreign::release(call);
        let is_over = matches!(left, Ok(()) | Err(StoreError::LeaseLost { .. }));
        let again_at = Some(later(sync::now(), REST)).filter(|at| !is_over && *at < tries_until);
        self.again_at = again_at;
        again_at
    }

    /// Drops what is under way.
    pub(super) fn end(&mut self) {
        foreign::release(self.call.take());
    }
}

/// What is left of the time of a leave to give the lease back, and for how long that is tried.
pub(super) const LEAVE_WAIT: Duration = Duration::from_secs(1);
