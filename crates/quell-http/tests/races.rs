use std::time::Duration;

use quell::{Engine, Payload, RunContext, RunStatus};
use quell_flow::{Catalog, Component};
use quell_http::{Service, parse_id, router};
use quell_test_support::{is_repeat, seeds};
use serde_json::json;

use crate::support::{JSON, send};

// I9, over HTTP: what the header says is what became of the run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disposition_is_true_in_every_race_of_cancel_against_completion() {
    let racer = Component::agent("racer", async |_ctx: RunContext, input: Payload| {
        for _ in 0..input.parse::<u64>()? {
            tokio::task::yield_now().await;
        }
        Ok(Payload::from("through"))
    });
    let service = Service::new(Engine::new(), Catalog::new().with(racer));
    let app = router(service.clone());
    let (mut accepted, mut too_late) = (0_u32, 0_u32);
    // A cancel that comes too late makes the next bodies longer, whatever the machine.
    let mut longer = 0_u64;
    for (seed, mut rng) in seeds(3_000) {
        let (yields, pause) = (longer + rng.u64(..40), rng.u64(..20));
        let id = format!("r{}", seed.0);
        let body =
            json!({ "component": { "kind": "agent", "id": "racer" }, "id": id, "input": yields });
        send(&app, "POST", "/v1/runs", &[JSON], body.to_string()).await;
        for _ in 0..pause {
            tokio::task::yield_now().await;
        }
        let wait = if rng.bool() { "none" } else { "terminal" };
        let body = format!(r#"{{"wait":"{wait}"}}"#);
        let answer = send(&app, "POST", &format!("/v1/runs/{id}/cancel"), &[JSON], body).await;
        let told = answer.json();
        assert_eq!(answer.header("quell-disposition"), told["disposition"]);
        if wait == "terminal" {
            assert!(["completed", "cancelled"].contains(&told["status"].as_str().unwrap()));
        }
        let run = service.engine().get(parse_id(&id).unwrap()).unwrap();
        let report = tokio::time::timeout(Duration::from_secs(20), run.ended()).await.unwrap();
        match (answer.header("quell-disposition"), report.status) {
            ("accepted", RunStatus::Cancelled) => {
                (accepted, longer) = (accepted + 1, longer.saturating_sub(5));
            }
            ("already-terminal", RunStatus::Completed) => {
                (too_late, longer) = (too_late + 1, longer + 5);
            }
            (told, found) => panic!("told {told}, found {found}"),
        }
    }
    let all = accepted + too_late;
    let is_race = accepted.min(too_late) >= all / 20;
    assert!(is_race || is_repeat(), "{accepted} accepted, {too_late} too late");
}
