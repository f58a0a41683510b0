//! [`App::run_crons`]: makes the runs of crons when they are due.
//!
//! A run is made under an idempotency key that follows from the cron and the time, and then the
//! cron goes on to its next time, which is a change as any other. So whoever tries again, another
//! node or the next process, finds that it was made, also if it has been deleted since.
//!
//! One timer runs, to the next time of all crons that this process knows; none if none is due. It
//! knows those that were made or changed through it. The others it reads when it starts, and
//! whenever it takes in what another process or node has left: until then that one makes the runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use futures::{StreamExt as _, future, stream};
use quell_http::{Principal, View};
use tokio::runtime::Handle;
use tokio::time::sleep;
use tracing::warn;
use uuid::Uuid;

use crate::app::App;
use crate::app::create::{CreateRequest, Created};
use crate::app::crons_known::Known;
use crate::app::find::Found;
use crate::app::kept::{Kept, Kind};
use crate::options::CONTRACT;
use crate::wire::asked::micros;
use crate::wire::cron::Cron;
use crate::wire::exact::written;
use crate::wire::refusal::{RUN_GONE, Refusal};

impl App {
    /// Begins to make the runs of crons, for as long as the routes are there.
    pub(super) fn run_crons(&self) {
        if Handle::try_current().is_err()
            || self.crons_known().has_clockwork.swap(true, Ordering::SeqCst)
        {
            return;
        }
        let running = Running(Arc::clone(&self.crons_known().has_clockwork));
        let (app, woken) = (self.weak(), Arc::clone(&self.crons_known().woken));
        let mut taken = self.engine().take_overs();
        drop(tokio::spawn(async move {
            let _running = running;
            let mut is_read = false;
            while let Some(this) = app.upgrade() {
                is_read = is_read || !this.has_records() || this.look_at_crons().await.is_ok();
                let rest = this.make_due().await;
                let again = rest.into_iter().chain((!is_read).then_some(AGAIN)).min();
                let rest = again.filter(|_| !this.service().is_draining());
                drop(this);
                let timer = async {
                    match rest {
                        Some(rest) => sleep(rest).await,
                        None => future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    changed = taken.changed() => match changed {
                        Ok(()) => is_read = false,
                        Err(_) => return,
                    },
                    () = woken.notified() => {}
                    () = timer => {}
                }
            }
        }));
    }

    /// Makes the runs that are due, and yields how long there is nothing to do; none if there is
    /// nothing at all.
    async fn make_due(&self) -> Option<Duration> {
        let (due, _) = self.crons_known().due(now_us());
        let made = due.into_iter().map(|id| self.make_due_of(id));
        let made: Vec<bool> = stream::iter(made).buffer_unordered(AT_ONCE).collect().await;
        let now = now_us();
        let (due, next) = self.crons_known().due(now);
        let again = match (made.contains(&false), due.is_empty()) {
            (true, _) => Some(AGAIN),
            (false, false) => Some(Duration::ZERO),
            (false, true) => None,
        };
        let next = next.map(|at| Duration::from_micros(at.saturating_sub(now)).min(LOOK_AGAIN));
        again.into_iter().chain(next).min()
    }

    /// Makes the run of a cron that seems to be due; false if that is to be tried again.
    pub(super) async fn make_due_of(&self, id: Uuid) -> bool {
        let _one_at_a_time = self.crons_known().turn(id).await;
        let Ok(kept) = self.kept(Kind::Cron, id).await else { return false };
        let known = kept.and_then(|kept| Cron::of(&kept.body).map(|cron| (kept, cron)));
        let Some((kept, mut cron)) = known else {
            self.crons_known().forget(id);
            return true;
        };
        let now = SystemTime::now();
        let Some(at) = cron.due().filter(|at| *at <= now) else {
            self.crons_known().note(id, Known::of(&kept, &cron));
            return true;
        };
        let mut made = None;
        if !cron.is_over(now) {
            match self.make_run_of(at, &kept, &cron).await {
                Ok(run) => made = Some(run),
                // It was made, and has been deleted since.
                Err(refusal) if refusal.detail == RUN_GONE => {}
                Err(refusal) if refusal.status == StatusCode::SERVICE_UNAVAILABLE => return false,
                Err(refusal) => {
                    warn!(cron = %id, error = %refusal.detail, "a run of a cron was not made");
                    if self.is_orphan(&kept, &cron).await {
                        let is_gone = self.keep_no_more(&kept).await.is_ok();
                        self.crons_known().forget(id);
                        return is_gone;
                    }
                    if self.is_node() && self.lacks_graph(&kept, &cron).await {
                        // Another node may have its graph.
                        cron.go_on(at, self.cron_pause());
                        self.crons_known().put_off(id, cron.due_us());
                        return true;
                    }
                }
            }
        }
        cron.go_on(at, self.cron_pause());
        self.go_on(&kept.changed(written(&cron)), &cron, made).await
    }

    /// Has a cron go on to its next time. What was made at the moment in which it was deleted, or
    /// disabled, is taken back.
    async fn go_on(&self, next: &Kept, cron: &Cron, made: Option<Created>) -> bool {
        match self.keep(next).await {
            Ok(true) => {
                self.crons_known().note(next.id, Known::of(next, cron));
                return true;
            }
            Ok(false) => {}
            Err(_) => return false,
        }
        // Another node was faster, or has changed it.
        let Ok(now) = self.kept(Kind::Cron, next.id).await else { return false };
        let now = now.and_then(|kept| Cron::of(&kept.body).map(|cron| (kept, cron)));
        let is_on = now.as_ref().is_some_and(|(_, cron)| cron.is_enabled());
        if let Some(Created::Here(found) | Created::Again(found)) = made.filter(|_| !is_on)
            && let Found { run, thread: Some(thread), .. } = found
        {
            let app = self.clone();
            drop(tokio::spawn(async move { app.take_back(&thread, &run, GONE).await }));
        }
        match now {
            Some((kept, cron)) => self.crons_known().note(next.id, Known::of(&kept, &cron)),
            None => self.crons_known().forget(next.id),
        }
        true
    }

    pub(super) fn cron_pause(&self) -> (SystemTime, Duration) {
        (SystemTime::now(), self.options().cron_interval_min)
    }

    /// Tells whether the thread of a cron, or its assistant, is there no more.
    async fn is_orphan(&self, kept: &Kept, cron: &Cron) -> bool {
        let is_gone = |refusal: Refusal| refusal.status == StatusCode::NOT_FOUND;
        if let Some(thread) = cron.thread()
            && self.thread_of(&self.maker(kept, cron), thread).await.err().is_some_and(is_gone)
        {
            return true;
        }
        match cron.own_assistant() {
            Some(id) => matches!(self.kept(Kind::Assistant, id).await, Ok(None)),
            None => false,
        }
    }

    /// Tells whether this node has no such graph as a cron runs.
    async fn lacks_graph(&self, kept: &Kept, cron: &Cron) -> bool {
        let found = self.graph_of_run(&self.maker(kept, cron), cron.names_assistant()).await;
        found.is_err_and(|refusal| is_not_here(&refusal))
    }

    async fn make_run_of(
        &self,
        at: SystemTime,
        kept: &Kept,
        cron: &Cron,
    ) -> Result<Created, Refusal> {
        let (view, create) = (self.maker(kept, cron), cron.create(kept.id, at)?);
        let key = format!("cron:{}:{}", kept.id, micros(at).unwrap_or_default());
        let key = HeaderValue::from_str(&key).map_err(|_| Refusal::internal())?;
        let headers = HeaderMap::from_iter([(KEY, key)]);
        let thread = cron.thread();
        // Whoever tries knows the cron as it was before a change, or after: the key alone counts.
        let (path, body, nth) = ("/runs/crons", &[][..], None);
        let request = CreateRequest { thread, create, path, body, headers: &headers, nth };
        self.create(&view, request).await
    }

    /// Yields the view of whoever made a cron, with the rights of then.
    fn maker(&self, kept: &Kept, cron: &Cron) -> View {
        let who = match kept.owner.as_deref() {
            None => Principal::anonymous(),
            Some(owner) => Principal::named(owner),
        };
        let who = match &cron.scopes {
            Some(scopes) => who.scopes(scopes.iter().cloned()),
            None => who,
        };
        self.service().view(CONTRACT, who)
    }
}

/// Tells whether a refusal says that this node has no such graph.
fn is_not_here(refusal: &Refusal) -> bool {
    [StatusCode::NOT_FOUND, StatusCode::UNPROCESSABLE_ENTITY].contains(&refusal.status)
}

/// Says, when it leaves, that nobody makes the runs any more: its runtime has gone, or it has
/// panicked. Whoever makes or changes a cron next begins anew.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

fn now_us() -> u64 {
    micros(SystemTime::now()).unwrap_or_default()
}

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Why a run is taken back.
const GONE: &str = "its cron is deleted, or disabled";

/// The pause behind a try that failed, since the store is in trouble.
const AGAIN: Duration = Duration::from_secs(5);

/// The longest sleep before a time that is to come: clocks may be set.
const LOOK_AGAIN: Duration = Duration::from_mins(10);

/// Runs that are made at once.
const AT_ONCE: usize = 8;

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::AtomicUsize;

    use quell::testing::cluster::Nodes;
    use quell::{Engine, EngineConfig, Payload};
    use quell_flow::{Catalog, Component};
    use quell_http::Service;
    use quell_test_support::within;
    use serde_json::json;

    use super::*;
    use crate::options::Options;

    /// Makes one of each of two nodes, whose graph counts its runs. No clockwork is in them.
    pub(in crate::app) fn two(options: &Options) -> ([App; 2], Arc<AtomicUsize>) {
        let (nodes, count) = (Nodes::new(Duration::from_secs(30)), Arc::new(AtomicUsize::new(0)));
        let apps = ["a", "b"].map(|name| {
            let engine = Engine::with_config(EngineConfig::new().node(nodes.join(name)));
            let count = Arc::clone(&count);
            let graph = Component::workflow("count", move |_ctx, input: Payload| {
                count.fetch_add(1, Ordering::SeqCst);
                future::ready(Ok(input))
            });
            let service = Service::new(engine, Catalog::new().with(graph));
            // Where no runtime is none is started.
            let options = options.clone();
            std::thread::spawn(|| App::new(service, options)).join().unwrap()
        });
        (apps, count)
    }

    /// Makes a cron that was due a while ago, and is not known to be: nobody makes its run.
    async fn overdue(app: &App, body: serde_json::Value) -> (Kept, Cron) {
        overdue_since(app, body, None, SystemTime::now() - Duration::from_hours(1)).await
    }

    pub(in crate::app) async fn overdue_since(
        app: &App,
        body: serde_json::Value,
        thread: Option<Uuid>,
        past: SystemTime,
    ) -> (Kept, Cron) {
        let body = Payload::from(body).parse().unwrap();
        let (id, pause) = (Uuid::now_v7(), Duration::ZERO);
        let assistant = crate::wire::rows::system_assistant("count");
        let cron = Cron::read(&body, id, (assistant, false), thread, (past, pause)).unwrap();
        let kept = Kept::new(Kind::Cron, id, &app.all(), written(&cron));
        assert!(app.keep(&kept).await.unwrap());
        (kept, cron)
    }

    #[tokio::test]
    async fn a_time_whose_node_was_lost_before_the_cron_went_on_makes_no_second_run() {
        for keeps in ["keep", "delete"] {
            let ([a, b], count) = two(&Options::default());
            let body = json!({"assistant_id": "count", "schedule": "* * * * *", "input": {},
                "on_run_completed": keeps});
            let (kept, cron) = overdue(&a, body).await;
            let at = cron.due().unwrap();
            let made = a.make_run_of(at, &kept, &cron).await.unwrap();
            let run = a.engine().get(made.run().id()).unwrap();
            run.quiescent().await;
            run.stored().await.unwrap();
            // A stateless one leaves, or has left.
            while keeps == "delete" && b.engine().stored_run(run.id()).await.unwrap().is_some() {
                tokio::task::yield_now().await;
            }
            assert!(b.make_due_of(kept.id).await);
            let next = Cron::of(&b.kept(Kind::Cron, kept.id).await.unwrap().unwrap().body);
            assert!(next.unwrap().due().unwrap() > SystemTime::now());
            assert_eq!(count.load(Ordering::SeqCst), 1, "{keeps}");
            // What the first one knows is old: it finds that the cron has gone on.
            assert!(a.make_due_of(kept.id).await);
            assert_eq!(count.load(Ordering::SeqCst), 1, "{keeps}");
        }
    }

    #[tokio::test]
    async fn what_was_missed_makes_one_run() {
        let ([a, _b], count) = two(&Options::default());
        let body = json!({"assistant_id": "count", "schedule": "* * * * *", "input": {}});
        let (kept, _) = overdue(&a, body).await;
        assert!(a.look_at_crons().await.is_ok());
        let rest = a.make_due().await.unwrap();
        assert!(rest <= Duration::from_mins(1), "{rest:?}");
        while count.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(a.make_due().await.is_some());
        assert!(a.make_due_of(kept.id).await && count.load(Ordering::SeqCst) == 1);
    }

    #[tokio::test]
    async fn a_run_that_was_made_while_another_node_deleted_its_cron_is_taken_back() {
        let ([a, b], _count) = two(&Options::default());
        let body = json!({"assistant_id": "count", "schedule": "* * * * *", "input": {},
            "on_run_completed": "keep"});
        let (kept, mut cron) = overdue(&a, body).await;
        let at = cron.due().unwrap();
        b.delete_cron(&b.all(), kept.id).await.unwrap();
        let made = a.make_run_of(at, &kept, &cron).await.unwrap();
        let run = made.run().id();
        cron.go_on(at, a.cron_pause());
        assert!(a.go_on(&kept.changed(written(&cron)), &cron, Some(made)).await);
        within("it is taken back", async {
            while a.engine().get(run).is_some() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(a.kept(Kind::Cron, kept.id).await.unwrap().is_none());
    }
}
