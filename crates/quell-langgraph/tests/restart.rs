use std::sync::Arc;
use std::time::SystemTime;

use quell::store::{MemoryStore, RunRecord, Store, StoreError};
use quell::{EngineConfig, Recovery, RunId, Shutdown};
use quell_http::Access;
use quell_langgraph::Options;
use quell_test_support::{Flow, Valve, ms, secs, within};
use serde_json::{Value, json};

use crate::talk::{Says, Server, id_of};

/// A server as a process has it that opened the store: the nth one.
pub(crate) async fn nth(boot: u32, store: &Arc<MemoryStore>) -> (Server, Arc<Valve>) {
    let store = Valve::reopened(store, boot);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let mut options = Options::default();
    options.end_event = true;
    let server = Server::with(config, options, Access::open());
    server.service.engine().recover(|_| Recovery::Fail).await.unwrap();
    (server, store)
}

pub(crate) async fn quiescent(server: &Server, run: &str) {
    let id = RunId::from_text(id_of(run));
    server.service.engine().get(id).unwrap().quiescent().await;
}

#[tokio::test]
async fn runs_of_threads_are_shown_joined_and_listed_after_a_restart_as_before_it() {
    let store = Arc::new(MemoryStore::new());
    let (server, _) = nth(1, &store).await;
    let mut paths = Vec::new();
    for (graph, input, cancelled) in [
        ("echo", json!({"text": "hi", "n": 1}), false),
        ("echo", json!({"messages": [{"role": "user", "content": "hi"}]}), false),
        ("slow", json!({"ms": 5, "tag": "a"}), false),
        ("slow", json!({"ms": 60_000, "tag": "b"}), true),
    ] {
        let thread = server.thread().await;
        let body = json!({
            "assistant_id": graph, "input": input, "metadata": {"mine": 1e2},
            "stream_mode": ["values", "messages"], "multitask_strategy": "enqueue",
        });
        let answer = server.post(&format!("/threads/{thread}/runs"), &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let run = answer.header("content-location").to_owned();
        if cancelled {
            server.until_ticking("b").await;
            let stopped = server.post(&format!("{run}/cancel?wait=1"), &json!({})).await;
            assert_eq!(stopped.status, 200, "{stopped:?}");
        }
        quiescent(&server, &run).await;
        let list = format!("/threads/{thread}/runs");
        paths.extend([run.clone(), format!("{run}/join"), format!("{run}/stream")]);
        paths.extend([format!("{list}?select=run_id,status"), list]);
    }
    // Who joins an earlier run gets the values that the thread has now.
    let thread = server.thread().await;
    for text in ["first", "second"] {
        let run = server.start(&thread, "echo", json!({ "text": text })).await;
        quiescent(&server, &run).await;
        paths.push(format!("{run}/join"));
    }
    let mut before = Vec::new();
    for path in &paths {
        before.push(server.get(path).await);
    }
    server.service.engine().shutdown(Shutdown::default()).await;
    let (server, _) = nth(2, &store).await;
    for (path, before) in paths.iter().zip(before) {
        let after = server.get(path).await;
        assert_eq!(
            (after.status, after.text.trim()),
            (before.status, before.text.trim()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_list_of_a_thread_is_cut_after_a_restart_as_before_it() {
    let store = Arc::new(MemoryStore::new());
    let (server, _) = nth(1, &store).await;
    let thread = server.thread().await;
    for nr in 0..25 {
        let run = server.start(&thread, "echo", json!({ "nr": nr })).await;
        quiescent(&server, &run).await;
    }
    let list = format!("/threads/{thread}/runs?select=run_id");
    let queries =
        ["", "&limit=7&offset=3", "&limit=9&offset=20", "&status=success", "&status=error"];
    let mut before = Vec::new();
    for query in queries {
        before.push(server.get(&format!("{list}{query}")).await.json());
    }
    server.service.engine().shutdown(Shutdown::default()).await;
    let (server, valve) = nth(2, &store).await;
    for (query, before) in queries.iter().zip(before) {
        assert_eq!(server.get(&format!("{list}{query}")).await.json(), before, "{query}");
    }
    let none = server.get("/threads/0195f0b1-0000-7000-8000-000000000000/runs").await;
    assert_eq!(none.status, 404, "{none:?}");
    valve.fail_reads(StoreError::Io { what: "secret-path".into() });
    let failed = server.get(&list).await;
    assert_eq!(failed.status, 503, "{failed:?}");
    assert!(!failed.text.contains("secret-path"));
}

#[tokio::test]
async fn a_stored_run_has_ended_and_its_stream_goes_on_where_its_client_was() {
    let store = Arc::new(MemoryStore::new());
    let (server, _) = nth(1, &store).await;
    let thread = server.thread().await;
    let body = json!({ "assistant_id": "echo", "input": { "text": "hi" }, "stream_resumable": true,
        "stream_mode": ["values", "updates", "messages"] });
    let run = server.post(&format!("/threads/{thread}/runs"), &body).await;
    let run = run.header("content-location").to_owned();
    quiescent(&server, &run).await;
    let cancelled = server.post(&format!("{run}/cancel"), &json!({})).await;
    let path = format!("{run}/stream");
    let whole = server.saying("last-event-id", "-1").get(&path).await;
    server.service.engine().shutdown(Shutdown::default()).await;
    let (server, valve) = nth(2, &store).await;
    let after = server.post(&format!("{run}/cancel"), &json!({})).await;
    assert_eq!((after.status, &after.text), (cancelled.status, &cancelled.text));
    let again = server.saying("last-event-id", "-1").get(&path).await;
    assert_eq!(again.text, whole.text);
    let ids: Vec<_> = whole.text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert!(ids.len() > 3, "{whole:?}");
    for id in ids {
        let rest = server.saying("last-event-id", id).get(&path).await;
        let known = whole.text.split_once(&format!("id: {id}\n\n")).unwrap().1;
        assert_eq!(rest.text, known, "{id}");
    }
    assert_eq!(server.get(&path).await.events(), [("end".to_owned(), Value::Null)]);
    valve.fail_reads(StoreError::Io { what: "secret-path".into() });
    assert_eq!(server.saying("last-event-id", "-1").get(&path).await.status, 503);
}

#[tokio::test]
async fn a_stateless_run_that_a_crash_has_cut_is_deleted_by_the_next_process() {
    let store = Arc::new(MemoryStore::new());
    let (server, _) = nth(1, &store).await;
    let mut made_before = Vec::new();
    for (after, completion) in [(0, "delete"), (3_600, "delete"), (0, "keep")] {
        let body = json!({
            "assistant_id": "slow", "input": {"ms": 60_000, "tag": completion},
            "after_seconds": after, "on_completion": completion,
        });
        let made = server.post("/runs", &body).await;
        assert_eq!(made.status, 200, "{made:?}");
        made_before.push(made.header("content-location").to_owned());
    }
    for tag in ["delete", "keep"] {
        server.until_ticking(tag).await;
    }
    // The one before does not say that it ends.
    let (next, _) = nth(2, &store).await;
    let next = next.forgetful();
    let engine = next.service.engine();
    let ids: Vec<_> = made_before.iter().map(|run| RunId::from_text(id_of(run))).collect();
    let (kept, cut) = ids.split_last().unwrap();
    for run in cut {
        within("it has left the store", async {
            while engine.stored_run(*run).await.unwrap().is_some() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    assert!(engine.stored_run(*kept).await.unwrap().is_some());
}

#[tokio::test]
async fn a_run_that_a_crash_has_cut_says_that_its_worker_was_lost() {
    let store = Arc::new(MemoryStore::new());
    let (server, _) = nth(1, &store).await;
    let thread = server.thread().await;
    let body = json!({"assistant_id": "slow", "input": {"ms": 60_000, "tag": "cut"}});
    let run = server.post(&format!("/threads/{thread}/runs"), &body).await;
    let run = run.header("content-location").to_owned();
    server.until_ticking("cut").await;
    let (next, _) = nth(2, &store).await;
    let lost = json!({"error": "WorkerLost", "message": "An internal error occurred"});
    for server in [next.forgetful(), next] {
        assert_eq!(server.get(&run).await.json()["status"], "error");
        let joined = server.get(&format!("{run}/join")).await.json();
        assert_eq!(joined["__error__"], lost);
        let thread = server.get(&format!("/threads/{thread}")).await.json();
        assert_eq!(thread["error"], lost);
    }
}

#[tokio::test]
async fn a_run_that_is_not_due_yet_waits_for_that_in_the_next_process_too() {
    let store = Arc::new(MemoryStore::new());
    let (server, _) = nth(1, &store).await;
    let thread = server.thread().await;
    let body = json!({"assistant_id": "echo", "input": {"text": "hi"}, "after_seconds": 3_600});
    let run = server.post(&format!("/threads/{thread}/runs"), &body).await;
    let run = run.header("content-location").to_owned();
    // The one before does not say that it ends.
    let store: Arc<dyn Store> = Valve::reopened(&store, 2);
    let config = EngineConfig::new().store(Arc::clone(&store));
    let next = Server::with(config, Options::default(), Access::open());
    let catalog = next.service.catalog();
    let how = |left: &RunRecord| catalog.recovery(left, &store).unwrap_or(Recovery::Fail);
    next.service.engine().recover(how).await.unwrap();
    assert_eq!(next.get(&run).await.json()["status"], "pending");
}

#[tokio::test]
async fn a_run_that_becomes_due_while_no_server_is_there_begins_in_the_next_process() {
    for is_killed in [false, true] {
        let store = Arc::new(MemoryStore::new());
        let (server, valve) = nth(1, &store).await;
        let thread = server.thread().await;
        let body = json!({"assistant_id": "echo", "input": {"text": "hi"}, "after_seconds": 0.2});
        let run = server.post(&format!("/threads/{thread}/runs"), &body).await;
        let run = run.header("content-location").to_owned();
        if is_killed {
            valve.set(Flow::Shut { stops: true });
        } else {
            server.service.engine().shutdown(Shutdown::default()).await;
        }
        let store: Arc<dyn Store> = Valve::reopened(&store, 2);
        let next = Server::with(
            EngineConfig::new().store(Arc::clone(&store)),
            Options::default(),
            Access::open(),
        );
        tokio::time::sleep(ms(300)).await;
        let catalog = next.service.catalog();
        let how = |left: &RunRecord| catalog.recovery(left, &store).unwrap_or(Recovery::Fail);
        next.service.engine().recover(how).await.unwrap();
        let joined = within("it ends", next.get(&format!("{run}/join"))).await.json();
        assert_eq!(joined["text"], "hi", "{joined}");
        assert_eq!(next.get(&run).await.json()["status"], "success");
    }
}

/// As on a guest that comes up with the clock of its host's battery.
#[tokio::test]
async fn no_turn_is_lost_behind_a_restart_with_a_clock_that_was_set_back() {
    let store = Arc::new(MemoryStore::new());
    let say = async |server: &Server, thread: &str, text: &str| {
        let body = json!({ "assistant_id": "echo", "input": { "text": text } });
        let told = server.post(&format!("/threads/{thread}/runs/wait"), &body).await.json();
        told["log"].as_array().unwrap().len()
    };
    let (first, _) = nth(1, &store).await;
    let thread = first.thread().await;
    assert!(first.service.engine().not_before(SystemTime::now() + secs(3_600)));
    assert_eq!(say(&first, &thread, "a").await, 1);
    let mut before = first;
    for boot in [2, 3] {
        before.service.engine().shutdown(Shutdown::default()).await;
        let (server, _) = nth(boot, &store).await;
        for turn in 0..2 {
            let turns = usize::try_from(boot).unwrap() * 2 - 2 + turn;
            assert_eq!(say(&server, &thread, "b").await, turns);
            let path = format!("/threads/{thread}/state");
            let values = server.get(&path).await.json()["values"].clone();
            assert_eq!(values["log"].as_array().unwrap().len(), turns, "{values}");
            if turn == 0 {
                let values = json!({ "values": { "put": boot } });
                server.post(&path, &values).await;
                assert_eq!(server.get(&path).await.json()["values"]["put"], boot);
            }
        }
        before = server;
    }
    // And one that goes on from an earlier state is the last one of its thread.
    before.service.engine().shutdown(Shutdown::default()).await;
    let (server, _) = nth(4, &store).await;
    let path = format!("/threads/{thread}");
    let history = server.get(&format!("{path}/history?limit=1000")).await.json();
    let oldest = &history.as_array().unwrap().last().unwrap()["checkpoint"]["checkpoint_id"];
    let fork = json!({ "assistant_id": "echo", "input": { "text": "fork" },
        "checkpoint_id": oldest });
    let told = server.post(&format!("{path}/runs/wait"), &fork).await.json();
    let values = server.get(&format!("{path}/state")).await.json()["values"].clone();
    assert_eq!(values["text"], "fork", "{told} {values}");
}
