//! Webhooks: what is told of a run, to whom, and what becomes of receivers that do not listen.

use std::time::Duration;

use quell::EngineConfig;
use quell_http::{Access, Key};
use quell_langgraph::Options;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::receiver::{Receiver, Says as Answers, status};
use crate::talk::{Says as _, Server};

pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.webhook_hosts = vec!["127.0.0.1".to_owned()];
    options.webhook_timeout = Duration::from_millis(400);
    options.webhook_attempts = 2;
    options
}

fn server() -> Server {
    Server::with(EngineConfig::new(), options(), Access::open())
}

pub(crate) fn asking(graph: &str, input: &Value, url: &str) -> Value {
    json!({ "assistant_id": graph, "input": input, "webhook": url, "metadata": { "mine": 1 } })
}

#[tokio::test]
async fn the_end_of_a_run_is_told_with_its_values_and_its_error() {
    let server = server();
    for (graph, input, ended, values, error) in [
        ("echo", json!({"text": "hi"}), "success", json!({"text": "hi", "log": ["echo:hi"]}), None),
        (
            "failing",
            json!({"fail": "boom"}),
            "error",
            json!({"fail": "boom", "log": []}),
            Some(json!({"error": "ValueError", "message": "boom"})),
        ),
    ] {
        let receiver = Receiver::new(vec![status("204 No Content")]).await;
        let thread = server.thread().await;
        let body = asking(graph, &input, &receiver.url());
        let made = server.post(&format!("/threads/{thread}/runs"), &body).await;
        let run = made.json();
        let (head, told) = receiver.got(1).await.remove(0);
        assert!(head.starts_with("POST /hook?key=hush HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        for key in ["run_id", "thread_id", "assistant_id", "metadata", "kwargs", "created_at"] {
            assert_eq!(told[key], run[key], "{key}");
        }
        assert_eq!((&told["status"], &told["values"]), (&json!(ended), &values), "{told}");
        assert_eq!(told.get("error").cloned(), error, "{told}");
        for key in ["run_started_at", "run_ended_at", "webhook_sent_at", "updated_at"] {
            assert!(told[key].as_str().is_some_and(|time| time.ends_with("+00:00")), "{told}");
        }
        assert_eq!(told["multitask_strategy"], "enqueue");
    }
}

#[tokio::test]
async fn runs_without_a_thread_of_a_batch_streamed_and_waited_for_are_told_too() {
    let (server, receiver) = (server(), Receiver::new(vec![status("200 OK")]).await);
    let body = asking("echo", &json!({"text": "hi"}), &receiver.url());
    for path in ["/runs", "/runs/wait", "/runs/stream"] {
        assert_eq!(server.post(path, &body).await.status, 200, "{path}");
    }
    let batch = json!([body, body]);
    assert_eq!(server.post("/runs/batch", &batch).await.status, 200);
    for (_, told) in receiver.got(5).await {
        assert_eq!(told["values"]["log"], json!(["echo:hi"]), "{told}");
    }
}

#[tokio::test]
async fn a_stop_a_rollback_and_a_pause_are_told() {
    let server = server();
    for (action, ended, error) in
        [("interrupt", "interrupted", "UserInterrupt"), ("rollback", "rollback", "UserRollback")]
    {
        let receiver = Receiver::new(vec![status("200 OK")]).await;
        let thread = server.thread().await;
        let input = json!({"ms": 60_000, "chunk_ms": 5, "tag": action});
        let body = asking("slow", &input, &receiver.url());
        let made = server.post(&format!("/threads/{thread}/runs"), &body).await;
        server.until_ticking(action).await;
        let run = made.header("content-location");
        let cancel = format!("{run}/cancel?wait=1&action={action}");
        assert_eq!(server.post(&cancel, &json!({})).await.status, 200);
        let (_, told) = receiver.got(1).await.remove(0);
        assert_eq!((&told["status"], &told["error"]["error"]), (&json!(ended), &json!(error)));
        let message = format!("{action} requested via POST {run}/cancel");
        assert_eq!(told["error"]["message"], message, "{told}");
        assert_eq!(told["values"].is_null(), action == "rollback", "{told}");
    }
    let receiver = Receiver::new(vec![status("200 OK")]).await;
    let thread = server.thread().await;
    let body = asking("interrupting", &json!({}), &receiver.url());
    server.post(&format!("/threads/{thread}/runs"), &body).await;
    let (_, told) = receiver.got(1).await.remove(0);
    assert_eq!((&told["status"], told.get("error")), (&json!("success"), None), "{told}");
    let answer = json!({"assistant_id": "interrupting", "command": {"resume": "yes"}});
    server.post(&format!("/threads/{thread}/runs/wait"), &answer).await;
    let (_, told) = receiver.got(2).await.remove(1);
    assert_eq!(told["values"]["log"], json!(["answer:yes"]), "{told}");
}

#[tokio::test]
async fn what_is_known_not_to_be_sent_is_refused_and_nothing_is_made() {
    let server = Server::new();
    let thread = server.thread().await;
    for url in [
        "http://127.0.0.1:9/x",
        "http://localhost/x",
        "http://[::1]/x",
        "http://10.0.0.1/x",
        "http://169.254.169.254/latest",
        "http://[::ffff:127.0.0.1]/x",
        "http://[fd00::1]/x",
        "http://100.64.0.1/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
        "/x",
        "ftp://a/x",
        "hush",
        "http://u:hush@example.com/",
    ] {
        let body = asking("echo", &json!({}), url);
        for path in ["/runs", "/runs/wait", "/runs/stream", &format!("/threads/{thread}/runs")] {
            let (code, text) = server.post(path, &body).await.detail();
            assert!(code == 422 && text.starts_with("webhook: "), "{path} {url}: {code} {text}");
            assert!(!text.contains("hush") && !text.contains("latest"), "{text}");
        }
        let batch = json!([asking("echo", &json!({}), "http://a.example/"), body]);
        let (code, text) = server.post("/runs/batch", &batch).await.detail();
        assert!(code == 422 && text.starts_with("1.webhook: "), "{url}: {text}");
    }
    assert_eq!(server.service.engine().runs(&quell::RunFilter::new()).len(), 0);
    let (code, text) =
        self::server().post("/runs", &asking("echo", &json!({}), "http://a/")).await.detail();
    assert_eq!((code, text.as_str()), (422, "webhook: host not among those of webhook_hosts"));
}

#[tokio::test]
async fn a_receiver_in_trouble_is_tried_again_and_one_that_refuses_is_not() {
    let server = server();
    let later = Receiver::new(vec![status("503 Busy"), status("200 OK")]).await;
    let never = Receiver::new(vec![status("400 Bad Request")]).await;
    let elsewhere = Receiver::new(vec![status("200 OK")]).await;
    let to =
        format!("HTTP/1.1 307 There\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url());
    let redirecting = Receiver::new(vec![Answers::Text(to)]).await;
    for receiver in [&never, &redirecting, &later] {
        let body = asking("echo", &json!({"text": "hi"}), &receiver.url());
        assert_eq!(server.post("/runs/wait", &body).await.status, 200);
        receiver.got(1).await;
    }
    later.got(2).await;
    assert_eq!((never.by_now(), redirecting.by_now(), elsewhere.by_now()), (1, 1, 0));
}

#[tokio::test]
async fn receivers_that_never_end_take_no_longer_than_a_try_may_and_delay_nobody() {
    let server = server();
    let silent = Receiver::new(vec![Answers::Nothing]).await;
    let flood = Receiver::new(vec![Answers::Endless("HTTP/1.1 100 Continue\r\n\r\n")]).await;
    let head = Receiver::new(vec![Answers::Endless("x-more: yes\r\n")]).await;
    let huge = Receiver::new(vec![Answers::Endless("HTTP/1.1 200 OK\r\n\r\nbody")]).await;
    for receiver in [&silent, &flood, &head, &huge] {
        let body = asking("echo", &json!({"text": "hi"}), &receiver.url());
        let waited = server.post("/runs/wait", &body).await;
        assert_eq!(waited.json()["log"], json!(["echo:hi"]));
    }
    // Each of the tries ends, or the second one would never come.
    for receiver in [&silent, &flood, &head] {
        receiver.got(2).await;
    }
    assert_eq!(huge.got(1).await.len(), 1);
    // Nobody listens at all.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let body = asking("echo", &json!({"text": "hi"}), &format!("http://127.0.0.1:{port}/"));
    assert_eq!(server.post("/runs/wait", &body).await.status, 200);
    server.service.engine().shutdown(quell::Shutdown::default()).await;
}

#[tokio::test]
async fn one_owner_has_a_share_of_the_webhooks_that_are_owed() {
    let mut options = options();
    options.webhooks_max = 4;
    let keys = [("ada", "adas"), ("ben", "bens")];
    let access = keys
        .into_iter()
        .fold(Access::open(), |access, (name, key)| access.key(Key::new(name, key)));
    let server = Server::with(EngineConfig::new(), options, access);
    let (ada, ben) = (server.saying("x-api-key", "adas"), server.saying("x-api-key", "bens"));
    let receiver = Receiver::new(vec![status("200 OK")]).await;
    let body = asking("slow", &json!({"ms": 60_000, "tag": "t"}), &receiver.url());
    let first = ada.post("/runs", &body).await;
    assert_eq!(first.status, 200);
    let (code, text) = ada.post("/runs", &body).await.detail();
    assert!(code == 429 && text.contains("webhooks of one caller"), "{text}");
    assert_eq!(ben.post("/runs", &body).await.status, 200);
    let run = first.json();
    let path = format!(
        "/threads/{}/runs/{}/cancel?wait=1",
        run["thread_id"].as_str().unwrap(),
        run["run_id"].as_str().unwrap()
    );
    assert_eq!(ada.post(&path, &json!({})).await.status, 200);
    receiver.got(1).await;
    while ada.post("/runs", &body).await.status != 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
