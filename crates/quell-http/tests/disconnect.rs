use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use futures::StreamExt;
use http_body_util::BodyExt;
use quell::{CauseKind, EngineConfig, Payload, RunRef, RunStatus};
use quell_flow::ComponentKind;
use quell_http::{
    Heartbeat, NATIVE, OnDisconnect, Principal, Service, Start, parse_id, router, stream_body,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::support::{Client, Pieces, Witness, serve, service_with, soon};

/// Starts the sleeper and waits for it, as an adapter's non-stream request does.
async fn wait_inline(State(service): State<Service>) -> &'static str {
    let view = service.view(NATIVE, Principal::anonymous());
    let sleeper = view.component(ComponentKind::Agent, "sleeper").unwrap();
    let start = Start::new(sleeper, Payload::from("x")).id("inline");
    let run = view.start(start).await.unwrap().run;
    service.ended(&run, OnDisconnect::Cancel).await;
    "through"
}

async fn server(witness: &Witness) -> (Service, SocketAddr) {
    let service = service_with(EngineConfig::new(), witness);
    let extra = Router::new().route("/inline", post(wait_inline)).with_state(service.clone());
    let to = serve(router(service.clone()).merge(extra)).await;
    (service, to)
}

async fn started(service: &Service, to: SocketAddr) -> RunRef {
    let body = r#"{"component":{"kind":"agent","id":"sleeper"},"id":"r"}"#;
    Client::connect(to).await.send("POST", "/v1/runs", body).await.rest().await;
    service.engine().get(parse_id("r").unwrap()).unwrap()
}

async fn follow(to: SocketAddr, query: &str) -> (Client, Pieces) {
    let mut client = Client::connect(to).await;
    let path = format!("/v1/runs/r/events{query}");
    let mut events = client.send("GET", &path, "").await;
    events
        .until(
            "event: started
",
        )
        .await;
    (client, events)
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_the_run_alone_unless_it_asked() {
    let witness = Witness::default();
    let (service, to) = server(&witness).await;
    let run = started(&service, to).await;
    for query in ["", "?on_disconnect=continue"] {
        drop(follow(to, query).await);
    }
    sleep(Duration::from_millis(100)).await;
    assert_eq!(run.status(), RunStatus::Running);
    drop(follow(to, "?on_disconnect=cancel").await);
    soon("the run is stopped", || run.status() == RunStatus::Cancelled).await;
    assert_eq!(run.row().cause.unwrap().kind, CauseKind::Disconnected);
    assert_eq!(witness.inside(), 0);
}

#[tokio::test]
async fn the_run_is_stopped_when_the_last_client_is_gone_that_asked() {
    let (service, to) = server(&Witness::default()).await;
    let run = started(&service, to).await;
    let first = follow(to, "?on_disconnect=cancel").await;
    let second = follow(to, "?on_disconnect=cancel").await;
    let onlooker = follow(to, "").await;
    drop(first);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(run.status(), RunStatus::Running, "one of them is still there");
    drop(second);
    soon("the run is stopped", || run.status() == RunStatus::Cancelled).await;
    drop(onlooker);
}

#[tokio::test]
async fn a_client_that_vanishes_from_a_waiting_request_is_a_disconnect_too() {
    let witness = Witness::default();
    let (service, to) = server(&witness).await;
    let mut socket = TcpStream::connect(to).await.unwrap();
    let request = "POST /inline HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    soon("the body is at work", || witness.inside() == 1).await;
    drop(socket);
    soon("nothing executes", || witness.inside() == 0).await;
    let run = service.engine().get(parse_id("inline").unwrap()).unwrap();
    assert_eq!(run.ended().await.cause.as_ref().unwrap().kind, CauseKind::Disconnected);
}

#[tokio::test]
async fn an_answer_that_comes_to_its_end_stops_nothing() {
    let (service, to) = server(&Witness::default()).await;
    let waiting = tokio::spawn(async move {
        Client::connect(to).await.send("POST", "/inline", "").await.rest().await
    });
    let id = parse_id("inline").unwrap();
    soon("the run is there", || service.engine().get(id).is_some()).await;
    let run = service.engine().get(id).unwrap();
    let mut client = Client::connect(to).await;
    let events = client.send("GET", "/v1/runs/inline/events?on_disconnect=cancel", "").await;
    let body = r#"{"reason":"by hand"}"#;
    Client::connect(to).await.send("POST", "/v1/runs/inline/cancel", body).await.rest().await;
    assert_eq!(waiting.await.unwrap(), "through");
    assert!(events.rest().await.contains("event: ended\n"));
    let cause = run.row().cause.unwrap();
    assert_eq!((cause.kind, cause.message.as_deref()), (CauseKind::UserRequest, Some("by hand")));
}

#[tokio::test]
async fn a_guard_is_counted_per_run_and_forgotten() {
    let service = service_with(EngineConfig::new(), &Witness::default());
    let sleep = async |_ctx| {
        std::future::pending::<()>().await;
        Ok(())
    };
    let one = service.engine().submit(quell::RunSpec::agent("one"), sleep).unwrap().into_ref();
    let two = service.engine().submit(quell::RunSpec::agent("two"), sleep).unwrap().into_ref();
    let (a, b) =
        (service.guard(&one, OnDisconnect::Cancel), service.guard(&two, OnDisconnect::Cancel));
    drop(a);
    assert_eq!(one.ended().await.status, RunStatus::Cancelled);
    assert!(!two.status().is_terminal());
    let c = service.guard(&two, OnDisconnect::Cancel);
    drop(b);
    assert!(two.row().stopped_at.is_none(), "another client is there");
    drop(c);
    assert_eq!(two.ended().await.status, RunStatus::Cancelled, "the last one went");
}

#[tokio::test]
async fn a_client_that_the_server_disconnects_is_gone_too() {
    let (service, to) = server(&Witness::default()).await;
    let run = started(&service, to).await;
    // As for a reader that is too slow: the stream ends, and the run does not.
    let pieces = futures::stream::iter(["the first words".into()]);
    let guard = service.guard(&run, OnDisconnect::Cancel);
    let body = stream_body(pieces, Heartbeat::none(), Some(guard));
    assert_eq!(body.collect().await.unwrap().to_bytes(), "the first words");
    run.ended().await;
    assert_eq!(run.row().cause.unwrap().kind, CauseKind::Disconnected);
    let body = r#"{"component":{"kind":"agent","id":"sleeper"},"id":"s"}"#;
    Client::connect(to).await.send("POST", "/v1/runs", body).await.rest().await;
    let run = service.engine().get(parse_id("s").unwrap()).unwrap();
    let guard = service.guard(&run, OnDisconnect::Cancel);
    let pieces = futures::stream::iter(["a", "b"]).map(bytes::Bytes::from);
    drop(stream_body(pieces, Heartbeat::none(), Some(guard)));
    assert_eq!(run.ended().await.status, RunStatus::Cancelled, "it was never sent");
}
