use quell_playbook3d::Options;
use serde_json::json;

use crate::support::lab::Lab;
use quell_demo::playbook3d::{ALICE, ALPHA, BETA, BOB, SHORT, SLOW, STUBBORN};

#[tokio::test]
async fn the_same_key_and_payload_give_the_first_answer_again() {
    let lab = Lab::new();
    let mut alice = lab.alice().await;
    alice.set("idempotency-key", "once");
    let path = format!("/run_workflow/{ALPHA}");
    let body = json!({ "id": SLOW, "inputs": {} }).to_string();
    let first = alice.post(&path, body.clone()).await;
    let again = alice.post(&path, body.clone()).await;
    assert_eq!((first.status.as_u16(), &first.body), (200, &again.body));
    let other = alice.post(&path, json!({ "id": SHORT }).to_string()).await;
    other.assert_refused(400, "Bad Request. The idempotency key is already in use.");
    let mut bob = lab.client(BOB).await;
    bob.set("idempotency-key", "once");
    let theirs = bob.post(&format!("/run_workflow/{BETA}"), body).await;
    assert_ne!(theirs.body["run_id"], first.body["run_id"]);
    assert_eq!(alice.get("/runs").await.body.as_array().map(Vec::len), Some(1));
    alice.set("idempotency-key", &"k".repeat(300));
    let long = alice.post(&path, json!({ "id": SHORT }).to_string()).await;
    long.assert_refused(400, "Bad Request. A part of the request is too large.");
    alice.set("idempotency-key", "");
    let empty = alice.post(&path, json!({ "id": SHORT }).to_string()).await;
    empty.assert_refused(400, "Bad Request. The idempotency key is empty, or no text.");
    assert_eq!(alice.get("/runs").await.body.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_deadline_ends_the_run_failed() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let path = format!("/run_workflow/{ALPHA}");
    let body = json!({ "id": SLOW, "quell_timeout_ms": 30 }).to_string();
    let run = alice.post(&path, body).await.body["run_id"].as_str().expect("an id").to_owned();
    lab.run(&run).ended().await;
    let listed = alice.listed(&run).await;
    assert_eq!(listed["status"], "failed");
    assert_eq!(listed["quell"]["status"], "timed-out");
    assert_eq!(listed["quell"]["cause"]["kind"], "deadline");
    let answer = alice.cancel(ALPHA, &run).await;
    assert_eq!(answer.message(), "Run is already in a final state: failed.");
}

#[tokio::test]
async fn a_time_beyond_all_measure_is_none() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let path = format!("/run_workflow/{ALPHA}");
    let inputs = json!({ "ms": 50 });
    for (timeout, grace) in [(u64::MAX, u64::MAX), (u64::MAX, 0)] {
        let body = json!({
            "id": STUBBORN,
            "inputs": inputs,
            "quell_timeout_ms": timeout,
            "quell_grace_ms": grace,
        });
        let answer = alice.post(&path, body.to_string()).await;
        let run = answer.body["run_id"].as_str().expect("an id").to_owned();
        assert_eq!(alice.cancel(ALPHA, &run).await.message(), "Run successfully canceled.");
    }
}

#[tokio::test]
async fn both_hosts_have_a_prefix_of_their_own() {
    let mut options = Options::default();
    options.accounts_prefix = "/accounts/{v1}/".into();
    options.api_prefix = "api".into();
    let lab = Lab::with(options);
    let nobody = lab.nobody();
    let token = nobody.get(&format!("/accounts/{{v1}}/token-wrapper/get-tokens/{ALICE}")).await;
    assert_eq!(token.status, 200, "{token:?}");
    // As most clients spell it.
    let token = nobody.get(&format!("/accounts/%7Bv1%7D/token-wrapper/get-tokens/{ALICE}")).await;
    let mut alice = nobody.clone();
    let token = token.body["access_token"].as_str().expect("a token").to_owned();
    alice.set("authorization", &format!("Bearer {token}"));
    alice.set("x-api-key", &ALICE.to_string());
    assert_eq!(alice.get("/api/get_run_id").await.status, 200);
    assert_eq!(alice.get("/get_run_id").await.status, 404);
    assert_eq!(alice.get("/runs").await.status, 404);
    assert_eq!(alice.cancel(ALPHA, "x").await.status, 404);
}
