use std::sync::Arc;

use axum::http::Method;
use quell::store::{MemoryStore, Store, StoreError};
use quell::{
    Engine, EngineConfig, Failure, Limits, Payload, Recovery, RunContext, RunSpec, Shutdown,
};
use quell_agentos::{Options, UnknownRuns};
use quell_demo::Witness;
use quell_flow::{Catalog, Component};
use quell_http::{Access, READ_WITHIN};
use quell_test_support::{Flow, Valve, operations, with_ids, within};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::resume::{create, numbered};
use crate::support::http::{Events as _, names, post_form, start};
use crate::support::{Site, fresh};

/// A site as a process has it that opened the store: the nth one.
pub(crate) async fn nth(boot: u32, store: &Arc<MemoryStore>) -> (Site, Arc<Valve>) {
    let store = Valve::reopened(store, boot);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let engine = Engine::with_config(config);
    engine.recover(|_| Recovery::Fail).await.unwrap();
    let catalog = Catalog::new().with(Component::team("crowd", crowd));
    (Site::made_of(Witness::default(), catalog, engine, Options::default(), Access::open()), store)
}

/// A team of as many members as its message says, each of which has another agent do its work.
async fn crowd(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    let members: usize = input.parse::<String>()?.parse()?;
    for nth in 0..members {
        let member = ctx.spawn(RunSpec::agent(format!("m{nth}")), async |ctx: RunContext| {
            let helper = ctx.spawn(RunSpec::agent("helper"), async |_| Ok(Payload::from("done")));
            Ok(helper.await?)
        });
        drop::<Payload>(member.await?);
    }
    Ok(Payload::from("done"))
}

/// Yields the paths of the runs of a tree, as its root shows them, the root's first.
fn paths_of(path: &str, run: &Value) -> Vec<String> {
    let mut runs = vec![run];
    let mut ids = Vec::new();
    while let Some(run) = runs.pop() {
        ids.extend(run["run_id"].as_str().map(str::to_owned));
        let below = ["member_responses", "step_executor_runs"].map(|key| run[key].as_array());
        runs.extend(below.into_iter().flatten().flatten());
    }
    ids.iter().map(|id| format!("{path}/runs/{id}?session_id=s")).collect()
}

#[tokio::test]
async fn every_run_is_shown_after_a_restart_as_before_it() {
    let store = Arc::new(MemoryStore::new());
    let (site, _) = nth(1, &store).await;
    let mut paths = Vec::new();
    // With how many bodies tick in each.
    for (path, bodies) in [
        ("/agents/short-agent", 1),
        ("/agents/slow-agent", 1),
        ("/teams/slow-team", 3),
        ("/workflows/slow-workflow", 4),
        ("/workflows/short-workflow", 0),
        ("/workflows/fn-workflow", 4),
    ] {
        for (is_cancelled, timeout) in [(false, "60000"), (true, "60000"), (false, "20")] {
            let (run, probe) = (fresh("run"), fresh("probe"));
            // One that is to be stopped does not end by itself before.
            let ticks = if is_cancelled { 1_000_000 } else { 20 };
            let message = format!("ticks={ticks} tick_ms=2 probe={probe}");
            let fields = [
                ("message", &*message),
                ("background", "true"),
                ("stream", "false"),
                ("session_id", "s"),
                ("user_id", "u"),
                ("session_state", r#"{"n": 1e2}"#),
                ("run_id", &run),
                ("quell_timeout_ms", timeout),
            ];
            assert_eq!(site.create(&format!("{path}/runs"), &fields).await.status, 202);
            if is_cancelled {
                // So that those below it are there, and are shown.
                site.at_work(&probe, bodies).await;
                let cancel = format!("{path}/runs/{run}/cancel?wait=quiescent");
                assert_eq!(site.post(&cancel).await.status, 200);
            }
            let id = quell_http::parse_id(&run).unwrap();
            site.service.engine().get(id).unwrap().quiescent().await;
            let read = site.get(&format!("{path}/runs/{run}?session_id=s")).await;
            paths.extend(paths_of(path, &read.json()));
        }
    }
    // Thirteen each of those that end, and of those that are cancelled at work; of those whose time
    // is over at least the roots.
    assert!(paths.len() >= 32, "{paths:?}");
    let mut before = Vec::new();
    for path in &paths {
        let answer = site.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        before.push(answer.text);
    }
    site.service.engine().shutdown(Shutdown::default()).await;
    let (site, _) = nth(2, &store).await;
    for (path, before) in paths.iter().zip(before) {
        assert_eq!(site.get(path).await.text, before, "{path}");
    }
}

#[tokio::test]
async fn the_stream_of_a_stored_team_does_not_read_the_team_again_with_each_member() {
    let store = Arc::new(MemoryStore::new());
    let (site, _) = nth(1, &store).await;
    let members = 60;
    let fields = [("message", &*members.to_string()), ("background", "true"), ("run_id", "r")];
    let first = site.create("/teams/crowd/runs", &fields).await.events();
    site.service.engine().shutdown(Shutdown::default()).await;
    let (site, valve) = nth(2, &store).await;
    let before = valve.gets();
    let told = site.create("/teams/crowd/runs/r/resume", &[]).await.events();
    assert_eq!(told[1..], first);
    assert_eq!(names(&told).last(), Some(&"TeamRunCompleted"));
    // A helper is read with its own end, and the member above it for that; a member with its own
    // end, and its helper below it. The end of the team shows all.
    let (reads, runs) = (valve.gets() - before, 2 * members);
    // Behind each page of the log it is looked whose it is.
    assert!(reads <= 3 * runs + 40, "{reads} reads of {runs} runs");
}

#[tokio::test]
async fn a_stored_run_has_ended_and_is_of_its_component_and_session() {
    let store = Arc::new(MemoryStore::new());
    let (site, _) = nth(1, &store).await;
    let path = "/agents/short-agent";
    let run = start(&site, path, "hi", "s").await;
    site.service.engine().shutdown(Shutdown::default()).await;
    let (site, valve) = nth(2, &store).await;
    let cancelled = site.post(&format!("{path}/runs/{run}/cancel")).await;
    assert_eq!(
        (cancelled.status.as_u16(), cancelled.header("quell-disposition")),
        (200, "already-terminal")
    );
    for other in [
        format!("{path}/runs/{run}?session_id=other"),
        format!("/agents/slow-agent/runs/{run}?session_id=s"),
    ] {
        assert_eq!(site.get(&other).await.status, 404, "{other}");
    }
    valve.fail_reads(StoreError::Io { what: "secret-path".into() });
    let answer = site.get(&format!("{path}/runs/{run}?session_id=s")).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!answer.text.contains("secret-path"));
}

#[tokio::test]
async fn a_cancel_that_may_be_remembered_stops_a_run_that_comes_while_the_store_is_asked() {
    // It asks for a run of the component, and then for any of the id.
    for reads in [0, 1] {
        let store = Valve::new(Flow::Open);
        let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
        let mut options = Options::default();
        options.unknown_runs = UnknownRuns::Remember;
        let site = Site::with(Engine::with_config(config), options, Access::open());
        let (path, run, probe) = ("/agents/slow-agent", fresh("run"), fresh("probe"));
        store.let_gets(reads);
        let cancel = tokio::spawn({
            let (site, cancel) = (site.clone(), format!("{path}/runs/{run}/cancel?wait=true"));
            async move { site.post(&cancel).await }
        });
        while store.gets() <= reads {
            tokio::task::yield_now().await;
        }
        let message = format!("probe={probe}");
        let fields = [
            ("message", &*message),
            ("run_id", &*run),
            ("background", "true"),
            ("stream", "false"),
        ];
        assert_eq!(site.create(&format!("{path}/runs"), &fields).await.status, 202);
        site.at_work(&probe, 1).await;
        store.let_gets(usize::MAX);
        let answer = cancel.await.unwrap();
        assert_eq!(answer.header("quell-disposition"), "accepted", "{answer:?}");
    }
}

#[tokio::test]
async fn an_idempotency_key_gives_the_same_run_after_a_restart() {
    let store = Arc::new(MemoryStore::new());
    for (background, boots) in [("true", 1..3), ("false", 3..5)] {
        let (mut answers, mut statuses) = (Vec::new(), Vec::new());
        for boot in boots {
            let (site, _) = nth(boot, &store).await;
            let fields = [("message", "m"), ("stream", "false"), ("background", background)];
            let mut request = post_form("/agents/short-agent/runs", &fields);
            request.headers_mut().insert("idempotency-key", background.parse().unwrap());
            let answer = site.send(request).await;
            answers.push((answer.status, answer.json()["run_id"].clone()));
            // Repeated at once, and after the end and a restart, it tells how the run is by now.
            let mut again = post_form("/agents/short-agent/runs", &fields);
            again.headers_mut().insert("idempotency-key", background.parse().unwrap());
            let run = answer.json()["run_id"].as_str().unwrap().to_owned();
            if let Some(run) = site.service.engine().get(quell_http::parse_id(&run).unwrap()) {
                run.quiescent().await;
            }
            let by_now = site.send(again).await.json()["status"].clone();
            statuses.push((answer.json()["status"].clone(), by_now));
            site.service.engine().shutdown(Shutdown::default()).await;
        }
        assert!(answers[0].0.is_success(), "{answers:?}");
        assert_eq!(answers[0], answers[1]);
        let first = if background == "true" { "PENDING" } else { "COMPLETED" };
        let expected = [(first, "COMPLETED"), ("COMPLETED", "COMPLETED")];
        let expected = expected.map(|(one, two)| (Value::from(one), Value::from(two)));
        assert_eq!(statuses, expected, "{background}");
    }
}

#[tokio::test]
async fn while_the_store_hangs_what_reads_is_answered_all_the_same() {
    let (site, valve) = nth(2, &Arc::new(MemoryStore::new())).await;
    valve.hang_reads(true);
    tokio::time::pause();
    let mut refused = 0;
    for (method, path, _) in operations(&quell_agentos::document()) {
        if method == Method::GET {
            let id = path.split('/').nth(1).map_or("x", |kind| match kind {
                "agents" => "short-agent",
                "teams" => "slow-team",
                "workflows" => "slow-workflow",
                _ => "x",
            });
            let path = format!("{}?session_id=s&type=agent", with_ids(&path, id));
            let answer = timeout(READ_WITHIN * 2, site.get(&path)).await;
            let answer = answer.unwrap_or_else(|_| panic!("{path} has no answer"));
            refused += usize::from(answer.status == 503);
        }
    }
    assert!(refused > 3, "{refused}");
    valve.hang_reads(false);
}

#[tokio::test]
async fn a_client_that_comes_back_has_its_head_before_a_long_log_is_read() {
    let valve = Valve::new(Flow::Open);
    let limits = Limits::default().events_per_root_max(64);
    let config = EngineConfig::new().store(Arc::clone(&valve) as Arc<dyn Store>).limits(limits);
    let site = Site::with(Engine::with_config(config), Options::default(), Access::open());
    let (path, run) = ("/agents/short-agent", fresh("run"));
    let all = numbered(&create(&site, path, &run, "ticks=200 tick_ms=0").await.events());
    let path = format!("{path}/runs/{run}/resume");
    let comes_back = async || {
        valve.hang_reads(true);
        tokio::time::pause();
        let told = within("its head", site.follow(post_form(&path, &[]))).await;
        tokio::time::resume();
        told
    };
    let told = comes_back().await;
    valve.hang_reads(false);
    let told = told.until_its_end().await;
    assert_eq!((&told[0]["event"], numbered(&told)), (&json!("replay"), all));
    // What fails by then is an event.
    let told = comes_back().await;
    valve.fail_reads(StoreError::Closed);
    valve.hang_reads(false);
    let told = told.until_its_end().await;
    assert_eq!(names(&told), ["error"]);
    assert!(told[0]["error"].as_str().unwrap().contains("ask again"), "{told:?}");
}
