//! Webhooks: how long one is tried, what holds up nobody, and what is not sent any more.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use quell::store::MemoryStore;
use quell::{EngineConfig, Limits, StoreRetention};
use quell_http::{Access, Key, ServiceLimits};
use quell_langgraph::Options;
use quell_test_support::{heard, within};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::receiver::{Receiver, Says as Answers, status};
use crate::talk::{Says as _, Server};
use crate::webhooks::{asking, options};

/// Of one webhook at a time, so that the next one tells that it is over.
pub(crate) fn one() -> Options {
    let mut options = options();
    options.webhooks_max = 1;
    options
}

fn stored() -> EngineConfig {
    EngineConfig::new().store(Arc::new(MemoryStore::new()))
}

/// Waits until a run has a webhook that is owed no more.
pub(crate) async fn until_over(server: &Server) {
    let nowhere = asking("echo", &json!({"text": "hi"}), "http://127.0.0.1:9/");
    while server.post("/runs", &nowhere).await.status != 200 {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn made(server: &Server, path: &str, body: &Value) -> String {
    let made = server.post(path, body).await;
    assert_eq!(made.status, 200, "{made:?}");
    made.header("content-location").to_owned()
}

#[tokio::test]
async fn a_pause_and_the_end_behind_it_are_told_in_one_place() {
    for config in [EngineConfig::new(), stored()] {
        let receiver = Receiver::new(vec![status("200 OK")]).await;
        let server = Server::with(config, one(), Access::open());
        let runs = format!("/threads/{}/runs", server.thread().await);
        made(&server, &runs, &asking("interrupting", &json!({}), &receiver.url())).await;
        receiver.got(1).await;
        let answer = json!({"assistant_id": "interrupting", "command": {"resume": "yes"}});
        server.post(&format!("{runs}/wait"), &answer).await;
        let (_, told) = receiver.got(2).await.remove(1);
        assert_eq!(told["values"]["log"], json!(["answer:yes"]), "{told}");
        until_over(&server).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_with_nothing_owed_has_no_timer() {
    let server = Server::with(stored(), options(), Access::open());
    let answer = server.post("/runs/wait", &json!({"assistant_id": "echo", "input": {}})).await;
    assert_eq!(answer.status, 200);
    let begin = Instant::now();
    // A paused clock advances to the next timer as soon as nothing is to be done.
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        tell.send(()).unwrap();
    });
    told.await.unwrap();
    assert_eq!(Instant::now(), begin);
    drop(server);
}

#[tokio::test]
async fn a_connection_that_is_closed_is_tried_again_so_often_and_then_it_is_given_up() {
    let heard = |about: &str| heard("quell_langgraph", about);
    heard("");
    for config in [EngineConfig::new(), stored()] {
        let server = Server::with(config, one(), Access::open());
        let receiver = Receiver::new(vec![Answers::Text(String::new())]).await;
        let body = asking("echo", &json!({"text": "hi"}), &receiver.url());
        let run = made(&server, "/runs", &body).await;
        within("it is given up", until_over(&server)).await;
        assert_eq!(receiver.by_now(), 2);
        let said = heard(run.rsplit('/').next().unwrap());
        let words: Vec<_> = said.iter().filter(|words| words.contains("given up")).collect();
        assert!(words.len() == 1 && words[0].contains("(try 2)"), "{said:?}");
        assert!(words[0].contains(&receiver.port.to_string()), "{said:?}");
    }
    // Neither path nor query, which may hold a secret.
    assert_eq!((heard("hush"), heard("/hook")), (vec![], vec![]));
}

#[tokio::test]
async fn a_dead_receiver_of_one_owner_holds_up_no_other_owner() {
    let keys = [("ada", "adas"), ("ben", "bens")];
    let access = keys
        .into_iter()
        .fold(Access::open(), |access, (name, key)| access.key(Key::new(name, key)));
    let mut options = options();
    options.webhook_timeout = Duration::from_hours(1);
    let server = Server::with(EngineConfig::new(), options, access);
    let (ada, ben) = (server.saying("x-api-key", "adas"), server.saying("x-api-key", "bens"));
    let dead = [
        Receiver::new(vec![Answers::Nothing]).await,
        Receiver::new(vec![Answers::Nothing]).await,
        Receiver::new(vec![Answers::Nothing]).await,
    ];
    for receiver in &dead {
        for _ in 0..10 {
            made(&ada, "/runs", &asking("echo", &json!({"text": "hi"}), &receiver.url())).await;
        }
    }
    // Eight to one host, and sixteen of one owner.
    let by_now = || dead.iter().map(Receiver::by_now).collect::<Vec<_>>();
    while by_now().iter().sum::<usize>() < 16 {
        sleep(Duration::from_millis(5)).await;
    }
    let receiver = Receiver::new(vec![status("200 OK")]).await;
    made(&ben, "/runs", &asking("echo", &json!({"text": "hi"}), &receiver.url())).await;
    within("it is told", receiver.got(1)).await;
    assert_eq!(by_now().iter().sum::<usize>(), 16, "{:?}", by_now());
    assert!(by_now().iter().all(|count| *count <= 8), "{:?}", by_now());
}

#[tokio::test]
async fn of_what_is_deleted_between_two_tries_nothing_more_is_sent() {
    for (config, is_thread) in [
        (EngineConfig::new(), false),
        (EngineConfig::new(), true),
        (stored(), false),
        (stored(), true),
    ] {
        let server = Server::with(config, one(), Access::open());
        let receiver = Receiver::new(vec![status("503 Busy")]).await;
        let thread = server.thread().await;
        let body = asking("echo", &json!({"text": "hi"}), &receiver.url());
        let run = made(&server, &format!("/threads/{thread}/runs"), &body).await;
        within("it is tried", receiver.got(1)).await;
        let path = if is_thread { format!("/threads/{thread}") } else { run };
        assert_eq!(server.send(Method::DELETE, &path, "").await.status, 204);
        within("it is over", until_over(&server)).await;
        assert_eq!(receiver.by_now(), 1);
    }
}

#[tokio::test]
async fn what_the_store_has_forgotten_by_itself_is_sent_all_the_same() {
    let config = stored().limits(Limits::default().ended_trees_max(0));
    let server = Server::with(config, options(), Access::open());
    let receiver = Receiver::new(vec![status("503 Busy"), status("200 OK")]).await;
    let thread = server.thread().await;
    let body = asking("echo", &json!({"text": "hi"}), &receiver.url());
    let run = made(&server, &format!("/threads/{thread}/runs"), &body).await;
    within("it is tried", receiver.got(1)).await;
    let engine = server.service.engine();
    let id = quell::RunId::from_text(crate::talk::id_of(&run));
    while engine.stored_run(id).await.unwrap().is_some() {
        engine.prune_stored(&StoreRetention::new().trees_max(0)).await.unwrap();
        sleep(Duration::from_millis(5)).await;
    }
    let told = within("it is tried again", receiver.got(2)).await;
    assert_eq!(told[1].1["values"]["log"], json!(["echo:hi"]));
}

#[tokio::test]
async fn without_room_for_all_of_it_the_rest_is_told() {
    let mut limits = ServiceLimits::default();
    // A quarter of it is for what waits.
    limits.kept_bytes_max = 40_000;
    let server = Server::with(EngineConfig::new(), options(), Access::open());
    let service = server.service.clone().limits(limits);
    let app = crate::support::router(service.clone(), options());
    let server = Server { app, service, ..server };
    let receiver = Receiver::new(vec![status("200 OK")]).await;
    for (bytes, is_whole) in [(10, true), (6_000, false)] {
        let body = asking("echo", &json!({"text": "x".repeat(bytes)}), &receiver.url());
        let run = made(&server, "/runs", &body).await;
        let told = within("it is told", receiver.got(1 + usize::from(!is_whole))).await;
        let told = &told.last().unwrap().1;
        assert!(run.ends_with(told["run_id"].as_str().unwrap()), "{told}");
        assert_eq!((&told["status"], told["values"].is_null()), (&json!("success"), !is_whole));
        let keys = ["values_omitted", "metadata", "kwargs"].map(|key| told.get(key).is_some());
        assert_eq!(keys, [!is_whole, is_whole, is_whole], "{told}");
    }
}

#[tokio::test]
async fn a_run_that_timed_out_is_told_as_that() {
    let server = Server::with(EngineConfig::new(), options(), Access::open());
    let receiver = Receiver::new(vec![status("200 OK")]).await;
    let mut body = asking("slow", &json!({"ms": 60_000, "chunk_ms": 5}), &receiver.url());
    body["metadata"] = json!({ "quell_timeout_ms": 50 });
    made(&server, "/runs", &body).await;
    let (_, told) = within("it is told", receiver.got(1)).await.remove(0);
    assert_eq!(
        (&told["status"], &told["error"]["error"]),
        (&json!("timeout"), &json!("TimeoutError"))
    );
}

#[tokio::test]
async fn a_run_that_is_not_made_owes_nothing() {
    let server = Server::with(stored(), one(), Access::open());
    let receiver = Receiver::new(vec![status("200 OK")]).await;
    let thread = server.thread().await;
    server.start(&thread, "slow", json!({"ms": 60_000, "tag": "t"})).await;
    let mut body = asking("echo", &json!({"text": "hi"}), &receiver.url());
    body["multitask_strategy"] = "reject".into();
    for _ in 0..3 {
        let (code, text) = server.post(&format!("/threads/{thread}/runs"), &body).await.detail();
        assert_eq!(code, 409, "{text}");
    }
    assert_eq!(receiver.by_now(), 0);
}
