//! A client in the foreground that follows a run of another node, and whose own node ends.

use quell::testing::cluster::Nodes;
use quell::{CancelRequest, Shutdown};
use quell_agentos::Options;
use quell_http::parse_id;
use quell_test_support::{Answer, secs, within};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::nodes::{site, soon_read, two};
use crate::support::Site;
use crate::support::http::{Events as _, names};

const PATH: &str = "/agents/stays";

/// Has a run ask at a node.
async fn asks(site: &Site, run: &str) {
    let form = [("message", "hi"), ("stream", "false"), ("session_id", "s"), ("run_id", run)];
    let asked = site.create(&format!("{PATH}/runs"), &form).await;
    assert_eq!(asked.json()["status"], "PAUSED", "{asked:?}");
}

/// Answers a run.
async fn answered(site: &Site, run: &str, (stream, background): (&str, &str)) -> Answer {
    let form =
        [("tools", "[]"), ("stream", stream), ("background", background), ("session_id", "s")];
    site.create(&format!("{PATH}/runs/{run}/continue"), &form).await
}

#[tokio::test]
async fn i31_a_run_that_is_followed_through_a_node_that_ends_is_cancelled() {
    let (a, b) = two();
    let mut clients = Vec::new();
    for stream in ["false", "true"] {
        asks(&a, stream).await;
        let site = b.clone();
        let follows = async move { answered(&site, stream, (stream, "false")).await };
        clients.push(tokio::spawn(follows));
        soon_read(&b, PATH, stream, "RUNNING").await;
    }
    b.service.drain();
    let ends = async {
        // A client may be about to follow its run.
        while !clients.iter().all(JoinHandle::is_finished) {
            b.service.stop_followed(secs(60)).await;
            tokio::task::yield_now().await;
        }
    };
    within("all are told", ends).await;
    b.service.engine().shutdown(Shutdown::default()).await;
    let [inline, stream] = <[_; 2]>::try_from(clients).unwrap();
    let inline = inline.await.unwrap();
    assert_eq!((inline.status.as_u16(), &inline.json()["status"]), (200, &json!("CANCELLED")));
    let stream = stream.await.unwrap().events();
    assert_eq!(names(&stream).last(), Some(&"RunCancelled"), "{stream:?}");
    for run in ["false", "true"] {
        let run = a.service.engine().get(parse_id(run).unwrap()).unwrap();
        let cause = run.report().own_row().cause.clone().unwrap();
        assert_eq!(cause.kind, quell::CauseKind::Disconnected);
    }
}

#[tokio::test]
async fn who_has_not_seen_the_end_is_not_told_of_one() {
    let (a, b) = two();
    asks(&a, "r").await;
    assert_eq!(answered(&a, "r", ("false", "true")).await.status, 202);
    soon_read(&b, PATH, "r", "RUNNING").await;
    b.service.engine().shutdown(Shutdown::default()).await;
    // The same answer once more.
    let inline = answered(&b, "r", ("false", "false")).await;
    assert_eq!(inline.status, 503, "{inline:?}");
    assert_eq!(inline.json()["detail"], "Run r was running when the wait for it ended");
    let stream = answered(&b, "r", ("true", "false")).await.events();
    assert_eq!(names(&stream).last(), Some(&"error"), "{stream:?}");
}

#[tokio::test]
async fn an_end_that_another_node_may_contradict_is_not_told() {
    let nodes = Nodes::new(secs(30));
    let a = site(&nodes.join("a"), Options::default());
    let mut clients = Vec::new();
    for stream in ["false", "true"] {
        let site = a.clone();
        clients.push(tokio::spawn(async move {
            let message = format!("ticks=100000 tick_ms=2 probe={stream}");
            let form = [
                ("message", &*message),
                ("stream", stream),
                ("session_id", "s"),
                ("run_id", stream),
            ];
            site.create("/agents/slow-agent/runs", &form).await
        }));
        a.at_work(stream, 1).await;
    }
    // Another process has its name, and its runs.
    let _again = nodes.join("a");
    for run in ["false", "true"] {
        let run = a.service.engine().get(parse_id(run).unwrap()).unwrap();
        run.cancel(CancelRequest::because("enough"));
        within("it ends", run.ended()).await;
    }
    let [inline, stream] = <[_; 2]>::try_from(clients).unwrap();
    let (inline, stream) = (inline.await.unwrap(), stream.await.unwrap().events());
    assert_eq!(inline.status, 503, "{inline:?}");
    // It ends with an error, or without an end where its node has let go of it first.
    assert!(!names(&stream).contains(&"RunCancelled"), "{stream:?}");
    for path in
        ["/agents/slow-agent/runs/false?session_id=s", "/sessions/s/runs/false", "/sessions/s/runs"]
    {
        let read = a.get(path).await;
        assert_eq!(read.status, 503, "{path}: {read:?}");
    }
    let cancelled = a.post("/agents/slow-agent/runs/false/cancel").await;
    assert_eq!(cancelled.status, 503, "{cancelled:?}");
}
