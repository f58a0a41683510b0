//! [`App::make_thread`]: makes a thread, which others may make at once on another node.
//!
//! The store decides who has it: the record of a thread is a step that ends at once and keeps the
//! metadata, whose id follows from that of the thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use quell::store::RunRecord;
use quell::{Payload, RunId, RunSpec, SubmitError};
use quell_http::{LookupError, Principal, RECORD, RunView, View};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::app::App;
use crate::app::elsewhere::of_thread;
use crate::app::find::owns;
use crate::app::stored::is_taken_back;
use crate::options::CONTRACT;
use crate::threads::{Full, Thread};
use crate::wire::asked::Asked;
use crate::wire::exact::{Keys, written};
use crate::wire::refusal::{LIVE_RUNS, Refusal};

impl App {
    /// Makes a thread: in the store first, if others share that, and in memory. Yields none if
    /// there is one of this id, on whatever node and of whatever owner.
    ///
    /// # Errors
    ///
    /// Fails if the store does not take it, or there are too many.
    pub(crate) async fn make_thread(
        &self,
        thread: Thread,
        metadata: &Keys,
    ) -> Result<Option<Arc<Thread>>, Refusal> {
        if self.is_node() {
            if self.threads().get(thread.id).is_some() || !self.record(&thread, metadata).await? {
                return Ok(None);
            }
            thread.is_recorded.store(true, Ordering::SeqCst);
        }
        let (id, is_recorded) = (thread.id, self.is_node());
        match self.threads().add(self.engine(), thread) {
            Ok(Ok(made)) => Ok(Some(made)),
            // Whoever looked for it has found its record meanwhile.
            Ok(Err(known)) => Ok(Some(known).filter(|_| is_recorded)),
            Err(Full) => {
                self.forget_record(id);
                Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Too many threads"))
            }
        }
    }

    /// Stores that there is a thread. Tells whether there was none.
    async fn record(&self, thread: &Thread, metadata: &Keys) -> Result<bool, Refusal> {
        if self.is_made(thread.id).await? {
            return Ok(false);
        }
        let id = record_of(thread.id);
        let mut spec = RunSpec::step(NAME).unlimited().id(id).input(written(metadata));
        spec = spec.label(RECORD, thread.id.to_string());
        if let Some(owner) = thread.owner.as_deref() {
            spec = spec.owner(owner);
        }
        match self.engine().submit_durably(spec, async |_ctx| Ok(())).await {
            Ok(_) => Ok(true),
            Err(SubmitError::IdInUse(_)) => {
                if let Some(record) = self.engine().get(id) {
                    // Another request of this node makes it: it is found when it is stored.
                    let _ = record.accepted().await;
                }
                Ok(false)
            }
            Err(error) => Err(refusal(&error)),
        }
    }

    /// Forgets the record of a thread that was made here, and of which nothing came.
    pub(super) fn forget_record(&self, thread: Uuid) {
        let record = self.engine().get(record_of(thread));
        let Some(record) = record.filter(|_| Handle::try_current().is_ok()) else { return };
        drop(tokio::spawn(async move {
            record.quiescent().await;
            // It may have left the memory by now: then it stays in the store, as a thread without
            // runs.
            let _ = record.forget();
        }));
    }

    /// Tells whether anybody has made a thread of this id, on any node: it has a record, or a run.
    /// One that an earlier release has made for a run has no record but that, and neither has one
    /// whose record has left the store.
    async fn is_made(&self, id: Uuid) -> Result<bool, Refusal> {
        if self.record_of_thread(id).await?.is_some() {
            return Ok(true);
        }
        let all = self.service().view(CONTRACT, Principal::anonymous().admin());
        Ok(self.newest_of(&all, id).await?.is_some())
    }

    /// Finds the newest run of a thread, in memory or in the store.
    async fn newest_of(&self, view: &View, id: Uuid) -> Result<Option<RunView>, Refusal> {
        let is_temporary = |run: &RunView| Asked::of(run).is_none_or(|asked| asked.is_temporary);
        let is_own = |run: &RunView| !is_taken_back(run) && !is_temporary(run);
        let page = view.list_with_inputs(of_thread(id), 1, None, is_own).await?;
        Ok(page.runs.into_iter().next())
    }

    /// Takes a thread in that the store knows: by its own record, or by those of its runs.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or there are too many.
    pub(super) async fn stored_thread(
        &self,
        view: &View,
        id: Uuid,
    ) -> Result<Option<Arc<Thread>>, Refusal> {
        let thread = if let Some(record) = self.record_of_thread(id).await? {
            let accepted = &record.accepted;
            let owner = accepted.owner.as_deref();
            if !owns(view, owner) {
                return Ok(None);
            }
            let metadata = accepted.input.as_ref();
            let keys: Keys = metadata.and_then(|text| text.parse().ok()).unwrap_or_default();
            let thread = Thread::new(id, owner, &keys, false).since(accepted.at);
            let bytes = metadata.map_or(0, Payload::len);
            thread.is_recorded.store(true, Ordering::SeqCst);
            thread.charged(self.charge(owner.map(Arc::from).as_ref(), bytes)?)
        } else {
            let Some(run) = self.newest_of(view, id).await? else { return Ok(None) };
            Thread::new(id, run.owner(), &Keys::new(), false).since(run.queued_at())
        };
        match self.threads().add(self.engine(), thread) {
            Ok(Ok(thread)) => Ok(Some(thread)),
            Ok(Err(_)) => Ok(self.thread(view, id)),
            Err(_) => Err(Refusal::too_many()),
        }
    }

    /// Reads the record of a thread.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn record_of_thread(&self, id: Uuid) -> Result<Option<RunRecord>, Refusal> {
        let found = self.engine().stored_run(record_of(id)).await;
        let found = found.map_err(|_| LookupError::Unavailable)?;
        let text = id.to_string();
        Ok(found.filter(|run| run.accepted.labels.get(RECORD).is_some_and(|id| *id == text)))
    }
}

/// Says why the record of a thread was not taken.
fn refusal(error: &SubmitError) -> Refusal {
    match error {
        SubmitError::LimitReached { what: LIVE_RUNS, .. }
        | SubmitError::ShareUsedUp { what: LIVE_RUNS, .. }
        | SubmitError::QueueFull { .. } => Refusal::too_many(),
        SubmitError::LimitReached { what, max } | SubmitError::ShareUsedUp { what, max, .. } => {
            let text = format!("Too many live runs: {what} would exceed the limit of {max}");
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, text)
        }
        SubmitError::TooLarge { .. } => {
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, error.to_string())
        }
        SubmitError::ShuttingDown => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
        }
        _ => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "The thread could not be stored"),
    }
}

/// Yields the id of the record of a thread: the same on every node, so that a thread is made once.
fn record_of(thread: Uuid) -> RunId {
    RunId::from_uuid(Uuid::new_v5(&RECORDS, thread.as_bytes()))
}

/// The name of the step that is the record of a thread. The label [`RECORD`] names the thread.
const NAME: &str = "thread";

/// The ids of such records.
const RECORDS: Uuid = Uuid::from_u128(0x7175_656c_6c2d_7468_7265_6164_732d_7265);
