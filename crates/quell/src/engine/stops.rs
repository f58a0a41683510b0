//! [`Engine::stops`] and [`RunRef::stop_standing`]: the stops that are under way, and what each of
//! them waits for.
//!
//! Of no two runs the locks are held at once, and none is taken under that of the registry, which
//! is read for flags alone: each run is looked at under its own lock, one after the other, as for a
//! report. So what is told is of one moment for each run, and not for all of them.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::SystemTime;

use quell_core::{Abandoned, RunId, Work};

use crate::engine::Engine;
use crate::node::{Node, State, flags};
use crate::run::RunRef;
use crate::time::ticks::Ticks;

/// How a stop stands that is under way: what it has reached, what it waits for, and for how long at
/// most. Each list has at most 100 names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopStanding {
    /// The hard deadline: bodies and hooks that have not ended by then are aborted. None if that of
    /// an ended run is not known.
    pub hard_deadline: Option<SystemTime>,
    /// When what still executes is given up, and named as abandoned.
    pub given_up_at: Option<SystemTime>,
    /// Runs of the subtree that have not ended, the run itself included.
    pub live: usize,
    /// Those of them that are told to stop. Others are of cleanup, which may start runs in a
    /// shield.
    pub signalled: usize,
    /// What the stop waits for: bodies whose children have all ended, hooks, and other work.
    pub cleaning_up: Vec<CleaningUp>,
    /// Runs whose body was dropped at the hard deadline.
    pub aborted: Vec<(RunId, Arc<str>)>,
    /// What was still executing when its run became terminal, of runs that are not quiescent yet.
    pub abandoned: Vec<Abandoned>,
    /// How many names are left out of the lists.
    pub omitted: usize,
    /// Whether this is as far as the store tells, of a run that another node has, or had
    /// ([`Engine::stored_standings`]): hooks and closures of its runs are not named, and a run of
    /// which no child is live counts as a body that works.
    pub of_store: bool,
    /// Whether the tree has more runs than were looked at: then there are more of each.
    pub more: bool,
}

/// Work for which a stop waits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CleaningUp {
    /// The run whose work it is.
    pub run: RunId,
    /// The name of the hook, closure, process or service, if it has one; else that of the run.
    pub name: Arc<str>,
    /// What sort of work.
    pub what: Work,
    /// Since when its run has been told to stop; of a run that cleanup has started, since when it
    /// has been there.
    pub since: SystemTime,
}

impl Engine {
    /// Lists the runs at which a stop began that is under way, the oldest stop first: they are told
    /// to stop, and something of them has not ended; the run above, if there is one, is not
    /// stopping. One that has ended non-quiescent is among them until nothing of it executes any
    /// more. A stop that waits for the next checkpoint is not under way yet, and what an earlier
    /// process has left is no stop.
    ///
    /// It looks at each run in memory once, and twice at those that are stopping.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{CancelRequest, Engine, RunContext, RunSpec, Work};
    ///
    /// let engine = Engine::new();
    /// let body = async |ctx: RunContext| {
    ///     ctx.stopped().await;
    ///     std::future::pending::<Result<(), quell::Failure>>().await
    /// };
    /// let run = engine.submit(RunSpec::agent("slow"), body).unwrap();
    /// tokio::task::yield_now().await;
    /// run.cancel(CancelRequest::because("enough"));
    ///
    /// let stops = engine.stops();
    /// assert_eq!(stops, [run.run().clone()]);
    /// let now = stops[0].stop_standing().unwrap();
    /// assert_eq!((now.live, now.signalled), (1, 1));
    /// assert_eq!((&*now.cleaning_up[0].name, now.cleaning_up[0].what), ("slow", Work::Body));
    /// assert!(now.hard_deadline < now.given_up_at);
    /// # });
    /// ```
    pub fn stops(&self) -> Vec<RunRef> {
        let stopping = self.shared().registry.list(is_under_way);
        let begun = stopping.into_iter().filter_map(|node| {
            let (since, above) = {
                let state = node.lock();
                (state.times.stopped, state.parent.clone())
            };
            let above = above.and_then(|above| above.upgrade());
            let begins_here = !above.is_some_and(|above| is_under_way(&above));
            begins_here.then(|| (since.map(Ticks::get), node))
        });
        let mut begun: Vec<_> = begun.collect();
        begun.sort_by_key(|(since, node)| (*since, node.id));
        begun.into_iter().map(|(_, node)| RunRef::new(node)).collect()
    }
}

impl RunRef {
    /// Tells how the stop of the run stands, as it is now; none if it was not told to stop, and
    /// once nothing of it executes any more. It looks at each run of the subtree that is in the
    /// report, as [`report`](Self::report) does, and copies no values. See [`Engine::stops`].
    pub fn stop_standing(&self) -> Option<StopStanding> {
        let top = self.node();
        let mut standing = {
            let state = top.lock();
            if !state.life.is_stopping() || state.life.is_quiescent() {
                return None;
            }
            let wall = |at| top.shared.clock.wall(at);
            StopStanding {
                hard_deadline: state.life.hard_deadline().map(wall),
                given_up_at: state.life.given_up_at().map(wall),
                ..StopStanding::default()
            }
        };
        let mut stack = vec![Arc::clone(top)];
        while let Some(node) = stack.pop() {
            let mut children: Vec<_> = {
                let state = node.lock();
                standing.add(&node, &state);
                state.children.iter().map(Arc::clone).collect()
            };
            children.sort_by_key(|child| Reverse(child.ordinal));
            stack.append(&mut children);
        }
        Some(standing)
    }
}

impl StopStanding {
    /// Adds what one run has to do with it.
    fn add(&mut self, node: &Node, state: &State) {
        let is_live = !state.life.status().is_terminal();
        self.live += usize::from(is_live);
        self.signalled += usize::from(is_live && state.life.is_stopping());
        if state.aborted {
            let named = (node.id, Arc::clone(&node.name));
            put(&mut self.aborted, &mut self.omitted, named);
        }
        if state.life.is_quiescent() {
            return;
        }
        let extra = state.extra.as_deref();
        if !is_live {
            for left in extra.into_iter().flat_map(|extra| &extra.abandoned) {
                put(&mut self.abandoned, &mut self.omitted, left.clone());
            }
            return;
        }
        let times = &state.times;
        let since = times.stopped.or(times.started).unwrap_or(times.queued);
        let since = node.shared.clock.wall_at(since);
        let mut waits_for = |name: &Arc<str>, what| {
            let one = CleaningUp { run: node.id, name: Arc::clone(name), what, since };
            put(&mut self.cleaning_up, &mut self.omitted, one);
        };
        // A body that has live children may only wait for those.
        if !state.life.is_body_over() && state.life.live_children() == 0 {
            waits_for(&node.name, Work::Body);
        }
        for (_, piece) in extra.into_iter().flat_map(|extra| &extra.works) {
            waits_for(&piece.name, piece.what);
        }
    }
}

/// Adds a name to a list, or counts it.
pub(super) fn put<T>(names: &mut Vec<T>, omitted: &mut usize, name: T) {
    if names.len() < NAMES_MAX {
        names.push(name);
    } else {
        *omitted += 1;
    }
}

/// Tells whether a run was told to stop, and something of it has not ended. Takes no lock: the
/// caller may hold one of the registry.
fn is_under_way(node: &Node) -> bool {
    node.flags() & (flags::STOPPING | flags::QUIESCENT) == flags::STOPPING
}

/// Names in each list of a [`StopStanding`].
const NAMES_MAX: usize = 100;
