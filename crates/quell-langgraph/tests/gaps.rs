//! Streams of runs that said more than a log holds.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use futures::StreamExt;
use quell::{Failure, Payload, RunContext, limits};
use quell_flow::{Component, Emit, Nodes, Reducer};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::talk::{Says, Server, id_of};

const WORDS: usize = limits::EVENTS_PER_ROOT_MAX + 1_000;

/// Says more than a log holds, with a state before and one in the middle of what is held.
fn talker(id: &str, says_a_state: bool) -> Component {
    let body = move |ctx: RunContext, input: Payload| async move {
        for word in 0..WORDS {
            if says_a_state && (word == 1 || word == WORDS - 500) {
                let mut values: Value = input.parse().unwrap();
                values["log"] = json!([format!("at {word}")]);
                values["word"] = word.into();
                Emit::Values { values: values.into() }.send(&ctx);
            }
            Emit::custom(word).send(&ctx);
            if word % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(Payload::from(json!({ "said": WORDS })))
    };
    Component::workflow(id, body).reducer("log", Reducer::Append)
}

async fn talked(server: &Server, graph: &str) -> (String, Value) {
    let thread = server.thread().await;
    let echo = server.start(&thread, "echo", json!({"text": "before"})).await;
    server.get(&format!("{echo}/join")).await;
    let body = json!({"assistant_id": graph, "input": {"own": 1}, "stream_resumable": true,
        "stream_mode": ["values", "custom"]});
    let started = server.post(&format!("/threads/{thread}/runs"), &body).await;
    let run = started.header("content-location").to_owned();
    let values = server.get(&format!("{run}/join")).await.json();
    (run, values)
}

#[tokio::test]
async fn a_client_that_comes_back_after_more_than_a_log_holds_gets_the_values_of_the_thread() {
    let server = Server::serving([talker("states", true), talker("quiet", false)]);
    for (graph, is_state) in [("states", true), ("quiet", false)] {
        let (run, values) = talked(&server, graph).await;
        assert_eq!((&values["text"], &values["own"]), (&json!("before"), &json!(1)), "{values}");
        for from in ["-1", "0000000000000-000020"] {
            let again = server.saying("last-event-id", from);
            let again = again.get(&format!("{run}/stream")).await.events();
            let shown: Vec<_> = again.iter().filter(|(name, _)| name == "values").collect();
            assert_eq!(shown.last().map(|(_, data)| data), Some(&values), "{graph} {from}");
            for (_, shown) in &shown {
                assert_eq!((&shown["text"], &shown["own"]), (&json!("before"), &json!(1)));
            }
            assert_eq!(shown.len(), 1, "{graph}: {is_state}");
        }
    }
}

#[tokio::test]
async fn a_client_is_told_that_events_are_gone_and_only_then() {
    let server = Server::serving([talker("states", true)]);
    let (run, _) = talked(&server, "states").await;
    let from = async |id: &str| {
        let again = server.saying("last-event-id", id);
        again.get(&format!("{run}/stream")).await
    };
    let all = from("-1").await;
    let names: Vec<_> = all.events().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[..2], ["metadata", "lagged"]);
    let (_, gone) = all.events().swap_remove(1);
    assert_eq!(gone["from"], 1);
    let ids: Vec<_> = all.text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    for (place, id) in ids.iter().enumerate().step_by(701) {
        let rest = from(id).await;
        let rest_ids: Vec<_> =
            rest.text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
        assert_eq!(rest_ids, ids[place + 1..]);
        assert!(!rest.text.contains("lagged"), "nothing is missing after {id}");
    }
    let old = from("0000000000000-000020").await;
    assert!(old.text.starts_with("event: lagged\n"), "{}", &old.text[..100]);
}

/// Says a word, then waits to be asked for more than a log holds.
fn burst(more: &Arc<Notify>) -> Component {
    let more = Arc::clone(more);
    Component::workflow("burst", move |ctx: RunContext, _input| {
        let more = Arc::clone(&more);
        async move {
            Emit::content("first").send(&ctx);
            more.notified().await;
            for _ in 0..WORDS {
                Emit::content("x").send(&ctx);
            }
            Ok(Payload::from("said"))
        }
    })
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_what_it_missed_before_it_is_disconnected() {
    let more = Arc::new(Notify::new());
    let server = Server::serving([burst(&more)]);
    let thread = server.thread().await;
    let body = json!({"assistant_id": "burst", "input": {}, "stream_mode": ["messages-tuple"]});
    let request = Request::post(format!("/threads/{thread}/runs/stream"))
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()));
    let response = server.app.clone().oneshot(request.unwrap()).await.unwrap();
    let run = response.headers()["content-location"].to_str().unwrap().to_owned();
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    while !text.contains("first") {
        text.push_str(str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
    }
    more.notify_one();
    server.get(&format!("{run}/join")).await;
    while let Some(piece) = body.next().await {
        text.push_str(str::from_utf8(&piece.unwrap()).unwrap());
    }
    let frames: Vec<_> = text.split_terminator("\n\n").collect();
    let last = frames.last().unwrap();
    assert!(last.starts_with("event: lagged\ndata: {\"from\":"), "{last}");
    assert_eq!(text.matches("event: lagged").count(), 1);
    // What was said is not whole either: the run says so, and so does its message.
    let row = server.get(&run).await.json();
    assert_eq!((&row["status"], &row["quell"]["truncated"]), (&json!("success"), &json!(true)));
}

#[tokio::test]
async fn a_message_that_is_not_whole_says_so() {
    let more = Arc::new(Notify::new());
    let server = Server::serving([burst(&more)]);
    let thread = server.thread().await;
    more.notify_one();
    let body = json!({"assistant_id": "burst", "input": {}, "stream_mode": ["messages"],
        "stream_resumable": true});
    let run = server.post(&format!("/threads/{thread}/runs"), &body).await;
    let run = run.header("content-location").to_owned();
    server.get(&format!("{run}/join")).await;
    let again = server.saying("last-event-id", "-1");
    let events = again.get(&format!("{run}/stream")).await.events();
    assert!(events.iter().any(|(name, _)| name == "lagged"));
    let (_, message) = events.iter().find(|(name, _)| name == "messages/complete").unwrap();
    assert_eq!(message[0]["response_metadata"], json!({ "truncated": true }));
}

/// Says more than a log holds, then waits, then says a little more.
fn long_talker(more: &Arc<Notify>, hushed: &Arc<Notify>) -> Component {
    let (more, hushed) = (Arc::clone(more), Arc::clone(hushed));
    Component::agent("long", move |ctx: RunContext, _input| {
        let (more, hushed) = (Arc::clone(&more), Arc::clone(&hushed));
        async move {
            for word in 0..WORDS {
                Emit::content(format!("{word} ")).send(&ctx);
                if word % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            hushed.notify_one();
            more.notified().await;
            // Enough to be shown.
            Emit::content("x".repeat(600)).send(&ctx);
            Emit::content(" on").send(&ctx);
            Ok(Payload::from(Value::Null))
        }
    })
}

#[tokio::test]
async fn a_message_whose_begin_is_gone_is_shown_as_it_grows_with_all_that_was_said() {
    let (more, hushed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let server = Server::serving([long_talker(&more, &hushed)]);
    let thread = server.thread().await;
    let body = json!({"assistant_id": "long", "input": {}, "stream_mode": ["messages"],
        "stream_resumable": true});
    let run = server.post(&format!("/threads/{thread}/runs"), &body).await;
    let path = format!("{}/stream", run.header("content-location"));
    hushed.notified().await;
    let mut late = Box::pin(server.get(&path));
    assert!(futures::poll!(late.as_mut()).is_pending());
    more.notify_one();
    let late = late.await.events();
    let before = (0..WORDS).map(|word| format!("{word} ")).collect::<Vec<_>>().concat();
    let partial = |name: &String| name == "messages/partial";
    let (_, first) = late.iter().find(|(name, _)| partial(name)).expect("it goes on");
    assert_eq!(first[0]["content"], format!("{before}{}", "x".repeat(600)));
    let (name, whole) = late.last().unwrap();
    assert_eq!(name, "messages/complete");
    assert_eq!(whole[0]["content"], format!("{before}{} on", "x".repeat(600)));
    let again = server.saying("last-event-id", "-1").get(&path).await.events();
    let texts = again.iter().filter(|(name, _)| partial(name)).map(|(_, data)| &data[0]["content"]);
    let whole = whole[0]["content"].as_str().unwrap();
    let (mut count, mut bytes) = (0, 0);
    for text in texts.map(|text| text.as_str().unwrap()) {
        assert!(whole.starts_with(text) && text.len() > bytes, "{text}");
        (count, bytes) = (count + 1, text.len());
    }
    assert!(count > 10, "{count}");
}

/// Says a state with what it was given, and returns that.
fn tells_all(id: &str) -> Component {
    let body = async |ctx: RunContext, input: Payload| {
        let mut values: Value = input.parse().unwrap();
        let log = values["log"].as_array_mut().unwrap();
        log.push("told".into());
        Emit::Values { values: values.clone().into() }.send(&ctx);
        Ok(Payload::from(values))
    };
    Component::workflow(id, body).reducer("log", Reducer::Append)
}

#[tokio::test]
async fn a_state_that_no_event_has_room_for_is_what_the_run_returns_and_no_more() {
    let server = Server::serving([tells_all("tells")]);
    for bytes in [10, limits::EVENT_BYTES_MAX, 4 * limits::EVENT_BYTES_MAX] {
        let thread = server.thread().await;
        let path = format!("/threads/{thread}/runs/wait");
        let mut input = json!({"log": ["once"], "big": "x".repeat(bytes)});
        for log in [json!(["once", "told"]), json!(["once", "told", "again", "told"])] {
            let body = json!({"assistant_id": "tells", "input": input});
            let told = server.post(&path, &body).await.json();
            assert_eq!(told["log"], log);
            let state = server.get(&format!("/threads/{thread}/state")).await.json();
            assert_eq!((&state["values"]["log"], &state["next"]), (&log, &json!([])));
            assert_eq!(state["values"]["big"], input["big"]);
            input["log"] = json!(["again"]);
        }
    }
}

#[tokio::test]
async fn the_last_state_of_a_run_is_there_also_when_its_log_holds_nothing_of_it() {
    let said = Arc::new(Notify::new());
    let says = Arc::clone(&said);
    let body = move |ctx: RunContext, input: Payload| {
        let says = Arc::clone(&says);
        async move {
            let mut nodes = Nodes::begin(&ctx, input, ["one"]).await;
            nodes.leave(Payload::from(json!({ "log": "one" })), ["two"]);
            for word in 0..WORDS {
                Emit::custom(word).send(&ctx);
                if word % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            says.notify_one();
            std::future::pending::<Result<Payload, Failure>>().await
        }
    };
    let server = Server::serving([Component::workflow("long", body).nodes(["one", "two"])]);
    let thread = server.thread().await;
    let echo = server.start(&thread, "echo", json!({ "log": "before" })).await;
    server.get(&format!("{echo}/join")).await;
    let run = server.start(&thread, "long", json!({})).await;
    said.notified().await;
    for is_live in [true, false] {
        let state = server.get(&format!("/threads/{thread}/state")).await.json();
        let last = (&state["values"]["log"], &state["next"], &state["metadata"]["run_id"]);
        let id = json!(id_of(&run));
        assert_eq!(last, (&json!("one"), &json!(["two"]), &id), "{is_live}: {state}");
        let history = server.get(&format!("/threads/{thread}/history")).await.json();
        assert_eq!(history[0]["checkpoint_id"], state["checkpoint_id"], "{is_live}");
        if is_live {
            server.post(&format!("{run}/cancel?wait=1"), &Value::Null).await;
        }
    }
}
