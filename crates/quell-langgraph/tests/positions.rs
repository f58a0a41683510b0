//! Ids of events follow from the log: not from when a reader came, or what it asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use quell::{Payload, RunContext, RunSpec};
use quell_flow::{Component, Emit};
use serde_json::json;
use tokio::sync::Notify;

use crate::talk::Server;

/// Says something in every mode, waits, and says it again.
fn talker(goes_on: &Arc<Notify>) -> Component {
    let goes_on = Arc::clone(goes_on);
    Component::agent("talker", move |ctx: RunContext, _input: Payload| {
        let goes_on = Arc::clone(&goes_on);
        async move {
            say(&ctx, 1);
            goes_on.notified().await;
            say(&ctx, 2);
            let node = ctx.spawn(RunSpec::step("node"), async |ctx: RunContext| {
                Emit::content("within").send(&ctx);
                Emit::content(" it").send(&ctx);
                Ok(())
            });
            node.await?;
            Ok(Payload::from(json!("said")))
        }
    })
}

pub(crate) fn say(ctx: &RunContext, nth: u32) {
    Emit::content(format!("text {nth} ")).send(ctx);
    // Of a text that is not small not every piece is shown.
    Emit::content("x".repeat(4_000)).send(ctx);
    Emit::content("y").send(ctx);
    Emit::custom(nth).send(ctx);
    Emit::Updates { node: "n".into(), values: json!({ "nth": nth }).into() }.send(ctx);
    Emit::Reasoning { text: "so".into() }.send(ctx);
}

/// The frames of a stream by their ids.
pub(crate) fn frames(text: &str) -> BTreeMap<String, String> {
    let frames = text.split("\n\n").map(str::trim_start).filter(|frame| !frame.is_empty());
    let id =
        |frame: &str| frame.lines().find_map(|line| Some(line.strip_prefix("id: ")?.to_owned()));
    let of: Vec<_> = frames.map(|frame| (id(frame).unwrap(), frame.to_owned())).collect();
    let all: BTreeMap<_, _> = of.iter().cloned().collect();
    assert_eq!(all.len(), of.len(), "no id twice: {text}");
    assert!(of.iter().map(|(id, _)| id).is_sorted(), "{text}");
    all
}

/// Starts a talker with some modes; yields the stream of its run from `late` on, from now.
async fn told(modes: &[&str]) -> (Server, String, String) {
    let goes_on = Arc::new(Notify::new());
    let server = Server::serving([talker(&goes_on)]);
    let thread = server.thread().await;
    let body = json!({ "assistant_id": "talker", "input": {}, "stream_resumable": true,
        "stream_mode": modes, "stream_subgraphs": true });
    let started = server.post(&format!("/threads/{thread}/runs"), &body).await;
    let run = started.header("content-location").to_owned();
    let path = format!("{run}/stream");
    let mut late = Box::pin(server.get(&path));
    // It is at the wait when it has thought once, and the late reader has come after that.
    let reader = server.service.engine().get(run.rsplit('/').next().unwrap().parse().unwrap());
    let reader = reader.unwrap();
    while reader.log_bytes() == 0 || !said(&reader) {
        tokio::task::yield_now().await;
    }
    assert!(futures::poll!(late.as_mut()).is_pending());
    goes_on.notify_one();
    let late = late.await.text;
    (server, path, late)
}

fn said(run: &quell::RunRef) -> bool {
    use futures::FutureExt;
    let mut events = run.events();
    let mut count = 0;
    while let Some(Some(event)) = events.next().now_or_never() {
        count += usize::from(matches!(event.kind, quell::EventKind::Emitted(_)));
    }
    count == 6
}

const MODES: [&[&str]; 3] = [
    &["values", "updates", "custom", "messages", "tasks", "debug", "events", "checkpoints"],
    &["values", "updates", "custom", "messages-tuple", "tasks", "debug", "events"],
    &["messages"],
];

#[tokio::test]
async fn an_event_has_one_id_whoever_reads_it_and_in_whichever_modes() {
    for modes in MODES {
        let (server, path, late) = told(modes).await;
        let all = server.saying("last-event-id", "-1").get(&path).await.text;
        let all = frames(&all);
        for mode in modes {
            let narrow = server.saying("last-event-id", "0");
            let narrow = narrow.get(&format!("{path}?stream_mode={mode}")).await.text;
            for (id, frame) in frames(&narrow) {
                assert_eq!(all.get(&id), Some(&frame), "{mode}: {narrow}");
            }
        }
        let late = frames(&late);
        assert!(late.len() > 2 && late.len() < all.len(), "{late:?}");
        for (id, frame) in &late {
            // A reader that comes late is told of a message before its next piece.
            if !frame.contains("messages/metadata") {
                assert_eq!(all.get(id), Some(frame), "{modes:?}");
            }
        }
        let first = late.first_key_value().unwrap().0;
        let missed: Vec<_> =
            all.range(first.clone()..).filter(|(id, _)| !late.contains_key(*id)).collect();
        assert!(missed.is_empty(), "{missed:?}");
    }
}

#[tokio::test]
async fn whoever_comes_back_with_an_id_gets_exactly_the_rest() {
    for modes in MODES {
        let (server, path, late) = told(modes).await;
        let all = frames(&server.saying("last-event-id", "-1").get(&path).await.text);
        let mut ids: Vec<_> = frames(&late).into_keys().collect();
        ids.extend(all.keys().cloned());
        for id in ids {
            let rest = frames(&server.saying("last-event-id", &id).get(&path).await.text);
            let expected: BTreeMap<_, _> =
                all.clone().into_iter().filter(|(at, _)| *at > id).collect();
            assert_eq!(rest, expected, "{modes:?} after {id}");
        }
    }
}
