//! Over a real listener: a client that vanishes.

use std::net::SocketAddr;
use std::time::Duration;

use quell_test_support::serve;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::talk::Server;

async fn request(address: SocketAddr, head: &str, body: &Value) -> TcpStream {
    let body = body.to_string();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "{head} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    socket
}

async fn only_run(server: &Server, thread: &str) -> Value {
    server.get(&format!("/threads/{thread}/runs")).await.json()[0].clone()
}

async fn until_over(server: &Server, thread: &str) -> Value {
    for _ in 0..500 {
        let run = only_run(server, thread).await;
        if run["status"] != "running" && run["status"] != "pending" {
            return run;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    only_run(server, thread).await
}

#[tokio::test]
async fn a_client_that_vanishes_cancels_what_it_asked_to_cancel() {
    let server = Server::new();
    let address = serve(server.app.clone()).await;
    for kind in ["stream", "wait"] {
        let thread = server.thread().await;
        let body = json!({"assistant_id": "slow", "on_disconnect": "cancel",
            "input": {"ms": 60_000, "chunk_ms": 5, "tag": kind}});
        let socket = request(address, &format!("POST /threads/{thread}/runs/{kind}"), &body).await;
        server.until_ticking(kind).await;
        drop(socket);
        let run = until_over(&server, &thread).await;
        assert_eq!(run["status"], "interrupted", "{kind}");
        assert_eq!(run["quell"]["cause"]["kind"], "disconnected");
        server.assert_stopped(kind).await;
    }
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_the_run_alone_by_default() {
    let server = Server::new();
    let address = serve(server.app.clone()).await;
    let thread = server.thread().await;
    let body = json!({"assistant_id": "slow", "input": {"ms": 300, "chunk_ms": 5, "tag": "on"}});
    let socket = request(address, &format!("POST /threads/{thread}/runs/stream"), &body).await;
    server.until_ticking("on").await;
    drop(socket);
    assert_eq!(until_over(&server, &thread).await["status"], "success");
}

#[tokio::test]
async fn the_last_joined_client_that_leaves_cancels() {
    let server = Server::new();
    let address = serve(server.app.clone()).await;
    let thread = server.thread().await;
    let input = json!({"ms": 60_000, "chunk_ms": 5, "tag": "last"});
    let run = server.start(&thread, "slow", input).await;
    let query = "cancel_on_disconnect=1";
    let one = request(address, &format!("GET {run}/join?{query}"), &Value::Null).await;
    let mut two = request(address, &format!("GET {run}/stream?{query}"), &Value::Null).await;
    let mut piece = [0; 64];
    assert!(two.read(&mut piece).await.unwrap() > 0);
    server.until_ticking("last").await;
    drop(one);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.status(&run).await, "running");
    drop(two);
    let run = until_over(&server, &thread).await;
    assert_eq!(run["quell"]["cause"]["kind"], "disconnected");
    server.assert_stopped("last").await;
}
