//! [`App::charge`]: charges what threads hold in this adapter, within the share of their owner.

use std::sync::Arc;

use quell_http::{Charge, Overdrawn};
use uuid::Uuid;

use crate::app::App;
use crate::threads::Thread;
use crate::wire::refusal::Refusal;

impl App {
    /// Charges the metadata of a thread. What a request leaves in a run is the engine's to charge.
    ///
    /// If there is no room, values of ended runs of the same owner leave, the oldest first; those
    /// runs are still there for as long as the engine keeps them. Then the owner's idle threads
    /// with values leave, the oldest first.
    ///
    /// # Errors
    ///
    /// Fails with 429 if the threads' metadata leaves no room.
    pub(crate) fn charge(&self, owner: Option<&Arc<str>>, bytes: usize) -> Result<Charge, Refusal> {
        let kept = self.service().kept();
        Ok(self.make_room(owner, bytes, Uuid::nil(), || kept.charge(owner, bytes))?)
    }

    /// Charges to the owner of a thread the values that its runs have left in it.
    ///
    /// Room is made as in [`App::charge`], but the thread itself stays, and so do those with live
    /// runs: what these leave no room for is charged when the next of its runs ends.
    pub(crate) fn hold_values(&self, thread: &Thread) {
        let (engine, kept) = (self.engine(), self.service().kept());
        let (owner, bytes) = (thread.owner.as_deref().map(Arc::from), thread.held(engine));
        // Without room they stay uncharged.
        let _ = self.make_room(owner.as_ref(), bytes, thread.id, || thread.hold(engine, kept));
    }

    fn make_room<T>(
        &self,
        owner: Option<&Arc<str>>,
        bytes: usize,
        but: Uuid,
        charge: impl Fn() -> Result<T, Overdrawn>,
    ) -> Result<T, Overdrawn> {
        if let Ok(charged) = charge() {
            return Ok(charged);
        }
        let wanted = bytes.max(self.service().kept().max() / PARTS);
        let owner = owner.map(|name| &**name);
        self.threads().evict(self.engine(), owner, wanted);
        loop {
            let charged = charge();
            if charged.is_ok() || !self.threads().forget_oldest(self.engine(), owner, but) {
                return charged;
            }
        }
    }
}

/// Room is made for more than is asked, so that not every request has to: this part of all.
const PARTS: usize = 32;

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use quell::{Engine, EngineConfig, Limits, Payload, RunContext};
    use quell_flow::{Catalog, Component};
    use quell_http::{Access, Key, Service, ServiceLimits};
    use serde_json::{Value, json};
    use tower::ServiceExt as _;
    use uuid::Uuid;

    use crate::{Options, router};

    const ADA: &str = "adas-key";
    const BEN: &str = "bens-key";

    async fn post(app: &axum::Router, key: &str, path: &str, body: Value) -> (u16, String) {
        let request = Request::post(path).header("x-api-key", key);
        let request = request.header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let text = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(text.to_vec()).unwrap())
    }

    fn app() -> axum::Router {
        let echo = Component::agent("echo", async |_ctx, input: Payload| Ok(input));
        let access = Access::open().key(Key::new("ada", ADA)).key(Key::new("ben", BEN));
        let mut limits = ServiceLimits::default();
        limits.kept_bytes_max = 400_000;
        let service = Service::new(Engine::new(), Catalog::new().with(echo));
        router(service.limits(limits).access(access), Options::default())
    }

    #[tokio::test]
    async fn metadata_of_threads_is_bounded_for_each_caller() {
        let (app, thread) = (app(), json!({ "metadata": { "x": "y".repeat(10_000) } }));
        let mut made = 0;
        let text = loop {
            let (status, text) = post(&app, ADA, "/threads", thread.clone()).await;
            if status != 200 {
                assert_eq!(status, 429, "{text}");
                break text;
            }
            made += 1;
            assert!(made < 10, "a share is 100,000 bytes");
        };
        assert!(text.contains("of one caller would exceed the limit of 100000 bytes"), "{text}");
        assert!(made > 5, "{made}");
        assert_eq!(post(&app, BEN, "/threads", thread).await.0, 200, "another caller has theirs");
    }

    async fn get(app: &axum::Router, key: &str, path: &str) -> (u16, String) {
        let request = Request::get(path).header("x-api-key", key).body(Body::empty()).unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let text = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(text.to_vec()).unwrap())
    }

    /// Runs in a thread and yields what it left there.
    async fn fill(app: &axum::Router, key: &str, thread: usize, input: Value) {
        let path = format!("/threads/{}/runs/wait", id(thread));
        let run = json!({ "assistant_id": "echo", "input": input, "if_not_exists": "create" });
        let (status, text) = post(app, key, &path, run).await;
        assert_eq!(status, 200, "{text}");
        // The task that follows the run is woken after the client that waits for it.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    fn id(thread: usize) -> String {
        Uuid::from_u128(1 + thread as u128).to_string()
    }

    #[tokio::test]
    async fn values_of_threads_are_bounded_for_each_caller_and_the_oldest_thread_leaves() {
        let app = app();
        let blob = |size: usize| json!({ "blob": "x".repeat(size) });
        fill(&app, BEN, 1_000, blob(10_000)).await;
        for thread in 0..20 {
            fill(&app, ADA, thread, blob(20_000)).await;
        }
        let is_there =
            async |key, thread| get(&app, key, &format!("/threads/{}", id(thread))).await;
        assert_eq!(is_there(ADA, 0).await.0, 404, "her oldest has left");
        let (status, text) = is_there(ADA, 19).await;
        assert!(status == 200 && text.len() > 20_000, "{status}");
        let (status, text) = is_there(BEN, 1_000).await;
        assert!(status == 200 && text.len() > 10_000, "another owner's state stays: {status}");
    }

    #[tokio::test]
    async fn many_runs_on_large_values_leave_them_once_and_the_thread_stays() {
        let app = app();
        fill(&app, ADA, 0, json!({ "blob": "x".repeat(20_000) })).await;
        for number in 0..20 {
            fill(&app, ADA, 0, json!({ "number": number })).await;
        }
        let (_, text) = get(&app, ADA, &format!("/threads/{}", id(0))).await;
        assert!(text.contains("\"number\":19") && text.len() > 20_000, "{}", text.len());
        let (_, runs) = get(&app, ADA, &format!("/threads/{}/runs?limit=100", id(0))).await;
        let runs: Value = serde_json::from_str(&runs).unwrap();
        let listed = runs.as_array().unwrap().len();
        assert!((1..5).contains(&listed), "each holds 20,000 of 100,000 bytes: {listed}");
    }

    #[tokio::test]
    async fn a_run_whose_values_made_room_for_others_is_shown_with_its_request_still() {
        let (app, path) = (app(), format!("/threads/{}/runs", id(0)));
        let run = json!({ "assistant_id": "echo", "metadata": { "mine": 1 },
            "input": { "number": 77 }, "if_not_exists": "create" });
        let (status, text) = post(&app, ADA, &path, run).await;
        assert_eq!(status, 200, "{text}");
        let run: Value = serde_json::from_str(&text).unwrap();
        let id = run["run_id"].as_str().unwrap();
        let run = format!("{path}/{id}");
        let (_, shown) = get(&app, ADA, &format!("{run}/join")).await;
        let before = get(&app, ADA, &run).await;
        for number in 0..20 {
            fill(&app, ADA, 0, json!({ "blob": "x".repeat(20_000), "number": number })).await;
        }
        let (_, listed) = get(&app, ADA, &format!("{path}?limit=100")).await;
        assert!(!listed.contains(id), "its thread has lost it");
        assert_eq!(get(&app, ADA, &run).await, before);
        assert_eq!(get(&app, ADA, &format!("{run}/join")).await, (200, shown));
    }

    #[tokio::test]
    async fn ended_runs_leave_room_for_later_ones() {
        let (app, input) = (app(), json!({ "numbers": vec![7; 500] }));
        for is_kept in [false, true] {
            let completion = if is_kept { "keep" } else { "delete" };
            let run =
                json!({ "assistant_id": "echo", "input": input, "on_completion": completion });
            for number in 0..20 {
                let (status, text) = post(&app, ADA, "/runs/wait", run.clone()).await;
                assert_eq!(status, 200, "{number}: {text}");
            }
        }
    }

    #[tokio::test]
    async fn what_a_request_leaves_is_charged_to_its_owner_once_by_the_engine() {
        let hold = Component::agent("hold", async |ctx: RunContext, _input: Payload| {
            ctx.stopped().await;
            Ok(Payload::from("stopped"))
        });
        let access = Access::open().key(Key::new("ada", ADA)).key(Key::new("ben", BEN));
        let config = EngineConfig::new().limits({
            let mut limits = Limits::default();
            limits.live_bytes_max = 400_000;
            limits
        });
        let service = Service::new(Engine::with_config(config), Catalog::new().with(hold));
        let service = service.access(access);
        let app = router(service.clone(), Options::default());
        let run = |key: &str, size: usize| {
            let large = json!({ "x": "y".repeat(size) });
            json!({ "assistant_id": "hold", key: large })
        };
        for key in ["input", "metadata", "config"] {
            let (status, text) = post(&app, ADA, "/runs", run(key, 110_000)).await;
            assert_eq!(status, 429, "{key}: {text}");
        }
        // Two that bring 40,000 each have room, a third has none.
        for key in ["input", "metadata"] {
            assert_eq!(post(&app, ADA, "/runs", run(key, 40_000)).await.0, 200, "{key}");
        }
        assert_eq!(post(&app, ADA, "/runs", run("config", 40_000)).await.0, 429);
        assert_eq!(post(&app, BEN, "/runs", run("config", 40_000)).await.0, 200);
        assert_eq!(service.kept().total(), 0, "nothing is charged twice");
    }

    async fn thread_of_ada(app: &axum::Router) -> String {
        let (_, text) = post(app, ADA, "/threads", json!({})).await;
        let thread: Value = serde_json::from_str(&text).unwrap();
        format!("/threads/{}", thread["thread_id"].as_str().unwrap())
    }

    #[tokio::test]
    async fn an_admin_in_somebodys_thread_uses_the_share_of_its_owner() {
        let echo = Component::agent("echo", async |_ctx, input: Payload| Ok(input));
        let access = Access::open().key(Key::new("ada", ADA)).key(Key::new("root", BEN).admin());
        let mut limits = ServiceLimits::default();
        limits.kept_bytes_max = 400_000;
        let service = Service::new(Engine::new(), Catalog::new().with(echo));
        let app = router(service.limits(limits).access(access), Options::default());
        let path = format!("{}/runs/wait", thread_of_ada(&app).await);
        let run = json!({ "assistant_id": "echo", "input": { "numbers": vec![7; 500] } });
        for number in 0..20 {
            let (status, text) = post(&app, BEN, &path, run.clone()).await;
            assert_eq!(status, 200, "{number}: {text}");
        }
    }

    #[tokio::test]
    async fn an_answer_counts_until_its_client_has_taken_it() {
        let echo = Component::agent("echo", async |_ctx, input: Payload| Ok(input));
        let mut limits = ServiceLimits::default();
        limits.requests_bytes_max = 4_000_000;
        let access = Access::open().key(Key::new("ada", ADA));
        let service = Service::new(Engine::new(), Catalog::new().with(echo));
        let app = router(service.limits(limits).access(access), Options::default());
        let path = thread_of_ada(&app).await;
        let run = json!({ "assistant_id": "echo", "input": { "text": "x".repeat(100_000) } });
        assert_eq!(post(&app, ADA, &format!("{path}/runs/wait"), run).await.0, 200);
        for path in [path.clone(), format!("{path}/runs")] {
            let get = async || {
                let request = Request::get(&path).header("x-api-key", ADA);
                let request = request.body(Body::empty()).unwrap();
                app.clone().oneshot(request).await.unwrap()
            };
            let mut stalled = vec![get().await];
            while stalled.last().is_some_and(|answer| answer.status() == 200) {
                assert!(stalled.len() < 20, "a share is 1,000,000 bytes");
                stalled.push(get().await);
            }
            assert!(stalled.len() > 2 && stalled.pop().unwrap().status() == 429, "{path}");
            drop(stalled);
            assert_eq!(get().await.status(), 200);
        }
    }
}
