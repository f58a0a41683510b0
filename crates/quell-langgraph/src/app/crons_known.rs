//! [`Crons`]: which crons there are, as far as this process knows, and when each is due.
//!
//! It is a hint: what a cron is stands where things are kept, and is read there before each run.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::http::StatusCode;
use parking_lot::Mutex;
use quell::{Payload, RunFilter};
use quell_http::{LookupError, View};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::app::App;
use crate::app::kept::{KIND, Kept, Kind, OF_OWNER, owned};
use crate::app::one_by_one::OneByOne;
use crate::wire::asked::micros;
use crate::wire::cron::Cron;
use crate::wire::refusal::Refusal;

/// The crons that a process knows.
#[derive(Debug, Default)]
pub(crate) struct Crons {
    all: Mutex<BTreeMap<Uuid, Known>>,
    /// One is due at another time than before.
    pub(super) woken: Arc<Notify>,
    /// Somebody makes the runs.
    pub(super) has_clockwork: Arc<AtomicBool>,
    /// The turns to make a run of a cron, or to change it: in one process each comes behind the
    /// other.
    pub(super) turns: OneByOne<Uuid>,
}

/// With what its crons are deleted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    Thread(Uuid),
    /// None of the system: those are everybody's, and stay.
    Assistant(Uuid),
}

impl Of {
    /// Yields the label that the records of such crons have: they are found by it.
    pub(super) fn label(self) -> (&'static str, String) {
        match self {
            Self::Thread(id) => ("langgraph.cron.thread", id.to_string()),
            Self::Assistant(id) => ("langgraph.cron.assistant", id.to_string()),
        }
    }

    /// Yields with what a cron is deleted that is kept so.
    pub(super) fn all(body: &Payload) -> impl Iterator<Item = Self> + use<> {
        let cron = Cron::of(body);
        let thread = cron.as_ref().and_then(Cron::thread).map(Self::Thread);
        let assistant = cron.as_ref().and_then(Cron::own_assistant).map(Self::Assistant);
        thread.into_iter().chain(assistant)
    }
}

/// What is known of a cron.
#[derive(Clone, Debug)]
pub(super) struct Known {
    owner: Option<Arc<str>>,
    own_assistant: Option<Uuid>,
    thread: Option<Uuid>,
    /// None if it is not due any more, or not now.
    due_us: Option<u64>,
    /// It is about to be kept: nobody reads it yet.
    is_to_come: bool,
}

impl Known {
    pub(super) fn of(kept: &Kept, cron: &Cron) -> Self {
        Self::new(kept.owner.clone(), cron)
    }

    fn new(owner: Option<Arc<str>>, cron: &Cron) -> Self {
        let (own_assistant, thread) = (cron.own_assistant(), cron.thread());
        Self { owner, own_assistant, thread, due_us: cron.due_us(), is_to_come: false }
    }

    fn is_of(&self, of: Of) -> bool {
        // Callers choose ids: one of a thread may be that of an assistant.
        match of {
            Of::Thread(id) => self.thread == Some(id),
            Of::Assistant(id) => self.own_assistant == Some(id),
        }
    }
}

impl Crons {
    /// Notes what is known of a cron now.
    pub(super) fn note(&self, id: Uuid, known: Known) {
        let before = self.all.lock().insert(id, known);
        drop(before);
        self.woken.notify_one();
    }

    /// Has a cron be looked at no sooner than this.
    pub(super) fn put_off(&self, id: Uuid, due_us: Option<u64>) {
        if let Some(known) = self.all.lock().get_mut(&id) {
            known.due_us = due_us;
        }
        self.woken.notify_one();
    }

    pub(super) fn forget(&self, id: Uuid) {
        let before = self.all.lock().remove(&id);
        drop(before);
        self.woken.notify_one();
    }

    /// Yields those that are due by an instant, and when the next one is.
    pub(super) fn due(&self, now_us: u64) -> (Vec<Uuid>, Option<u64>) {
        let all = self.all.lock();
        let times = || all.iter().filter_map(|(id, known)| Some((*id, known.due_us?)));
        let due = times().filter(|(_, at)| *at <= now_us).map(|(id, _)| id).collect();
        (due, times().map(|(_, at)| at).filter(|at| *at > now_us).min())
    }

    /// Takes a place for a cron of an owner who has so many elsewhere.
    fn reserve(&self, id: Uuid, known: Known, max: (usize, usize)) -> Result<(), Refusal> {
        let mut all = self.all.lock();
        let own = all.values().filter(|it| it.owner == known.owner).count();
        let refused = |text| Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, text));
        if own >= max.1 {
            return refused(format!("Too many crons: one owner has {} at most", max.1));
        }
        if all.len() >= max.0 {
            return refused(format!("Too many crons: there are {} at most", max.0));
        }
        if let Entry::Vacant(place) = all.entry(id) {
            place.insert(known);
        }
        Ok(())
    }

    fn of(&self, of: Of) -> Vec<Uuid> {
        self.ids(|known| known.is_of(of)).into_iter().collect()
    }

    fn ids(&self, is_meant: impl Fn(&Known) -> bool) -> BTreeSet<Uuid> {
        let all = self.all.lock();
        all.iter().filter(|(_, known)| is_meant(known)).map(|(id, _)| *id).collect()
    }

    /// Takes in what was read, of which what is known may be newer: the sooner time counts. What
    /// was there before, and is not among it, is gone.
    fn take_in(&self, before: &BTreeSet<Uuid>, read: HashMap<Uuid, Known>) {
        let mut all = self.all.lock();
        all.retain(|id, _| read.contains_key(id) || !before.contains(id));
        for (id, mut known) in read {
            let times = [all.get(&id).and_then(|known| known.due_us), known.due_us];
            known.due_us = times.into_iter().flatten().min();
            drop(all.insert(id, known));
        }
    }
}

impl App {
    /// Takes a place for a new cron, within the bounds.
    ///
    /// # Errors
    ///
    /// Fails if there are as many as there may be, and if the store cannot be read.
    pub(super) async fn reserve_cron(
        &self,
        view: &View,
        kept: &Kept,
        cron: &Cron,
    ) -> Result<(), Refusal> {
        let (all, own) = (self.options().crons_max, self.options().crons_owner_max);
        if self.is_node() {
            // Those that were made through other nodes.
            let subject = view.principal().subject();
            let is_own = |known: &Known| known.owner.as_deref() == subject;
            let before = self.crons_known().ids(|known| is_own(known) && !known.is_to_come);
            let read = self.read_crons(of_owner(subject)).await?;
            self.crons_known().take_in(&before, read);
        }
        let known = Known { due_us: None, is_to_come: true, ..Known::of(kept, cron) };
        self.crons_known().reserve(kept.id, known, (all, own))
    }

    /// Looks at all crons that are kept. One that has gone on to a time that does not come next is
    /// due for a look: the clock was set forward then, and back since.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn look_at_crons(&self) -> Result<(), LookupError> {
        let before = self.crons_known().ids(|known| !known.is_to_come);
        let times = self.cron_pause();
        let known = |body: Payload, owner| {
            let cron = Cron::of(&body)?;
            let known = Known::new(owner, &cron);
            let due_us = if cron.is_ahead(times) { micros(times.0) } else { known.due_us };
            Some(Known { due_us, ..known })
        };
        let read = if self.has_records() {
            let filter = RunFilter::new().label(KIND, Kind::Cron.name());
            self.last_kept(Kind::Cron, filter, known).await?
        } else {
            let all = self.shelf().list(Kind::Cron, |_| true).into_iter();
            all.filter_map(|kept| Some((kept.id, known(kept.body, kept.owner)?))).collect()
        };
        self.crons_known().take_in(&before, read);
        Ok(())
    }

    /// Yields the crons of a thread, or of an assistant, of an owner.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(super) async fn crons_of(
        &self,
        owner: Option<&str>,
        of: Of,
    ) -> Result<Vec<Uuid>, LookupError> {
        let mut found = self.crons_known().of(of);
        if self.is_node() {
            let (name, id) = of.label();
            let read = self.read_crons(of_owner(owner).label(name, id)).await?;
            found.extend(read.into_iter().filter(|(_, known)| known.is_of(of)).map(|(id, _)| id));
        }
        Ok(found)
    }

    /// Reads the crons of the store that are meant.
    async fn read_crons(&self, filter: RunFilter) -> Result<HashMap<Uuid, Known>, LookupError> {
        self.last_kept(Kind::Cron, filter, |body, owner| {
            Cron::of(&body).map(|cron| Known::new(owner, &cron))
        })
        .await
    }
}

fn of_owner(owner: Option<&str>) -> RunFilter {
    RunFilter::new().label(OF_OWNER, owned(Kind::Cron, owner))
}
