//! [`App::make_thread`]: makes a thread, which others may make at once on another node.
//!
//! The store decides who has it: the record of a thread is a step that ends at once and keeps the
//! metadata, whose id follows from that of the thread. Each change is a record with a number of its
//! own, so that of two that come at once one comes after the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use quell::store::{Page, RunRecord};
use quell::{RunFilter, RunId, RunSpec, SubmitError};
use quell_http::{LookupError, RECORD, RunView, View};
use uuid::Uuid;

use crate::app::App;
use crate::app::elsewhere::of_thread;
use crate::app::find::owns;
use crate::app::gone::leave_out_late;
use crate::app::stored::{is_deleted_at_end, is_taken_back};
use crate::threads::{Card, Full, Thread};
use crate::wire::asked::{Asked, INPUTS, micros};
use crate::wire::exact::{Keys, written};
use crate::wire::noted::{Noted, base_of_record};
use crate::wire::refusal::{LIVE_RUNS, Refusal};
use crate::wire::search::{Meant, Work};

/// A thread as the store has it.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) owner: Option<Arc<str>>,
    pub(super) made_at: SystemTime,
    pub(super) card: Card,
    /// What the values take with which it was made.
    values_bytes: usize,
    pub(super) is_deleted: bool,
    /// The record with which it was made is there.
    pub(super) has_first: bool,
    /// It was about to leave, as nothing had come of its thread.
    is_unused: bool,
}

impl Recorded {
    /// Tells whether it may be the record of a thread in memory.
    pub(super) fn is_of(&self, thread: &Thread) -> bool {
        thread.owner.as_deref() == self.owner.as_deref()
            && thread.is_of_record(micros(self.made_at))
    }
}

impl App {
    /// Tells whether threads have records in the store.
    pub(super) fn has_records(&self) -> bool {
        self.engine().has_store()
    }

    /// Makes a thread: in the store first, if there is one, and in memory. Yields none if there is
    /// one of this id, wherever and whoever has it; one that is not chosen nobody else has.
    ///
    /// # Errors
    ///
    /// Fails if the store does not take it, or there are too many.
    pub(crate) async fn make_thread(
        &self,
        thread: Thread,
        is_chosen: bool,
    ) -> Result<Option<Arc<Thread>>, Refusal> {
        let is_recorded = self.has_records();
        if is_recorded {
            if self.is_known(thread.id).await?
                || is_chosen && self.is_made(thread.id).await?
                || !self.write(&thread, &thread.card(), false).await?
            {
                return Ok(None);
            }
            thread.note_record(thread.record_at());
        }
        let id = thread.id;
        let add = || self.threads().add(self.engine(), thread);
        // Without a record it is known here alone that one of this id has not left yet.
        let added = if is_recorded { Some(add()) } else { self.hidden().unless_buried(id, add) };
        match added {
            None => Ok(None),
            Some(Ok(Ok(made))) => Ok(Some(made)),
            // Whoever looked for it has found its record meanwhile.
            Some(Ok(Err(known))) => Ok(Some(known).filter(|_| is_recorded)),
            Some(Err(Full)) => {
                self.forget_number(id, 0);
                Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Too many threads"))
            }
        }
    }

    /// Stores what callers said of a thread, under the number that it has. Tells whether nobody has
    /// stored that number before.
    pub(super) async fn write(
        &self,
        thread: &Thread,
        card: &Card,
        is_deleted: bool,
    ) -> Result<bool, Refusal> {
        let spec = || Self::spec_of(thread, card, is_deleted);
        self.write_record(record_of(thread.id, card.nr), spec).await
    }

    /// Stores a record, unless there is one of its id. Tells whether there was none.
    ///
    /// # Errors
    ///
    /// Fails if the store does not take it.
    pub(super) async fn write_record(
        &self,
        id: RunId,
        spec: impl Fn() -> RunSpec,
    ) -> Result<bool, Refusal> {
        loop {
            match self.engine().submit_durably(spec().id(id), async |_ctx| Ok(())).await {
                Ok(_) => return Ok(true),
                Err(SubmitError::IdInUse(_)) if self.forget_left(id).await? => {}
                Err(SubmitError::IdInUse(_)) => return Ok(false),
                Err(error) => return Err(refusal_of(&error)),
            }
        }
    }

    fn spec_of(thread: &Thread, card: &Card, is_deleted: bool) -> RunSpec {
        let mut spec = RunSpec::step(NAME).unlimited().input(card.metadata.clone());
        spec = spec.label(RECORD, thread.id.to_string()).label(KIND, NAME);
        if let Some(owner) = thread.owner.as_deref() {
            spec = spec.label(OF_OWNER, owner).owner(owner);
        }
        if is_deleted {
            spec = spec.label(DELETED, NAME);
        }
        let base = card.base.as_deref().filter(|_| card.nr == 0);
        let at = (thread.record_at(), card.changed_at);
        let is_change = card.nr > 0 && thread.record().is_some();
        let noted = Noted::new(card.nr, card.ttl.clone(), at, is_deleted).change(is_change);
        noted.write(spec, base)
    }

    /// Forgets a record that is in memory still and has left the store, since another node has
    /// deleted its thread; tells whether it did.
    async fn forget_left(&self, id: RunId) -> Result<bool, Refusal> {
        let Some(record) = self.engine().get(id) else { return Ok(false) };
        // Another request of this node may make it just now: it is found when it is stored.
        if record.accepted().await.is_err() {
            return Ok(false);
        }
        let stored = self.engine().stored_run(id).await.map_err(|_| LookupError::Unavailable)?;
        if stored.is_some() {
            return Ok(false);
        }
        record.quiescent().await;
        Ok(record.forget().is_ok())
    }

    /// Tells whether this node has a thread in memory, and it is not gone from the store.
    async fn is_known(&self, id: Uuid) -> Result<bool, Refusal> {
        match self.threads().get(id) {
            Some(known) if self.is_node() && !known.is_temporary => {
                Ok(self.known_thread(&self.all(), id).await?.is_some())
            }
            known => Ok(known.is_some()),
        }
    }

    /// Tells whether anybody has made a thread of this id, on any node: it has a record, or a run.
    /// One that an earlier release has made for a run has no record but that, and neither has one
    /// whose record has left the store.
    async fn is_made(&self, id: Uuid) -> Result<bool, Refusal> {
        if self.recorded(id).await?.is_some() {
            return Ok(true);
        }
        // Also that of a stateless run is its owner's, until the run ends.
        let is_gone = |run: &RunView| is_taken_back(run) || is_deleted_at_end(run);
        let is_run = |run: &RunView| !is_gone(run) && Asked::of(run).is_some();
        let page =
            self.all().list_omitting((of_thread(id), INPUTS), MADE_MAX, None, is_run).await?;
        for run in page.runs {
            if let Some(run) = run.live().filter(|_| self.is_node()) {
                self.forget_deleted(run).await?;
                if self.engine().get(run.id()).is_none() {
                    continue;
                }
            }
            return Ok(true);
        }
        Ok(page.next.is_some())
    }

    /// Finds the newest run of a thread, in memory or in the store.
    ///
    /// One that was just made in a thread with a record says nothing of one without: the thread was
    /// deleted meanwhile, and whoever makes the run is about to take it back.
    async fn newest_of(&self, view: &View, id: Uuid) -> Result<Option<RunView>, Refusal> {
        let now = self.engine().time();
        let counts = |run: &RunView| {
            let asked = Asked::of(run).filter(|asked| !asked.is_temporary);
            asked.is_some_and(|it| it.record_us.is_none() || !is_recent(run.queued_at(), now))
        };
        let is_own = |run: &RunView| !is_taken_back(run) && counts(run);
        let page = view.list_omitting((of_thread(id), INPUTS), 1, None, is_own).await?;
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
        recorded: Option<Recorded>,
    ) -> Result<Option<Arc<Thread>>, Refusal> {
        let thread = if let Some(recorded) = recorded {
            let owner = recorded.owner.as_deref();
            if recorded.is_deleted || !owns(view, owner) {
                return Ok(None);
            }
            if let Some(known) = self.threads().get(id).filter(|known| !recorded.is_of(known)) {
                // It is another one that had this id before.
                self.lose(&known).await?;
            }
            let thread = Thread::new(id, owner, &Keys::new(), false).since(recorded.made_at);
            let charge = self.charge(recorded.owner.as_ref(), recorded.card.metadata.len())?;
            let thread = thread.with_card(recorded.card, recorded.values_bytes).charged(charge);
            thread.note_record(recorded.made_at);
            if recorded.is_unused { thread.unused() } else { thread }
        } else {
            let Some(run) = self.newest_of(view, id).await? else { return Ok(None) };
            Thread::new(id, run.owner(), &Keys::new(), false).since(run.queued_at())
        };
        match self.threads().add(self.engine(), thread.in_part()) {
            Ok(Ok(thread)) => {
                self.time(&thread);
                Ok(Some(thread))
            }
            Ok(Err(_)) => Ok(self.thread(view, id)),
            Err(_) => Err(Refusal::too_many()),
        }
    }

    /// Reads what is stored of a thread itself, and goes on with its deletion if it is deleted.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn recorded(&self, id: Uuid) -> Result<Option<Recorded>, Refusal> {
        let is_unused = self.hidden().is_unused(id);
        let mut records = self.records_of(id).await?;
        if self.is_node() {
            leave_out_late(&mut records, self.engine().time());
        }
        let base = records.iter().find_map(|(_, record)| base_of_record(record)).cloned();
        let has_first = records.iter().any(|(noted, _)| noted.nr == 0);
        let last = records.into_iter().max_by_key(|(noted, _)| noted.nr);
        let Some((noted, record)) = last else { return Ok(None) };
        let accepted = record.accepted;
        let card = Card {
            metadata: accepted.input.unwrap_or_else(|| written(&Keys::new())),
            ttl: noted.ttl.clone(),
            nr: noted.nr,
            changed_at: noted.changed_at(),
            base: base.as_ref().and_then(|base| base.parse().ok()).map(Arc::new),
        };
        let values_bytes = base.map_or(0, |base| base.len());
        let (owner, made_at, is_deleted) = (accepted.owner, noted.made_at(), noted.is_deleted);
        let found =
            Recorded { owner, made_at, card, values_bytes, is_deleted, has_first, is_unused };
        self.go_on_clearing(id, &found);
        Ok(Some(found))
    }

    pub(super) async fn records_of(&self, id: Uuid) -> Result<Vec<(Noted, RunRecord)>, Refusal> {
        let filter = RunFilter::new().label(RECORD, id.to_string());
        let (mut found, mut page) = (Vec::new(), Page::first(RECORDS_MAX));
        loop {
            let read = self.engine().stored_runs(filter.clone(), page).await;
            let read = read.map_err(|_| LookupError::Unavailable)?;
            let records = read.items.into_iter().flatten();
            found.extend(records.filter_map(|record| Some((Noted::of(&record)?, record))));
            match read.next {
                Some(next) if found.len() < RECORDS_MAX => page = page.after(next),
                _ => return Ok(found),
            }
        }
    }

    /// Lists the threads with a record that a caller may see, and whether they may be meant, as far
    /// as that tells: those that were made or changed last, as many as are read.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn recorded_threads(
        &self,
        view: &View,
        meant: &Meant,
    ) -> Result<HashMap<Uuid, bool>, Refusal> {
        let (mut found, mut work) = (HashMap::new(), Work::default());
        if !self.has_records() {
            return Ok(found);
        }
        let filter = match view.principal().subject().filter(|_| !view.principal().sees_all()) {
            Some(owner) => RunFilter::new().label(OF_OWNER, owner),
            None => RunFilter::new().label(KIND, NAME),
        };
        let mut page = Page::first(LISTED_PAGE);
        loop {
            let read = self.engine().stored_runs(filter.clone(), page).await;
            let read = read.map_err(|_| LookupError::Unavailable)?;
            for record in read.items.into_iter().flatten() {
                let id = record.accepted.labels.get(RECORD).and_then(|id| Uuid::try_parse(id).ok());
                let id = id.filter(|_| owns(view, record.accepted.owner.as_deref()));
                let Some((id, noted)) = id.zip(Noted::of(&record)) else { continue };
                // The last one of a thread comes first.
                found.entry(id).or_insert_with(|| {
                    let metadata = record.accepted.input.as_ref();
                    let keys: Keys = metadata.and_then(|it| it.parse().ok()).unwrap_or_default();
                    !noted.is_deleted && meant.may_have(&keys, &mut work)
                });
            }
            work.check()?;
            match read.next {
                Some(next) if found.len() < LISTED_MAX => page = page.after(next),
                _ => return Ok(found),
            }
        }
    }
}

/// Tells whether something has just been made, by the clock of the engine, as its time is.
pub(super) fn is_recent(at: SystemTime, now: SystemTime) -> bool {
    let age = now.duration_since(at);
    // Clocks of hosts may differ.
    age.unwrap_or_else(|ahead| ahead.duration()) < JUST_MADE
}

/// Says why a record was not taken.
pub(super) fn refusal_of(error: &SubmitError) -> Refusal {
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
        _ => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "It could not be stored"),
    }
}

/// Yields the id of a record of a thread, of a number of changes: the same on every node, so that a
/// thread is made once, and no change is lost.
pub(super) fn record_of(thread: Uuid, nr: u32) -> RunId {
    let mut name = thread.as_bytes().to_vec();
    if nr > 0 {
        name.extend(nr.to_be_bytes());
    }
    RunId::from_uuid(Uuid::new_v5(&RECORDS, &name))
}

/// The name of the step that is the record of a thread. The label [`RECORD`] names the thread.
pub(super) const NAME: &str = "thread";

/// The labels by which all records are found, and those of an owner.
const KIND: &str = "langgraph.record";
const OF_OWNER: &str = "langgraph.owner";

/// The label by which those are found that say that their thread is deleted.
pub(super) const DELETED: &str = "langgraph.deleted";

/// How long a run may be there whose thread was deleted while it was made.
const JUST_MADE: Duration = Duration::from_secs(10);

/// The ids of such records.
const RECORDS: Uuid = Uuid::from_u128(0x7175_656c_6c2d_7468_7265_6164_732d_7265);

/// Runs of a thread of which a node looks whether another one has deleted them.
const MADE_MAX: usize = 100;

/// Records of one thread that are read: the first one, the last one, and a few between that are
/// about to leave.
const RECORDS_MAX: usize = 32;

/// Threads of a store that one search looks at.
const LISTED_MAX: usize = 10_000;
const LISTED_PAGE: usize = 1_000;
