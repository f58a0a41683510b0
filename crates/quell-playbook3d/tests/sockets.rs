use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use quell::{Engine, EngineConfig, RunStatus};
use quell_demo::Witness;
use quell_demo::playbook3d::{self as demo, ALICE, ALPHA, SLOW};
use quell_http::Service;
use quell_playbook3d::Options;
use quell_test_support::{Gate, soon, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::calls::workflow;
use crate::support::lab::{Lab, held};

/// Serves a router under `/playbook3d`, as a server does.
async fn serve(app: Router) -> SocketAddr {
    quell_test_support::serve(Router::new().nest("/playbook3d", app)).await
}

/// Writes a request; the connection is left open.
async fn send(to: SocketAddr, line: &str, token: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.expect("it listens");
    let request = format!(
        "{line} HTTP/1.1\r\nhost: {to}\r\nauthorization: Bearer {token}\r\nx-api-key: {ALICE}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("it reads");
    stream
}

async fn call(to: SocketAddr, line: &str, token: &str, body: &str) -> (String, Value) {
    let mut stream = send(to, line, token, body).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_lowercase(), serde_json::from_str(body).unwrap_or_default())
}

async fn token(to: SocketAddr) -> String {
    let line = format!("GET /playbook3d/token-wrapper/get-tokens/{ALICE}");
    let (_, body) = call(to, &line, "", "").await;
    body["access_token"].as_str().expect("a token").to_owned()
}

#[tokio::test]
async fn the_path_from_the_socket_to_the_work_and_back() {
    let lab = Lab::new();
    let to = serve(lab.app.clone()).await;
    let token = token(to).await;
    let (_, body) = call(to, "GET /playbook3d/get_run_id", &token, "").await;
    let id = body["run_id"].as_str().expect("an id").to_owned();
    let line = format!("POST /playbook3d/run_workflow/{ALPHA}/{id}");
    let run = json!({ "id": SLOW, "origin": 0, "inputs": { "message": "probe=wire tick_ms=2" } });
    let (head, body) = call(to, &line, &token, &run.to_string()).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!((&body["run_id"], &body["status"]), (&json!(id), &json!("queued")));
    while lab.ticks("wire") == 0 {
        sleep(Duration::from_millis(2)).await;
    }
    let line = format!("POST /playbook3d/cancel/{ALPHA}/{id}");
    let (head, body) = call(to, &line, &token, "").await;
    let ticks = lab.ticks("wire");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("quell-disposition: accepted"), "{head}");
    assert_eq!(body, json!({ "message": "Run successfully canceled." }));
    sleep(Duration::from_millis(30)).await;
    assert_eq!(lab.ticks("wire"), ticks);
    let (head, body) = call(to, "GET /playbook3d/nothing", &token, "").await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
    assert_eq!(body["result"], body["description"]);
}

#[tokio::test]
async fn a_cancel_stands_and_a_run_goes_on_when_their_client_hangs_up() {
    let let_go = Arc::new(Notify::new());
    let lab = Lab::of(held(&let_go));
    let held = workflow(&lab.alice().await, "held").await;
    let to = serve(lab.app.clone()).await;
    let token = token(to).await;
    let line = format!("POST /playbook3d/run_workflow/{ALPHA}");
    let run = json!({ "id": held, "inputs": {} });
    let (_, body) = call(to, &line, &token, &run.to_string()).await;
    let id = body["run_id"].as_str().expect("an id").to_owned();
    soon("it has begun", || lab.run(&id).status() != RunStatus::Queued).await;
    assert_eq!(lab.run(&id).status(), RunStatus::Running, "its client is gone, and it goes on");
    let line = format!("POST /playbook3d/cancel/{ALPHA}/{id}");
    let stream = send(to, &line, &token, "").await;
    while lab.run(&id).status() == RunStatus::Running {
        sleep(Duration::from_millis(1)).await;
    }
    drop(stream);
    let_go.notify_one();
    assert_eq!(lab.run(&id).ended().await.status, RunStatus::Cancelled);
}

#[test]
fn i14_a_cancel_is_answered_while_every_worker_of_the_bodies_spins() {
    let (bodies, http) = (runtime(), runtime());
    // All that follows happens while it is closed.
    let gate = Gate::new();
    let (spun, _open) = (gate.clone(), gate.at_end());
    http.block_on(async {
        let witness = Witness::default();
        let spinner = quell_flow::Component::workflow("spinner", move |_ctx, _: quell::Payload| {
            let spun = spun.clone();
            async move {
                spun.spin();
                Ok(quell::Payload::from("spun"))
            }
        });
        let engine = EngineConfig::new().runtime(bodies.handle().clone());
        let engine =
            engine.grace(Duration::from_millis(100)).abort_wait(Duration::from_millis(200));
        let engine = Engine::with_config(engine);
        let catalog = crate::support::catalog(&witness).with(spinner);
        let service = Service::new(engine, catalog).access(demo::access());
        let mut options = Options::default();
        options.cancel_wait = Duration::ZERO;
        let app = crate::support::router(service.clone(), crate::support::with_demo(options));
        let lab = Lab { service, witness, app };
        let alice = lab.alice().await;
        let spinner = workflow(&alice, "spinner").await;
        let run = alice.start(ALPHA, spinner, json!({})).await;
        while lab.run(&run).status() != RunStatus::Running {
            sleep(Duration::from_millis(1)).await;
        }
        let answer = within("it is answered", alice.cancel(ALPHA, &run)).await;
        assert_eq!(answer.header("quell-disposition"), Some("accepted"));
        let report = within("it ends", lab.run(&run).ended()).await;
        assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, false));
        let listed = alice.listed(&run).await;
        assert_eq!(listed["status"], "canceled");
        assert_eq!(listed["quell"]["quiescent"], false);
        assert_eq!(listed["quell"]["abandoned"], json!(["spinner"]));
    });
    bodies.shutdown_background();
}

/// A runtime with one worker.
fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime")
}
