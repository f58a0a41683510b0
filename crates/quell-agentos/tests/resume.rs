//! A stream in the background goes on after its client was away (contract, section 8).

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use http_body_util::BodyExt as _;
use quell::store::{MemoryStore, Store};
use quell::{Engine, EngineConfig, Limits, Payload, RunContext};
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, Component, Emit};
use quell_http::Access;
use quell_test_support::{Answer, Counted, Gate, Valve};
use serde_json::{Value, json};
use tokio::task::yield_now;
use tower::ServiceExt as _;

use crate::nodes::{PATHS, soon_read, soon_running, two};
use crate::restart::nth;
use crate::support::http::{Events, KINDS, events, names, post_form, read, refused, start};
use crate::support::{Site, fresh};

pub(crate) async fn create(site: &Site, path: &str, run: &str, message: &str) -> Answer {
    let fields =
        [("message", message), ("background", "true"), ("run_id", run), ("session_id", "s")];
    site.create(&format!("{path}/runs"), &fields).await
}

pub(crate) async fn resume(site: &Site, path: &str, run: &str, last: Option<i64>) -> Vec<Value> {
    let last = last.map(|last| last.to_string());
    let fields: Vec<_> = last.iter().map(|last| ("last_event_index", last.as_str())).collect();
    let answer = site.create(&format!("{path}/runs/{run}/resume"), &fields).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
    answer.events()
}

/// Tells the events that are numbered, each with what it says: but for an end, of whose whole text
/// a part may be gone where the log is small.
pub(crate) fn numbered(events: &[Value]) -> Vec<(u64, String, Value)> {
    let told = events.iter().filter_map(|event| {
        let name = event["event"].as_str().unwrap().to_owned();
        let is_end = name.ends_with("Completed");
        let said = if is_end { Value::Null } else { event["content"].clone() };
        Some((event["event_index"].as_u64()?, name, said))
    });
    told.collect()
}

#[tokio::test]
async fn an_ended_run_is_replayed_behind_any_of_its_events() {
    let site = Site::open();
    let paths = KINDS.iter().map(|(path, ..)| *path);
    let number = |count: usize| i64::try_from(count).unwrap();
    for path in paths.chain(["/workflows/fn-workflow", "/workflows/short-workflow"]) {
        let run = fresh("run");
        let all = numbered(&create(&site, path, &run, "ticks=2 tick_ms=1").await.events());
        let count = number(all.len());
        assert!((0..).zip(&all).all(|(index, (told, ..))| index == *told), "{path}: {all:?}");
        for last in [None, Some(-5), Some(-1), Some(0), Some(1), Some(count - 2)] {
            let told = resume(&site, path, &run, last).await;
            let from = usize::try_from(last.unwrap_or(-1).max(-1) + 1).unwrap();
            assert_eq!(numbered(&told), all[from..], "{path} {last:?}");
            let head = json!({
                "event": "replay", "run_id": run, "status": "COMPLETED",
                "total_events": all.len() - from, "total_buffered": all.len(),
                "last_event_index_requested": number(from) - 1,
                "message": format!(
                    "Run COMPLETED. Replaying {} missed events (of {count} total).",
                    all.len() - from,
                ),
            });
            assert_eq!((&told[0], told.len()), (&head, all.len() - from + 1), "{path}");
        }
        for beyond in [count - 1, count + 7, i64::MAX] {
            let told = resume(&site, path, &run, Some(beyond)).await;
            assert_eq!((told.len(), &told[0]["total_events"]), (1, &json!(0)), "{beyond}");
        }
    }
}

/// Says two words, and when the gate is open a third one.
fn speaker(gate: &Gate) -> Component {
    let gate = gate.clone();
    Component::agent("speaker", move |ctx: RunContext, _input: Payload| {
        let gate = gate.clone();
        async move {
            Emit::content("a").send(&ctx);
            Emit::content("b").send(&ctx);
            while !gate.is_open() {
                yield_now().await;
            }
            Emit::content("c").send(&ctx);
            Ok(Payload::from(Value::Null))
        }
    })
}

/// Begins a request and yields its answer without the events.
async fn begin(site: &Site, request: Request<Body>) -> Response {
    site.app.clone().oneshot(request).await.unwrap()
}

async fn rest(answer: Response) -> Vec<Value> {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    events(std::str::from_utf8(&bytes).unwrap())
}

#[tokio::test]
async fn a_live_run_is_caught_up_with_and_followed_to_its_end() {
    let gate = Gate::new();
    let (site, run) = (Site::of(speaker(&gate)), fresh("run"));
    let fields = [("message", "m"), ("background", "true"), ("run_id", &*run)];
    // A client that leaves before it has read anything.
    drop(begin(&site, post_form("/agents/speaker/runs", &fields)).await);
    let id = quell_http::parse_id(&run).unwrap();
    let live = site.service.engine().get(id).unwrap();
    while quell_http::events_by_now(&live, 0).count() < 4 {
        yield_now().await;
    }
    let path = format!("/agents/speaker/runs/{run}/resume");
    let mut answers = Vec::new();
    for last in ["0", "2", "77"] {
        answers.push(begin(&site, post_form(&path, &[("last_event_index", last)])).await);
    }
    gate.open();
    let answer = answers.remove(0);
    let told = rest(answer).await;
    let expected = [
        "catch_up",
        "RunContent",
        "RunContent",
        "subscribed",
        "RunContent",
        "RunContentCompleted",
        "RunCompleted",
    ];
    assert_eq!(names(&told), expected);
    let head = json!({
        "event": "catch_up", "run_id": run, "status": "running", "missed_events": 2,
        "current_event_count": 3, "message": "Catching up on 2 missed events.",
    });
    assert_eq!(told[0], head);
    let head = json!({
        "event": "subscribed", "run_id": run, "status": "running", "current_event_count": 3,
        "message": "Subscribed to agent run. Receiving live events.",
    });
    assert_eq!(told[3], head);
    let indices: Vec<_> = numbered(&told).into_iter().map(|(index, ..)| index).collect();
    assert_eq!(indices, [1, 2, 3, 4, 5]);
    let told = rest(answers.remove(0)).await;
    assert_eq!(names(&told), [&["subscribed"], &expected[4..]].concat());
    let told = rest(answers.remove(0)).await;
    assert_eq!(names(&told), ["subscribed"], "it has more than there will be");
}

#[tokio::test]
async fn what_has_no_stream_says_so_in_one_event() {
    let site = Site::open();
    let path = "/agents/short-agent";
    let waited = start(&site, path, "m", "s").await;
    let streamed = fresh("run");
    create(&site, path, &streamed, "m").await;
    while read(&site, path, &waited, "s").await["status"] != "COMPLETED" {
        yield_now().await;
    }
    let told = resume(&site, path, &waited, None).await;
    let head = json!({
        "event": "replay", "run_id": waited, "status": "COMPLETED", "total_events": 0,
        "message": "Run COMPLETED with no stored events: a run submitted without stream=true \
                    and background=true keeps only its final output.",
    });
    assert_eq!(told, [head]);
    let of = |run: &str| {
        let error = format!("Run {run} not found in buffer or database");
        json!({ "event": "error", "error": error })
    };
    assert_eq!(resume(&site, path, "nope", None).await, [of("nope")]);
    assert_eq!(resume(&site, "/agents/slow-agent", &streamed, None).await, [of(&streamed)]);
    let path = format!("{path}/runs/{streamed}/resume");
    let told = site.create(&path, &[("session_id", "other")]).await.events();
    assert_eq!(told, [of(&streamed)]);
    let told = site.create(&path, &[("session_id", "s"), ("last_event_index", "")]).await.events();
    assert_eq!(told.len(), 9);
    assert_eq!(site.post(&path).await.events(), told, "an empty body asks for all of it");
    let answer = site.create(&path, &[("last_event_index", "x")]).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", "last_event_index"]));
    let answer = site.post("/agents/nope/runs/r/resume").await;
    refused(&answer, 404, "Agent not found", Some("NOT_FOUND"));
}

/// Says as many words as its message asks for, and lets others read each.
fn talker() -> Component {
    Component::agent("talker", async |ctx: RunContext, input: Payload| {
        let words: usize = input.parse::<String>()?.parse()?;
        for word in 0..words {
            Emit::content(format!("{word} ")).send(&ctx);
            // An event without a line, so that numbers of events and of lines are not alike.
            ctx.progress(0.5);
            yield_now().await;
        }
        Ok(Payload::from(Value::Null))
    })
}

/// Yields what is numbered of a talker with so many words.
pub(crate) fn of_talker(words: u64) -> Vec<(u64, String, Value)> {
    let said = (0..words).map(|word| ("RunContent", json!(format!("{word} "))));
    let ends = [("RunContentCompleted", Value::Null), ("RunCompleted", Value::Null)];
    let all = [("RunStarted", Value::Null)].into_iter().chain(said).chain(ends);
    (0..).zip(all).map(|(index, (name, content))| (index, name.to_owned(), content)).collect()
}

fn small(store: Option<Arc<dyn Store>>) -> Site {
    small_of(talker(), store)
}

pub(crate) fn small_of(talker: Component, store: Option<Arc<dyn Store>>) -> Site {
    let limits = Limits::default().events_per_root_max(64);
    let mut config = EngineConfig::new().limits(limits);
    if let Some(store) = store {
        config = config.store(store);
    }
    let catalog = Catalog::new().with(talker);
    let (options, access) = (Options::default(), Access::open());
    Site::made_of(Witness::default(), catalog, Engine::with_config(config), options, access)
}

#[tokio::test]
async fn where_the_log_has_dropped_events_the_others_keep_their_numbers() {
    let (site, run) = (small(None), fresh("run"));
    let all = of_talker(500);
    let told = create(&site, "/agents/talker", &run, "500").await.events();
    assert_eq!(numbered(&told), all, "nobody was too slow");
    let told = resume(&site, "/agents/talker", &run, Some(99)).await;
    let kept = numbered(&told);
    assert_eq!(told[1]["event"], "lagged");
    assert!(kept.len() > 20 && kept.len() < 100, "{}", kept.len());
    assert_eq!(kept, all[all.len() - kept.len()..]);
    let gone = all.len() - kept.len() - 100;
    let message = format!(
        "Run COMPLETED. Replaying {} missed events (of 503 total). {gone} more are gone.",
        kept.len(),
    );
    assert_eq!(told[0]["message"], message);
    let told = numbered(&resume(&site, "/agents/talker", &run, None).await);
    assert_eq!(told[0], all[0], "the ids of a run are told in any case");
    assert_eq!(told[1..], kept);
    let last = i64::try_from(kept[3].0).unwrap();
    assert_eq!(numbered(&resume(&site, "/agents/talker", &run, Some(last)).await), kept[4..]);
}

#[tokio::test]
async fn what_the_log_has_dropped_is_read_from_the_store_also_after_a_restart() {
    let store = Arc::new(MemoryStore::new());
    let (site, run) = (small(Some(Arc::clone(&store) as _)), fresh("run"));
    create(&site, "/agents/talker", &run, "500").await;
    let all = of_talker(500);
    let id = quell_http::parse_id(&run).unwrap();
    site.service.engine().get(id).unwrap().stored().await.unwrap();
    let (later, _) = nth(2, &store).await;
    for last in [-1, 3, 250, 501] {
        let from = usize::try_from(last + 1).unwrap();
        let told = numbered(&resume(&site, "/agents/talker", &run, Some(last)).await);
        assert_eq!(told, all[from..], "{last}");
    }
    let path = "/teams/slow-team";
    let all = numbered(&create(&later, path, "team", "ticks=2 tick_ms=1").await.events());
    later
        .service
        .engine()
        .get(quell_http::parse_id("team").unwrap())
        .unwrap()
        .stored()
        .await
        .unwrap();
    let (last, _) = nth(3, &store).await;
    assert_eq!(numbered(&resume(&last, path, "team", Some(4)).await), all[5..]);
}

#[tokio::test]
async fn what_a_client_has_of_a_run_that_is_only_in_the_store_is_read_once() {
    let (store, path, run) = (Arc::new(MemoryStore::new()), "/agents/slow-agent", fresh("run"));
    let (first, _) = nth(1, &store).await;
    create(&first, path, &run, "ticks=500 tick_ms=0").await;
    let id = quell_http::parse_id(&run).unwrap();
    first.service.engine().get(id).unwrap().stored().await.unwrap();
    let counted = Counted::of(Valve::reopened(&store, 2) as _);
    let later = small(Some(Arc::clone(&counted) as _));
    let all = numbered(&resume(&later, path, &run, None).await);
    assert!(all.len() > 500, "{}", all.len());
    let (last, before) = (all.len() - 2, counted.reads());
    let told = resume(&later, path, &run, Some(i64::try_from(last).unwrap())).await;
    assert_eq!(numbered(&told), all[last + 1..]);
    let reads = counted.reads() - before;
    // Each page, and whose it is.
    assert!(reads <= 40, "{reads} reads, and the log has some 16 pages");
    // Who has all of it is told nothing more.
    for last in [all.len() - 1, all.len() + 7] {
        let told = resume(&later, path, &run, Some(i64::try_from(last).unwrap())).await;
        let [replay] = &told[..] else { panic!("{told:?}") };
        assert_eq!((&replay["event"], &replay["status"]), (&json!("replay"), &json!("COMPLETED")));
    }
}

#[tokio::test]
async fn another_node_goes_on_with_the_stream_of_a_run() {
    let (a, b) = two();
    for path in PATHS {
        let run = fresh("run");
        let message = "ticks=30 tick_ms=3";
        let fields =
            [("message", message), ("background", "true"), ("run_id", &run), ("session_id", "s")];
        let first = begin(&a, post_form(&format!("{path}/runs"), &fields)).await;
        soon_running(&b, path, &run).await;
        let (all, told) = tokio::join!(rest(first), resume(&b, path, &run, Some(1)));
        assert!(told.iter().any(|event| event["event"] == "subscribed"), "{path}");
        assert_eq!(numbered(&told), numbered(&all)[2..], "{path}");
    }
}

#[tokio::test]
async fn steps_that_an_agent_does_are_counted_as_they_are_told() {
    let (a, b) = two();
    let (path, run) = ("/workflows/parts", fresh("run"));
    let all = numbered(&create(&a, path, &run, "m").await.events());
    assert_eq!(all.last().unwrap().1, "WorkflowPaused", "{all:?}");
    soon_read(&b, path, &run, "PAUSED").await;
    for last in 0..all.len() {
        for site in [&a, &b] {
            let told = resume(site, path, &run, Some(i64::try_from(last).unwrap())).await;
            assert_eq!(numbered(&told), all[last + 1..], "{last}");
            assert_eq!(told[0]["total_buffered"], all.len());
        }
    }
}

#[tokio::test]
async fn the_numbers_of_a_run_that_is_continued_go_on() {
    let (a, b) = two();
    for (site, is_far) in [(&a, false), (&b, true)] {
        let run = fresh("run");
        let mut all = numbered(&create(&a, "/agents/asks", &run, "m").await.events());
        assert_eq!(all.last().unwrap().1, "RunPaused");
        if is_far {
            soon_read(site, "/agents/asks", &run, "PAUSED").await;
        }
        let told = resume(site, "/agents/asks", &run, Some(0)).await;
        assert_eq!((&told[0]["status"], numbered(&told)), (&json!("PAUSED"), all[1..].to_vec()));
        let fields = [("tools", "[]"), ("background", "true")];
        let path = format!("/agents/asks/runs/{run}/continue");
        let more = numbered(&site.create(&path, &fields).await.events());
        assert_eq!(more[0].0, all.len() as u64, "{more:?}");
        all.extend(more);
        soon_read(site, "/agents/asks", &run, "COMPLETED").await;
        for from in 0..all.len() {
            let last = i64::try_from(from).unwrap() - 1;
            let told = resume(site, "/agents/asks", &run, Some(last)).await;
            assert_eq!(numbered(&told), all[from..], "{last} {is_far}");
        }
    }
}

#[tokio::test]
async fn the_end_of_a_run_that_is_cancelled_while_it_asks_comes_behind_its_pause() {
    let (a, b) = two();
    let run = fresh("run");
    let mut all = numbered(&create(&a, "/agents/asks", &run, "m").await.events());
    a.post(&format!("/agents/asks/runs/{run}/cancel")).await;
    all.push((all.len() as u64, "RunCancelled".into(), json!("")));
    for site in [&a, &b] {
        soon_read(site, "/agents/asks", &run, "CANCELLED").await;
        for from in 0..all.len() {
            let last = i64::try_from(from).unwrap() - 1;
            let told = resume(site, "/agents/asks", &run, Some(last)).await;
            assert_eq!(told[0]["total_events"], all.len() - from, "{last}");
            assert_eq!(numbered(&told), all[from..], "{last}");
        }
    }
}
