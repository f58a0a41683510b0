//! Over a real socket: who leaves an inline run cancels it.

use std::net::SocketAddr;
use std::time::Duration;

use quell_test_support::serve;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::http::form;
use crate::support::{Site, fresh};

/// Sends a create request and yields the socket.
async fn create(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> TcpStream {
    let body = form(fields);
    let head = format!(
        "POST {path}/runs HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    socket
}

async fn until(site: &Site, path: &str, run: &str, is_met: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            let answer = site.get(&format!("{path}/runs/{run}?session_id=s")).await;
            if answer.status == 200 && is_met(&answer.json()) {
                return answer.json();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), wait).await.expect("it comes to pass")
}

#[tokio::test]
async fn a_client_that_leaves_an_inline_run_cancels_it() {
    let site = Site::open();
    let address = serve(site.app.clone()).await;
    for (path, stream) in [
        ("/agents/slow-agent", "true"),
        ("/agents/silent-agent", "false"),
        ("/teams/slow-team", "true"),
        ("/workflows/fn-workflow", "false"),
    ] {
        let (run, probe) = (fresh("left"), fresh("probe"));
        let message = format!("probe={probe}");
        let fields = [
            ("message", message.as_str()),
            ("stream", stream),
            ("run_id", &run),
            ("session_id", "s"),
        ];
        let socket = create(address, path, &fields).await;
        until(&site, path, &run, |run| run["status"] == "RUNNING").await;
        while site.witness.get(&probe).1.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(socket);
        let over = until(&site, path, &run, |run| run["status"] == "CANCELLED").await;
        assert_eq!(over["quell"]["cause"]["kind"], "disconnected", "{path}");
        assert_eq!(over.get("cancellation_stage"), None);
        assert!(site.witness.get(&probe).1.iter().any(|mark| mark.ends_with(":dropped")));
    }
}

#[tokio::test]
async fn a_background_stream_outlives_its_client() {
    let site = Site::open();
    let address = serve(site.app.clone()).await;
    let path = "/agents/slow-agent";
    let fields = [
        ("message", "ticks=20 tick_ms=5"),
        ("background", "true"),
        ("run_id", "b"),
        ("session_id", "s"),
    ];
    let mut socket = create(address, path, &fields).await;
    let mut first = [0; 64];
    socket.read_exact(&mut first).await.unwrap();
    drop(socket);
    let over = until(&site, path, "b", |run| run["status"] != "RUNNING").await;
    assert_eq!(over["status"], "COMPLETED");
}

#[tokio::test]
async fn the_first_frame_of_a_silent_run_comes_at_once_and_cancelled_is_stored_before_it_is_said() {
    let site = Site::open();
    let address = serve(site.app.clone()).await;
    let path = "/agents/silent-agent";
    let fields = [("message", "m"), ("run_id", "q"), ("session_id", "s")];
    let mut socket = create(address, path, &fields).await;
    let mut text = String::new();
    let mut read = async |mark: &str| {
        let mut buffer = [0; 4096];
        while !text.contains(mark) {
            let count = timeout(Duration::from_secs(2), socket.read(&mut buffer)).await;
            let count = count.expect("the stream goes on").unwrap();
            assert_ne!(count, 0, "the stream ended: {text}");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    };
    read("event: RunStarted\n").await;
    site.post(&format!("{path}/runs/q/cancel")).await;
    read("event: RunCancelled\n").await;
    let run = site.get(&format!("{path}/runs/q?session_id=s")).await.json();
    assert_eq!(run["status"], "CANCELLED");
}
