//! [`Sessions`]: which sessions a caller has, which runs one of them has, and how it is called.

use std::sync::Arc;

use quell::{RunFilter, RunId};
use quell_http::{
    Charge, LookupError, Principal, RunView, SESSION, View, offload_if_large, parse_id, same_id,
    whole_millis,
};
use uuid::Uuid;

use crate::options::CONTRACT;
use crate::sessions::leaving::Leaving;
use crate::sessions::names::{Names, place_of};
use crate::sessions::session::{Session, SessionKey, Told};
use crate::snapshot::session_of;
use crate::wire::refusal::Refusal;

/// What is known of sessions besides their runs.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    pub(super) names: Names,
    pub(super) leaving: Arc<Leaving>,
}

/// A session, and the newest of its runs.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) session: Session,
    /// The newest first.
    pub(crate) runs: Vec<RunId>,
}

impl Sessions {
    /// Lists the sessions of a caller, in no order, with what they are charged.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or there is no room for them.
    pub(crate) async fn list(&self, view: &View) -> Result<(Vec<Session>, Charge), Refusal> {
        let (mut all, room) = self.told(view).await?;
        let mut given = self.names.all(view).await?;
        for session in &mut all {
            if let Some(name) = given.remove(&place_of(&session.key())) {
                session.name = name;
            }
        }
        Ok((all, room))
    }

    /// As [`Sessions::list`], with the names that they have by themselves.
    async fn told(&self, view: &View) -> Result<(Vec<Session>, Charge), Refusal> {
        let mut walk = Walk::new(view, &self.leaving)?;
        walk.on(RunFilter::new(), |_| true, |_| {}).await?;
        Ok((walk.told.into_sessions().collect(), walk.room))
    }

    /// Finds a session by its id, and the newest of its runs, as far as they are meant. Who sees
    /// the sessions of several owners finds that which began first. Its name is the one that it has
    /// by itself.
    ///
    /// # Errors
    ///
    /// As [`Sessions::list`].
    pub(crate) async fn find(
        &self,
        view: &View,
        id: &str,
        is_meant: impl Fn(&RunView) -> bool + Send + Sync,
    ) -> Result<Option<Found>, Refusal> {
        let (mut walk, mut runs) = (Walk::new(view, &self.leaving)?, Vec::new());
        let is_own = |run: &RunView| same_id(&session_of(run), id) && is_meant(run);
        // Of two of a millisecond every node says the same, whichever has them in memory.
        let at = |run: &RunView| whole_millis(run.queued_at());
        let place = |run: &RunView| (run.owner().map(Arc::from), at(run), run.id());
        for text in spellings(id) {
            let own = RunFilter::new().label(SESSION, text);
            walk.on(own, &is_own, |run| runs.push(place(run))).await?;
        }
        if let Ok(root) = parse_id(id)
            && let Some(run) = view.find_by_id(root).await?
            && is_lone(&run)
            && is_own(&run)
            && self.has(view, &run).await?
        {
            runs.push(place(&run));
            walk.told.add(view, &run);
        }
        let first = walk.told.into_sessions().min_by_key(|session| session.created_at);
        Ok(first.map(|session| {
            runs.retain(|(owner, _, _)| *owner == session.owner);
            runs.sort_by_key(|(_, at, run)| std::cmp::Reverse((*at, *run)));
            Found { session, runs: runs.into_iter().map(|(_, _, run)| run).collect() }
        }))
    }

    /// As [`Sessions::find`], of all runs, with the name that it was given.
    ///
    /// # Errors
    ///
    /// As [`Sessions::list`].
    pub(crate) async fn find_named(&self, view: &View, id: &str) -> Result<Option<Found>, Refusal> {
        let Some(mut found) = self.find(view, id, |_| true).await? else { return Ok(None) };
        if let Some(name) = self.names.of(view, &found.session.key()).await? {
            found.session.name = name;
        }
        Ok(Some(found))
    }

    /// Gives a session of the caller another name. Yields none if there is no such session.
    ///
    /// # Errors
    ///
    /// Fails if its owner has given too many names, and if the store cannot be read or does not
    /// take it.
    pub(crate) async fn rename(
        &self,
        view: &View,
        id: &str,
        name: &str,
    ) -> Result<Option<Found>, Refusal> {
        let Some(found) = self.find(view, id, |_| true).await? else { return Ok(None) };
        let key = found.session.key();
        let are_there = || self.keys_of(view, key.0.as_ref());
        self.names.give(view, &key, name, are_there).await?;
        // It may have been deleted meanwhile, and a later one of its id has a name of its own.
        let Some(mut found) = self.find(view, id, |_| true).await? else {
            self.names.forget(view, &key).await;
            return Ok(None);
        };
        name.clone_into(&mut found.session.name);
        Ok(Some(found))
    }

    /// Lists the sessions of an owner.
    async fn keys_of(
        &self,
        view: &View,
        owner: Option<&Arc<str>>,
    ) -> Result<Vec<SessionKey>, Refusal> {
        let who =
            owner.map_or_else(Principal::anonymous, |owner| Principal::named(Arc::clone(owner)));
        let (all, _room) = self.told(&view.service().view(CONTRACT, who)).await?;
        Ok(all.iter().map(Session::key).collect())
    }

    /// Tells whether a run is in its session: not if it was taken back, or is deleted, with those
    /// below it, and only waits until nothing of it executes.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn has(&self, view: &View, run: &RunView) -> Result<bool, LookupError> {
        let found = if run.is_root() { None } else { view.find(&run.root_external_id()).await? };
        let root = found.as_ref().unwrap_or(run);
        Ok(!root.is_rolled_back() && !self.leaving.has(view, root).await?)
    }
}

/// Tells whether a run names no session: then it is one by itself.
pub(super) fn is_lone(run: &RunView) -> bool {
    run.is_root() && run.label(SESSION).is_none()
}

/// Yields how the id of a session may be spelt: as it was asked for, and a UUID as usual.
pub(super) fn spellings(id: &str) -> impl Iterator<Item = String> {
    let usual = Uuid::try_parse(id).ok().map(|id| id.to_string());
    let usual = usual.filter(|usual| usual != id);
    std::iter::once(id.to_owned()).chain(usual)
}

/// A walk through the runs of a caller.
struct Walk<'a> {
    view: &'a View,
    leaving: &'a Arc<Leaving>,
    told: Told,
    /// What was told counts as under way.
    room: Charge,
    seen: usize,
    parts: usize,
}

impl<'a> Walk<'a> {
    fn new(view: &'a View, leaving: &'a Arc<Leaving>) -> Result<Self, Refusal> {
        let room = view.room_now(0).map_err(Refusal::overdrawn)?;
        Ok(Self { view, leaving, told: Told::default(), room, seen: 0, parts: 0 })
    }

    /// Looks at the roots that a filter means, the newest first.
    async fn on(
        &mut self,
        filter: RunFilter,
        is_meant: impl Fn(&RunView) -> bool + Send + Sync,
        mut note: impl FnMut(&RunView) + Send,
    ) -> Result<(), Refusal> {
        let shown = |run: &RunView| !run.is_rolled_back() && is_meant(run);
        let mut after = None;
        while self.seen < RUNS_MAX && self.parts < PARTS_MAX {
            let left = RUNS_MAX - self.seen;
            let page = self.view.list_with_inputs(filter.clone(), left, after, &shown).await?;
            (self.seen, self.parts) = (self.seen + page.runs.len(), self.parts + 1);
            after = page.next;
            let mut runs = Vec::with_capacity(page.runs.len());
            for run in page.runs {
                if !self.leaving.has(self.view, &run).await? {
                    note(&run);
                    runs.push(run);
                }
            }
            self.take(runs).await?;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Takes in what the runs of a part tell. Inputs may be large, and are parsed.
    async fn take(&mut self, runs: Vec<RunView>) -> Result<(), Refusal> {
        let bytes = runs.iter().filter_map(|run| Some(run.input()?.bytes_max())).sum();
        let (view, mut told) = (self.view.clone(), std::mem::take(&mut self.told));
        let work = async move {
            for run in &runs {
                told.add(&view, run);
            }
            told
        };
        self.told = offload_if_large(bytes, work).await?;
        // Before the next charge: together they would be too many.
        self.room.shrink_to(0);
        self.room = self.view.room_now(self.told.bytes).map_err(Refusal::overdrawn)?;
        Ok(())
    }
}

/// Root runs of a caller that are looked at, the newest ones.
const RUNS_MAX: usize = 10_000;

/// Parts of a list that are read for that: with a store each is a few pages, or 16 MiB.
const PARTS_MAX: usize = 16;
