//! Sessions that are renamed, and deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use quell::store::MemoryStore;
use quell::{
    Engine, EngineConfig, EventKind, Payload, Recovery, RunContext, RunEvent, RunFilter, Shutdown,
};
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, Component};
use quell_http::{Access, Key, events_by_now, parse_id};
use quell_test_support::{Valve, soon};
use serde_json::{Value, json};

use crate::nodes::two;
use crate::restart::nth;
use crate::sessions::{NOT_FOUND, SHORT, each, of, owned, ran, ran_by};
use crate::support::http::{Answer, Events as _, KINDS, names as names_of, refused, start};
use crate::support::{Site, fresh};

/// Sends JSON in the name of somebody; open access asks nobody for a name.
async fn send(site: &Site, who: &str, (method, path): (&str, &str), body: &Value) -> Answer {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("authorization", format!("Bearer {who}-key"));
    let request = request.header("content-type", "application/json");
    site.send(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn rename(site: &Site, session: &str, name: &str) -> Answer {
    let path = format!("/sessions/{session}/rename");
    send(site, "nobody", ("POST", &path), &json!({ "session_name": name })).await
}

async fn delete(site: &Site, session: &str) -> Answer {
    of(site, "nobody", "DELETE", &format!("/sessions/{session}")).await
}

async fn names(site: &Site) -> Vec<String> {
    let all = site.get("/sessions?sort_by=session_id&sort_order=asc").await.json();
    each(&all["data"], "session_name").into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_session_of_each_kind_is_renamed_and_found_by_its_name() {
    let site = Site::open();
    for (nth, (path, kind, key)) in SHORT.into_iter().enumerate() {
        let session = format!("s{nth}");
        ran(&site, path, "ticks=1 tick_ms=0", &session).await;
        let answer = rename(&site, &session, &format!("My {kind}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = answer.json();
        assert_eq!(
            (&told["session_name"], &told["session_id"]),
            (&json!(format!("My {kind}")), &json!(session))
        );
        assert_eq!(told[key], path.rsplit('/').next().unwrap());
        assert_eq!(site.get(&format!("/sessions/{session}")).await.json(), told);
    }
    assert_eq!(names(&site).await, ["My agent", "My team", "My workflow"]);
    let found = site.get("/sessions?session_name=MY%20TEAM").await.json();
    assert_eq!(each(&found["data"], "session_id"), ["s1"]);
    assert_eq!(rename(&site, "s0", "").await.json()["session_name"], "");
    assert_eq!(rename(&site, "s0", "twice").await.json()["session_name"], "twice");
    refused(&rename(&site, "nope", "x").await, 404, "Session with id 'nope' not found", NOT_FOUND);
    let long = rename(&site, "s0", &"x".repeat(1_025)).await;
    assert_eq!(
        (long.status.as_u16(), &long.json()["detail"][0]["type"]),
        (422, &json!("string_too_long"))
    );
    assert_eq!(rename(&site, "s0", &"x".repeat(1_024)).await.status, 200);
    let none = send(&site, "nobody", ("POST", "/sessions/s0/rename"), &json!({})).await;
    assert_eq!(none.json()["detail"][0]["loc"], json!(["body", "session_name"]));
    let get = site.get("/sessions/s0/rename").await;
    assert_eq!((get.status.as_u16(), get.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn an_owner_gives_a_thousand_sessions_a_name_and_those_that_are_gone_leave_first() {
    let site = Site::open();
    let path = "/workflows/short-workflow";
    for nth in 0..=1_000 {
        ran(&site, path, "m", &format!("s{nth}")).await;
        let answer = rename(&site, &format!("s{nth}"), "named").await;
        let is_full = nth == 1_000;
        assert_eq!(answer.status, if is_full { 429 } else { 200 }, "{nth}");
    }
    assert_eq!(rename(&site, "s7", "again").await.status, 200, "it has one");
    let runs = site.service.engine().runs(&RunFilter::new().label(quell_http::SESSION, "s5"));
    runs[0].forget().unwrap();
    assert_eq!(rename(&site, "s1000", "named").await.status, 200);
}

#[tokio::test]
async fn a_name_is_there_after_a_restart_and_on_every_node_and_the_last_one_counts() {
    let store = Arc::new(MemoryStore::new());
    let (site, _) = nth(1, &store).await;
    for name in ["first", "second"] {
        ran(&site, SHORT[0].0, "m", "s").await;
        assert_eq!(rename(&site, "s", name).await.status, 200);
    }
    let before = site.get("/sessions/s").await.text;
    site.service.engine().shutdown(Shutdown::default()).await;
    let (site, _) = nth(2, &store).await;
    assert_eq!(site.get("/sessions/s").await.text, before);
    assert_eq!(names(&site).await, ["second"]);
    let (a, b) = two();
    ran(&a, SHORT[0].0, "m", "s").await;
    for (site, name) in [(&b, "by b"), (&a, "by a"), (&b, "by b again")] {
        assert_eq!(rename(site, "s", name).await.status, 200);
        assert_eq!((names(&a).await, names(&b).await), (vec![name.into()], vec![name.into()]));
    }
}

#[tokio::test]
async fn a_session_is_deleted_with_its_runs_and_its_name_and_no_other_one_is() {
    let site = Site::open();
    for (path, _, _) in SHORT {
        let (session, other) = (fresh("s"), fresh("t"));
        let run = ran(&site, path, "ticks=1 tick_ms=0", &session).await;
        let kept = ran(&site, path, "ticks=1 tick_ms=0", &other).await;
        rename(&site, &session, "named").await;
        let answer = delete(&site, &session).await;
        assert_eq!((answer.status.as_u16(), &*answer.text), (204, ""));
        for gone in [
            format!("/sessions/{session}"),
            format!("/sessions/{session}/runs"),
            format!("/sessions/{session}/runs/{run}"),
            format!("{path}/runs?session_id={session}"),
            format!("{path}/runs/{run}?session_id={session}"),
        ] {
            assert_eq!(site.get(&gone).await.status, 404, "{gone}");
        }
        let left = site.get(&format!("{path}/runs/{kept}?session_id={other}")).await;
        assert_eq!(left.status, 200, "{left:?}");
        // The next one of its id has nothing of it, and neither has a run of that id.
        ran(&site, path, "ticks=1 tick_ms=0 anew", &session).await;
        let anew = site.get(&format!("/sessions/{session}")).await.json();
        assert_eq!(anew["session_name"], "ticks=1 tick_ms=0 anew");
    }
    assert_eq!(delete(&site, "nope").await.status, 204, "there is nothing to delete");
    let ids: Vec<_> = each(&site.get("/sessions").await.json()["data"], "session_id")
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(ids.len(), 6);
    let body = json!({ "session_ids": ids[..5], "session_types": vec!["agent"; 5] });
    let many = send(&site, "nobody", ("DELETE", "/sessions"), &body).await;
    assert_eq!(many.status, 204, "{many:?}");
    let left = site.get("/sessions").await.json();
    assert_eq!(each(&left["data"], "session_id"), [&*ids[5]]);
    let body = json!({ "session_ids": ["a"], "session_types": [] });
    assert_eq!(send(&site, "nobody", ("DELETE", "/sessions"), &body).await.status, 422);
}

#[tokio::test]
async fn what_works_in_a_session_that_is_deleted_stops_before_the_answer_and_is_gone() {
    let site = Site::open();
    for path in ["/agents/slow-agent", "/teams/slow-team", "/workflows/slow-workflow"] {
        let (session, probe) = (fresh("s"), fresh("probe"));
        let run = start(&site, path, &format!("probe={probe}"), &session).await;
        site.at_work(&probe, 1).await;
        assert_eq!(delete(&site, &session).await.status, 204);
        let before = site.witness.get(&probe);
        assert!(site.service.engine().runs(&RunFilter::new().live()).is_empty(), "{path}");
        let read = format!("{path}/runs/{run}?session_id={session}");
        soon("it is gone", || site.service.engine().runs(&RunFilter::new()).is_empty()).await;
        assert_eq!(site.get(&read).await.status, 404, "{path}");
        assert_eq!(site.witness.get(&probe), before, "nothing ticks any more");
    }
}

#[tokio::test]
async fn a_client_of_a_run_whose_session_is_deleted_is_told_its_end() {
    let site = Site::open();
    for (path, prefix, _) in KINDS {
        for stream in ["true", "false"] {
            let (session, probe) = (fresh("s"), fresh("probe"));
            let message = format!("probe={probe}");
            let fields = [("message", message), ("session_id", session.clone())];
            let fields = fields.into_iter().chain([("stream", stream.to_owned())]);
            let client = tokio::spawn({
                let (site, path) = (site.clone(), format!("{path}/runs"));
                let fields: Vec<_> = fields.collect();
                async move {
                    let fields: Vec<_> = fields.iter().map(|(key, it)| (*key, &**it)).collect();
                    site.create(&path, &fields).await
                }
            });
            site.at_work(&probe, 1).await;
            assert_eq!(delete(&site, &session).await.status, 204);
            let answer = client.await.unwrap();
            if stream == "true" {
                let events = answer.events();
                assert_eq!(names_of(&events).last(), Some(&&*format!("{prefix}Cancelled")));
            } else {
                assert_eq!(answer.json()["status"], "CANCELLED", "{path}: {answer:?}");
            }
        }
    }
}

/// An agent that holds a thread of its own until it is let go.
fn stuck(is_free: &Arc<AtomicBool>) -> Component {
    let is_free = Arc::clone(is_free);
    Component::agent("stuck", move |ctx: RunContext, input: Payload| {
        let is_free = Arc::clone(&is_free);
        async move {
            let (begins, has_begun) = tokio::sync::oneshot::channel();
            let work = ctx.spawn_blocking(move |_| {
                let _ = begins.send(());
                while !is_free.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            // From here on something executes that a stop does not end. Before, a stop would have
            // kept it from beginning.
            let tells = async {
                let _ = has_begun.await;
                let _ = ctx.progress(0.5);
            };
            tokio::join!(work, tells).0?;
            Ok(input)
        }
    })
}

/// Waits until a stuck run executes what a stop does not end.
pub(crate) async fn at_work(site: &Site, run: &str) {
    let run = site.service.engine().get(parse_id(run).unwrap()).unwrap();
    let is_at_work = |event: RunEvent| matches!(event.kind, EventKind::Progress(_));
    soon("it is at work", || events_by_now(&run, 0).any(is_at_work)).await;
}

async fn abandoned(site: &Site, session: &str) -> String {
    let run = start(site, "/agents/stuck", "m", session).await;
    at_work(site, &run).await;
    let cancel = format!("/agents/stuck/runs/{run}/cancel?wait=true");
    assert_eq!(site.post(&cancel).await.header("quell-quiescent"), "false");
    run
}

pub(crate) fn site_with(is_free: &Arc<AtomicBool>, config: EngineConfig) -> Site {
    let (catalog, engine) = (Catalog::new().with(stuck(is_free)), Engine::with_config(config));
    Site::made_of(Witness::default(), catalog, engine, Options::default(), Access::open())
}

pub(crate) fn brief() -> EngineConfig {
    EngineConfig::new().grace(Duration::from_millis(1)).abort_wait(Duration::from_millis(1))
}

#[tokio::test]
async fn a_run_of_which_something_executes_is_in_no_session_and_leaves_when_that_ends() {
    let is_free = Arc::new(AtomicBool::new(false));
    let site = site_with(&is_free, brief());
    let run = abandoned(&site, "s").await;
    assert_eq!(site.get("/sessions/s").await.status, 200);
    assert_eq!(delete(&site, "s").await.status, 204);
    for gone in ["/sessions/s".to_owned(), format!("/sessions/s/runs/{run}")] {
        assert_eq!(site.get(&gone).await.status, 404, "{gone}");
    }
    // It is not hidden from who knows its id: what it does can be seen.
    let read = format!("/agents/stuck/runs/{run}?session_id=s");
    assert_eq!(site.get(&read).await.json()["quell"]["quiescent"], false);
    is_free.store(true, Ordering::SeqCst);
    soon("it has left", || site.service.engine().runs(&RunFilter::new()).is_empty()).await;
    assert_eq!(site.get(&read).await.status, 404);
}

#[tokio::test]
async fn a_run_that_was_about_to_leave_is_in_no_session_of_the_next_process_either() {
    let (is_free, store) = (Arc::new(AtomicBool::new(false)), Arc::new(MemoryStore::new()));
    let process = |boot| site_with(&is_free, brief().store(Valve::reopened(&store, boot) as _));
    let site = process(1);
    let run = abandoned(&site, "s").await;
    abandoned(&site, "kept").await;
    assert_eq!(delete(&site, "s").await.status, 204);
    for run in site.service.engine().runs(&RunFilter::new()) {
        // Also the mark: one that is stored as live would be recovered.
        run.ended().await;
        run.stored().await.unwrap();
    }
    let next = process(2);
    next.service.engine().recover(|_| Recovery::Fail).await.unwrap();
    assert_eq!(next.get("/sessions/kept").await.status, 200);
    assert_eq!(next.get("/sessions/s").await.status, 404);
    // What executed there is gone with its process: whoever has met the run lets it go.
    let read = format!("/agents/stuck/runs/{run}?session_id=s");
    while next.get(&read).await.status != 404 {
        tokio::task::yield_now().await;
    }
    is_free.store(true, Ordering::SeqCst);
}

#[tokio::test]
async fn a_session_is_deleted_on_whatever_node_its_runs_are() {
    let (a, b) = two();
    let (path, probe) = ("/agents/slow-agent", fresh("probe"));
    ran(&a, "/agents/short-agent", "m", "s").await;
    let run = start(&a, path, &format!("ticks=100000 probe={probe}"), "s").await;
    ran(&b, "/agents/short-agent", "m", "s").await;
    ran(&b, "/agents/short-agent", "m", "t").await;
    a.at_work(&probe, 1).await;
    assert_eq!(rename(&b, "s", "named").await.status, 200);
    assert_eq!(delete(&b, "s").await.status, 204);
    assert!(a.service.engine().runs(&RunFilter::new().live()).is_empty(), "nothing works");
    for site in [&a, &b] {
        for gone in ["/sessions/s".to_owned(), format!("{path}/runs?session_id=s")] {
            assert_eq!(site.get(&gone).await.status, 404, "{gone}");
        }
        let all = site.get("/sessions").await.json();
        assert_eq!(each(&all["data"], "session_id"), ["t"]);
        let mut reads = 0;
        while site.get(&format!("{path}/runs/{run}?session_id=s")).await.status != 404 {
            reads += 1;
            assert!(reads < 10_000, "it leaves");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn nobody_changes_a_session_of_somebody_else() {
    let site = owned();
    for (who, session, run) in [("ada", "hers", "a1"), ("ada", "both", "a2"), ("ben", "both", "b1")]
    {
        ran_by(&site, who, session, run).await;
    }
    let name = json!({ "session_name": "mine" });
    let text = "Session with id 'hers' not found";
    refused(
        &send(&site, "ben", ("POST", "/sessions/hers/rename"), &name).await,
        404,
        text,
        NOT_FOUND,
    );
    assert_eq!(send(&site, "ben", ("POST", "/sessions/both/rename"), &name).await.status, 200);
    let hers = of(&site, "ada", "GET", "/sessions/both").await.json();
    assert_eq!(hers["session_name"], "ada", "the other one of this id is called otherwise");
    for path in ["/sessions/hers", "/sessions/both"] {
        assert_eq!(of(&site, "ben", "DELETE", path).await.status, 204);
        assert_eq!(of(&site, "ada", "GET", path).await.status, 200, "{path}");
        assert_eq!(of(&site, "ben", "GET", path).await.status, 404, "{path}");
    }
    // Who sees all deletes what is found: of two of one id the one that began first.
    ran_by(&site, "ben", "both", "b2").await;
    assert_eq!(of(&site, "root", "DELETE", "/sessions/both").await.status, 204);
    assert_eq!(of(&site, "ada", "GET", "/sessions/both").await.status, 404);
    assert_eq!(of(&site, "ben", "GET", "/sessions/both").await.status, 200);
}

#[tokio::test]
async fn each_change_needs_its_scope_and_to_stop_a_run_the_right_to_do_that() {
    let site = owned();
    let name = json!({ "session_name": "x" });
    for (method, path, scope) in [
        ("POST", "/sessions/x/rename", "write"),
        ("DELETE", "/sessions/x", "delete"),
        ("DELETE", "/sessions", "delete"),
    ] {
        let text = format!("Insufficient permissions. Required scope(s): sessions:{scope}");
        for who in ["eve", "kim"] {
            refused(&send(&site, who, (method, path), &name).await, 403, &text, None);
        }
    }
    let key = |scopes: &[&str]| {
        Key::new("ada", format!("{}-key", scopes.len())).scopes(scopes.iter().copied())
    };
    let access = Access::open().key(key(&["sessions:delete"]));
    let access = access.key(key(&["sessions:delete", "sessions:read", "agents:*"]));
    let site = Site::new(Options::default(), access);
    let view = site.service.view(quell_agentos::CONTRACT, quell_http::Principal::named("ada"));
    let agent = view.find_component("slow-agent").unwrap();
    let start = quell_http::Start::new(agent, "m".into()).session("s").id("r");
    let run = view.start(start).await.unwrap().run;
    let text = "Insufficient permissions. Required scope(s): agents:run";
    refused(&of(&site, "1", "DELETE", "/sessions/s").await, 403, text, None);
    assert!(!run.status().is_terminal(), "nothing has changed");
    assert_eq!(of(&site, "3", "DELETE", "/sessions/s").await.status, 204);
    assert!(run.status().is_terminal());
}
