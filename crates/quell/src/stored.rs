//! What a run tells of its store: its acceptance, its stops, its end.

use quell_core::store::StoreError;
use quell_core::{CancelRequest, Disposition};

use crate::failure::SubmitError;
use crate::gate::OnBusy;
use crate::node::wait::Wait;
use crate::node::{Rollback, State, flags};
use crate::run::RunRef;

impl RunRef {
    /// Waits until the acceptance of a root is in the store. Without a store, and for a run below a
    /// root, it yields at once.
    ///
    /// # Errors
    ///
    /// Fails if the store knows the id or the key already, or cannot take the run. Then its body is
    /// dropped without a poll, and the engine forgets the run. This waits as long as the store
    /// neither takes the run nor fails: who may not wait so long puts a timeout around it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn accepted(&self) -> Result<(), SubmitError> {
        let node = self.node();
        let awaits = flags::AWAITS_STORE | flags::REFUSED | flags::ACCEPTANCE_STORED;
        let is_known = |bits| match bits & awaits {
            // Its body is dropped by then.
            flags::REFUSED => bits & flags::QUIESCENT != 0,
            // Of an attempt that waits for its answer to be stored the run was accepted long ago.
            bits => bits & flags::ACCEPTANCE_STORED != 0 || bits == 0,
        };
        Wait::until(node, |_| is_known(node.flags()).then_some(())).await;
        node.refused_by_store().map_or(Ok(()), Err)
    }

    /// Tells whether the run is the one that its id stands for: the store has not refused it. For a
    /// root it waits until that is known, and not, as [`accepted`](Self::accepted) does, until the
    /// body of one that was refused is dropped: no body holds up who asks. A run below a root does
    /// not wait for the store; it is none from when that was found to have another run of its id.
    /// Without a store every run is.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn is_accepted(&self) -> bool {
        let node = self.node();
        let is_known =
            |bits| bits & flags::ACCEPTANCE_STORED != 0 || bits & flags::AWAITS_STORE == 0;
        Wait::until(node, |_| is_known(node.flags()).then_some(())).await;
        !node.is_refused() && !node.is_namesake()
    }

    /// Yields the runs whose place the run has taken in its lane
    /// ([`OnBusy::CancelExisting`](crate::OnBusy::CancelExisting)), those of them that are in
    /// memory still. Each of them is stopped by then. What says that this run is accepted waits for
    /// their [`stops_stored`](Self::stops_stored).
    pub fn superseded(&self) -> Vec<Self> {
        self.node().superseded().into_iter().map(Self::new).collect()
    }

    /// Frees the idempotency key of the run when it is forgotten after a rollback
    /// ([`CancelRequest::rollback`]), as if it had never been submitted: without this the key is
    /// known for another day ([`limits::KEYS_TTL`](crate::limits::KEYS_TTL)). It is for a run that
    /// was submitted for a request that is refused as a whole. This process alone knows of it:
    /// whoever goes on with the rollback after it keeps the key.
    pub fn free_key_at_rollback(&self) {
        self.node().lock().extra().frees_key = true;
    }

    /// Tells whether a stop of the run said that it is deleted
    /// ([`CancelRequest::deletion`](crate::CancelRequest::deletion)). This process alone knows of
    /// it: whoever goes on with the rollback after it knows of the rollback.
    pub fn is_deleted(&self) -> bool {
        self.node().lock().rollback() == Rollback::Deletion
    }

    /// Waits until the stops of the runs whose place this one has taken are in the store, also of
    /// those on other nodes: who is told of it then may lose this node. If the store gets into
    /// trouble, which those runs tell themselves, it is not waited for: they are stopped, and the
    /// new run is accepted. Without a store it yields at once.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn superseded_stored(&self) {
        let node = self.node();
        for before in self.superseded() {
            let _ = before.stops_stored().await;
        }
        let lane = node.gate().and_then(|gate| gate.lane.as_ref());
        let replaces = [OnBusy::CancelExisting, OnBusy::RollbackExisting];
        let takes_place = lane.is_some_and(|lane| replaces.contains(&lane.on_busy));
        if let Some(member) = node.shared.member.as_ref().filter(|_| takes_place) {
            member.turns.stops_tried().await;
        }
    }

    /// Waits until all that was decided about the run so far is in the store: its acceptance, its
    /// stops, its end. Events may still be on their way. Without a store it yields at once.
    ///
    /// A store that neither stores nor fails counts as in trouble after 30 s
    /// ([`limits::STORE_ANSWER_WAIT`](crate::limits::STORE_ANSWER_WAIT)), so that nobody waits for
    /// ever. A caller who may not wait so long puts a timeout of its own around this.
    ///
    /// # Errors
    ///
    /// Fails if the store is in trouble now: the engine goes on trying, and a later call may tell
    /// that all is stored. Fails for good if the store has refused something of the run.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn stored(&self) -> Result<(), StoreError> {
        let node = self.node();
        Wait::until(node, |state: &State| node.stored(state)).await
    }

    /// As [`stored`](Self::stored), of the stops of the run alone: its end, if one of them has
    /// ended it, may still be on its way.
    ///
    /// # Errors
    ///
    /// As [`stored`](Self::stored).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn stops_stored(&self) -> Result<(), StoreError> {
        let node = self.node();
        Wait::until(node, |state: &State| node.stops_stored(state)).await
    }

    /// Waits until the events that the tree of the run has told by now are in the store, and yields
    /// the number of the last one of them. Who is told an event after that is never told another
    /// one of its number, whatever becomes of this process: a later one, or another node, goes on
    /// behind what is stored. What was decided by now is stored as well, but for stops: they have
    /// [`stops_stored`](Self::stops_stored). Without a store it yields at once.
    ///
    /// # Errors
    ///
    /// Fails if the store is in trouble now, or takes nothing from this engine any more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use quell::store::MemoryStore;
    /// use quell::{Engine, EngineConfig, RunSpec};
    ///
    /// let engine = Engine::with_config(EngineConfig::new().store(Arc::new(MemoryStore::new())));
    /// let run = engine.submit(RunSpec::agent("a"), async |ctx| {
    ///     ctx.emit("hello");
    ///     Ok(ctx.run().events_stored().await?)
    /// });
    /// // Behind what says that it was queued, and has started.
    /// assert_eq!(run.unwrap().await.unwrap(), 3);
    /// # });
    /// ```
    pub async fn events_stored(&self) -> Result<u64, StoreError> {
        let node = self.node();
        let last = node.log().last_seq();
        if let Some(journal) = &node.shared.journal {
            journal.caught_up().await?;
        }
        Ok(last)
    }

    /// As [`cancel`](Self::cancel), and waits until the stop is in the store: a successor of this
    /// process never lets the run go on (I34). Of a run that has ended already it waits for the
    /// end. The signal does not wait for the store. The error says that the stop is in effect here,
    /// and not known to be durable.
    ///
    /// # Cancel safety
    ///
    /// The stop is in effect once this was polled, and is stored although the future was dropped.
    pub async fn cancel_durably(
        &self,
        request: CancelRequest,
    ) -> (Disposition, Result<(), StoreError>) {
        let disposition = self.cancel(request);
        let stored = match disposition {
            Disposition::AlreadyTerminal { .. } => self.stored().await,
            _ => self.stops_stored().await,
        };
        (disposition, stored)
    }
}
