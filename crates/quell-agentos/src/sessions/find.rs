//! [`list`] and [`find`]: which sessions a caller has, and which runs one of them has.

use quell::{RunFilter, RunId};
use quell_http::{Charge, RunPage, RunView, SESSION, View, offload_if_large, parse_id, same_id};
use uuid::Uuid;

use crate::sessions::session::{Session, SessionKey, Told};
use crate::snapshot::session_of;
use crate::wire::refusal::Refusal;

/// A session, and the newest of its runs.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) session: Session,
    /// The newest first.
    pub(crate) runs: Vec<RunId>,
}

/// Lists the sessions of a caller, in no order, with what they are charged.
///
/// # Errors
///
/// Fails if the store cannot be read, or there is no room for them.
pub(crate) async fn list(view: &View) -> Result<(Vec<Session>, Charge), Refusal> {
    let mut walk = Walk::new(view)?;
    walk.on(RunFilter::new(), |_| true, |_| {}).await?;
    Ok((walk.told.into_sessions().collect(), walk.room))
}

/// Finds a session by its id, and the newest of its runs, as far as they are meant. Who sees the
/// sessions of several owners finds that which began first.
///
/// # Errors
///
/// As [`list`].
pub(crate) async fn find(
    view: &View,
    id: &str,
    is_meant: impl Fn(&RunView) -> bool + Send + Sync,
) -> Result<Option<Found>, Refusal> {
    let (mut walk, mut runs) = (Walk::new(view)?, Vec::new());
    let is_own = |run: &RunView| same_id(&session_of(run), id) && is_meant(run);
    for text in spellings(id) {
        let own = RunFilter::new().label(SESSION, text);
        let note =
            |run: &RunView| runs.push((run.owner().map(Into::into), run.queued_at(), run.id()));
        walk.on(own, &is_own, note).await?;
    }
    // One that names no session is one of its own.
    if let Ok(root) = parse_id(id)
        && let Some(run) = view.find_by_id(root).await?
        && run.is_root()
        && run.label(SESSION).is_none()
        && is_listed(&run)
        && is_own(&run)
    {
        runs.push((run.owner().map(Into::into), run.queued_at(), run.id()));
        walk.told.add(view, &run);
    }
    let first = walk.told.into_sessions().min_by_key(|session| session.created_at);
    Ok(first.map(|session| {
        let (owner, _): SessionKey = session.key();
        runs.retain(|(of, _, _)| *of == owner);
        runs.sort_by_key(|(_, at, run)| std::cmp::Reverse((*at, *run)));
        runs.dedup();
        runs.truncate(RUNS_SHOWN_MAX);
        Found { session, runs: runs.into_iter().map(|(_, _, run)| run).collect() }
    }))
}

/// Tells whether a run is one of a session: not if it was taken back, and only waits until nothing
/// of it executes.
fn is_listed(run: &RunView) -> bool {
    !run.is_rolled_back()
}

/// Yields how the id of a session may be spelt: as it was asked for, and a UUID as usual.
fn spellings(id: &str) -> impl Iterator<Item = String> {
    let usual = Uuid::try_parse(id).ok().map(|id| id.to_string());
    let usual = usual.filter(|usual| usual != id);
    std::iter::once(id.to_owned()).chain(usual)
}

/// A walk through the runs of a caller.
struct Walk<'a> {
    view: &'a View,
    told: Told,
    /// What was told counts as under way.
    room: Charge,
    seen: usize,
    parts: usize,
}

impl<'a> Walk<'a> {
    fn new(view: &'a View) -> Result<Self, Refusal> {
        let room = view.room_now(0).map_err(Refusal::overdrawn)?;
        Ok(Self { view, told: Told::default(), room, seen: 0, parts: 0 })
    }

    /// Looks at the roots that a filter means, the newest first.
    async fn on(
        &mut self,
        filter: RunFilter,
        is_meant: impl Fn(&RunView) -> bool + Send + Sync,
        mut note: impl FnMut(&RunView) + Send,
    ) -> Result<(), Refusal> {
        let shown = |run: &RunView| is_listed(run) && is_meant(run);
        let mut after = None;
        while self.seen < RUNS_MAX && self.parts < PARTS_MAX {
            let left = RUNS_MAX - self.seen;
            let page = self.view.list_with_inputs(filter.clone(), left, after, &shown).await?;
            (self.seen, self.parts) = (self.seen + page.runs.len(), self.parts + 1);
            page.runs.iter().for_each(&mut note);
            after = page.next;
            self.take(page).await?;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Takes in what the runs of a part tell. Inputs may be large, and are parsed.
    async fn take(&mut self, page: RunPage) -> Result<(), Refusal> {
        let bytes = page.runs.iter().filter_map(|run| Some(run.input()?.bytes_max())).sum();
        let (view, mut told) = (self.view.clone(), std::mem::take(&mut self.told));
        let work = async move {
            page.runs.iter().for_each(|run| told.add(&view, run));
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

/// Runs of one session that are shown, the newest ones.
const RUNS_SHOWN_MAX: usize = 1_000;
