//! What an engine asks of the others on its store: stops of runs that they have, and the runs of
//! those that are gone.

use std::sync::Arc;

use quell_core::store::{RunRecord, StoreError};
use quell_core::{CancelRequest, Disposition, RunId};

use crate::engine::Engine;
use crate::engine::held_attempts::HeldAttempts;
use crate::engine::recover::{Recovered, Recovery};

/// What was taken over from a node that is gone.
#[derive(Debug)]
#[non_exhaustive]
pub struct Takeover {
    /// The name of the node.
    pub from: Arc<str>,
    /// What became of its runs. What ended was not seen to stop: it is not quiescent, and names the
    /// node.
    pub recovered: Recovered,
    /// The runs that go on, which start when this is told to.
    pub held: HeldAttempts,
}

impl Engine {
    /// As [`cancel`](Self::cancel), of a run on whatever node has it. A run of this one is stopped
    /// at once. For any other the stop is recorded in the store, and its owner carries it out and
    /// answers; the answer is what the owner has decided. An owner that is not heard of in time
    /// gives [`Disposition::Recorded`]. A stop that is acknowledged in any of these ways outlives
    /// both processes (I34), but for one of a run of this engine, for which
    /// [`RunRef::stored`](crate::RunRef::stored) waits.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store: then nothing is known of the stop.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the stop may be carried out although the future was dropped.
    pub async fn cancel_anywhere(
        &self,
        id: RunId,
        request: CancelRequest,
    ) -> Result<Disposition, StoreError> {
        let member = self.shared().member.as_ref();
        let Some(member) = member.filter(|_| self.get(id).is_none()) else {
            return Ok(self.cancel(id, request));
        };
        match member.cluster.ask(id, request.clone()).await? {
            // Nobody has it: it may come, here.
            Disposition::Unknown => Ok(self.cancel(id, request)),
            answer => Ok(answer),
        }
    }

    /// Takes over from one node whose lease is over, if there is one, and decides its runs as
    /// [`recover`](Self::recover) decides those of an earlier process. Yields none if there is no
    /// such node, and for an engine that is alone. A server calls it about once a second.
    ///
    /// Nobody can see from here whether that node still executes what it had: it may be frozen, or
    /// cut off. So what ends is not quiescent, and names the node
    /// ([`Work::Node`](crate::Work::Node)).
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. Runs that were taken over are decided by a further
    /// call. Fails with [`StoreError::LeaseLost`] if this node has lost its own lease.
    ///
    /// # Cancel safety
    ///
    /// As an error.
    pub async fn take_over(
        &self,
        decide: impl FnMut(&RunRecord) -> Recovery + Send,
    ) -> Result<Option<Takeover>, StoreError> {
        let shared = self.shared();
        let (Some(member), Some(journal)) = (&shared.member, &shared.journal) else {
            return Ok(None);
        };
        // If there is one, a call before has not come through.
        let mut undecided = member.taken_from();
        if undecided.is_none()
            && let Some(taken) = member.cluster.take_over().await?
        {
            // Before anything is written of them.
            journal.raise_boot(taken.boot);
            member.took_over(Some(Arc::clone(&taken.from)));
            undecided = Some(taken.from);
        }
        let Some(from) = undecided else { return Ok(None) };
        let (recovered, held) = self.recover_from(Some(&from), decide).await?;
        member.took_over(None);
        Ok(Some(Takeover { from, recovered, held }))
    }

    /// Waits until this node has lost its lease: its runs are being stopped then, with the cause
    /// [`LeaseLost`](crate::CauseKind::LeaseLost), and nothing more is stored of them, for others
    /// may have them. The engine takes no more runs; a process does best to end, and to start
    /// again. Never yields for an engine that is alone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lease_lost(&self) {
        match &self.shared().member {
            Some(member) => member.lost.cancelled().await,
            None => std::future::pending().await,
        }
    }
}
