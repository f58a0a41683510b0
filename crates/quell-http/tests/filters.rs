//! Filters of `GET /v1/runs` that look at owners, lanes and times.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::StatusCode;
use quell::store::{Accepted, Epoch, MemoryStore, Record, Store};
use quell::{Counts, EngineConfig, RunId, RunKind, RunReport, RunRow, RunStatus};
use quell_http::{Access, Key, router};
use quell_test_support::{Valve, Witness};
use serde_json::json;

use crate::nodes::two;
use crate::support::{JSON, get, post, send, service, service_with};

/// Lists runs part by part; yields their ids and how many parts there were.
async fn listed(app: &Router, query: &str) -> (Vec<String>, usize) {
    let (mut ids, mut parts, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let answer = get(app, &format!("/v1/runs?{query}{cursor}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text);
        let list = answer.json();
        let runs = list["runs"].as_array().unwrap().iter();
        ids.extend(runs.map(|run| run["id"].as_str().unwrap().to_owned()));
        parts += 1;
        let Some(next) = list["next"].as_str() else { return (ids, parts) };
        cursor = format!("&cursor={next}");
    }
}

/// Stores runs that have ended, one every ten minutes, each second one in a lane, and each third
/// one of an owner.
async fn stored(store: &dyn Store, count: u64) {
    let mut batch = Vec::new();
    for nr in 0..count {
        let (id, epoch) = (format!("r{nr}"), Epoch::new(1, 1));
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(600 * nr);
        let (run, is_adas) = (RunId::from_text(&id), nr % 3 == 0);
        let mut accepted = Accepted::new(run, RunKind::Agent, "a".into(), epoch, at);
        accepted.labels.insert("external_id".into(), id);
        accepted.owner = is_adas.then(|| "ada".into());
        accepted.lane = (nr % 2 == 0).then(|| if is_adas { "ada\nl" } else { "l" }.into());
        let mut row = RunRow::new(run, RunKind::Agent, "a".into(), RunStatus::Completed, at);
        (row.quiescent, row.ended_at, row.quiesced_at) = (true, Some(at), Some(at));
        let report = Arc::new(RunReport::new(vec![row], Counts::default()));
        batch.push(Record::Accepted(accepted.into()));
        batch.push(Record::Ended { run, epoch, report, rollback: false });
    }
    store.append(batch).await.unwrap();
}

#[tokio::test]
async fn stored_runs_are_listed_by_owner_lane_and_time_with_cursors() {
    let memory = Arc::new(MemoryStore::new());
    let store = Valve::reopened(&memory, 2);
    stored(&*store, 12).await;
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let app = router(service_with(config, &Witness::default()));
    for (query, meant) in [
        ("", "r11 r10 r9 r8 r7 r6 r5 r4 r3 r2 r1 r0"),
        ("owner=ada", "r9 r6 r3 r0"),
        ("lane=l", "r10 r8 r6 r4 r2 r0"),
        ("lane=l&owner=ada", "r6 r0"),
        ("since=1970-01-01T01:30:00Z", "r11 r10 r9"),
        ("since=1970-01-01T02:30:00%2B01:00", "r11 r10 r9"),
        ("until=1970-01-01T00:20:00Z", "r1 r0"),
        ("since=1970-01-01T00:10:00Z&until=1970-01-01T00:40:00Z", "r3 r2 r1"),
        ("since=1970-01-01T00:10:00.001Z&until=1970-01-01T00:40:00.001Z", "r4 r3 r2"),
        ("since=1970-01-01T00:10:00Z&until=1970-01-01T00:10:00Z", ""),
        ("owner=bob", ""),
        ("lane=other", ""),
    ] {
        let meant: Vec<_> = meant.split_whitespace().map(str::to_owned).collect();
        for limit in ["", "&limit=1", "&limit=2", "&limit=5"] {
            let (ids, _) = listed(&app, &format!("{query}{limit}")).await;
            assert_eq!(ids, meant, "{query}{limit}");
        }
    }
}

#[tokio::test]
async fn no_older_run_is_read_for_a_list_that_begins_later() {
    let memory = Arc::new(MemoryStore::new());
    let store = Valve::reopened(&memory, 2);
    stored(&*store, 1_000).await;
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let app = router(service_with(config, &Witness::default()));
    let body = json!({ "component": "agent/sleeper", "id": "now" });
    assert_eq!(post(&app, "/v1/runs", &body).await.status, StatusCode::CREATED);
    let before = store.pages();
    let (ids, parts) = listed(&app, "since=1970-01-07T22:20:00Z").await;
    let expected = ["now", "r999", "r998"];
    assert_eq!((ids, parts), (expected.map(str::to_owned).to_vec(), 1));
    assert_eq!(store.pages() - before, 1);
}

#[tokio::test]
async fn runs_in_memory_are_listed_by_owner_lane_and_time() {
    let access = Access::open()
        .key(Key::new("ada", "key-of-ada"))
        .key(Key::new("bob", "key-of-bob"))
        .key(Key::new("root", "key-of-root").admin());
    let app = router(service().access(access));
    let asks = async |who: &str, method: &str, path: &str, body: String| {
        let key = format!("Bearer key-of-{who}");
        send(&app, method, path, &[JSON, ("authorization", &key)], body).await
    };
    for (who, id, lane) in [("ada", "a1", "l"), ("ada", "a2", "m"), ("bob", "b1", "l")] {
        let body = json!({ "component": "agent/sleeper", "id": id, "lane": { "key": lane } });
        let answer = asks(who, "POST", "/v1/runs", body.to_string()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    }
    let now = humantime::format_rfc3339(SystemTime::now() + Duration::from_mins(1)).to_string();
    for (who, query, meant) in [
        ("ada", "lane=l", "a1"),
        ("bob", "lane=l", "b1"),
        ("root", "lane=l", "a1 b1"),
        ("root", "owner=ada", "a1 a2"),
        ("ada", "owner=ada", "a1 a2"),
        ("ada", "owner=bob", ""),
        ("root", &format!("until={now}&lane=m"), "a2"),
        ("root", &format!("since={now}"), ""),
    ] {
        let list = asks(who, "GET", &format!("/v1/runs?{query}"), String::new()).await.json();
        let runs = list["runs"].as_array().unwrap().iter();
        let mut ids: Vec<_> = runs.map(|run| run["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids.join(" "), meant, "{who} {query}");
    }
    for query in ["since=yesterday", "until=", "since=2026-11-28", "since=1700000000"] {
        let refused = asks("ada", "GET", &format!("/v1/runs?{query}"), String::new()).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
    // What the two call so are two lanes.
    let body = json!({ "where": { "lane": "l" }, "dry_run": true }).to_string();
    let seen = asks("bob", "POST", "/v1/runs/cancel", body).await.json();
    assert_eq!((&seen["total"], &seen["runs"][0]["id"]), (&json!(1), &json!("b1")));
}

#[tokio::test(start_paused = true)]
async fn runs_of_another_node_are_listed_by_lane_as_well() {
    let (_nodes, a, b) = two();
    for (id, lane) in [("r1", "l"), ("r2", "m")] {
        let body = json!({ "component": "agent/sleeper", "id": id, "lane": { "key": lane } });
        assert_eq!(post(&a.app, "/v1/runs", &body).await.status, StatusCode::CREATED);
        a.run(id).stored().await.unwrap();
    }
    for app in [&a.app, &b.app] {
        assert_eq!(listed(app, "lane=l").await.0, ["r1"]);
    }
    let body = json!({ "where": { "lane": "m" }, "wait": "quiescent" });
    let stopped = post(&b.app, "/v1/runs/cancel", &body).await.json();
    assert_eq!((&stopped["total"], &stopped["runs"][0]["id"]), (&json!(1), &json!("r2")));
}

#[tokio::test]
async fn values_are_left_out_when_nobody_wants_them() {
    let app = router(service());
    let input = json!({ "said": "x".repeat(1_000) });
    crate::support::start(&app, "repeater", "r", input.clone()).await;
    let whole = loop {
        let run = get(&app, "/v1/runs/r").await.json();
        if run["status"] == "completed" {
            break run;
        }
        tokio::task::yield_now().await;
    };
    assert!(whole["input"] == input && whole["output"] != json!(null), "{whole}");
    let mut bare = whole.clone();
    for value in ["input", "output", "partial"] {
        bare[value] = json!(null);
    }
    (bare["text"], bare["rows"]) = (json!(""), json!([]));
    assert_eq!(get(&app, "/v1/runs/r?values=false").await.json(), bare);
    assert_eq!(get(&app, "/v1/runs/r?values=true").await.json(), whole);
    let listed =
        async |query: &str| get(&app, &format!("/v1/runs{query}")).await.json()["runs"][0].clone();
    assert_eq!(listed("").await["output"], whole["output"]);
    let mut of_list = listed("").await;
    of_list["output"] = json!(null);
    assert_eq!(listed("?values=false").await, of_list);
    for path in ["/v1/runs/r?values=no", "/v1/runs?values=", "/v1/runs/r?value=true"] {
        assert_eq!(get(&app, path).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
    }
}
