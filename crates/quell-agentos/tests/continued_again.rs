//! An answer that a client sends again, before a restart and after it (contract, section 7).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quell::store::{RunRecord, Store};
use quell::{Engine, EngineConfig, Failure, Payload, Recovery, RunContext, RunSpec, RunStatus};
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, Component};
use quell_http::Access;
use quell_sqlite::SqliteStore;
use quell_test_support::Answer;
use serde_json::json;

use crate::support::http::{Events as _, names, refused};
use crate::support::{Site, fresh};

/// Asks for a tool to be confirmed, and yields the answer.
async fn ask(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    let request = json!({ "tools": [{ "tool_call_id": "q1", "tool_name": "rm" }] });
    ctx.resumed_with().ok_or_else(|| ctx.pause(Payload::from(request)))
}

/// Asks, then works until it is stopped.
async fn ask_and_work(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    ask(ctx, input).await?;
    std::future::pending().await
}

/// A process on a file. Of what the one before it has left, a run that works goes on.
pub(crate) async fn process(file: &Path) -> Site {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(file).unwrap());
    let engine = Engine::with_config(EngineConfig::new().store(store));
    let goes_on = |_: &RunRecord| {
        let body = |ctx| ask_and_work(ctx, Payload::from(""));
        Recovery::resumable(RunSpec::agent("worker"), body)
    };
    engine.recover(goes_on).await.unwrap();
    let catalog = Catalog::new()
        .with(Component::agent("quick", ask).resumable())
        .with(Component::agent("worker", ask_and_work).resumable());
    Site::made_of(Witness::default(), catalog, engine, Options::default(), Access::open())
}

/// A place where nothing is, in a folder that is there.
pub(crate) fn place() -> PathBuf {
    let name = format!("{}-{}.db", fresh("quell-agentos"), std::process::id());
    std::env::temp_dir().join(name)
}

pub(crate) fn remove(file: &Path) {
    for end in ["", "-wal", "-shm", ".lock"] {
        let mut name = file.as_os_str().to_owned();
        name.push(end);
        // Not all of them are there.
        let _ = std::fs::remove_file(name);
    }
}

async fn create(site: &Site, agent: &str, run: &str) {
    let fields = [("message", "hi"), ("run_id", run), ("session_id", "s"), ("stream", "false")];
    let paused = site.create(&format!("/agents/{agent}/runs"), &fields).await;
    assert_eq!(paused.json()["status"], "PAUSED", "{paused:?}");
}

async fn go_on(site: &Site, run: (&str, &str), tools: &str, how: &[(&str, &str)]) -> Answer {
    let fields = [&[("tools", tools)], how].concat();
    site.create(&format!("/agents/{}/runs/{}/continue", run.0, run.1), &fields).await
}

/// Waits until all that is known of a run by now is in the store.
async fn stored(site: &Site, run: &str) {
    let id = quell_http::parse_id(run).unwrap();
    site.service.engine().get(id).unwrap().stored().await.unwrap();
}

const YES: &str = r#"[{"tool_call_id": "q1", "confirmed": true}]"#;

/// The same answer, as another client spells it.
const YES_AGAIN: &str = r#"[ {"confirmed":true,"tool_call_id":"q1"} ]"#;

const NO: &str = r#"[{"tool_call_id": "q1", "confirmed": false}]"#;

const OTHER: &str = r#"[{"tool_call_id": "q2", "confirmed": true}]"#;

/// An answer that names nothing.
const PLAIN: &str = r#"{"go": "on"}"#;

const JSON: [(&str, &str); 1] = [("stream", "false")];

const BACKGROUND: [(&str, &str); 2] = [("stream", "false"), ("background", "true")];

#[tokio::test]
async fn an_answer_that_is_sent_again_gets_the_run_as_it_is_by_now_also_after_a_restart() {
    let (file, killed) = (place(), place());
    let [quick, plain] = [("quick", &*fresh("quick")), ("quick", &*fresh("plain"))];
    let worker = ("worker", &*fresh("worker"));
    let site = process(&file).await;
    for (agent, run) in [quick, plain, worker] {
        create(&site, agent, run).await;
    }
    for (run, answer) in [(quick, YES), (plain, PLAIN)] {
        let done = go_on(&site, run, answer, &JSON).await;
        assert_eq!((done.status.as_u16(), &done.json()["status"]), (200, &json!("COMPLETED")));
    }
    assert_eq!(go_on(&site, worker, YES, &BACKGROUND).await.status, 202);
    let first = (site, "the process that was given the answers");
    for run in [quick, plain] {
        stored(&first.0, run.1).await;
    }
    stored(&first.0, worker.1).await;
    // What a process that is killed now leaves, and the next one finds.
    quell_sqlite::backup(&file, &killed).unwrap();
    let second = (process(&killed).await, "the next process");
    for (site, who) in [&first, &second] {
        let again = go_on(site, quick, YES_AGAIN, &JSON).await;
        assert_eq!(again.status, 200, "{who}: {again:?}");
        assert_eq!(again.json()["status"], "COMPLETED", "{who}: {again:?}");
        let streamed = go_on(site, quick, YES_AGAIN, &[]).await;
        assert_eq!(
            names(&streamed.events()),
            ["RunContinued", "RunContentCompleted", "RunCompleted"],
            "{who}"
        );
        let run = quell_http::parse_id(worker.1).unwrap();
        let run = site.service.engine().get(run).unwrap();
        let attempt = run.attempt();
        let again = go_on(site, worker, YES_AGAIN, &BACKGROUND).await;
        assert_eq!(again.status, 202, "{who}: {again:?}");
        assert!(!run.status().is_terminal() && run.status() != RunStatus::Paused, "{who}");
        assert_eq!(run.attempt(), attempt, "{who}: nothing was answered");

        // What is no repetition is refused, as ever.
        let now = |run: &str, is: &str| format!("Cannot continue run {run}: run is {is}");
        for answer in [NO, OTHER, PLAIN, ""] {
            let refusal = go_on(site, quick, answer, &JSON).await;
            refused(&refusal, 409, &now(quick.1, "completed"), None);
        }
        // Nor does an answer have to name what it answers.
        assert_eq!(go_on(site, plain, PLAIN, &JSON).await.status, 200, "{who}");
        let refusal = go_on(site, plain, YES, &JSON).await;
        refused(&refusal, 409, &now(plain.1, "completed"), None);
        let refusal = go_on(site, worker, NO, &BACKGROUND).await;
        assert_eq!(refusal.status, 409, "{who}: {refusal:?}");
        site.post(&format!("/agents/worker/runs/{}/cancel?wait=true", worker.1)).await;
        let cancelled = go_on(site, worker, YES, &BACKGROUND).await;
        refused(&cancelled, 409, &now(worker.1, "cancelled"), None);
    }
    for (site, _) in [first, second] {
        site.service.engine().shutdown(quell::Shutdown::default()).await;
    }
    for file in [file, killed] {
        remove(&file);
    }
}
