//! [`Engine::standing`]: what an engine has at this moment, in numbers.

use std::time::Duration;

use quell_core::RunStatus;
use quell_core::store::StoreError;

use crate::engine::Engine;
use crate::node::Node;
use crate::queue::SlotStanding;

/// What an engine has at one moment, in numbers: for whoever watches it from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// Runs that are not terminal: roots, and those below them.
    pub live: usize,
    /// Roots that wait for their start, those of a later time included.
    pub queued: usize,
    /// Roots that execute, and are not asked to stop.
    pub running: usize,
    /// Roots that wait for an answer.
    pub paused: usize,
    /// Roots that are asked to stop, and have not ended.
    pub stopping: usize,
    /// Roots that have ended, of which something still executes here: they keep their places.
    pub abandoned: usize,
    /// How long this node may execute what it has before it has to stop all of it; zero once it
    /// has. None for an engine that is alone.
    pub lease_left: Option<Duration>,
    /// Stops and other requests that came through other nodes and are not answered.
    pub asked: usize,
    /// Limits of all nodes, as this node knew them last: a second ago at most, if the store is
    /// there. None without such limits.
    pub slots: Vec<SlotStanding>,
    /// Why the store takes nothing at present; none if it does, and without a store. Of a node also
    /// why its lease was not renewed last: it writes nothing else while nothing happens.
    pub trouble: Option<StoreError>,
}

impl Engine {
    /// Yields what the engine has at this moment, in numbers. It looks at each run in memory once:
    /// some milliseconds for 100,000 of them.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{Engine, RunContext, RunSpec};
    ///
    /// let engine = Engine::new();
    /// let body = async |ctx: RunContext| Ok(_ = ctx.stopped().await);
    /// let run = engine.submit(RunSpec::agent("a"), body).unwrap();
    /// # tokio::task::yield_now().await;
    /// let now = engine.standing();
    /// assert_eq!((now.live, now.running, now.queued), (1, 1, 0));
    /// # drop(run);
    /// # });
    /// ```
    pub fn standing(&self) -> Standing {
        let shared = self.shared();
        let mut standing = Standing { live: shared.registry.live(), ..Standing::default() };
        for root in shared.registry.list(Node::is_root) {
            match root.status() {
                RunStatus::Queued => standing.queued += 1,
                RunStatus::Running => standing.running += 1,
                RunStatus::Paused => standing.paused += 1,
                RunStatus::Stopping => standing.stopping += 1,
                RunStatus::Completed
                | RunStatus::Failed
                | RunStatus::Cancelled
                | RunStatus::TimedOut => standing.abandoned += usize::from(!root.is_over()),
            }
        }
        if let Some(member) = &shared.member {
            standing.lease_left = Some(member.lease_left(shared.clock.now()));
            standing.asked = member.asked();
            standing.slots.clone_from(&member.slots.lock());
            standing.trouble = member.renewal_trouble();
        }
        let of_journal = shared.journal.as_ref().and_then(|journal| journal.trouble());
        standing.trouble = of_journal.or(standing.trouble);
        standing
    }
}
