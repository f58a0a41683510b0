//! Sessions, and the runs of a component in one.

use std::time::SystemTime;

use axum::body::Body;
use axum::http::Request;
use quell_agentos::Options;
use quell_http::{Access, Key, NATIVE, Principal, Start};
use serde_json::{Value, json};

use crate::support::http::{Answer, form, refused, start};
use crate::support::{Site, fresh};

pub(crate) const NOT_FOUND: Option<&str> = Some("NOT_FOUND");

/// Runs a component to its end, and yields the id of the run. The next one is of a later
/// millisecond.
pub(crate) async fn ran(site: &Site, path: &str, message: &str, session: &str) -> String {
    let run = fresh("run");
    let fields =
        [("message", message), ("session_id", session), ("run_id", &*run), ("stream", "false")];
    let answer = site.create(&format!("{path}/runs"), &fields).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let millis = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let now = millis();
    while millis() == now {
        tokio::task::yield_now().await;
    }
    run
}

/// Yields a key of every item of a list.
pub(crate) fn each<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|it| it[key].as_str().unwrap()).collect()
}

async fn listed(site: &Site, query: &str) -> Value {
    let answer = site.get(&format!("/sessions{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The components with which sessions are tried, the type of their sessions, and their key.
pub(crate) const SHORT: [(&str, &str, &str); 3] = [
    ("/agents/short-agent", "agent", "agent_id"),
    ("/teams/slow-team", "team", "team_id"),
    ("/workflows/short-workflow", "workflow", "workflow_id"),
];

#[tokio::test]
async fn the_runs_of_a_component_in_a_session_are_listed_with_their_nulls() {
    let site = Site::open();
    for (path, _, key) in SHORT {
        let message = "ticks=1 tick_ms=0";
        let runs = [ran(&site, path, message, "s").await, ran(&site, path, message, "s").await];
        ran(&site, path, message, "other").await;
        let list = site.get(&format!("{path}/runs?session_id=s")).await.json();
        assert_eq!(each(&list, "run_id"), runs, "the oldest first");
        let own = path.rsplit('/').next().unwrap();
        for run in list.as_array().unwrap() {
            assert_eq!((&run[key], &run["run_input"]), (&json!(own), &json!(message)));
            assert_eq!((&run["status"], &run["events"]), (&json!("COMPLETED"), &json!([])));
            for null in ["cancellation_stage", "citations", "response_audio"] {
                assert_eq!(run.get(null), Some(&Value::Null), "{path} {null}");
            }
            assert!(
                run["content"].is_string() && run["created_at"].as_str().unwrap().ends_with('Z')
            );
        }
        for (status, count) in [("COMPLETED", 2), ("RUNNING", 0), ("completed", 0), ("odd", 0)] {
            let list = site.get(&format!("{path}/runs?session_id=s&status={status}")).await.json();
            assert_eq!(list.as_array().unwrap().len(), count, "{status}");
        }
        let none = site.get(&format!("{path}/runs?session_id=nope")).await;
        refused(&none, 404, "Session not found", NOT_FOUND);
        let missing = site.get(&format!("{path}/runs")).await;
        let (loc, msg) = (["query", "session_id"], "Field required");
        let detail = json!([{ "type": "missing", "loc": loc, "msg": msg, "input": null }]);
        assert_eq!((missing.status.as_u16(), &missing.json()["detail"]), (422, &detail));
        let put =
            site.send(Request::put(format!("{path}/runs")).body(Body::empty()).unwrap()).await;
        assert_eq!((put.status.as_u16(), put.header("allow")), (405, "POST,GET,HEAD"));
    }
    // A session has runs of this one, and no component else shows it.
    let other = site.get("/agents/slow-agent/runs?session_id=s").await;
    refused(&other, 404, "Session not found", NOT_FOUND);
    refused(&site.get("/agents/nope/runs").await, 404, "Agent not found", NOT_FOUND);
}

#[tokio::test]
async fn a_live_run_is_in_its_session_from_the_start() {
    let site = Site::open();
    let path = "/agents/slow-agent";
    let run = start(&site, path, "work", "s").await;
    let list = site.get(&format!("{path}/runs?session_id=s&status=RUNNING")).await.json();
    assert_eq!(each(&list, "run_id"), [&*run]);
    assert_eq!((&list[0]["content"], &list[0]["messages"]), (&list[0]["content"], &Value::Null));
    assert_eq!(listed(&site, "").await["data"][0]["session_name"], "work");
    let full = site.get("/sessions/s").await.json();
    assert_eq!(full["chat_history"], json!([]));
    site.post(&format!("{path}/runs/{run}/cancel?wait=true")).await;
    let list = site.get("/sessions/s/runs?status=cancelled").await.json();
    assert_eq!(list[0]["cancellation_stage"], "EXECUTING");
}

#[tokio::test]
async fn sessions_are_listed_in_parts_and_by_what_is_asked() {
    let site = Site::open();
    for (nth, (path, _, _)) in SHORT.iter().enumerate() {
        ran(&site, path, &format!("Hello {nth} ticks=1 tick_ms=0"), &format!("s{nth}")).await;
    }
    ran(&site, "/agents/short-agent", "later", "s0").await;
    let all = listed(&site, "").await;
    assert_eq!(each(&all["data"], "session_id"), ["s2", "s1", "s0"], "the newest first");
    let meta = json!({
        "page": 1, "limit": 20, "total_pages": 1, "total_count": 3, "search_time_ms": 0.0,
    });
    assert_eq!(all["meta"], meta);
    for (nth, (path, kind, key)) in SHORT.iter().enumerate() {
        let own = &all["data"][2 - nth];
        assert_eq!(own["session_name"], format!("Hello {nth} ticks=1 tick_ms=0"));
        assert_eq!((&own["session_type"], &own["session_state"]), (&json!(kind), &json!({})));
        assert_eq!(own[key], path.rsplit('/').next().unwrap());
    }
    for (query, ids) in [
        ("?type=team", vec!["s1"]),
        ("?component_id=short-agent", vec!["s0"]),
        ("?session_name=hello%201", vec!["s1"]),
        ("?session_name=later", vec![]),
        ("?sort_order=asc", vec!["s0", "s1", "s2"]),
        ("?sort_by=updated_at", vec!["s0", "s2", "s1"]),
        ("?limit=2", vec!["s2", "s1"]),
        ("?limit=2&page=2&user_id=x&db_id=y&table=z", vec!["s0"]),
        ("?page=9", vec![]),
        ("?page=0&limit=1", vec!["s2"]),
    ] {
        assert_eq!(each(&listed(&site, query).await["data"], "session_id"), ids, "{query}");
    }
    assert_eq!(listed(&site, "?limit=2").await["meta"]["total_pages"], 2);
    for query in ["?type=bogus", "?limit=0", "?limit=x", "?page=-1", "?sort_order=up"] {
        let answer = site.get(&format!("/sessions{query}")).await;
        assert_eq!(answer.status, 422, "{query}");
    }
}

#[tokio::test]
async fn a_session_is_shown_with_what_its_clients_need_and_is_unknown_in_the_words_of_its_type() {
    let site = Site::open();
    for (path, kind, key) in SHORT {
        let session = fresh("s");
        ran(&site, path, "ticks=1 tick_ms=0 one", &session).await;
        ran(&site, path, "ticks=1 tick_ms=0 two", &session).await;
        for query in [String::new(), format!("?type={kind}")] {
            let full = site.get(&format!("/sessions/{session}{query}")).await.json();
            assert_eq!(full["session_id"], *session);
            assert_eq!(full["session_name"], "ticks=1 tick_ms=0 one");
            assert_eq!(full[key], path.rsplit('/').next().unwrap());
            let own = if kind == "agent" { json!(session) } else { Value::Null };
            assert_eq!(full["agent_session_id"], own);
            if kind != "workflow" {
                let roles = each(&full["chat_history"], "role");
                assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
            }
        }
        let other = if kind == "agent" { ("team", "Team") } else { ("agent", "Agent") };
        let answer = site.get(&format!("/sessions/{session}?type={}", other.0)).await;
        let text = format!("{} Session with id '{session}' not found", other.1);
        refused(&answer, 404, &text, NOT_FOUND);
    }
    for (query, text) in [
        ("", "Session with id 'nope' not found"),
        ("?type=agent", "Agent Session with id 'nope' not found"),
        ("?type=team", "Team Session with id 'nope' not found"),
        ("?type=workflow", "Workflow Session with id 'nope' not found"),
        ("/runs", "Session with ID nope not found"),
        ("/runs/x", "Session with ID nope not found"),
        ("/run-previews", "Session with ID nope not found"),
    ] {
        refused(&site.get(&format!("/sessions/nope{query}")).await, 404, text, NOT_FOUND);
    }
    for path in ["/sessions/nope?type=x", "/sessions/nope/runs?type=x", "/sessions/s/runs/r?type=x"]
    {
        assert_eq!(site.get(path).await.status, 422, "{path}");
    }
}

#[tokio::test]
async fn the_roots_of_a_session_are_listed_without_nulls_and_each_run_is_shown_with_them() {
    let site = Site::open();
    let mut runs = Vec::new();
    for (path, _, _) in SHORT {
        runs.push(ran(&site, path, "ticks=1 tick_ms=0", "s").await);
    }
    let list = site.get("/sessions/s/runs").await.json();
    assert_eq!(each(&list, "run_id"), runs, "roots, the oldest first");
    for (run, (_, _, key)) in list.as_array().unwrap().iter().zip(SHORT) {
        assert!(run.as_object().unwrap().values().all(|value| !value.is_null()), "{run}");
        let ids = ["agent_id", "team_id", "workflow_id"].map(|id| run.get(id).is_some());
        assert_eq!(ids.iter().filter(|is_there| **is_there).count(), 1);
        assert!(run[key].is_string());
        let id = run["run_id"].as_str().unwrap();
        let one = site.get(&format!("/sessions/s/runs/{id}")).await.json();
        assert_eq!(one.get("cancellation_stage"), Some(&Value::Null));
        assert_eq!((&one["run_id"], &one["content"]), (&run["run_id"], &run["content"]));
    }
    let member = site.get(&format!("/teams/slow-team/runs/{}?session_id=s", runs[1])).await.json();
    let member = &member["member_responses"][0]["run_id"];
    let path = format!("/sessions/s/runs/{}", member.as_str().unwrap());
    let shown = site.get(&path).await.json();
    assert_eq!(
        (&shown["parent_run_id"], &shown["agent_id"]),
        (&json!(runs[1]), &json!("member-1"))
    );
    let none = site.get("/sessions/s/runs/nope").await;
    refused(&none, 404, "Run with ID nope not found in session s", NOT_FOUND);
    let count = async |query: &str| {
        let list = site.get(&format!("/sessions/s/runs?{query}")).await.json();
        list.as_array().unwrap().len()
    };
    assert_eq!(count("status=completed&status=running").await, 3);
    assert_eq!(count("status=error").await, 0);
    assert_eq!(count("created_after=99999999999").await, 0);
    assert_eq!(count("created_before=99999999999&created_after=0").await, 3);
    let odd = site.get("/sessions/s/runs?status=odd").await;
    assert_eq!(odd.status, 400, "{odd:?}");
    let paths = ["/sessions/s/runs", "/sessions/s/run-previews"];
    for (part, shown) in [
        ("limit=2", &runs[1..]),
        ("limit=2&page=2", &runs[..1]),
        ("limit=2&page=3", &[]),
        ("limit=1&page=2&status=completed", &runs[1..2]),
    ] {
        for path in paths {
            let list = site.get(&format!("{path}?{part}")).await.json();
            assert_eq!(each(&list, "run_id"), shown, "{path} {part}");
        }
    }
    let (path, of_one) = (SHORT[0].0, "session_id=s&page=1");
    let list = site.get(&format!("{path}/runs?{of_one}")).await.json();
    assert_eq!(each(&list, "run_id"), &runs[..1]);
    assert!(each(&site.get(&format!("{path}/runs?{of_one}&page=2")).await.json(), "").is_empty());
    for path in [&format!("{path}/runs?session_id=s"), "/sessions/s/runs?type=agent"] {
        assert_eq!(site.get(&format!("{path}&limit=0")).await.status, 422);
    }
    assert_eq!(site.get("/sessions/s/runs?created_after=x").await.status, 422);
}

#[tokio::test]
async fn the_roots_of_a_session_are_listed_in_short() {
    let site = Site::open();
    let message = format!("ticks=200 tick_ms=0 {}", "ä".repeat(300));
    for (path, _, _) in SHORT {
        ran(&site, path, &message, "s").await;
    }
    let all = site.get("/sessions/s/runs").await.json();
    let short = site.get("/sessions/s/run-previews").await.json();
    assert_eq!(short.as_array().unwrap().len(), SHORT.len(), "{short}");
    for (run, short) in all.as_array().unwrap().iter().zip(short.as_array().unwrap()) {
        let begin = |key: &str| run[key].as_str().unwrap().chars().take(280).collect::<String>();
        let mut expected = json!({
            "run_input": begin("run_input"),
            "content_preview": begin("content"),
        });
        assert_eq!(expected["run_input"].as_str().unwrap().chars().count(), 280);
        for key in [
            "run_id",
            "parent_run_id",
            "agent_id",
            "team_id",
            "workflow_id",
            "user_id",
            "status",
            "created_at",
        ] {
            if let Some(value) = run.get(key) {
                expected[key] = value.clone();
            }
        }
        assert_eq!(*short, expected, "as in the list, and no more");
    }
    let count = async |query: &str| {
        let list = site.get(&format!("/sessions/s/run-previews?{query}")).await.json();
        list.as_array().unwrap().len()
    };
    assert_eq!(count("status=completed&status=running").await, 3);
    assert_eq!(count("status=error").await, 0);
    assert_eq!(count("created_after=99999999999").await, 0);
    let odd = site.get("/sessions/s/run-previews?status=odd").await;
    let text = "Invalid status value(s) ['ODD']; expected one of ['CANCELLED', 'COMPLETED', \
                'ERROR', 'PAUSED', 'PENDING', 'REGENERATED', 'RUNNING']";
    refused(&odd, 400, text, Some("BAD_REQUEST"));
    for (query, loc) in [("type=x", "type"), ("created_after=x", "created_after")] {
        let odd = site.get(&format!("/sessions/s/run-previews?{query}")).await;
        assert_eq!(odd.status, 422, "{odd:?}");
        assert_eq!(odd.json()["detail"][0]["loc"], json!(["query", loc]));
    }
}

#[tokio::test]
async fn a_run_without_a_session_is_one_of_its_own_and_all_spellings_of_a_uuid_are_one() {
    let site = Site::open();
    let view = site.service.view(NATIVE, Principal::anonymous());
    let agent = view.find_component("short-agent").unwrap();
    let run = view.start(Start::new(agent, "lone".into()).id("lone-1")).await.unwrap().run;
    run.quiescent().await;
    assert_eq!(listed(&site, "").await["data"][0]["session_id"], "lone-1");
    let list = site.get("/agents/short-agent/runs?session_id=lone-1").await.json();
    assert_eq!(each(&list, "run_id"), ["lone-1"]);
    let id = "7f0c2f3e-1f6e-4f0a-9a53-0c6c3cc1f001";
    let run = ran(&site, "/agents/short-agent", "m", id).await;
    let upper = id.to_uppercase();
    for path in [format!("/sessions/{upper}/runs"), format!("/sessions/{id}/runs")] {
        assert_eq!(each(&site.get(&path).await.json(), "run_id"), [&*run], "{path}");
    }
}

/// Sends a request of somebody.
pub(crate) async fn of(site: &Site, who: &str, method: &str, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("authorization", format!("Bearer {who}-key"));
    site.send(request.body(Body::empty()).unwrap()).await
}

pub(crate) async fn ran_by(site: &Site, who: &str, session: &str, run: &str) {
    let fields =
        form(&[("message", who), ("session_id", session), ("run_id", run), ("stream", "false")]);
    let request = Request::post("/agents/short-agent/runs")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", format!("Bearer {who}-key"));
    let answer = site.send(request.body(Body::from(fields)).unwrap()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Two callers, one who sees all, and one who may only look at agents.
pub(crate) fn owned() -> Site {
    let key = |who: &str| Key::new(who, format!("{who}-key"));
    let access = Access::open().key(key("ada")).key(key("ben")).key(key("root").admin());
    let access = access.key(key("eve").scopes(["agents:read", "agents:run"]));
    Site::new(Options::default(), access.key(key("kim").scopes(["sessions:read"])))
}

#[tokio::test]
async fn a_session_of_somebody_else_is_unknown_on_every_route_that_reads() {
    let site = owned();
    for (who, session, run) in
        [("ada", "hers", "hers-1"), ("ada", "both", "ada-1"), ("ben", "both", "ben-1")]
    {
        ran_by(&site, who, session, run).await;
        // Sessions are in the order of whole milliseconds.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    for path in [
        "/sessions/hers",
        "/sessions/hers/runs",
        "/sessions/hers/run-previews",
        "/sessions/hers/runs/hers-1",
        "/sessions/both/runs/ada-1",
        "/agents/short-agent/runs?session_id=hers",
    ] {
        assert_eq!(of(&site, "ada", "GET", path).await.status, 200, "{path}");
        assert_eq!(of(&site, "ben", "GET", path).await.status, 404, "{path}");
        assert_eq!(of(&site, "root", "GET", path).await.status, 200, "{path}");
    }
    for (who, session, run) in [("ada", "both", "ada-1"), ("ben", "both", "ben-1")] {
        let list = of(&site, who, "GET", &format!("/sessions/{session}/runs")).await.json();
        assert_eq!(each(&list, "run_id"), [run]);
        let all = of(&site, who, "GET", "/sessions").await.json();
        let own = if who == "ada" { vec!["both", "hers"] } else { vec!["both"] };
        assert_eq!(each(&all["data"], "session_id"), own);
    }
    // Who sees all sees both, and of two of one id the one that began first.
    let all = of(&site, "root", "GET", "/sessions?sort_by=session_id&sort_order=asc").await.json();
    assert_eq!(each(&all["data"], "session_id"), ["both", "both", "hers"]);
    let first = of(&site, "root", "GET", "/sessions/both/runs").await.json();
    assert_eq!(each(&first, "run_id"), ["ada-1"]);
}

#[tokio::test]
async fn who_lacks_the_scope_is_refused_before_anything_is_looked_for() {
    let site = owned();
    let text = "Insufficient permissions. Required scope(s): sessions:read";
    for path in [
        "/sessions",
        "/sessions/x",
        "/sessions/x/runs",
        "/sessions/x/run-previews",
        "/sessions/x/runs/y",
    ] {
        refused(&of(&site, "eve", "GET", path).await, 403, text, None);
        let none = site.get(path).await;
        assert_eq!(none.status, 401, "{path}");
    }
    refused(
        &of(&site, "kim", "GET", "/agents/short-agent/runs?session_id=x").await,
        403,
        "Insufficient permissions. Required scope(s): agents:read",
        None,
    );
    assert_eq!(of(&site, "kim", "GET", "/sessions").await.status, 200);
}
