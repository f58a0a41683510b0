use std::time::Duration;

use quell::{Engine, Payload, RunContext, RunStatus};
use quell_flow::{Catalog, Component};
use quell_http::{Service, parse_id, router};
use serde_json::json;

use crate::support::{JSON, Random, send};

// I9, over HTTP: what the header says is what became of the run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disposition_is_true_in_every_race_of_cancel_against_completion() {
    let rounds = if std::env::var("QUELL_LONG").is_ok() { 30_000 } else { 3_000 };
    let mut random = Random::seeded();
    let racer = Component::agent("racer", async |_ctx: RunContext, input: Payload| {
        for _ in 0..input.parse::<u64>()? {
            tokio::task::yield_now().await;
        }
        Ok(Payload::from("through"))
    });
    let service = Service::new(Engine::new(), Catalog::new().with(racer));
    let app = router(service.clone());
    let (mut accepted, mut too_late) = (0_u32, 0_u32);
    for round in 0..rounds {
        let (yields, pause) = (random.below(40), random.below(20));
        let id = format!("r{round}");
        let body =
            json!({ "component": { "kind": "agent", "id": "racer" }, "id": id, "input": yields });
        send(&app, "POST", "/v1/runs", &[JSON], body.to_string()).await;
        for _ in 0..pause {
            tokio::task::yield_now().await;
        }
        let wait = if random.below(2) == 0 { "none" } else { "terminal" };
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
            ("accepted", RunStatus::Cancelled) => accepted += 1,
            ("already-terminal", RunStatus::Completed) => too_late += 1,
            (told, found) => panic!("round {round}: told {told}, found {found}"),
        }
    }
    println!("{accepted} accepted, {too_late} too late");
    assert!(accepted.min(too_late) >= rounds / 20, "{accepted} accepted, {too_late} too late");
}
