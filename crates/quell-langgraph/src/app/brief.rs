//! [`App::let_go`]: stateless runs that have ended, and that a store has still (contract, section
//! 7).
//!
//! Each is deleted at its end: nobody is shown it any more, nor its thread. Of several nodes the
//! store has it for as long as the node that had it keeps its final body: nodes do not speak with
//! each other, and this is what a client is told who waits for it through another one, or comes
//! back. Those that a node has left which is gone, any node forgets; those that an earlier process
//! has left, the next one does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use quell::{RunFilter, RunId, RunRef, RunStatus};
use quell_http::{RunView, SESSION, View};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::app::App;
use crate::app::stored::StoredRun;
use crate::app::wakes::{Wake, Wakes};
use crate::threads::{FINAL_TTL, Final};
use crate::wire::asked::{Asked, INPUTS};
use crate::wire::refusal::Refusal;

impl App {
    /// As [`App::find_stored`], for a client that wants no more than its end: also a stateless run
    /// that was deleted then, for as long as the store has it.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn find_to_join(
        &self,
        view: &View,
        thread: Option<Uuid>,
        run: Uuid,
    ) -> Result<Option<StoredRun>, Refusal> {
        if !self.engine().has_store() {
            return Ok(None);
        }
        let found = view.find_by_id(RunId::from_uuid(run)).await?;
        let found = found.filter(|run| run.live().is_none());
        let found = found.and_then(|run| self.stored_or_ended(view, run));
        let found = found.filter(|found| thread.is_none_or(|thread| found.is_of(thread)));
        match found {
            Some(found)
                if self.is_of_deleted(&found.run).await? || self.is_erased(&found.run).await? =>
            {
                Ok(None)
            }
            found => Ok(found),
        }
    }

    /// Tells whether the store is to have a stateless run of an owner, which has ended, for clients
    /// of other nodes.
    pub(super) fn is_for_others(&self, owner: Option<&str>, run: RunId) -> bool {
        self.is_node() && self.finals().has_of(owner, run)
    }

    /// Forgets the runs of final bodies that have left.
    pub(super) fn let_go_of(&self, left: &[Arc<Final>]) {
        let is_meant = |it: &Arc<Final>| it.thread.is_temporary && !it.run.is_rolled_back();
        for left in left.iter().filter(|it| self.is_node() && is_meant(it)) {
            self.leave_store(&left.run);
        }
    }

    fn leave_store(&self, run: &RunRef) {
        // Whoever sends its webhook forgets it then.
        if self.webhooks().is_sending(run.id()) || run.forget().is_ok() {
            return;
        }
        // Its time in memory is over. Without a runtime a later process forgets it.
        if Handle::try_current().is_ok() {
            let (app, run) = (self.clone(), RunView::from(run));
            drop(tokio::spawn(async move { app.forget_when_over(&run).await }));
        }
    }

    /// Forgets a run, and no later one that has its id by now, when nothing of it executes here.
    pub(super) async fn forget_when_over(&self, run: &RunView) {
        if let Some(run) = run.live() {
            run.quiescent().await;
        }
        // A later process, or the next look, forgets what does not leave now.
        self.all().forget_found(run).await;
    }

    /// Begins to forget such runs when their minute is over, and those that others have left, for
    /// as long as the routes are there. Without one of them no timer runs.
    pub(super) fn let_go(&self) {
        if !self.has_records() || Handle::try_current().is_err() {
            return;
        }
        if !self.is_node() {
            let app = self.clone();
            drop(tokio::spawn(async move { app.forget_left_before().await }));
            return;
        }
        let app = self.weak();
        let mut wakes = Wakes::of(self.engine(), &self.finals().woken);
        drop(tokio::spawn(async move {
            // At once, if some are there that are too young once more, and for as long as some are
            // there of which somebody has yet to say that their node is gone.
            let (mut look_at, mut is_first) = (Some(Instant::now()), true);
            while let Some(this) = app.upgrade() {
                this.let_go_of(&this.finals().expire());
                if look_at.is_some_and(|at| at <= Instant::now()) {
                    let left = this.forget_left_at_end(SystemTime::now() - LEFT_AGE).await;
                    let is_again = left.is_none_or(|left| left.is_looked_at_again(is_first));
                    look_at = is_again.then(|| Instant::now() + LEFT_WAIT);
                    is_first = false;
                }
                let next = this.finals().expires_at().into_iter().chain(look_at).min();
                drop(this);
                let rest = next.map(|at| at.saturating_duration_since(Instant::now()));
                match wakes.next(rest).await {
                    Wake::TakenOver => (look_at, is_first) = (Some(Instant::now()), true),
                    Wake::Other => {}
                    Wake::Over => return,
                }
            }
        }));
    }

    /// Forgets what earlier processes have left. What this one has is in its threads.
    async fn forget_left_before(&self) {
        let is_here = |run: &RunView| {
            let thread = run.label(SESSION).and_then(|id| Uuid::try_parse(id).ok());
            let thread = thread.and_then(|id| self.threads().get(id));
            thread.is_some_and(|thread| thread.find(run.id()).is_some())
        };
        let is_left = |run: &RunView| run.row().queued_at < self.since() && !is_here(run);
        // Of what cannot be read now the next process forgets what is left.
        let _ = self.forget_all_left(is_left).await;
    }

    /// Forgets the stateless runs that have ended before an instant, and that nobody has a final
    /// body of here. Tells which others there are; none if the store cannot be read.
    async fn forget_left_at_end(&self, by: SystemTime) -> Option<Left> {
        self.forget_all_left(|run| run.row().ended_at.is_some_and(|at| at < by)).await
    }

    /// As [`App::forget_left_at_end`], of those that are meant.
    async fn forget_all_left(
        &self,
        is_meant: impl Fn(&RunView) -> bool + Send + Sync,
    ) -> Option<Left> {
        let filter = RunFilter::new().roots().label(AT_END, DELETED);
        let ended = RunStatus::ALL.into_iter().filter(|status| status.is_terminal());
        let (filter, all, mut next) = (ended.fold(filter, RunFilter::status), self.all(), None);
        let (has_young, has_held) = (AtomicBool::new(false), AtomicBool::new(false));
        loop {
            let is_left = |run: &RunView| {
                let (is_meant, is_over) = (is_meant(run), run.row().quiescent);
                has_young.fetch_or(!is_meant, Ordering::Relaxed);
                has_held.fetch_or(is_meant && !is_over, Ordering::Relaxed);
                is_meant && is_over
            };
            let page =
                all.list_omitting((filter.clone(), INPUTS), PAGE, next, is_left).await.ok()?;
            for run in page.runs.iter().filter(|run| !self.finals().has_of(run.owner(), run.id())) {
                let has_webhook = Asked::of(run).is_some_and(|asked| asked.has_webhook);
                if !has_webhook || !self.is_owed(run.id()).await {
                    self.forget_when_over(run).await;
                }
            }
            next = page.next;
            if next.is_none() {
                let (has_young, has_held) = (has_young.into_inner(), has_held.into_inner());
                return Some(Left { has_young, has_held });
            }
        }
    }
}

/// Which stateless runs that have ended stay for now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Left {
    /// Some are not old enough, or not meant.
    has_young: bool,
    /// Something that some have begun has not ended, as far as is known.
    has_held: bool,
}

impl Left {
    /// Tells whether there is something to look for behind a look. Those that end while this node
    /// is there leave without it.
    const fn is_looked_at_again(self, is_first: bool) -> bool {
        self.has_held || self.has_young && is_first
    }
}

/// The label by which the stateless runs of a store are found that are deleted at their end.
pub(super) const AT_END: &str = "langgraph.at-end";
pub(super) const DELETED: &str = "deleted";

/// How old such a run is that its node has left, and how long a node waits after its start, and
/// after it has taken over from another one, until it looks: all that was left is as old by then.
/// Clocks of hosts may differ.
const LEFT_AGE: Duration = FINAL_TTL.saturating_mul(2);
const LEFT_WAIT: Duration = FINAL_TTL.saturating_mul(3);

/// Such runs that are read at once.
const PAGE: usize = 100;

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Weak;

    use quell::testing::cluster::{Node, Nodes, Trouble};
    use quell::{Engine, EngineConfig, Recovery, RunSpec};
    use quell_flow::{Catalog, Component};
    use quell_http::{Service, ServiceLimits};
    use quell_test_support::within;

    use super::*;
    use crate::app::CreateRequest;
    use crate::options::Options;
    use crate::threads::{Thread, Tracked, within as within_thread};
    use crate::wire::create::Create;
    use crate::wire::exact::Keys;

    /// Between two looks of a test.
    const LOOK: Duration = Duration::from_millis(20);

    fn of_node(node: Arc<Node>, kept_bytes: usize) -> App {
        // Short enough for a short lease.
        let config = EngineConfig::new().grace(LOOK).abort_wait(LOOK);
        let engine = Engine::with_config(config.node(node));
        let echo = Component::workflow("echo", async |_ctx, input| Ok(input));
        let stays = Component::workflow("stays", async |_ctx, _input| pending().await);
        let mut limits = ServiceLimits::default();
        limits.kept_bytes_max = kept_bytes;
        let service = Service::new(engine, Catalog::new().with(echo).with(stays)).limits(limits);
        App::new(service, Options::default())
    }

    fn two(kept_bytes: usize) -> [App; 2] {
        let nodes = Nodes::new(Duration::from_secs(30));
        ["a", "b"].map(|name| of_node(nodes.join(name), kept_bytes))
    }

    /// Has a stateless run begin.
    async fn begun(app: &App, graph: &str) -> RunRef {
        let body = serde_json::json!({ "assistant_id": graph, "input": { "n": 1 } });
        let keys: Keys = quell::Payload::from(body).parse().unwrap();
        let (create, headers) = (Create::read(&keys).unwrap(), axum::http::HeaderMap::new());
        let (path, body, nth) = ("/runs", &b""[..], None);
        let request = CreateRequest { thread: None, create, path, body, headers: &headers, nth };
        let made = app.create(&app.all(), request).await.unwrap();
        app.engine().get(made.run().id()).unwrap()
    }

    /// Has one begin and end.
    async fn ended(app: &App) -> RunRef {
        let run = begun(app, "echo").await;
        within("it is kept", async {
            while !app.finals().has(run.id()) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        run.stored().await.unwrap();
        run
    }

    async fn has(app: &App, run: &RunRef) -> bool {
        app.engine().stored_run(run.id()).await.unwrap().is_some()
    }

    async fn until_gone(app: &App, run: &RunRef) {
        within("it has left the store", async {
            while has(app, run).await {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn what_the_store_has_for_others_is_bounded_as_the_final_bodies_are() {
        // The last one stays, however large.
        let [a, b] = two(2);
        let mut before = None;
        for _ in 0..3 {
            let run = ended(&a).await;
            assert!(has(&b, &run).await);
            if let Some(before) = before.replace(run) {
                until_gone(&b, &before).await;
            }
        }
        let last = before.unwrap();
        let view = b.all();
        let found = b.find_to_join(&view, None, last.id().as_uuid()).await.unwrap();
        assert!(found.is_some());
        assert!(b.find_stored(&view, None, last.id().as_uuid()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_run_leaves_the_store_when_its_final_body_does() {
        let [a, b] = two(1 << 20);
        let of_engine = a.engine().submit(RunSpec::agent("a"), async |_| Ok(())).unwrap();
        let run = of_engine.into_ref();
        run.quiescent().await;
        run.stored().await.unwrap();
        let tracked = Arc::new(Tracked::of(&(&run).into(), within_thread(Uuid::nil())));
        let thread = Arc::new(Thread::new(Uuid::nil(), None, &Keys::new(), true));
        let (body, shown) = ("{}".into(), Weak::new());
        let kept = Final { run: run.clone(), thread, tracked, body, shown, run_bytes: 0 };
        assert!(has(&b, &run).await);
        let until = Instant::now() + Duration::from_millis(20);
        assert!(a.finals().keep_until(kept, until).is_empty());
        until_gone(&b, &run).await;
    }

    #[tokio::test]
    async fn what_a_node_has_left_another_one_forgets() {
        let [a, b] = two(1 << 20);
        let run = ended(&a).await;
        let left = b.forget_left_at_end(SystemTime::now() - LEFT_AGE).await.unwrap();
        assert!(left.is_looked_at_again(true) && !left.is_looked_at_again(false));
        assert!(has(&b, &run).await, "it is not old");
        let left = b.forget_left_at_end(SystemTime::now() + LEFT_AGE).await;
        assert_eq!(left, Some(Left::default()));
        until_gone(&b, &run).await;
    }

    #[tokio::test]
    async fn what_a_lost_node_has_left_is_looked_for_until_somebody_says_that_it_is_gone() {
        // By the clock of the machine: a paused one overtakes the threads of stores.
        let nodes = Nodes::new(Duration::from_secs(3));
        let of_a = nodes.join("a");
        let [a, b] = [Arc::clone(&of_a), nodes.join("b")].map(|node| of_node(node, 1 << 20));
        let run = begun(&a, "stays").await;
        within("it has begun", async {
            while run.status() != RunStatus::Running {
                tokio::task::yield_now().await;
            }
        })
        .await;
        run.stored().await.unwrap();
        of_a.trouble(Trouble::All);
        within("it is taken over", async {
            while b.engine().take_over(|_| Recovery::Fail).await.unwrap().is_none() {
                tokio::time::sleep(LOOK).await;
            }
        })
        .await;
        let old = || SystemTime::now() + Duration::from_hours(1_000);
        let left = b.forget_left_at_end(old()).await.unwrap();
        assert!(left.is_looked_at_again(false) && has(&b, &run).await, "{left:?}");
        assert!(nodes.forget("a"));
        within("nothing is there to be looked for", async {
            while b.forget_left_at_end(old()).await != Some(Left::default()) {
                tokio::time::sleep(LOOK).await;
            }
        })
        .await;
        until_gone(&b, &run).await;
    }
}
