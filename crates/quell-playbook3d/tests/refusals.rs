use axum::body::Body;
use axum::http::Method;
use quell_http::Key;
use quell_playbook3d::{Operation, Options, Verdict};
use serde_json::json;
use uuid::Uuid;

use crate::support::lab::{
    BAD, BROKE, IN_USE, INTERNAL, Lab, NO_CANCEL, NO_RUN, NOT_FOUND, UNAUTHORIZED,
};
use quell_demo::playbook3d::{self as demo, ALPHA, BETA, BOB, EVE, EVERYWHERE, SHORT, SLOW};

const RUN: &str = "dddddddd-0000-4000-8000-000000000001";
const NO_TEAM: &str = "99999999-0000-4000-8000-000000000009";

#[tokio::test]
async fn cancels_are_checked_in_the_order_of_the_contract() {
    let lab = Lab::new();
    let (alice, bob) = (lab.alice().await, lab.client(BOB).await);
    let theirs = bob.start(BETA, SLOW, json!({})).await;
    let rows = [
        // 400 before the team is looked up.
        ("nonsense", RUN, 400, BAD, None),
        (NO_TEAM, "nonsense", 400, BAD, None),
        (&BETA.to_string(), "nonsense", 400, BAD, None),
        (&ALPHA.simple().to_string(), RUN, 400, BAD, None),
        ("%ff", RUN, 400, BAD, None),
        // No such team.
        (NO_TEAM, RUN, 404, NOT_FOUND, None),
        (NO_TEAM, &theirs, 404, NOT_FOUND, None),
        // Not a member: whether the run exists makes no difference.
        (&BETA.to_string(), RUN, 403, NO_CANCEL, None),
        (&BETA.to_string(), &theirs, 403, NO_CANCEL, None),
        // No such run in the team.
        (&ALPHA.to_string(), RUN, 404, NOT_FOUND, Some("unknown")),
        (&ALPHA.to_string(), &theirs, 404, NOT_FOUND, Some("unknown")),
        (&ALPHA.to_string().to_uppercase(), RUN, 404, NOT_FOUND, Some("unknown")),
    ];
    for (team, run, status, text, disposition) in rows {
        let path = format!("/cancel/{team}/{run}");
        let answer = alice.post(&path, Body::empty()).await;
        assert_eq!(answer.header("quell-disposition"), disposition, "{path}");
        answer.assert_refused(status, text);
        lab.nobody().post(&path, Body::empty()).await.assert_refused(401, UNAUTHORIZED);
    }
    assert!(!lab.run(&theirs).status().is_terminal());
}

#[tokio::test]
async fn a_member_of_two_teams_must_name_the_team_of_the_run() {
    let carol = Key::new("carol", "c-key").in_teams([ALPHA.to_string(), BETA.to_string()]);
    let lab = Lab::made_of(Options::default(), |all| all, demo::access().key(carol));
    let mut carol = lab.nobody();
    let token = carol.get("/token-wrapper/get-tokens/c-key").await.body;
    carol.set("authorization", &format!("Bearer {}", token["access_token"].as_str().unwrap()));
    carol.set("x-api-key", "c-key");
    let run = carol.start(BETA, SLOW, json!({})).await;
    let answer = carol.cancel(ALPHA, &run).await;
    assert_eq!(answer.header("quell-disposition"), Some("unknown"));
    answer.assert_refused(404, NOT_FOUND);
    assert_eq!(carol.cancel(BETA, &run).await.status, 200);
}

#[tokio::test]
async fn starts_are_checked_in_the_order_of_the_contract() {
    let lab = Lab::new();
    let (alice, eve) = (lab.alice().await, lab.client(EVE).await);
    let (alpha, beta) = (ALPHA.to_string(), BETA.to_string());
    let good = json!({ "id": SLOW, "inputs": {} }).to_string();
    let unknown = json!({ "id": RUN }).to_string();
    let bad_id = json!({ "id": "slow" }).to_string();
    let only_alpha = json!({ "id": EVERYWHERE }).to_string();
    let rows = [
        (&alice, "nonsense", good.as_str(), 400, BAD),
        (&alice, NO_TEAM, "not json", 400, BAD),
        (&alice, NO_TEAM, bad_id.as_str(), 400, BAD),
        (&alice, NO_TEAM, good.as_str(), 404, NOT_FOUND),
        (&alice, &beta, unknown.as_str(), 403, NO_RUN),
        (&alice, &beta, good.as_str(), 403, NO_RUN),
        (&alice, &alpha, unknown.as_str(), 404, NOT_FOUND),
        (&eve, &alpha, unknown.as_str(), 404, NOT_FOUND),
        (&eve, &beta, good.as_str(), 403, NO_RUN),
        (&eve, &alpha, good.as_str(), 402, BROKE),
    ];
    for (client, team, body, status, text) in rows {
        for path in [format!("/run_workflow/{team}"), format!("/run_workflow/{team}/{RUN}")] {
            client.post(&path, body.to_owned()).await.assert_refused(status, text);
        }
    }
    let path = format!("/run_workflow/{alpha}/nonsense");
    alice.post(&path, good).await.assert_refused(400, BAD);
    let bob = lab.client(BOB).await;
    let path = format!("/run_workflow/{beta}");
    bob.post(&path, only_alpha).await.assert_refused(404, NOT_FOUND);
    assert_eq!(alice.get("/runs").await.body, json!([]), "nothing was made");
}

#[tokio::test]
async fn a_malformed_body_is_refused() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let path = format!("/run_workflow/{ALPHA}");
    let deep = format!("{{\"id\":\"{SHORT}\",\"inputs\":{}1{}}}", "[".repeat(500), "]".repeat(500));
    let rows = [
        String::new(),
        "{".into(),
        "[]".into(),
        json!({ "id": 7 }).to_string(),
        json!({ "inputs": {} }).to_string(),
        json!({ "id": SHORT, "inputs": [1] }).to_string(),
        json!({ "id": SHORT, "origin": [] }).to_string(),
        json!({ "id": SHORT, "quell_timeout_ms": "1" }).to_string(),
        json!({ "id": SHORT, "inputs": { "x": "y".repeat(17 << 20) } }).to_string(),
        deep,
    ];
    for body in rows {
        alice.post(&path, body).await.assert_refused(400, BAD);
    }
    let long = json!({ "id": SHORT, "origin": "o".repeat(2000) }).to_string();
    assert_eq!(alice.post(&path, long).await.status, 400);
}

#[tokio::test]
async fn a_run_id_in_use_is_refused_whoever_uses_it() {
    let lab = Lab::new();
    let (alice, bob) = (lab.alice().await, lab.client(BOB).await);
    let body = |workflow: Uuid| json!({ "id": workflow }).to_string();
    let live = alice.start(ALPHA, SLOW, json!({})).await;
    let ended = alice.start(ALPHA, SHORT, json!({})).await;
    lab.run(&ended).ended().await;
    for run in [&live, &ended, &live.to_uppercase()] {
        let path = format!("/run_workflow/{ALPHA}/{run}");
        alice.post(&path, body(SHORT)).await.assert_refused(400, IN_USE);
        let path = format!("/run_workflow/{BETA}/{run}");
        bob.post(&path, body(SHORT)).await.assert_refused(400, IN_USE);
    }
    assert!(!lab.run(&live).status().is_terminal());
}

#[tokio::test]
async fn results_of_other_teams_are_not_found() {
    let lab = Lab::new();
    let (alice, bob) = (lab.alice().await, lab.client(BOB).await);
    let run = alice.start(ALPHA, SHORT, json!({})).await;
    let path = format!("/runs/{run}/result");
    assert_eq!(alice.get(&path).await.status, 200);
    bob.get(&path).await.assert_refused(404, NOT_FOUND);
    alice.get(&format!("/runs/{RUN}/result")).await.assert_refused(404, NOT_FOUND);
    alice.get("/runs/nonsense/result").await.assert_refused(400, BAD);
    assert_eq!(bob.get("/runs").await.body, json!([]));
}

#[tokio::test]
async fn who_has_no_credits_can_cancel_all_the_same() {
    let lab = Lab::new();
    let (alice, eve) = (lab.alice().await, lab.client(EVE).await);
    let run = alice.start(ALPHA, SLOW, json!({})).await;
    let answer = eve.cancel(ALPHA, &run).await;
    assert_eq!(answer.message(), "Run successfully canceled.");
    assert_eq!(alice.listed(&run).await["quell"]["cause"]["by"], "eve");
}

#[tokio::test]
async fn the_quota_hook_decides_when_nothing_else_is_wrong() {
    let options = Options::default().quota(async |principal, team, operation| {
        assert_eq!((principal.subject(), team), (Some("alice"), ALPHA));
        if operation == Operation::Cancel { Verdict::Refuse } else { Verdict::Allow }
    });
    let lab = Lab::with(options);
    let alice = lab.alice().await;
    let run = alice.start(ALPHA, SLOW, json!({})).await;
    let answer = alice.cancel(ALPHA, &run).await;
    assert_eq!(answer.header("quell-disposition"), None);
    answer.assert_refused(402, BROKE);
    assert!(!lab.run(&run).status().is_terminal());
    alice.cancel(ALPHA, RUN).await.assert_refused(404, NOT_FOUND);
    // The hook panics about bob: that is our fault, not his.
    let bob = lab.client(BOB).await;
    let body = json!({ "id": SHORT }).to_string();
    bob.post(&format!("/run_workflow/{BETA}"), body).await.assert_refused(500, INTERNAL);
}

#[tokio::test]
async fn an_engine_that_takes_no_runs_is_an_error_of_ours() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    lab.service.drain();
    let body = json!({ "id": SHORT }).to_string();
    alice.post(&format!("/run_workflow/{ALPHA}"), body).await.assert_refused(500, INTERNAL);
    assert_eq!(alice.get("/runs").await.status, 200);
}

#[tokio::test]
async fn what_is_not_served_is_not_found_with_the_same_body() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let paths = [
        "/",
        "/nothing",
        "/runs/events",
        "/runs/",
        "/users/cognito/alice/info",
        "/upload-assets/get-upload-urls/x",
        "/cancel/x",
        "/socket.io/",
    ];
    for path in paths {
        for method in [Method::GET, Method::POST] {
            alice.call(method, path, Body::empty()).await.assert_refused(404, NOT_FOUND);
        }
    }
    let path = format!("/cancel/{ALPHA}/{RUN}");
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
        let answer = alice.call(method, &path, Body::empty()).await;
        assert_eq!(answer.status, 405);
        assert_eq!(answer.header("allow"), Some("POST"));
        assert_eq!(answer.body["result"], answer.body["description"]);
    }
}

#[tokio::test]
async fn a_secret_that_is_short_enough_to_be_guessed_signs_nothing() {
    let mut options = Options::default();
    options.token_secret = Some(TOO_SHORT.into());
    let lab = Lab::with(options);
    let mut alice = lab.alice().await;
    assert_eq!(alice.get("/teams").await.status, 200, "a secret of the process has signed it");
    alice.set("authorization", &format!("Bearer {OF_TOO_SHORT}"));
    alice.get("/teams").await.assert_refused(401, UNAUTHORIZED);
}

/// A secret of 31 bytes.
const TOO_SHORT: &str = "thirty-one bytes are too few...";

/// Of alice, until 2100, signed with it.
const OF_TOO_SHORT: &str = concat!(
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VybmFtZSI6ImFsaWNlIiwiZXhwI",
    "jo0MTAyNDQ0ODAwfQ.oyqDWCrzQPZ8xnx0er0BH9SnhD6OQEv7iqwkkHinjSk",
);
