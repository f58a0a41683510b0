//! [`App::make_due_of`]: makes the run of a cron, and has the cron go on.

use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use quell_http::{Principal, View};
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
    /// Makes the run of a cron that seems to be due; false if that is to be tried again.
    pub(super) async fn make_due_of(&self, id: Uuid) -> bool {
        let _one_at_a_time = self.crons_known().turns.turn(id).await;
        let Ok(kept) = self.kept(Kind::Cron, id).await else { return false };
        let known = kept.and_then(|kept| Cron::of(&kept.body).map(|cron| (kept, cron)));
        let Some((kept, mut cron)) = known else {
            self.crons_known().forget(id);
            return true;
        };
        let now = SystemTime::now();
        let Some(at) = cron.due().filter(|at| *at <= now) else {
            if cron.is_ahead(self.cron_pause()) {
                // The clock was set forward, and back since.
                cron.go_on(now, (now, Duration::ZERO));
                return self.go_on(&kept.changed(written(&cron)), &cron, None).await;
            }
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
pub(super) fn is_not_here(refusal: &Refusal) -> bool {
    [StatusCode::NOT_FOUND, StatusCode::UNPROCESSABLE_ENTITY].contains(&refusal.status)
}

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Why a run is taken back.
const GONE: &str = "its cron is deleted, or disabled";

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future;
    use quell::testing::cluster::Nodes;
    use quell::{Engine, EngineConfig, Payload};
    use quell_flow::{Catalog, Component};
    use quell_http::Service;
    use quell_test_support::{soon, within};
    use serde_json::json;

    use super::*;
    use crate::options::Options;
    use crate::threads::Thread;
    use crate::wire::exact::Keys;

    /// Had they places of a table between them, one would share that of the busy one.
    const OTHERS: usize = 40;

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
            // A stateless one leaves: later, for clients of others that come back.
            while keeps == "delete" && b.engine().stored_run(run.id()).await.unwrap().is_some() {
                let _ = run.forget();
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
    async fn a_cron_that_has_gone_on_to_a_time_far_ahead_comes_back() {
        let ([a, _b], _count) = two(&Options::default());
        let body = json!({"assistant_id": "count", "schedule": "* * * * *", "input": {}});
        let ahead = SystemTime::now() + Duration::from_hours(100_000);
        let (kept, _) = overdue_since(&a, body, None, ahead).await;
        assert!(a.look_at_crons().await.is_ok());
        assert!(a.make_due().await.is_some_and(|rest| rest <= Duration::from_mins(1)));
        let cron = a.cron(&a.all(), kept.id).await.unwrap().cron;
        assert!(cron.due().unwrap() <= SystemTime::now() + Duration::from_mins(1));
    }

    #[tokio::test]
    async fn a_run_that_takes_long_to_make_holds_up_no_other_cron() {
        let ([a, _b], count) = two(&Options::default());
        let new = Thread::new(Uuid::now_v7(), None, &Keys::new(), false);
        let thread = a.make_thread(new, true).await.unwrap().unwrap();
        // Whoever makes a run there waits.
        let busy = thread.creating.lock().await;
        let body = json!({"assistant_id": "count", "schedule": "* * * * *", "input": {}});
        let past = SystemTime::now() - Duration::from_hours(1);
        overdue_since(&a, body.clone(), Some(thread.id), past).await;
        for _ in 0..OTHERS {
            overdue_since(&a, body.clone(), None, past).await;
        }
        assert!(a.look_at_crons().await.is_ok());
        assert!(within("others go on", a.make_due()).await.is_some());
        let made = async |wanted| {
            // By the machine's clock: a paused one would pass by how long the store takes.
            soon("it is made", || count.load(Ordering::SeqCst) >= wanted).await;
        };
        made(OTHERS).await;
        drop(busy);
        made(OTHERS + 1).await;
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
