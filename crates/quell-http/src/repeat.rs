//! Requests that are repeated with their idempotency key: the run that the first one has started.

use quell::store::ClaimedKey;
use quell::{IdempotencyKey, OnBusy, RunId};

use crate::ids::parse_id;
use crate::run_view::RunView;
use crate::service::View;
use crate::start::{Start, Started};
use crate::start_error::{StartError, run_of};

impl View {
    /// Finds the id of the run that the same request has started before, also if the run is not
    /// kept any more.
    pub fn started_by(&self, once: &IdempotencyKey) -> Option<RunId> {
        let owner = self.principal().subject();
        self.service().engine().submitted_with(owner, once).map(|(id, _)| id)
    }

    /// Answers a request that is repeated with its idempotency key as [`View::start`] does, and
    /// starts nothing: for a contract that has to read something to make the input of a run, which
    /// a repeat does not need. `None` if there is no key, or no run of it is known: then it is to
    /// be started. The input says nothing here.
    ///
    /// # Errors
    ///
    /// As [`View::start`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn repeated(&self, start: &Start) -> Option<Result<Started, StartError>> {
        start.once.as_ref()?;
        let id = start.id.as_deref().map(parse_id).transpose().ok()?;
        self.without_forgotten(start, id).await;
        match self.replay(start) {
            // If the store has refused that run, its key is free.
            Some(Ok(started)) => started.run.accepted().await.ok().map(|()| Ok(started)),
            Some(Err(refused)) => Some(Err(Box::pin(self.or_before(start, refused, id)).await)),
            None if self.service().engine().has_store() => {
                Box::pin(self.not_in_store(start, id)).await.err().map(Err)
            }
            None => None,
        }
    }

    /// Has runs leave memory that have the id or the key of a start, and that another node has
    /// forgotten: they are not in its way. In trouble the store says nothing of them.
    pub(crate) async fn without_forgotten(&self, start: &Start, id: Option<RunId>) {
        let (engine, owner) = (self.service().engine(), self.principal().subject());
        if engine.node().is_none() {
            return;
        }
        let of_key = start.once.as_ref().and_then(|once| engine.submitted_with(owner, once)?.1);
        let known: Vec<_> = id.and_then(|id| engine.get(id)).into_iter().chain(of_key).collect();
        if !known.is_empty() {
            // On the heap: most starts have none.
            let _ = Box::pin(engine.forgotten_elsewhere(&known)).await;
        }
    }

    /// Yields the run that the same request has started before; `None` if there was none.
    pub(crate) fn replay(&self, start: &Start) -> Option<Result<Started, StartError>> {
        let owner = self.principal().subject();
        let (_, run) = self.service().engine().submitted_with(owner, start.once.as_ref()?)?;
        let run = run.filter(|run| self.sees(run)).ok_or(StartError::KeyForgotten);
        Some(run.map(|run| self.started(start, run, true)))
    }

    /// Tells whether a run is started only after a look at the store: what its lane has is another
    /// run's to lose, and the store may have its id or its key from a run that has left memory.
    pub(crate) fn asks_store_first(&self, start: &Start, id: Option<RunId>) -> bool {
        let engine = self.service().engine();
        let is_policy = start.lane.as_ref().is_some_and(|(_, policy)| *policy != OnBusy::Enqueue);
        // A repeat of which memory knows stops nobody, whatever id it has.
        let is_new = match &start.once {
            Some(once) => self.started_by(once).is_none(),
            None => id.is_some_and(|id| engine.get(id).is_none()),
        };
        is_policy && engine.has_store() && is_new
    }

    /// Looks whether the store would refuse a run.
    ///
    /// # Errors
    ///
    /// Fails as the start of the run would after the store has refused it.
    pub(crate) async fn not_in_store(
        &self,
        start: &Start,
        id: Option<RunId>,
    ) -> Result<(), StartError> {
        let (engine, owner) = (self.service().engine(), self.principal().owner());
        let refusal = engine.refusal_of_store(id, owner, start.once.as_ref()).await;
        let Some(error) = refusal.map_err(|_| StartError::NotStored)? else { return Ok(()) };
        let refused = StartError::from_submit(&error, start.id.as_deref());
        Err(self.or_before(start, refused, run_of(&error).or(id)).await)
    }

    /// Yields why nothing was started: perhaps that the same request has started a run before, of
    /// which the store alone knows. It may have the id, or its key may be known still.
    pub(crate) async fn or_before(
        &self,
        start: &Start,
        refused: StartError,
        run: Option<RunId>,
    ) -> StartError {
        let is_of_key = matches!(refused, StartError::KeyForgotten | StartError::IdInUse(_));
        let Some(once) = start.once.as_ref().filter(|_| is_of_key) else { return refused };
        // What memory has under the key by now may be a run that the store is to refuse as well.
        for run in run.into_iter().chain(self.started_by(once)) {
            match self.find_by_id(run).await {
                Ok(Some(found)) if self.has_started(&found, once).await => {
                    return StartError::StartedBefore(run);
                }
                Ok(_) => {}
                Err(_) => return StartError::NotStored,
            }
        }
        refused
    }

    /// Tells whether a run is the one that the principal has started with a key. It may be in
    /// memory by now: this node has taken it over meanwhile, or it waits for the store as well.
    async fn has_started(&self, run: &RunView, once: &IdempotencyKey) -> bool {
        let owner = self.principal().subject();
        let run = match run {
            RunView::Stored(run) => run.accepted(),
            RunView::Live(run) => {
                let own = self.service().engine().submitted_with(owner, once);
                let own = own.and_then(|(_, own)| own).filter(|own| own.id() == run.id());
                return own.is_some() && run.is_accepted().await;
            }
        };
        let has_key =
            |key: &ClaimedKey| *key.key == *once.as_str() && key.payload == once.payload();
        run.owner.as_deref() == owner && run.key.as_ref().is_some_and(has_key)
    }
}
