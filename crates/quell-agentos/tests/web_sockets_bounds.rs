//! What a web socket costs at most, and who gets none.

use futures::StreamExt as _;
use quell_agentos::Options;
use quell_flow::{Catalog, Component};
use quell_http::{Access, Key, Service, ServiceLimits};
use quell_test_support::secs;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::support::ws::{Client, Frame, refusal};
use crate::support::{Site, fresh};

fn with_key() -> Access {
    Access::open().key(Key::new("ada", "adas-key"))
}

/// Of components that do nothing, with bounds.
fn site(access: Access, change: impl FnOnce(&mut ServiceLimits)) -> Site {
    let idle = Component::workflow("idle", async |_ctx, _input| {
        std::future::pending::<Result<quell::Payload, quell::Failure>>().await
    });
    let large = Component::workflow("large", async |_ctx, _input| {
        Ok(quell::Payload::from("x".repeat(200_000)))
    });
    let mut limits = ServiceLimits::default();
    change(&mut limits);
    let catalog = Catalog::new().with(idle).with(large);
    let service = Service::new(quell::Engine::new(), catalog).limits(limits).access(access);
    let app = quell_agentos::router(service.clone(), Options::default());
    Site { service, witness: quell_demo::Witness::default(), app }
}

fn start(run: &str) -> Value {
    json!({ "action": "start-workflow", "workflow_id": "idle", "run_id": run })
}

#[tokio::test]
async fn a_page_of_another_origin_is_a_stranger_with_and_without_keys() {
    for (access, is_open) in [(Access::open(), true), (with_key(), false)] {
        let served = Site::new(Options::default(), access).served();
        for (headers, is_refused) in [
            (&[][..], false),
            (&[("origin", "http://localhost")], false),
            (&[("origin", "http://localhost:3000")], false),
            (&[("origin", "http://evil.example")], true),
            (&[("origin", "http://localhost:1")], true),
            (&[("origin", "null")], true),
            (&[("origin", "http://localhost"), ("origin", "http://evil.example")], true),
            (&[("sec-fetch-site", "cross-site")], true),
        ] {
            let headers: &[(&'static str, &str)] = headers;
            let asked = served.ask(headers, 1 << 12).await;
            if is_refused {
                let (status, body) = refusal(asked);
                assert_eq!(status, 403, "{headers:?}: {body}");
                let body: Value = serde_json::from_str(&body).unwrap();
                // The guard of open access speaks for all contracts.
                assert!(body["detail"].is_string());
                assert_eq!(body.get("type").is_some(), is_open, "{body}");
            } else {
                assert_eq!(asked.unwrap().json().await["event"], "connected", "{headers:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_say_who_it_is_is_sent_away_soon_and_may_not_say_much() {
    let served = site(with_key(), |_| {}).served();
    let since = Instant::now();
    let mut silent = served.open().await;
    let mut asks = served.open().await;
    for _ in 0..16 {
        let said = asks.asked(&json!({ "action": "ping" })).await;
        assert_eq!(said["event"], "auth_required");
    }
    asks.say(&json!({ "action": "ping" })).await;
    assert_eq!(asks.frame().await, Frame::End(Some(1008)), "it has asked too often");
    let mut long = served.open().await;
    let padded = json!({ "action": "ping", "more": "x".repeat(40_000) });
    assert_eq!(long.asked(&padded).await["event"], "auth_required");
    long.say(&padded).await;
    assert_eq!(long.frame().await, Frame::End(Some(1008)), "it has said too much");
    assert!(since.elapsed() < secs(10));
    let mut known = served.open_as("adas-key").await;
    assert_eq!(silent.frame().await, Frame::End(Some(1008)));
    assert!(since.elapsed() >= secs(10) && since.elapsed() < secs(11), "{:?}", since.elapsed());
    for _ in 0..50 {
        assert_eq!(known.asked(&json!({ "action": "ping" })).await["event"], "pong");
    }
}

#[tokio::test(start_paused = true)]
async fn of_those_who_have_not_said_who_they_are_there_are_few_at_once() {
    let served = site(with_key(), |_| {}).served();
    let mut all = Vec::new();
    for _ in 0..64 {
        all.push(served.open().await);
    }
    let (status, body) = refusal(served.ask(&[], 1 << 12).await);
    assert_eq!(status, 503, "{body}");
    let token = json!({ "action": "authenticate", "token": "adas-key" });
    assert_eq!(all[7].asked(&token).await["event"], "authenticated");
    served.open().await;
    drop(all);
    for _ in 0..64 {
        served.open().await;
    }
}

#[tokio::test]
async fn sockets_and_the_runs_they_follow_are_streams_of_their_owner() {
    let served = site(with_key(), |limits| limits.streams_max = 16).served();
    let mut first = served.open_as("adas-key").await;
    let mut second = served.open_as("adas-key").await;
    // Four are a quarter.
    for (client, run) in [(&mut first, "a"), (&mut second, "b")] {
        client.say(&start(run)).await;
        client.until("WorkflowStarted", false).await;
    }
    let refused = first.asked(&start("c")).await;
    let words = "streams and waits of one caller would exceed the limit of 4";
    assert_eq!(refused, json!({ "event": "error", "error": words }));
    let mut third = served.open().await;
    let token = json!({ "action": "authenticate", "token": "adas-key" });
    assert_eq!(third.asked(&token).await, json!({ "event": "auth_error", "error": words }));
    drop(second);
    // What it held is given back when the server has noticed.
    while third.asked(&token).await["event"] != "authenticated" {
        tokio::task::yield_now().await;
    }
    let served = site(Access::open(), |limits| limits.streams_max = 1).served();
    let open = served.open().await;
    assert_eq!(refusal(served.ask(&[], 1 << 12).await).0, 429);
    drop(open);
    let served = site(Access::open(), |limits| limits.long_requests_max = 1).served();
    let open = served.open().await;
    assert_eq!(refusal(served.ask(&[], 1 << 12).await).0, 503);
    drop(open);
    while served.ask(&[], 1 << 12).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_socket_follows_so_many_runs_and_no_more() {
    let site = site(Access::open(), |_| {});
    let mut client = site.served().open().await;
    let runs: Vec<_> = (0..33).map(|_| fresh("run")).collect();
    for run in &runs[..32] {
        client.say(&start(run)).await;
        client.until("WorkflowStarted", false).await;
    }
    let words = "Too many runs in flight on this connection (32); wait for some to finish or open \
                 another connection";
    let refused = json!({ "event": "error", "error": words });
    assert_eq!(client.asked(&start(&runs[32])).await, refused);
    assert!(site.service.engine().get(quell_http::parse_id(&runs[32]).unwrap()).is_none());
    let reconnect = |run: &str| json!({ "action": "reconnect", "run_id": run });
    let said = client.asked(&reconnect(&runs[32])).await;
    assert_eq!((&said["run_id"], &said["error"]), (&json!(runs[32]), &json!(words)));
    // One that it has is asked anew, and needs no more room.
    assert_eq!(client.asked(&reconnect(&runs[3])).await["event"], "catch_up");
    client.until("subscribed", true).await;
    site.post(&format!("/workflows/idle/runs/{}/cancel", runs[5])).await;
    client.until("WorkflowCancelled", false).await;
    client.say(&start(&runs[32])).await;
    client.until("WorkflowStarted", false).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_socket_and_says_so() {
    let served = site(Access::open(), |_| {}).served();
    let mut client = served.open().await;
    let fits = json!({ "action": "ping", "more": "x".repeat((64 << 10) - 40) });
    assert_eq!(client.asked(&fits).await["event"], "pong");
    for bytes in [64 << 10, 4 << 20] {
        let mut client = served.open().await;
        client.say(&json!({ "action": "ping", "more": "x".repeat(bytes) })).await;
        let said = client.json().await;
        let words = said["error"].as_str().unwrap();
        assert!(words.starts_with("The message is too large: at most 65536 bytes here"), "{said}");
        assert_eq!(
            (&said["event"], client.frame().await),
            (&json!("error"), Frame::End(Some(1009)))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_come_fast_are_taken_one_after_the_other() {
    let mut client = site(Access::open(), |_| {}).served().open().await;
    let since = Instant::now();
    for _ in 0..300 {
        assert_eq!(client.asked(&json!({ "action": "ping" })).await["event"], "pong");
    }
    let took = since.elapsed();
    assert!(took >= secs(3) && took < secs(5), "200 of them at 50 a second: {took:?}");
}

/// Reads nothing, and so answers no ping.
async fn silent(mut client: Client) -> Frame {
    sleep(secs(120)).await;
    client.frame().await
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_half_gone_is_noticed_and_one_that_only_listens_stays() {
    let site = site(with_key(), |limits| limits.streams_max = 4);
    let served = site.served();
    let gone = silent(served.open_as("adas-key").await);
    let end = tokio::spawn(gone);
    sleep(secs(60)).await;
    // What it held is free.
    drop(served.open_as("adas-key").await);
    // Its answers to the pings come too late to be taken.
    assert!(matches!(end.await.unwrap(), Frame::End(_)));
    let mut client = served.open_as("adas-key").await;
    for _ in 0..20 {
        let heard = timeout(secs(600), client.socket.next()).await;
        assert!(matches!(heard, Ok(Some(Ok(Message::Ping(_))))), "{heard:?}");
    }
    assert_eq!(client.asked(&json!({ "action": "ping" })).await["event"], "pong");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_cut_off() {
    let site = site(Access::open(), |limits| limits.streams_max = 2);
    let served = site.served();
    let mut client = served.ask(&[], 1 << 10).await.unwrap();
    let asked = json!({ "action": "start-workflow", "workflow_id": "large" });
    client.say(&asked).await;
    while site.service.engine().standing().live > 0
        || site.service.engine().runs(&quell::RunFilter::new()).is_empty()
    {
        tokio::task::yield_now().await;
    }
    sleep(secs(1)).await;
    assert_eq!(refusal(served.ask(&[], 1 << 10).await).0, 429, "it is waited for");
    sleep(secs(30)).await;
    served.ask(&[], 1 << 10).await.unwrap();
    drop(client);
}

#[tokio::test]
async fn what_a_socket_has_written_counts_until_it_is_closed() {
    let site = site(with_key(), |limits| limits.requests_bytes_max = 2_000_000);
    let served = site.served();
    let view = site
        .service
        .view(quell_agentos::CONTRACT, site.service.access_of().check_key("adas-key").unwrap());
    let mut client = served.open_as("adas-key").await;
    let asked = json!({ "action": "start-workflow", "workflow_id": "large" });
    client.say(&asked).await;
    client.until("WorkflowCompleted", false).await;
    client.asked(&json!({ "action": "ping" })).await;
    assert!(view.room_now(350_000).is_err(), "the buffer is as large as the last event");
    drop(client);
    while view.room_now(499_000).is_err() {
        tokio::task::yield_now().await;
    }
    // Room for the event, and none for the buffer: that is given up, once the client has the event.
    let _held = view.room_now(150_000).unwrap();
    let mut client = served.open_as("adas-key").await;
    client.say(&asked).await;
    client.until("WorkflowCompleted", false).await;
    assert_eq!(client.frame().await, Frame::End(Some(1013)));
}
