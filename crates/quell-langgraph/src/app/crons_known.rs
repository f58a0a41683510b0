//! [`Crons`]: which crons there are, as far as this process knows, and when each is due.
//!
//! It is a hint: what a cron is stands where things are kept, and is read there before each run.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::http::StatusCode;
use parking_lot::Mutex;
use quell::RunFilter;
use quell::store::Page;
use quell_http::{LookupError, View};
use tokio::sync::{MutexGuard, Notify};
use uuid::Uuid;

use crate::app::App;
use crate::app::kept::{KIND, Kept, Kind, OF_OWNER, id_of, noted_of, owned};
use crate::wire::cron::Cron;
use crate::wire::refusal::Refusal;

/// The crons that a process knows.
#[derive(Debug, Default)]
pub(crate) struct Crons {
    all: Mutex<BTreeMap<Uuid, Known>>,
    /// One is due at another time than before.
    pub(super) woken: Arc<Notify>,
    /// Somebody makes the runs.
    pub(super) has_clockwork: AtomicBool,
    turns: [tokio::sync::Mutex<()>; TURNS],
}

/// What is known of a cron.
#[derive(Clone, Debug)]
pub(super) struct Known {
    owner: Option<Arc<str>>,
    assistant: Option<Uuid>,
    thread: Option<Uuid>,
    /// None if it is not due any more, or not now.
    due_us: Option<u64>,
    /// It is about to be kept: whoever reads the store does not find it yet.
    is_being_made: bool,
}

impl Known {
    pub(super) fn of(kept: &Kept, cron: &Cron) -> Self {
        let (owner, due_us) = (kept.owner.clone(), cron.due_us());
        let (assistant, thread) = (cron.assistant(), cron.thread());
        Self { owner, assistant, thread, due_us, is_being_made: false }
    }

    fn is_of(&self, id: Uuid) -> bool {
        [self.thread, self.assistant].contains(&Some(id))
    }
}

impl Crons {
    /// Waits for the turn to make a run of a cron, or to change it: in one process each comes
    /// behind the other.
    pub(super) async fn turn(&self, id: Uuid) -> MutexGuard<'_, ()> {
        self.turns[usize::from(id.as_bytes()[15]) % TURNS].lock().await
    }

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

    fn of(&self, id: Uuid) -> Vec<Uuid> {
        let all = self.all.lock();
        all.iter().filter(|(_, known)| known.is_of(id)).map(|(cron, _)| *cron).collect()
    }

    /// Yields those that whoever reads the store from now on finds, unless they are deleted.
    fn kept(&self, is_meant: impl Fn(&Known) -> bool) -> BTreeSet<Uuid> {
        let all = self.all.lock();
        let kept = all.iter().filter(|(_, known)| !known.is_being_made && is_meant(known));
        kept.map(|(id, _)| *id).collect()
    }

    /// Takes in what was read, of which what is known may be newer: the sooner time counts.
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
            // Those that were made, or deleted, through other nodes.
            let subject = view.principal().subject();
            let before = self.crons_known().kept(|known| known.owner.as_deref() == subject);
            let read = self.read_crons(of_owner(subject)).await?;
            self.crons_known().take_in(&before, read);
        }
        let known = Known { due_us: None, is_being_made: true, ..Known::of(kept, cron) };
        self.crons_known().reserve(kept.id, known, (all, own))
    }

    /// Looks at the crons of the store.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read.
    pub(super) async fn look_at_crons(&self) -> Result<(), LookupError> {
        let before = self.crons_known().kept(|_| true);
        let read = self.read_crons(RunFilter::new().label(KIND, Kind::Cron.name())).await?;
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
        id: Uuid,
    ) -> Result<Vec<Uuid>, LookupError> {
        let mut found = self.crons_known().of(id);
        if self.is_node() {
            let read = self.read_crons(of_owner(owner)).await?;
            found.extend(read.into_iter().filter(|(_, known)| known.is_of(id)).map(|(id, _)| id));
        }
        Ok(found)
    }

    /// Reads the crons of the store that are meant, one page after the other.
    async fn read_crons(&self, filter: RunFilter) -> Result<HashMap<Uuid, Known>, LookupError> {
        let (mut found, mut page) =
            (HashMap::<Uuid, (u32, Option<Known>)>::new(), Page::first(PAGE));
        loop {
            let read = self.engine().stored_runs(filter.clone(), page).await;
            let read = read.map_err(|_| LookupError::Unavailable)?;
            for record in read.items.into_iter().flatten() {
                let ids = id_of(Kind::Cron, &record).zip(noted_of(&record));
                let Some((id, noted)) = ids else { continue };
                if found.get(&id).is_some_and(|(nr, _)| *nr > noted.nr) {
                    continue;
                }
                let body = record.accepted.input.filter(|_| !noted.is_deleted);
                let cron = body.and_then(|body| Cron::of(&body));
                let known = cron.map(|cron| Known {
                    owner: record.accepted.owner.clone(),
                    assistant: cron.assistant(),
                    thread: cron.thread(),
                    due_us: cron.due_us(),
                    is_being_made: false,
                });
                found.insert(id, (noted.nr, known));
            }
            let Some(next) = read.next else { break };
            page = page.after(next);
        }
        Ok(found.into_iter().filter_map(|(id, (_, known))| Some((id, known?))).collect())
    }
}

fn of_owner(owner: Option<&str>) -> RunFilter {
    RunFilter::new().label(OF_OWNER, owned(Kind::Cron, owner))
}

const TURNS: usize = 32;

/// Records that are read at once.
const PAGE: usize = 100;
