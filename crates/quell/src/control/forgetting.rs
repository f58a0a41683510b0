//! [`Forgetting`] hears of nodes that are gone for good, and releases what of the runs of this
//! engine they may have executed.

use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quell_core::cluster::ForgottenWork;
use quell_core::lifecycle::later;

use crate::cluster::Member;
use crate::control::calls::{self, Call};
use crate::control::membership::REST;
use crate::foreign;
use crate::node::Shared;
use crate::sync;

/// Releases work of forgotten nodes, and yields whether nothing of it is left. Engines know how.
pub(crate) type Release = fn(Weak<Shared>, Vec<ForgottenWork>) -> Call<bool>;

/// Waits for forgotten nodes, one round after the other.
pub(super) struct Forgetting {
    release: Release,
    /// A round that is under way: it waits, most of the time. It yields whether nothing is left.
    round: Option<Call<bool>>,
    /// When the next round begins, if one has ended.
    again_at: Option<Instant>,
}

impl Forgetting {
    pub(super) const fn new(release: Release) -> Self {
        Self { release, round: None, again_at: None }
    }

    /// When it is to be polled again, if a round has ended.
    pub(super) const fn again_at(&self) -> Option<Instant> {
        self.again_at
    }

    /// Goes on with a round, or begins one.
    pub(super) fn poll(
        &mut self,
        engine: &Weak<Shared>,
        member: &Arc<Member>,
        now: Instant,
        cx: &mut Context<'_>,
    ) {
        if self.again_at.is_some_and(|at| now < at) {
            return;
        }
        self.again_at = None;
        let mut round = self.round.take().unwrap_or_else(|| begin(engine, member, self.release));
        let Poll::Ready(done) = calls::poll(&mut round, cx) else {
            return self.round = Some(round);
        };
        foreign::release(round);
        // A run that is being decided in this moment is released by the next round. The renewal of
        // the lease says what is wrong with the store.
        let rest = if matches!(done, Ok(true)) { REST } else { LOOK };
        self.again_at = Some(later(sync::now(), rest));
    }

    /// Drops what is under way.
    pub(super) fn end(&mut self) {
        foreign::release(self.round.take());
    }
}

fn begin(engine: &Weak<Shared>, member: &Arc<Member>, release: Release) -> Call<bool> {
    let (engine, cluster) = (Weak::clone(engine), Arc::clone(&member.cluster));
    Box::pin(async move {
        let work = cluster.forgotten().await?;
        release(engine, work).await
    })
}

/// How long a round waits for what the one before has left.
const LOOK: Duration = Duration::from_secs(1);
