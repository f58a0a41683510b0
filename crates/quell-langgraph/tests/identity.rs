//! Ids that a caller chooses: taken twice, at the same instant, in every state.

use std::time::Duration;

use futures::future::join_all;
use quell::{EngineConfig, Limits};
use quell_http::{Access, Key};
use quell_langgraph::Options;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::talk::{Answer, Server, id_of};

const AT_ONCE: usize = 8;

fn rounds() -> usize {
    if std::env::var_os("QUELL_LONG").is_some() { 1_000 } else { 50 }
}

/// Sends the same requests at the same instant, on threads of their own.
async fn at_once(server: &Server, path: &str, body: &Value) -> Vec<Answer> {
    let calls = (0..AT_ONCE).map(|_| {
        let (server, path, body) = (server.clone(), path.to_owned(), body.clone());
        tokio::spawn(async move { server.post(&path, &body).await })
    });
    join_all(calls).await.into_iter().map(Result::unwrap).collect()
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_threads_of_one_id_there_is_one() {
    let server = Server::new();
    for _ in 0..rounds() {
        let id = Uuid::now_v7().to_string();
        let raise = at_once(&server, "/threads", &json!({ "thread_id": id })).await;
        assert_eq!((count(&raise, 200), count(&raise, 409)), (1, AT_ONCE - 1));
        let quiet = json!({ "thread_id": id.to_uppercase(), "if_exists": "do_nothing" });
        let rows = at_once(&server, "/threads", &quiet).await;
        assert_eq!(count(&rows, 200), AT_ONCE);
        assert!(rows.iter().all(|row| row.text == rows[0].text));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_make_their_thread_at_the_same_instant_share_it_also_if_some_are_refused() {
    let server = Server::new();
    for _ in 0..rounds() {
        let id = Uuid::now_v7();
        let body = json!({"assistant_id": "slow", "input": {"ms": 60_000},
            "if_not_exists": "create", "multitask_strategy": "reject"});
        let answers = at_once(&server, &format!("/threads/{id}/runs"), &body).await;
        assert_eq!((count(&answers, 200), count(&answers, 409)), (1, AT_ONCE - 1));
        let made = answers.iter().find(|answer| answer.status == 200).unwrap();
        let run = made.header("content-location").to_owned();
        assert_eq!(server.get(&format!("/threads/{id}")).await.json()["status"], "busy");
        let listed = server.get(&format!("/threads/{id}/runs")).await.json();
        assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
        assert_eq!(server.post(&format!("{run}/cancel?wait=1"), &Value::Null).await.status, 200);
        assert_eq!(server.status(&run).await, "interrupted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_never_in_a_thread_that_a_refused_one_took_along() {
    let mut limits = Limits::default();
    limits.runs_max = 1;
    let config = EngineConfig::new().limits(limits);
    let server = Server::with(config, Options::default(), Access::open());
    for _ in 0..rounds() {
        let id = Uuid::now_v7();
        let body = json!({"assistant_id": "echo", "input": {},
            "if_not_exists": "create"});
        let answers = at_once(&server, &format!("/threads/{id}/runs"), &body).await;
        assert_eq!(count(&answers, 200) + count(&answers, 429), AT_ONCE);
        for made in answers.iter().filter(|answer| answer.status == 200) {
            let run = made.header("content-location").to_owned();
            server.get(&format!("{run}/join")).await;
            assert_eq!(server.status(&run).await, "success");
            let listed = server.get(&format!("/threads/{id}/runs?limit=100")).await.json();
            let ids: Vec<_> = listed.as_array().unwrap().iter().map(|row| &row["run_id"]).collect();
            assert!(ids.contains(&&json!(id_of(&run))), "{run} is not in {listed}");
        }
        while !server.service.engine().runs(&quell::RunFilter::new().live()).is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn the_thread_of_a_stateless_run_leaves_its_id_to_whoever_takes_it_next() {
    let keys = ["ada", "bob"].map(|who| Key::new(who, who));
    let access = keys.into_iter().fold(Access::open(), Access::key);
    let server = Server::with(EngineConfig::new(), Options::default(), access);
    let (ada, bob) = (server.saying("x-api-key", "ada"), server.saying("x-api-key", "bob"));
    let body = json!({"assistant_id": "slow", "input": {"ms": 60_000, "tag": "stateless"}});
    let made = ada.post("/runs", &body).await.json();
    let (thread, run) = (made["thread_id"].clone(), made["run_id"].as_str().unwrap().to_owned());
    let path = format!("/threads/{}", thread.as_str().unwrap());
    let same = json!({ "thread_id": thread });
    assert_eq!(bob.post("/threads", &same).await.status, 409, "live: it is taken");
    assert_eq!(bob.get(&path).await.status, 404, "and another's");
    ada.post(&format!("{path}/runs/{run}/cancel?wait=quiescent"), &Value::Null).await;
    assert_eq!(ada.get(&path).await.status, 404);
    assert_eq!(bob.post("/threads", &same).await.status, 200, "gone: it is free");
    let body = json!({"assistant_id": "slow", "input": {"ms": 60_000, "tag": "next"}});
    let next = bob.post(&format!("{path}/runs"), &body).await;
    // What was kept of the run before is its owner's, and takes nothing of this thread along.
    assert!(bob.get(&format!("{path}/runs/{run}/join")).await.text.contains("__error__"));
    ada.get(&format!("{path}/runs/{run}/join")).await;
    assert_eq!(bob.get(&path).await.json()["status"], "busy");
    assert_eq!(ada.get(&path).await.status, 404);
    let next = next.header("content-location").to_owned();
    assert_eq!(bob.post(&format!("{next}/cancel?wait=1"), &Value::Null).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_is_one_run_in_every_state_of_it() {
    let server = Server::new().saying("idempotency-key", "one");
    let thread = server.thread().await;
    let body = json!({"assistant_id": "stubborn", "input": {"ms": 300, "tag": "key"}});
    let path = format!("/threads/{thread}/runs");
    let first = at_once(&server, &path, &body).await;
    let run = first[0].header("content-location").to_owned();
    let check = async |state: &str| {
        for answer in at_once(&server, &path, &body).await {
            assert_eq!(
                (answer.status.as_u16(), answer.header("content-location")),
                (200, &*run),
                "{state}"
            );
        }
        let other = json!({"assistant_id": "echo", "input": {}});
        assert_eq!(count(&at_once(&server, &path, &other).await, 409), AT_ONCE, "{state}");
    };
    assert_eq!(count(&first, 200), AT_ONCE);
    server.until_ticking("key").await;
    check("running").await;
    server.post(&format!("{run}/cancel"), &Value::Null).await;
    check("stopping").await;
    server.get(&format!("{run}/join")).await;
    check("ended").await;
    let listed = server.get(&path).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
}
