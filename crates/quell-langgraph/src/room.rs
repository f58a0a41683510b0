//! Room for what requests leave here, within the share of their owner.

use std::sync::Arc;

use quell_http::Charge;

use crate::app::App;
use crate::wire::refusal::Refusal;

impl App {
    /// Charges what a request leaves: its input, read, and its metadata.
    ///
    /// If there is no room, what is kept of ended runs of the same owner leaves, the oldest first;
    /// those runs are still there for as long as the engine keeps them, without what only this
    /// contract knows of them.
    ///
    /// # Errors
    ///
    /// Fails with 429 if what is live, and the threads' metadata, leave no room.
    pub(crate) fn charge(&self, owner: Option<&Arc<str>>, bytes: usize) -> Result<Charge, Refusal> {
        let kept = self.service().kept();
        if let Ok(charge) = kept.charge(owner, bytes) {
            return Ok(charge);
        }
        let (name, wanted) = (owner.map(|name| &**name), bytes.max(kept.max() / PARTS));
        let freed = self.finals().evict(name, wanted);
        self.threads().evict(self.engine(), name, wanted.saturating_sub(freed));
        Ok(kept.charge(owner, bytes)?)
    }
}

/// Room is made for more than is asked, so that not every request has to: this part of all.
const PARTS: usize = 32;

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use quell::{Engine, Payload};
    use quell_flow::{Catalog, Component};
    use quell_http::{Access, Key, Service, ServiceLimits};
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

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

    #[tokio::test]
    async fn what_ended_runs_leave_makes_room_for_later_ones() {
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
        let large = json!({ "assistant_id": "echo", "input": vec![7; 5_000] });
        let (status, text) = post(&app, ADA, "/runs", large).await;
        assert_eq!(status, 429, "{text}");
    }
}
