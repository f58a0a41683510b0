//! [`GivingUp`] gives up the roots that others may have, because this node is about to leave.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use quell_core::RunId;
use quell_core::lifecycle::later;
use quell_core::store::StoreError;

use crate::cluster::Member;
use crate::control::calls::{self, Call};
use crate::control::membership::REST;
use crate::foreign;
use crate::sync;

/// What gives up the roots that [`Member::take_released`] yields.
#[derive(Default)]
pub(super) struct GivingUp {
    /// Some of them, and the call that does so.
    call: Option<(Vec<RunId>, Call<()>)>,
    /// When that is tried again, if it failed last.
    again_at: Option<Instant>,
}

impl GivingUp {
    /// When it is to be polled again, if a call has failed.
    pub(super) const fn again_at(&self) -> Option<Instant> {
        self.again_at
    }

    /// Goes on, and tells whether nothing is left to do. What fails is tried again later.
    pub(super) fn poll(
        &mut self,
        member: &Arc<Member>,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> bool {
        if self.again_at.is_some_and(|at| now < at) {
            return false;
        }
        self.again_at = None;
        loop {
            let under_way = self.call.take().or_else(|| {
                let roots = member.take_released();
                (!roots.is_empty()).then(|| call(member, roots))
            });
            let Some((roots, mut release)) = under_way else { return true };
            let Poll::Ready(done) = calls::poll(&mut release, cx) else {
                self.call = Some((roots, release));
                return false;
            };
            foreign::release(release);
            match done {
                // Another one has all that this node had.
                Ok(()) | Err(StoreError::LeaseLost { .. }) => {}
                Err(_) => {
                    self.call = Some(call(member, roots));
                    self.again_at = Some(later(sync::now(), REST));
                    return false;
                }
            }
        }
    }

    /// Drops what is under way, and gives the rest up no more. Yields of how many roots it is not
    /// known whether others have them.
    pub(super) fn end(&mut self, member: &Member) -> usize {
        let (mut count, under_way) = (0, self.call.take());
        if let Some((roots, call)) = under_way {
            count += roots.len();
            foreign::release(call);
        }
        while let more = member.take_released()
            && !more.is_empty()
        {
            count += more.len();
        }
        count
    }
}

fn call(member: &Arc<Member>, roots: Vec<RunId>) -> (Vec<RunId>, Call<()>) {
    let (cluster, given) = (Arc::clone(&member.cluster), roots.clone());
    (roots, Box::pin(async move { cluster.release(given).await }))
}
