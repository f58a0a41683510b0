//! What a run gets of the earlier ones of its session (contract, section 10).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use quell::store::{MemoryStore, Store, StoreError};
use quell::{Engine, EngineConfig, Payload, Shutdown};
use quell_flow::ComponentKind;
use quell_flow::limits::HISTORY_BYTES_MAX;
use quell_http::{Access, Key, NATIVE, Principal, Start};
use quell_sqlite::SqliteStore;
use quell_test_support::{Answer, Valve};
use serde_json::json;

use crate::continued_again::{place, remove};
use crate::sessions::ran;
use crate::support::fresh;
use crate::support::http::{post_form, refused};
use crate::support::talkers::{Heard, TALKERS, begun, nodes, open, process, said};

const JSON: [(&str, &str); 1] = [("stream", "false")];

#[tokio::test]
async fn a_run_gets_what_was_said_in_the_runs_before_it_the_oldest_first() {
    let (site, heard) = open();
    for path in TALKERS {
        let mut runs = vec![ran(&site, path, "one", "s").await];
        assert_eq!(heard.last(), json!({ "message": "one", "history": [] }), "{path}");
        for (message, before) in [
            ("two", &["one"][..]),
            ("three", &["one", "two"]),
            ("four", &["one", "two", "three"]),
            ("five", &["two", "three", "four"]),
        ] {
            runs.push(ran(&site, path, message, "s").await);
            assert_eq!(heard.history(), said(before), "{path} {message}");
        }
        let history = heard.last()["history"].clone();
        let ids: Vec<_> = history.as_array().unwrap().iter().map(|it| &it["run_id"]).collect();
        let of = |nth: usize| json!(runs[nth]);
        assert_eq!(ids, [&of(1), &of(1), &of(2), &of(2), &of(3), &of(3)], "{path}");
        // It is no part of what is shown of a run.
        let read = site.get(&format!("{path}/runs/{}?session_id=s", runs[4])).await.json();
        let input = &read["input"];
        assert_eq!(input.as_str().or(input["input_content"].as_str()), Some("five"), "{path}");
        let list = site.get("/sessions/s/runs").await.json();
        assert_eq!(list.as_array().unwrap().last().unwrap()["run_input"], "five");
        for messages in [&read["messages"], &list.as_array().unwrap().last().unwrap()["messages"]] {
            if let Some(messages) = messages.as_array() {
                let of_run: Vec<_> = messages.iter().map(|it| &it["content"]).collect();
                assert_eq!(of_run, ["five", "re: five"], "{path}");
            }
        }
        // Of another session it gets nothing, and nothing in one of its own.
        ran(&site, path, "six", "t").await;
        assert_eq!(heard.history(), [], "{path}");
        let fields = [("message", "seven"), ("stream", "false"), ("session_state", "{\"n\":1e2}")];
        assert_eq!(site.create(&format!("{path}/runs"), &fields).await.status, 200);
        let alone = json!({ "message": "seven", "history": [], "session_state": { "n": 1e2 } });
        assert_eq!(heard.last(), alone, "{path}");
    }
}

/// agno #5994, #5816, PR #8331: what a cancelled run has said is lost, or in no history, there.
#[tokio::test]
async fn what_a_stopped_run_has_said_is_in_it_and_nothing_of_one_that_failed_or_has_not_ended() {
    let (site, heard) = open();
    for path in TALKERS {
        let stopped = begun(&site, path, "wait", "s").await;
        site.post(&format!("{path}/runs/{stopped}/cancel?wait=true")).await;
        ran(&site, path, "fail", "s").await;
        ran(&site, path, "say and fail", "s").await;
        let timed = [("message", "wait"), ("session_id", "s"), ("quell_timeout_ms", "1")];
        let timed = site.create(&format!("{path}/runs"), &[&timed[..], &JSON].concat()).await;
        assert_eq!(timed.json()["status"], "ERROR", "{timed:?}");
        let live = begun(&site, path, "wait too", "s").await;
        begun(&site, path, "ask", "s").await;
        ran(&site, path, "now", "s").await;
        let so_far = [("user", "wait"), ("assistant", "so far")];
        assert_eq!(heard.history(), so_far.map(|(who, it)| (who.to_owned(), it.to_owned())));
        // A message that was never answered is there.
        let unsaid = begun(&site, path, "ask again", "u").await;
        site.post(&format!("{path}/runs/{unsaid}/cancel?wait=true")).await;
        ran(&site, path, "now", "u").await;
        assert_eq!(heard.history(), [("user".to_owned(), "ask again".to_owned())], "{path}");
        site.post(&format!("{path}/runs/{live}/cancel?wait=true")).await;
        // The next kind has the session to itself.
        site.send(Request::delete("/sessions/s").body(Body::empty()).unwrap()).await;
        site.send(Request::delete("/sessions/u").body(Body::empty()).unwrap()).await;
    }
}

#[tokio::test]
async fn a_history_is_that_of_one_component_and_one_owner_and_has_nothing_that_was_deleted() {
    let heard = Heard::default();
    let key = |who: &str| Key::new(who, format!("{who}-key"));
    let access = Access::open().key(key("ada")).key(key("ben")).key(key("root").admin());
    let site = heard.site(Engine::new(), access);
    let send = async |who: &str, path: &str, message: &str| {
        let mut request = post_form(
            &format!("{path}/runs"),
            &[("message", message), ("session_id", "s"), ("stream", "false")],
        );
        let bearer = format!("Bearer {who}-key").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        assert_eq!(site.send(request).await.status, 200, "{who} {path}");
    };
    for (who, path, message) in [
        ("ada", "/agents/talker", "of ada"),
        ("ben", "/agents/talker", "of ben"),
        ("root", "/agents/talker", "of root"),
        ("ada", "/teams/talker", "of her team"),
        ("ada", "/agents/elephant", "of her elephant"),
    ] {
        send(who, path, message).await;
    }
    for (who, own) in [("ada", "of ada"), ("ben", "of ben"), ("root", "of root")] {
        send(who, "/agents/talker", "next").await;
        assert_eq!(heard.history(), said(&[own]), "{who}");
    }
    let delete = Request::delete("/sessions/s").header("authorization", "Bearer ada-key");
    assert_eq!(site.send(delete.body(Body::empty()).unwrap()).await.status, 204);
    send("ada", "/agents/talker", "anew").await;
    assert_eq!(heard.history(), []);
    send("ben", "/agents/talker", "on").await;
    assert_eq!(heard.history(), said(&["of ben", "next"]));
}

#[tokio::test]
async fn a_run_that_is_deleted_while_it_executes_is_in_no_history_and_is_not_continued() {
    let brief = Duration::from_millis(1);
    let (engine, heard) = (EngineConfig::new().grace(brief).abort_wait(brief), Heard::default());
    let site = heard.site(Engine::with_config(engine), Access::open());
    let path = "/agents/talker";
    // Also if this fails: the runtime waits for its threads.
    let _lets_go = heard.letting_go();
    let run = begun(&site, path, "hold", "s").await;
    let cancel = format!("{path}/runs/{run}/cancel?wait=true");
    assert_eq!(site.post(&cancel).await.header("quell-quiescent"), "false");
    ran(&site, path, "one", "s").await;
    assert_eq!(heard.history().len(), 2, "it is there before");
    let delete = Request::delete("/sessions/s").body(Body::empty()).unwrap();
    assert_eq!(site.send(delete).await.status, 204);
    ran(&site, path, "two", "s").await;
    assert_eq!(heard.history(), []);
    let input = [("input", "go on"), ("stream", "false")];
    let answer = site.create(&format!("{path}/runs/{run}/continue"), &input).await;
    let words = format!("No runs found for run ID {run}");
    refused(&answer, 404, &words, Some("NOT_FOUND"));
}

#[tokio::test]
async fn what_is_too_much_leaves_the_oldest_runs_first_and_cuts_no_message() {
    let (site, heard) = open();
    let path = "/agents/elephant";
    let long = |nth: usize| format!("{nth}{}", "x".repeat(HISTORY_BYTES_MAX / 9));
    let all: Vec<_> = (0..6).map(long).collect();
    for message in &all {
        ran(&site, path, message, "s").await;
    }
    // Each run has said it twice, so four of them have room, and five have not.
    ran(&site, path, "short", "s").await;
    let newest: Vec<_> = all[2..].iter().map(String::as_str).collect();
    assert_eq!(heard.history(), said(&newest));
    // Nothing older than what has no room is there.
    ran(&site, path, &"y".repeat(HISTORY_BYTES_MAX), "s").await;
    ran(&site, path, "last", "s").await;
    assert_eq!(heard.history(), []);
    ran(&site, path, "more", "s").await;
    assert_eq!(heard.history(), said(&["last"]));
    // In number there are a hundred at most, whatever is declared.
    for nth in 0..102 {
        ran(&site, path, &nth.to_string(), "many").await;
    }
    let history = heard.history();
    assert_eq!((history.len(), &*history[0].1), (200, "1"));
}

#[tokio::test]
async fn a_message_that_leaves_no_room_for_a_history_is_taken_without_one() {
    let (site, heard) = open();
    ran(&site, "/agents/talker", "before", "s").await;
    let most = "x".repeat((16 << 20) - 100);
    let body = format!("message={most}&session_id=s&stream=false&run_id=large");
    let request = Request::post("/agents/talker/runs");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer = site.send(request.body(Body::from(body)).unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text.get(..200).unwrap_or(&answer.text));
    assert_eq!(heard.history(), []);
}

#[tokio::test]
async fn who_sends_a_history_is_refused_where_there_is_one_and_heard_where_there_is_none() {
    let (site, heard) = open();
    let fields = [("message", "hi"), ("history", "[1]"), ("session_id", "s"), ("stream", "false")];
    let answer = site.create("/agents/talker/runs", &fields).await;
    let fault = json!({
        "type": "extra_forbidden", "loc": ["body", "history"],
        "msg": "Extra inputs are not permitted", "input": null,
    });
    assert_eq!((answer.status.as_u16(), &answer.json()["detail"][0]), (422, &fault));
    assert_eq!((heard.count(), site.get("/sessions/s").await.status.as_u16()), (0, 404));
    assert_eq!(site.create("/agents/goldfish/runs", &fields).await.status, 200);
    assert_eq!(heard.last(), json!({ "message": "hi", "history": [1] }));
}

#[tokio::test]
async fn a_run_without_a_session_that_its_session_is_called_after_is_the_first_of_it() {
    let (site, heard) = open();
    let view = site.service.view(NATIVE, Principal::anonymous());
    let talker = view.component(ComponentKind::Agent, "talker").unwrap();
    let start = Start::new(talker, Payload::from("alone")).id("lone");
    view.start(start).await.unwrap().run.ended().await;
    ran(&site, "/agents/talker", "next", "lone").await;
    assert_eq!(heard.history(), said(&["alone"]));
    ran(&site, "/teams/talker", "of a team", "lone").await;
    assert_eq!(heard.history(), []);
    // All spellings of a UUID are one session.
    let id = "0197F2A0-0000-7000-8000-0000000000AA";
    ran(&site, "/agents/talker", "usual", &id.to_lowercase()).await;
    ran(&site, "/agents/talker", "next", id).await;
    assert_eq!(heard.history(), said(&["usual"]));
}

#[tokio::test]
async fn nothing_is_read_for_a_component_that_declares_none_nor_for_a_repeat() {
    let valve = Valve::reopened(&Arc::new(MemoryStore::new()), 1);
    let (site, heard) = process(Arc::clone(&valve) as _).await;
    let send = async |agent: &str, key: &str, fields: &[(&str, &str)]| {
        let fields = [&[("message", "hi"), ("stream", "false")], fields].concat();
        let mut request = post_form(&format!("/agents/{agent}/runs"), &fields);
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        site.send(request).await
    };
    let session = [("session_id", "s")];
    let first = send("talker", "k1", &session).await;
    assert_eq!(first.status, 200, "{first:?}");
    let reads = || (valve.pages(), valve.gets());
    let before = reads();
    ran(&site, "/agents/goldfish", "hi", "s").await;
    assert_eq!(reads(), before, "it declares none");
    ran(&site, "/agents/talker", "hi", "s").await;
    assert!(reads() > before, "these are counted");
    let before = reads();
    let again = send("talker", "k1", &session).await;
    assert_eq!(again.json()["run_id"], first.json()["run_id"]);
    assert_eq!((reads(), heard.count()), (before, 3), "it is a repeat");

    valve.fail_reads(StoreError::Io { what: "secret-path".into() });
    let answer = send("talker", "k2", &session).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!answer.text.contains("secret-path") && answer.header("retry-after") == "1");
    assert_eq!(send("talker", "k1", &session).await.status, 200, "it is a repeat");
    assert_eq!(send("goldfish", "k3", &session).await.status, 200, "it declares none");
    valve.fail_reads(None);
    let answer: Answer = send("talker", "k2", &session).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(heard.history(), said(&["hi", "hi"]));
}

#[tokio::test]
async fn a_history_outlives_the_process_in_memory_of_a_store_and_in_a_file() {
    let (file, copy) = (place(), place());
    for is_file in [false, true] {
        let store: Arc<dyn Store> = if is_file {
            Arc::new(SqliteStore::open(&file).unwrap())
        } else {
            Arc::new(MemoryStore::new())
        };
        let (site, _) = process(Arc::clone(&store)).await;
        for path in TALKERS {
            ran(&site, path, "first", "s").await;
            let run = begun(&site, path, "wait", "s").await;
            site.post(&format!("{path}/runs/{run}/cancel?wait=true")).await;
            ran(&site, path, "say more", "s").await;
        }
        site.service.engine().shutdown(Shutdown::default()).await;
        let store: Arc<dyn Store> = if is_file {
            quell_sqlite::backup(&file, &copy).unwrap();
            Arc::new(SqliteStore::open(&copy).unwrap())
        } else {
            store
        };
        let (site, heard) = process(store).await;
        for path in TALKERS {
            ran(&site, path, "now", "s").await;
            let mut wanted = said(&["first"]);
            wanted.push(("user".into(), "wait".into()));
            wanted.push(("assistant".into(), "so far".into()));
            wanted.extend(said(&["say more"]));
            assert_eq!(heard.history(), wanted, "{path} {is_file}");
        }
        site.service.engine().shutdown(Shutdown::default()).await;
    }
    for file in [file, copy] {
        remove(&file);
    }
}

#[tokio::test]
async fn each_node_has_the_history_of_the_runs_of_all() {
    let ((a, heard_a), (b, heard_b)) = nodes();
    for path in TALKERS {
        ran(&a, path, "at a", "s").await;
        ran(&b, path, "at b", "s").await;
        assert_eq!(heard_b.history(), said(&["at a"]), "{path}");
        let run = begun(&b, path, "wait", "s").await;
        b.post(&format!("{path}/runs/{run}/cancel?wait=true")).await;
        ran(&a, path, "at a again", "s").await;
        let mut wanted = said(&["at a", "at b"]);
        wanted.push(("user".into(), "wait".into()));
        wanted.push(("assistant".into(), "so far".into()));
        assert_eq!(heard_a.history(), wanted, "{path}");
        // Whoever has heard of an end in another way asks the next node as well.
        let fields = [("message", "streamed"), ("session_id", "s")];
        let streamed = b.create(&format!("{path}/runs"), &fields).await;
        assert!(streamed.text.contains("Completed"), "{streamed:?}");
        ran(&a, path, "polled", "s").await;
        assert_eq!(heard_a.history().pop().unwrap().1, "re: streamed", "{path}");
        let run = fresh("run");
        let fields = [("message", "polled"), ("session_id", "s"), ("run_id", &*run)];
        let fields = [&fields[..], &[("background", "true"), ("stream", "false")]].concat();
        assert_eq!(a.create(&format!("{path}/runs"), &fields).await.status, 202);
        let read = format!("{path}/runs/{run}?session_id=s");
        while a.get(&read).await.json()["status"] != "COMPLETED" {
            tokio::task::yield_now().await;
        }
        ran(&b, path, "last", "s").await;
        let ids = heard_b.last()["history"].clone();
        assert_eq!(ids.as_array().unwrap().last().unwrap()["run_id"], *run, "{path}");
    }
}

#[tokio::test]
async fn a_run_that_cannot_be_read_is_left_out_and_the_others_are_there() {
    let store = Arc::new(MemoryStore::new());
    let (site, _) = process(Valve::reopened(&store, 1) as _).await;
    let damaged = ran(&site, "/agents/talker", "one", "s").await;
    ran(&site, "/agents/talker", "two", "s").await;
    site.service.engine().shutdown(Shutdown::default()).await;
    let valve = Valve::reopened(&store, 2);
    let (site, heard) = process(Arc::clone(&valve) as _).await;
    valve.damage(quell_http::parse_id(&damaged).unwrap());
    ran(&site, "/agents/talker", "now", "s").await;
    assert_eq!(heard.history(), said(&["two"]));
}
