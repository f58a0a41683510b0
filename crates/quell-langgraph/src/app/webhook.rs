//! Webhooks: the ends of runs are told (contract, section 5).
//!
//! With a store a record says that one is owed, from before its run is made until the receiver has
//! got it or is given up. What a process has left, the next one sends, or another node.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::FutureExt as _;
use quell::{Payload, RunId, RunRef, RunRow, RunSpec};
use quell_http::{RECORD, RunState, View, offload_if_large};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::app::App;
use crate::app::gone::forget;
use crate::app::record::refusal_of;
use crate::threads::{Thread, Tracked};
use crate::values::{Values, bytes_of};
use crate::wire::address::Address;
use crate::wire::create::Create;
use crate::wire::exact::Keys;
use crate::wire::refusal::Refusal;
use crate::wire::webhook::{End, told};

/// What is told of a run.
#[derive(Debug)]
pub(super) struct Telling {
    pub(super) tracked: Arc<Tracked>,
    pub(super) owner: Option<Arc<str>>,
    pub(super) row: RunRow,
    pub(super) state: RunState,
    pub(super) values: Option<Arc<Values>>,
    pub(super) is_rolled_back: bool,
    pub(super) is_temporary: bool,
}

/// A webhook that is being sent. Dropped before that is done, the process ends.
struct Unsent {
    run: RunId,
    is_stored: bool,
    is_done: bool,
}

/// The webhook of a run that is being made. Dropped before the run has begun, it is owed no more.
pub(super) struct Owing<'a> {
    app: &'a App,
    tracked: &'a Arc<Tracked>,
}

impl App {
    /// Refuses a webhook that is known now not to be sent.
    pub(crate) fn check_webhook(&self, create: &Create) -> Result<(), Refusal> {
        let Some(text) = &create.webhook else { return Ok(()) };
        self.webhooks().check(&Address::read(text)?)
    }

    /// Notes that the webhook of a run is owed which is about to be made.
    ///
    /// # Errors
    ///
    /// Fails if there are as many as there may be, and if the store does not take it.
    pub(super) async fn owe<'a>(
        &'a self,
        owner: &View,
        create: &Create,
        tracked: &'a Arc<Tracked>,
    ) -> Result<Option<Owing<'a>>, Refusal> {
        if create.webhook.is_none() {
            return Ok(None);
        }
        let owner = owner.principal().owner();
        *tracked.owed.lock() = Some(self.webhooks().owe(owner)?);
        let owing = Owing { app: self, tracked };
        if self.has_records() {
            let spec = spec_of(tracked.id, OWED, owner.map(|owner| &**owner));
            let spec = spec.id(record_of(tracked.id)).label(KIND, OWED);
            let stored = self.engine().submit_durably(spec, async |_ctx| Ok(())).await;
            drop(stored.map_err(|error| refusal_of(&error))?);
        }
        Ok(Some(owing))
    }

    /// Gives up a webhook whose run was not made after all.
    pub(super) fn owe_no_more(&self, tracked: &Tracked) {
        drop(tracked.owed.lock().take());
        if !tracked.has_webhook || !self.has_records() || Handle::try_current().is_err() {
            return;
        }
        let (engine, id) = (self.engine().clone(), record_of(tracked.id));
        drop(tokio::spawn(async move { forget(&engine, id).await }));
    }

    /// Tells the end of a run in the background, if it has a webhook, and once. Yields whether a
    /// stateless one has to stay in the store until that is done: it is hidden then, and leaves.
    pub(super) fn tell_end(
        &self,
        thread: &Arc<Thread>,
        tracked: &Arc<Tracked>,
        run: &RunRef,
    ) -> bool {
        if !tracked.has_webhook || Handle::try_current().is_err() {
            return false;
        }
        if tracked.is_deleted.load(Ordering::SeqCst) {
            if !tracked.is_told.swap(true, Ordering::SeqCst) {
                self.owe_no_more(tracked);
            }
            return false;
        }
        if !tracked.is_told.swap(true, Ordering::SeqCst) && self.webhooks().begin(run.id()) {
            let telling = Arc::new(self.telling(thread, tracked, run));
            let (app, run) = (self.clone(), run.clone());
            drop(tokio::spawn(async move {
                let id = run.id();
                // One that came here may have been told before.
                let is_owed = !telling.tracked.is_adopted || app.is_owed(id).await;
                if is_owed {
                    app.tell(&telling).await;
                    app.owe_no_more(&telling.tracked);
                }
                drop(telling.tracked.owed.lock().take());
                app.webhooks().end(id);
                if app.hidden().has(id) {
                    app.all().forget(&run);
                    app.hidden().release([id]);
                }
            }));
        }
        self.stays(thread, run.id())
    }

    /// Tells whether a stateless run stays hidden in the store until its webhook is sent.
    fn stays(&self, thread: &Thread, run: RunId) -> bool {
        let is_sending = || self.webhooks().is_sending(run);
        if !thread.is_temporary || !self.has_records() || !is_sending() {
            return false;
        }
        self.hidden().hide([run]);
        // Whoever sends it looks behind its end whether the run is hidden.
        let is_sending = is_sending();
        if !is_sending {
            self.hidden().release([run]);
        }
        is_sending
    }

    /// Tells in the background that a run waits for an answer, if it has a webhook: for upstream
    /// that is its end.
    pub(super) fn tell_pause(&self, thread: &Arc<Thread>, tracked: &Arc<Tracked>, run: &RunRef) {
        if !tracked.has_webhook {
            return;
        }
        let (app, thread) = (self.clone(), Arc::clone(thread));
        let (tracked, run) = (Arc::clone(tracked), run.clone());
        drop(tokio::spawn(async move {
            run.paused().await;
            let Some(pause) = run.pause_state() else { return };
            if tracked.told_pause.fetch_max(pause.attempt, Ordering::SeqCst) >= pause.attempt {
                return;
            }
            let telling = Arc::new(app.telling(&thread, &tracked, &run));
            match app.webhooks().owe(telling.owner.as_ref()) {
                Ok(_owed) => app.tell(&telling).await,
                Err(error) => given_up(&telling, &error.to_string()),
            }
        }));
    }

    fn telling(&self, thread: &Thread, tracked: &Arc<Tracked>, run: &RunRef) -> Telling {
        let mut fold = thread.look(self.engine(), tracked, run);
        let report = run.report();
        if report.status.is_terminal() {
            tracked.finish(Some(self.service()), &mut fold, run, report.output.as_ref());
        }
        Telling {
            tracked: Arc::clone(tracked),
            owner: run.owner().map(Arc::from),
            row: report.own_row().clone(),
            state: self.all().state_of(&report),
            values: fold.current().map(Arc::clone),
            is_rolled_back: run.is_rolled_back(),
            is_temporary: thread.is_temporary,
        }
    }

    /// Tells its receiver of a run, or gives it up. Without room for all of it the receiver is told
    /// the rest.
    pub(super) async fn tell(&self, telling: &Arc<Telling>) {
        let (tracked, owner) = (&telling.tracked, telling.owner.as_ref());
        let keys: Keys = tracked.about.kwargs.parse().unwrap_or_default();
        let text = keys.get("webhook").and_then(|text| text.parse::<String>().ok());
        let Some(address) = text.and_then(|text| Address::read(&text).ok()) else { return };
        let mut unsent = Unsent { run: tracked.id, is_stored: self.has_records(), is_done: false };
        let bytes = telling.values.as_deref().map_or(0, bytes_of) + tracked.weight + ABOUT_BYTES;
        let waiting = self.webhooks().hold(owner, bytes).ok();
        let is_whole = waiting.is_some();
        let body = self.body_of_telling(telling, if is_whole { bytes } else { 0 }, is_whole).await;
        let Some(body) = body else { return };
        let (app, of) = (self.clone(), telling.clone());
        let is_wanted = move || {
            let (app, of) = (app.clone(), Arc::clone(&of));
            async move { !app.is_withdrawn(&of).await }.boxed()
        };
        match self.webhooks().send(owner, &address, &body, is_wanted).await {
            Ok(()) => tracing::debug!(run.uuid = %tracked.id, to = %address, "a webhook is sent"),
            Err(why) => given_up(telling, &format!("{address}: {why}")),
        }
        unsent.is_done = true;
    }

    /// Tells whether a run or its thread is deleted, so that nothing is told of it any more.
    async fn is_withdrawn(&self, telling: &Telling) -> bool {
        let (tracked, thread) = (&telling.tracked, telling.tracked.about.thread);
        if tracked.is_deleted.load(Ordering::SeqCst) {
            return true;
        }
        if telling.is_temporary {
            return false;
        }
        if !telling.is_rolled_back {
            let is_there = || self.engine().get(tracked.id).is_some();
            let has_left = if self.has_records() {
                matches!(self.is_stored(tracked.id).await, Ok(false))
            } else {
                !is_there()
            };
            if has_left || self.hidden().has(tracked.id) {
                return true;
            }
        }
        matches!(self.known_thread(&self.all(), thread).await, Ok(None))
    }

    async fn body_of_telling(
        &self,
        telling: &Telling,
        bytes: usize,
        is_whole: bool,
    ) -> Option<Bytes> {
        let (tracked, values) = (Arc::clone(&telling.tracked), telling.values.clone());
        let (row, state) = (telling.row.clone(), telling.state.clone());
        let is_rolled_back = telling.is_rolled_back;
        let body = offload_if_large(bytes, async move {
            let (limit_ms, is_unmasked) = (tracked.limit_ms, tracked.is_unmasked);
            let values = values.as_deref();
            let end = End { values, limit_ms, is_unmasked, is_rolled_back, is_whole };
            told(&tracked.about, &row, &state, &end)
        });
        body.await.ok().map(|body: Payload| Bytes::from(body.as_json().to_owned()))
    }

    /// Tells whether the webhook of a run is owed, as the store says.
    async fn is_owed(&self, run: RunId) -> bool {
        !self.has_records() || !matches!(self.is_stored(record_of(run)).await, Ok(false))
    }
}

impl Drop for Owing<'_> {
    fn drop(&mut self) {
        let is_made = || self.app.engine().get(self.tracked.id).is_some();
        if !self.tracked.has_begun() && !is_made() {
            self.app.owe_no_more(self.tracked);
        }
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let run = self.run;
        if self.is_stored {
            tracing::info!(run.uuid = %run, "a webhook is left to the next process");
        } else {
            tracing::warn!(run.uuid = %run, "a webhook is dropped: there is no store to keep it");
        }
    }
}

/// Logs that a webhook is not sent: neither its path nor its query, which may hold a secret.
pub(super) fn given_up(telling: &Telling, why: &str) {
    tracing::warn!(run.uuid = %telling.tracked.id, "a webhook is given up: {why}");
}

/// Makes a record of the webhook of a run.
pub(super) fn spec_of(run: RunId, name: &str, owner: Option<&str>) -> RunSpec {
    let spec = RunSpec::step(name).unlimited().label(RECORD, label_of(run));
    owner.into_iter().fold(spec, RunSpec::owner)
}

/// Yields the label of all records of the webhook of a run. No thread has it: it is no UUID.
pub(super) fn label_of(run: RunId) -> String {
    format!("{PREFIX}{run}")
}

/// Yields the run of such a label.
pub(super) fn run_of(label: &str) -> Option<RunId> {
    Uuid::try_parse(label.strip_prefix(PREFIX)?).ok().map(RunId::from_uuid)
}

/// Yields the id of the record that the webhook of a run is owed.
pub(super) fn record_of(run: RunId) -> RunId {
    RunId::from_uuid(Uuid::new_v5(&RECORDS, run.as_uuid().as_bytes()))
}

/// The label by which the records are found that one is owed, and what it says.
pub(super) const KIND: &str = "langgraph.webhook";
pub(super) const OWED: &str = "webhook";

const PREFIX: &str = "webhook:";

/// The ids of such records.
const RECORDS: Uuid = Uuid::from_u128(0x7175_656c_6c2d_7765_6268_6f6f_6b73_2d72);

/// What is told besides the values and what the request gave, about.
const ABOUT_BYTES: usize = 4_096;
