//! Runs of one thread through two nodes. Whether they overlap a witness in the bodies tells.

use quell::testing::cluster::Nodes;
use quell::{EngineConfig, Failure, Payload, RunContext, RunId};
use quell_flow::Component;
use quell_test_support::{Witness, ms, secs, soon, within};
use serde_json::{Value, json};

use crate::nodes::{soon_paused, soon_status, stored, two};
use crate::talk::Server;

/// Two servers with one component that is inside a witness while it works.
fn witnessed() -> (Server, Server, Witness) {
    let (nodes, witness) = (Nodes::new(secs(30)), Witness::new());
    let server = |name: &str| {
        let node = nodes.join(name);
        let config = EngineConfig::new().node(node);
        let seen = witness.clone();
        let work = move |_: RunContext, input: Payload| {
            let seen = seen.clone();
            async move {
                let _inside = seen.enter();
                tokio::time::sleep(ms(3)).await;
                Ok::<_, Failure>(input)
            }
        };
        Server::serving_with(config, [Component::workflow("work", work)])
    };
    let (a, b) = (server("a"), server("b"));
    (a, b, witness)
}

fn body(strategy: &str) -> Value {
    json!({ "assistant_id": "work", "multitask_strategy": strategy, "input": {},
        "if_not_exists": "create" })
}

#[tokio::test]
async fn runs_of_one_thread_on_two_nodes_never_overlap() {
    let (a, b, witness) = witnessed();
    let thread = a.thread().await;
    let path = format!("/threads/{thread}/runs");
    let mut runs = Vec::new();
    for nth in 0..20 {
        let server = if nth % 2 == 0 { &a } else { &b };
        let begun = server.post(&path, &body("enqueue")).await;
        assert_eq!(begun.status.as_u16(), 200, "{nth}");
        runs.push(begun.header("content-location").to_owned());
    }
    for run in &runs {
        soon_status(&b, run, "success").await;
    }
    assert_eq!((witness.entered(), witness.most()), (20, 1));
}

#[tokio::test]
async fn a_thread_that_another_node_works_on_is_busy() {
    let (a, b, witness) = witnessed();
    let thread = a.thread().await;
    let path = format!("/threads/{thread}/runs");
    let mut counts = [0, 0];
    for nth in 0..40 {
        let (first, second) = if nth % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let body = body("reject");
        let both = tokio::join!(first.post(&path, &body), second.post(&path, &body));
        for answer in [both.0, both.1] {
            let status = answer.status.as_u16();
            assert!(matches!(status, 200 | 409), "{status}");
            counts[usize::from(status == 409)] += 1;
        }
    }
    soon("all have ended", || witness.inside() == 0).await;
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
    assert_eq!(witness.most(), 1);
}

#[tokio::test]
async fn a_new_run_interrupts_that_of_another_node() {
    let (a, b) = two();
    let thread = a.thread().await;
    let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": "old" });
    let old = a.start(&thread, "slow", input).await;
    a.until_ticking("old").await;
    stored(&a, &old).await;
    let new = json!({ "assistant_id": "echo", "multitask_strategy": "interrupt", "input": {},
        "if_not_exists": "create" });
    let path = format!("/threads/{thread}/runs/wait");
    let new = b.post(&path, &new);
    assert_eq!(within("it has its turn", new).await.status.as_u16(), 200);
    a.assert_stopped("old").await;
    assert_eq!(b.status(&old).await, "interrupted");
}

/// Whoever is told may lose the node that tells.
#[tokio::test]
async fn who_is_told_of_a_new_run_finds_the_stop_of_the_one_before_in_the_store() {
    let (a, b) = two();
    for strategy in ["interrupt", "rollback"].repeat(5) {
        let thread = a.thread().await;
        let old = a.start(&thread, "slow", json!({ "ms": 60_000 })).await;
        stored(&a, &old).await;
        let new = json!({ "assistant_id": "echo", "multitask_strategy": strategy, "input": {} });
        let told = b.post(&format!("/threads/{thread}/runs"), &new).await;
        assert_eq!(told.status.as_u16(), 200, "{told:?}");
        let id = RunId::from_uuid(old.rsplit('/').next().unwrap().parse().unwrap());
        let record = b.service.engine().stored_run(id).await.unwrap();
        // One that is rolled back may be gone by now.
        let is_stopped = record.is_none_or(|it| it.stop.is_some() || it.status.is_terminal());
        assert!(is_stopped, "{strategy}: whoever takes {old} over lets it go on");
    }
}

#[tokio::test]
async fn new_input_waits_behind_a_run_of_another_node_that_waits_behind_a_paused_one() {
    let (a, b) = two();
    let thread = a.thread().await;
    let path = format!("/threads/{thread}/runs");
    let first = a.start(&thread, "slow", json!({ "ms": 60_000 })).await;
    let asking = a.start(&thread, "ask", json!({})).await;
    let queued = b.start(&thread, "echo", json!({ "n": 1 })).await;
    assert_eq!(a.post(&format!("{first}/cancel?wait=1"), &json!({})).await.status, 200);
    soon_paused(&b, &asking).await;
    for server in [&a, &b] {
        let next = json!({ "assistant_id": "echo", "input": { "n": 2 } });
        let next = server.post(&path, &next).await;
        assert_eq!((next.status.as_u16(), &next.json()["status"]), (200, &json!("pending")));
        assert_eq!(server.status(&queued).await, "pending");
    }
    let cancelled = a.post(&format!("{asking}/cancel?wait=1"), &json!({})).await;
    assert_eq!(cancelled.status, 200);
    soon_status(&a, &queued, "success").await;
}

#[tokio::test]
async fn new_input_takes_the_place_of_a_run_that_waits_on_another_node() {
    let (a, b) = two();
    let thread = a.thread().await;
    let path = format!("/threads/{thread}/runs");
    let asking = a.start(&thread, "ask", json!({})).await;
    soon_paused(&b, &asking).await;
    let nothing = json!({ "assistant_id": "echo", "input": null });
    for server in [&a, &b] {
        let refused = server.post(&path, &nothing).await;
        assert_eq!(refused.status, 409, "{refused:?}");
        assert!(refused.text.contains("Thread is interrupted"), "{refused:?}");
    }
    let next = json!({ "assistant_id": "echo", "input": { "n": 2 } });
    let told = within("it does not wait", b.post(&format!("{path}/wait"), &next)).await;
    assert_eq!(told.json()["n"], 2, "{told:?}");
    for server in [&a, &b] {
        let row = server.get(&asking).await.json();
        let cause = &row["quell"]["cause"]["kind"];
        assert_eq!((&row["status"], cause), (&json!("interrupted"), &json!("superseded")));
    }
}

#[tokio::test]
async fn a_stateless_run_that_waits_is_answered_through_another_node() {
    let (a, b) = two();
    let made = a.post("/runs", &json!({ "assistant_id": "ask", "input": {} })).await;
    let (run, thread) = (made.json()["run_id"].clone(), made.json()["thread_id"].clone());
    let path = format!("/threads/{}/runs", thread.as_str().unwrap());
    within("it asks", async {
        while b.get(&path).await.json()[0]["quell"]["status"] != "paused" {
            tokio::time::sleep(ms(5)).await;
        }
    })
    .await;
    assert_eq!(b.get(&path).await.json()[0]["run_id"], run);
    let path = format!("{path}/wait");
    let answer = json!({ "assistant_id": "ask", "command": { "resume": "yes" } });
    let told = within("it goes on", b.post(&path, &answer)).await;
    assert_eq!(told.json()["told"], "yes", "{told:?}");
}
