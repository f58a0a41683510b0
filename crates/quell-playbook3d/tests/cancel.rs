use std::time::Duration;

use axum::body::Body;
use quell::{CancelRequest, Failure, Payload, RunStatus};
use quell_flow::Component;
use quell_playbook3d::Options;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::support::lab::{Lab, NO_CANCEL, NOT_FOUND, waiting};
use quell_demo::playbook3d::{ALPHA, BETA, BOB, EVE, SHORT, SLOW, STUBBORN};

const CANCELED: &str = "Run successfully canceled.";
const CANCELING: &str = "Run cancellation accepted. Current state: canceling.";

/// Waits until a probe has ticked.
async fn ticking(lab: &Lab, probe: &str) {
    while lab.ticks(probe) == 0 {
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_live_run_has_stopped_when_the_answer_says_so() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let run = alice.start(ALPHA, SLOW, json!({ "message": "tick_ms=2 probe=live" })).await;
    ticking(&lab, "live").await;
    let answer = alice.cancel(ALPHA, &run).await;
    let ticks = lab.ticks("live");
    assert_eq!((answer.status.as_u16(), answer.message()), (200, CANCELED));
    assert_eq!(answer.body, json!({ "message": CANCELED }));
    assert_eq!(answer.header("quell-disposition"), Some("accepted"));
    assert_eq!(answer.header("quell-cause"), Some("user-request"));
    let (_, marks) = lab.witness.get("live");
    let dropped = marks.iter().filter(|mark| mark.ends_with(":dropped")).count();
    assert_eq!(dropped, 4, "{marks:?}");
    let listed = alice.listed(&run).await;
    assert_eq!(listed["status"], "canceled");
    assert_eq!(listed["quell"]["status"], "cancelled");
    assert_eq!(listed["quell"]["quiescent"], true);
    assert_eq!(listed["quell"]["cause"]["kind"], "user-request");
    assert_eq!(listed["quell"]["cause"]["by"], "alice");
    assert_eq!(listed["quell"]["cause"]["origin"], *run);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(lab.ticks("live"), ticks, "nothing ticks after the answer");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_takes_its_time_is_said_to_be_canceling() {
    let lab = Lab::with(waiting(Duration::from_millis(100)));
    let alice = lab.alice().await;
    let run = alice.start(ALPHA, STUBBORN, json!({ "ms": 600, "tag": "s" })).await;
    ticking(&lab, "s").await;
    let asked = Instant::now();
    let first = alice.cancel(ALPHA, &run).await;
    assert!(asked.elapsed() >= Duration::from_millis(90));
    assert_eq!((first.status.as_u16(), first.message()), (200, CANCELING));
    assert_eq!(first.header("quell-disposition"), Some("accepted"));
    assert_eq!(alice.listed(&run).await["status"], "canceling");
    let result = alice.get(&format!("/runs/{run}/result")).await.body;
    assert_eq!((&result["result"], &result["status"]), (&json!(null), &json!("canceling")));
    // Somebody else asks while it is stopping.
    let eve = lab.client(EVE).await;
    let second = eve.cancel(ALPHA, &run).await;
    assert_eq!((second.status.as_u16(), second.message()), (200, CANCELING));
    assert_eq!(second.header("quell-disposition"), Some("already-stopping"));
    lab.run(&run).ended().await;
    let third = alice.cancel(ALPHA, &run).await;
    assert_eq!(third.message(), "Run is already in a final state: canceled.");
    assert_eq!(third.header("quell-disposition"), Some("already-terminal"));
    assert_eq!(third.header("quell-cause"), Some("user-request"));
    let (_, marks) = lab.witness.get("s");
    assert_eq!(marks, ["stubborn:start", "stubborn:stop-seen", "stubborn:done"]);
    assert_eq!(alice.listed(&run).await["quell"]["cause"]["by"], "alice", "the first one");
}

#[tokio::test(start_paused = true)]
async fn whoever_joins_a_cancel_hears_of_its_end() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let run = alice.start(ALPHA, STUBBORN, json!({ "ms": 300, "tag": "joined" })).await;
    ticking(&lab, "joined").await;
    let (one, other) = tokio::join!(alice.cancel(ALPHA, &run), alice.cancel(ALPHA, &run));
    assert_eq!((one.message(), other.message()), (CANCELED, CANCELED));
    let said = |answer: &crate::support::lab::Answer| {
        answer.header("quell-disposition").unwrap_or_default().to_owned()
    };
    assert_eq!((&*said(&one), &*said(&other)), ("accepted", "already-stopping"));
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_zero_answers_at_once() {
    let lab = Lab::with(waiting(Duration::ZERO));
    let alice = lab.alice().await;
    let run = alice.start(ALPHA, STUBBORN, json!({ "ms": 400, "tag": "zero" })).await;
    ticking(&lab, "zero").await;
    assert_eq!(alice.cancel(ALPHA, &run).await.message(), CANCELING);
    assert_eq!(lab.run(&run).status(), RunStatus::Stopping);
}

#[tokio::test]
async fn a_run_in_a_final_state_is_left_as_it_is() {
    let failing = Component::workflow("failing", async |_ctx, _input: Payload| {
        Err::<Payload, _>(Failure::new("boom"))
    });
    let lab = Lab::of(failing);
    let alice = lab.alice().await;
    let workflows = alice.get("/workflows").await.body;
    let failing = workflows.as_array().unwrap().iter().find(|each| each["name"] == "failing");
    let failing: Uuid = failing.unwrap()["id"].as_str().unwrap().parse().unwrap();
    let rows = [(SHORT, json!({}), "executed"), (failing, json!({}), "failed")];
    for (workflow, inputs, word) in rows {
        let run = alice.start(ALPHA, workflow, inputs).await;
        lab.run(&run).ended().await;
        for _ in 0..2 {
            let answer = alice.cancel(ALPHA, &run).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.message(), format!("Run is already in a final state: {word}."));
            assert_eq!(answer.header("quell-disposition"), Some("already-terminal"));
            assert_eq!(answer.header("quell-cause"), None);
            assert_eq!(alice.listed(&run).await["status"], word);
        }
    }
}

#[tokio::test]
async fn a_run_that_its_deadline_has_stopped_is_not_said_to_be_canceled() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let body = json!({
        "id": STUBBORN,
        "inputs": { "ms": 600_000, "tag": "late" },
        "quell_timeout_ms": 60,
        "quell_grace_ms": 1_500,
    });
    let started = alice.post(&format!("/run_workflow/{ALPHA}"), body.to_string()).await;
    let run = started.body["run_id"].as_str().expect("an id").to_owned();
    while lab.run(&run).status() != RunStatus::Stopping {
        sleep(Duration::from_millis(2)).await;
    }
    let answer = alice.cancel(ALPHA, &run).await;
    assert_eq!(answer.message(), "Run is already in a final state: failed.");
    assert_eq!(answer.header("quell-disposition"), Some("already-stopping"));
    assert_eq!(answer.header("quell-cause"), Some("deadline"));
    let listed = alice.listed(&run).await;
    assert_eq!(
        (&listed["status"], &listed["quell"]["status"]),
        (&json!("failed"), &json!("timed-out"))
    );
}

#[tokio::test]
async fn an_allocated_id_is_reserved_as_canceled() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let id = alice.get("/get_run_id").await.body["run_id"].as_str().expect("an id").to_owned();
    for _ in 0..2 {
        let answer = alice.cancel(ALPHA, &id).await;
        assert_eq!((answer.status.as_u16(), answer.message()), (200, CANCELED));
        assert_eq!(answer.header("quell-disposition"), Some("reserved"));
        assert_eq!(answer.header("quell-cause"), None);
    }
    assert_eq!(alice.get("/runs").await.body, json!([]));
    let body = json!({ "id": SLOW, "inputs": { "message": "tick_ms=1 probe=never" } });
    let path = format!("/run_workflow/{ALPHA}/{id}");
    let started = alice.post(&path, body.to_string()).await;
    assert_eq!(started.status, 200);
    assert_eq!(started.body["status"], "queued");
    let report = timeout(Duration::from_secs(10), lab.run(&id).ended()).await.expect("it ends");
    assert_eq!(report.status, RunStatus::Cancelled);
    assert_eq!(lab.witness.get("never"), Default::default(), "it never executes");
    let listed = alice.listed(&id).await;
    assert_eq!((&listed["status"], &listed["duration"]), (&json!("canceled"), &json!(null)));
    let again = alice.cancel(ALPHA, &id).await;
    assert_eq!(again.message(), "Run is already in a final state: canceled.");
}

#[tokio::test]
async fn an_allocated_id_is_its_owners_and_is_used_once() {
    let lab = Lab::new();
    let (alice, eve, bob) = (lab.alice().await, lab.client(EVE).await, lab.client(BOB).await);
    let id = alice.get("/get_run_id").await.body["run_id"].as_str().expect("an id").to_owned();
    // Eve is in the same team, and it is not hers all the same.
    eve.cancel(ALPHA, &id).await.assert_refused(404, NOT_FOUND);
    bob.cancel(ALPHA, &id).await.assert_refused(403, NO_CANCEL);
    bob.cancel(BETA, &id).await.assert_refused(404, NOT_FOUND);
    let path = format!("/run_workflow/{ALPHA}/{id}");
    let started = alice.post(&path, json!({ "id": SHORT }).to_string()).await;
    assert_eq!(started.body["run_id"], *id);
    lab.run(&id).ended().await;
    assert_eq!(alice.listed(&id).await["status"], "executed", "nobody has cancelled it");
    let answer = alice.cancel(ALPHA, &id).await;
    assert_eq!(answer.message(), "Run is already in a final state: executed.");
}

#[tokio::test]
async fn cancelling_an_id_that_was_never_allocated_leaves_nothing_behind() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let id = "dddddddd-0000-4000-8000-000000000001";
    let answer = alice.cancel(ALPHA, id).await;
    assert_eq!(answer.header("quell-disposition"), Some("unknown"));
    answer.assert_refused(404, NOT_FOUND);
    let path = format!("/run_workflow/{ALPHA}/{id}");
    assert_eq!(alice.post(&path, json!({ "id": SHORT }).to_string()).await.status, 200);
    lab.run(id).ended().await;
    assert_eq!(alice.listed(id).await["status"], "executed");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_stands_when_the_client_goes_away() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let run = alice.start(ALPHA, STUBBORN, json!({ "ms": 300, "tag": "gone" })).await;
    ticking(&lab, "gone").await;
    let answer = timeout(Duration::from_millis(20), alice.cancel(ALPHA, &run)).await;
    assert!(answer.is_err(), "it waits");
    let report = lab.run(&run).ended().await;
    assert_eq!(report.status, RunStatus::Cancelled);
}

#[tokio::test]
async fn a_body_that_ignores_the_stop_is_dropped_when_its_grace_is_over() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let body = json!({
        "id": STUBBORN,
        "inputs": { "ms": 60_000, "tag": "ignores" },
        "quell_grace_ms": 150,
    });
    let started = alice.post(&format!("/run_workflow/{ALPHA}"), body.to_string()).await;
    let run = started.body["run_id"].as_str().expect("an id").to_owned();
    ticking(&lab, "ignores").await;
    assert_eq!(alice.cancel(ALPHA, &run).await.message(), CANCELED);
    let (_, marks) = lab.witness.get("ignores");
    assert_eq!(marks.last().map(String::as_str), Some("stubborn:dropped"));
}

#[tokio::test]
async fn a_stop_from_elsewhere_is_seen_and_a_body_of_the_request_is_ignored() {
    let lab = Lab::with(Options::default());
    let alice = lab.alice().await;
    let run = alice.start(ALPHA, SLOW, json!({})).await;
    lab.run(&run).cancel(CancelRequest::because("by the engine's embedder"));
    lab.run(&run).ended().await;
    assert_eq!(alice.listed(&run).await["status"], "canceled");
    let answer = alice.post(&format!("/cancel/{ALPHA}/{run}"), Body::from("{nonsense")).await;
    assert_eq!(answer.message(), "Run is already in a final state: canceled.");
}
