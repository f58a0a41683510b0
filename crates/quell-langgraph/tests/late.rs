//! A run that starts late starts on what its thread reads as then, whatever has left meanwhile, or
//! was deleted, or has overtaken it.

use std::sync::Arc;

use quell::store::{MemoryStore, Store};
use quell::testing::cluster::Nodes;
use quell::{EngineConfig, Limits, Payload, RunContext, RunId};
use quell_flow::{Component, Reducer};
use quell_sqlite::SqliteStore;
use quell_test_support::{Catch, Counted, secs, soon, within};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::nodes::soon_status;
use crate::talk::{Server, id_of};
use crate::threads::delete;
use crate::undone::graph;

/// Appends its name at once.
pub(crate) fn quick() -> Component {
    let body = async |_ctx: RunContext, input: Payload| {
        let input: Value = input.parse().unwrap();
        Ok(Payload::from(json!({ "said": [input["own"]] })))
    };
    Component::workflow("quick", body).reducer("said", Reducer::Append)
}

/// One that has nothing in memory of a run that has ended.
pub(crate) fn brief(config: EngineConfig, go: &Arc<Semaphore>) -> Server {
    let config = config.limits(Limits::default().ended_trees_max(0));
    Server::serving_with(config, [graph("say", go), quick()])
}

pub(crate) fn body(graph: &str, own: usize) -> Value {
    json!({ "assistant_id": graph, "input": { "own": own }, "multitask_strategy": "enqueue" })
}

/// Has a run leave its name in a thread; yields its path when it is in memory no more.
pub(crate) async fn left(server: &Server, thread: &str, own: usize) -> String {
    let run = server.post(&format!("/threads/{thread}/runs/wait"), &body("quick", own)).await;
    assert_eq!(run.status, 200, "{run:?}");
    let run = run.header("content-location").to_owned();
    let engine = server.service.engine();
    soon("it leaves", || engine.get(RunId::from_text(id_of(&run))).is_none()).await;
    run
}

pub(crate) async fn made(server: &Server, thread: &str, body: &Value) -> String {
    let made = server.post(&format!("/threads/{thread}/runs"), body).await;
    assert_eq!(made.status, 200, "{made:?}");
    made.header("content-location").to_owned()
}

/// Yields the names that a thread has.
pub(crate) async fn said(server: &Server, thread: &str) -> Value {
    let state = server.get(&format!("/threads/{thread}/state")).await;
    assert_eq!(state.status, 200, "{state:?}");
    let said = state.json()["values"]["said"].clone();
    if said.is_null() { json!([]) } else { said }
}

pub(crate) async fn soon_said(server: &Server, thread: &str, all: Value) {
    within("it has left that", async {
        while said(server, thread).await != all {
            tokio::time::sleep(secs(1) / 200).await;
        }
    })
    .await;
}

/// What becomes of the run before the one that waits.
const WAYS: [&str; 3] = ["ends", "rollback", "delete"];

#[tokio::test]
async fn a_run_that_waits_starts_on_what_there_is_when_those_before_it_have_left_the_memory() {
    let file = std::env::temp_dir().join(format!("quell-late-{}.db", std::process::id()));
    let sqlite = Arc::new(SqliteStore::open(&file).unwrap());
    for (config, has_store) in [
        (EngineConfig::new(), false),
        (EngineConfig::new().store(Arc::new(MemoryStore::new())), true),
        (EngineConfig::new().store(sqlite), true),
    ] {
        let go = Arc::new(Semaphore::new(0));
        let server = brief(config, &go);
        for way in WAYS {
            let thread = server.thread().await;
            left(&server, &thread, 1).await;
            let second = left(&server, &thread, 2).await;
            let held = made(&server, &thread, &body("say", 3)).await;
            soon_status(&server, &held, "running").await;
            made(&server, &thread, &body("quick", 4)).await;
            // Without a store nobody deletes what has left the memory.
            let answer = if has_store { 204 } else { 404 };
            assert_eq!(delete(&server, &second).await.status, answer, "{way}");
            match way {
                "ends" => go.add_permits(1),
                "delete" => assert_eq!(delete(&server, &held).await.status, 204),
                _ => {
                    let path = format!("{held}/cancel?wait=1&action=rollback");
                    assert_eq!(server.post(&path, &Value::Null).await.status, 200);
                }
            }
            let all = match (way, has_store) {
                ("ends", _) => json!([1, 2, 3, 4]),
                (_, false) => json!([1, 2, 4]),
                (_, true) => json!([1, 4]),
            };
            soon_said(&server, &thread, all.clone()).await;
            if has_store {
                assert_eq!(said(&server.forgetful(), &thread).await, all, "{way}");
            }
        }
    }
    let _ = std::fs::remove_file(&file);
}

/// A server with what it reads.
pub(crate) fn counted(store: Arc<dyn Store>, config: EngineConfig) -> (Server, Arc<Counted>) {
    let store = Counted::of(store);
    let go = Arc::new(Semaphore::new(0));
    (brief(config.store(Arc::clone(&store) as _), &go), store)
}

/// Asks one thing while another one has its look at a thread wait for a run that is deleted then.
async fn while_deleted<T: Send + 'static>(
    store: &Counted,
    at: Catch,
    asks: impl Future<Output = T> + Send + 'static,
    (deleter, run): (&Server, &str),
) -> T {
    let before = store.caught();
    store.catch_gets(at);
    let asked = tokio::spawn(asks);
    soon("it looks", || store.caught() > before).await;
    store.catch_gets(None);
    assert_eq!(delete(deleter, run).await.status, 204);
    store.let_gets_go();
    within("it is answered", asked).await.unwrap()
}

#[tokio::test]
async fn who_looks_at_a_thread_takes_in_what_is_left_when_a_run_is_deleted_meanwhile() {
    for at in [Catch::Asked, Catch::Answered] {
        let (server, store) = counted(Arc::new(MemoryStore::new()), EngineConfig::new());
        for starts in [false, true] {
            let thread = server.thread().await;
            left(&server, &thread, 1).await;
            let last = left(&server, &thread, 2).await;
            let reader = server.forgetful();
            let (asker, of) = (reader.clone(), thread.clone());
            let asks = async move {
                if starts {
                    let path = format!("/threads/{of}/runs/wait");
                    asker.post(&path, &body("quick", 3)).await
                } else {
                    asker.get(&format!("/threads/{of}/state")).await
                }
            };
            let answer = while_deleted(&store, at, asks, (&reader, &last)).await;
            let all = if starts { json!([1, 3]) } else { json!([1]) };
            let told = answer.json();
            let told = if starts { &told["said"] } else { &told["values"]["said"] };
            assert_eq!((answer.status.as_u16(), told), (200, &all), "{at:?} {starts}");
            for reader in [&reader, &server.forgetful()] {
                assert_eq!(said(reader, &thread).await, all, "{at:?} {starts}");
            }
        }
    }
}

#[tokio::test]
async fn a_node_takes_in_what_is_left_when_another_one_deletes_a_run_meanwhile() {
    for (nth, at) in [Catch::Asked, Catch::Answered].into_iter().enumerate() {
        let nodes = Nodes::new(secs(30));
        let of = |name: &str| {
            let node = nodes.join(name);
            counted(Arc::clone(&node) as _, EngineConfig::new().cluster(node as _))
        };
        let (a, b) = (of("a").0, of("b"));
        let thread = a.thread().await;
        left(&a, &thread, 1).await;
        let last = left(&a, &thread, 2).await;
        let (asker, path) = (b.0.clone(), format!("/threads/{thread}/runs/wait"));
        let asks = async move { asker.post(&path, &body("quick", 3)).await };
        let told = while_deleted(&b.1, at, asks, (&a, &last)).await;
        assert_eq!((told.status.as_u16(), &told.json()["said"]), (200, &json!([1, 3])), "{at:?}");
        let late = of(&format!("late {nth}")).0;
        for reader in [&a, &b.0, &late] {
            assert_eq!(said(reader, &thread).await, json!([1, 3]), "{at:?}");
        }
    }
}

/// More than the runs of a thread that are looked at first.
const MANY: usize = 105;

#[tokio::test]
async fn a_run_that_is_due_later_keeps_what_it_has_left_however_many_have_overtaken_it() {
    let nodes = Nodes::new(secs(30));
    let go = Arc::new(Semaphore::new(0));
    let of = |name: &str| {
        let config = EngineConfig::new().node(nodes.join(name));
        Server::serving_with(config, [graph("say", &go), quick()])
    };
    let alone = brief(EngineConfig::new().store(Arc::new(MemoryStore::new())), &go);
    let (a, b) = (of("a"), of("b"));
    for [first, other] in [[&a, &b], [&alone, &alone]] {
        let thread = first.thread().await;
        let late = |own: usize, time: f64| {
            let mut late = body("quick", own);
            late["after_seconds"] = time.into();
            late
        };
        let overtaken = made(first, &thread, &late(1_000, 2.5)).await;
        let behind = made(other, &thread, &late(1_001, 2.6)).await;
        for own in 0..MANY {
            let path = format!("/threads/{thread}/runs/wait");
            let told = other.post(&path, &body("quick", own)).await;
            assert_eq!(told.status, 200, "{told:?}");
        }
        for run in [overtaken, behind] {
            soon_status(first, &run, "success").await;
        }
        let last = other.forgetful();
        let told = last.post(&format!("/threads/{thread}/runs/wait"), &body("quick", 1_002)).await;
        let mut told: Vec<usize> = serde_json::from_value(told.json()["said"].clone()).unwrap();
        told.sort_unstable();
        let all: Vec<_> = (0..MANY).chain(1_000..=1_002).collect();
        assert_eq!(told, all);
        for reader in [first, other, &last, &first.forgetful()] {
            let shown = said(reader, &thread).await;
            assert_eq!(shown.as_array().map(Vec::len), Some(MANY + 3));
        }
    }
}

#[tokio::test]
async fn a_run_on_values_that_it_could_not_keep_is_shown_on_them_however_many_came_behind_it() {
    let go = Arc::new(Semaphore::new(0));
    let server = brief(EngineConfig::new().store(Arc::new(MemoryStore::new())), &go);
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    let large = "x".repeat(1_100_000);
    let mut second = String::new();
    for own in 0..200 {
        let mut body = body("quick", own);
        match own {
            0 => body["input"]["text"] = large.as_str().into(),
            2 => body["input"]["text"] = "".into(),
            _ => {}
        }
        let told = server.post(&path, &body).await;
        assert_eq!(told.status, 200, "{told:?}");
        if own == 1 {
            second = id_of(told.header("content-location")).to_owned();
        }
    }
    let state = server.forgetful().get(&format!("/threads/{thread}/state/{second}")).await;
    assert_eq!(state.status, 200, "{state:?}");
    let values = &state.json()["values"];
    assert_eq!((&values["said"], &values["own"]), (&json!([0, 1]), &json!(1)));
    assert_eq!(values["text"].as_str().map(str::len), Some(large.len()));
}

#[tokio::test]
async fn one_that_was_due_later_long_ago_hides_none_of_those_that_have_ended_since() {
    let go = Arc::new(Semaphore::new(0));
    let server = brief(EngineConfig::new().store(Arc::new(MemoryStore::new())), &go);
    let thread = server.thread().await;
    let mut late = body("quick", 0);
    late["after_seconds"] = 0.01.into();
    let late = made(&server, &thread, &late).await;
    soon_status(&server, &late, "success").await;
    let mut large = body("quick", 1);
    large["input"]["text"] = "x".repeat(1_100_000).into();
    let path = format!("/threads/{thread}/runs/wait");
    assert_eq!(server.post(&path, &large).await.status, 200);
    // From here on no run keeps on what it has started, and this reader knows what there was.
    let reader = server.forgetful();
    assert_eq!(said(&reader, &thread).await, json!([0, 1]));
    let mut last = String::new();
    for own in 2..40 {
        last = left(&server, &thread, own).await;
    }
    let state = reader.get(&format!("/threads/{thread}/state/{}", id_of(&last))).await;
    assert_eq!(state.status, 200, "{state:?}");
    let all: Vec<_> = (0..40).collect();
    assert_eq!(state.json()["values"]["said"], json!(all));
}

#[tokio::test]
async fn of_two_that_were_due_later_and_overtaken_both_are_in_what_is_made_of_all_of_them() {
    let go = Arc::new(Semaphore::new(0));
    let server = brief(EngineConfig::new().store(Arc::new(MemoryStore::new())), &go);
    let thread = server.thread().await;
    let mut late = Vec::new();
    for (own, time) in [(1_000, 2.5), (1_001, 2.6)] {
        let mut body = body("quick", own);
        body["after_seconds"] = time.into();
        late.push(made(&server, &thread, &body).await);
    }
    let path = format!("/threads/{thread}/runs/wait");
    for own in 0..45 {
        let mut body = body("quick", own);
        if own == 22 {
            // From here on none keeps on what it has started.
            body["input"]["text"] = "x".repeat(1_100_000).into();
        }
        if own == 24 {
            for late in &late {
                soon_status(&server, late, "success").await;
            }
        }
        assert_eq!(server.post(&path, &body).await.status, 200);
    }
    let told = said(&server.forgetful(), &thread).await;
    let mut told: Vec<usize> = serde_json::from_value(told).unwrap();
    told.sort_unstable();
    assert_eq!(told, (0..45).chain(1_000..1_002).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_run_that_would_leave_more_than_a_thread_may_have_leaves_what_was_before_it() {
    let go = Arc::new(Semaphore::new(0));
    let server = brief(EngineConfig::new().store(Arc::new(MemoryStore::new())), &go);
    let thread = server.thread().await;
    for key in ["a", "b", "c"] {
        let mut body = body("quick", 0);
        body["input"][key] = "x".repeat(6 << 20).into();
        let told = server.post(&format!("/threads/{thread}/runs/wait"), &body).await;
        assert_eq!(told.status, 200, "{key}");
    }
    for reader in [&server, &server.forgetful()] {
        let row = reader.get(&format!("/threads/{thread}")).await.json();
        let mut keys: Vec<_> = row["values"].as_object().unwrap().keys().collect();
        keys.sort_unstable();
        assert_eq!(keys, ["a", "b", "own", "said"]);
    }
    let path = format!("/threads/{thread}/runs/wait");
    let told = server.forgetful().post(&path, &body("quick", 1)).await;
    assert_eq!(told.json()["said"], json!([0, 0, 1]));
}
