//! What upstream does and must not happen here (contract, section 14). A test, here or in another
//! file, names the issue or the pull request of agno that tells of it: `grep 'agno #'`.

use std::future::pending;
use std::sync::Arc;

use quell::store::{MemoryStore, RunRecord, Store};
use quell::{
    Engine, EngineConfig, Failure, Payload, Recovery, RunContext, RunSpec, Shutdown, ToolCall,
};
use quell_agentos::Options;
use quell_demo::{Record, Witness};
use quell_flow::{Catalog, CommandStep, Component, OnMember, Plan, Runner, Team};
use quell_http::Access;
use quell_test_support::{Valve, within};
use serde_json::json;

use crate::support::http::{Events, KINDS, names, read, start};
use crate::support::{Site, fresh};

/// The probe of the bodies of these tests.
const PROBE: &str = "p";

/// The ways to ask for a run: the fields `stream` and `background`.
const WAYS: [[&str; 2]; 4] =
    [["true", "false"], ["false", "false"], ["true", "true"], ["false", "true"]];

fn site(witness: &Witness, catalog: Catalog) -> Site {
    let (options, engine) = (Options::default(), Engine::new());
    Site::made_of(witness.clone(), catalog, engine, options, Access::open())
}

/// Records its start, and then waits for what never comes.
async fn silent(witness: Witness, who: String) -> Result<Payload, Failure> {
    let record = Record::start(&witness, Some(PROBE.into()), &who);
    record.tick();
    pending::<()>().await;
    record.finish();
    Ok(Payload::from("too late"))
}

/// Each command is a silent body, but that of `after`, which ends.
#[derive(Clone)]
struct Says(Witness);

impl Runner for Says {
    async fn run(&self, _: RunContext, step: CommandStep) -> Result<Payload, Failure> {
        let who = step.command.join(" ");
        if who != "after" {
            return silent(self.0.clone(), who).await;
        }
        Record::start(&self.0, Some(PROBE.into()), "after").finish();
        Ok(Payload::from("went on"))
    }
}

/// Starts a run in one of the ways, cancels it when so many bodies are at work, and yields the
/// names of its events if it is streamed. When it is answered nothing of it executes.
async fn cancelled(site: &Site, path: &str, way: [&str; 2], bodies: usize) -> Vec<String> {
    let run = fresh("run");
    let message = format!("probe={PROBE}");
    let [stream, background] = way;
    let fields = [
        ("message", &*message),
        ("run_id", &run),
        ("session_id", "s"),
        ("stream", stream),
        ("background", background),
    ];
    let before = site.witness.get(PROBE).1.len();
    let cancel = async {
        let begun = |marks: &[String]| marks.iter().filter(|it| it.ends_with(":start")).count();
        while begun(&site.witness.get(PROBE).1[before..]) < bodies {
            tokio::task::yield_now().await;
        }
        site.post(&format!("{path}/runs/{run}/cancel?wait=quiescent")).await
    };
    let create = format!("{path}/runs");
    let both = async { tokio::join!(site.create(&create, &fields), cancel) };
    let (answer, cancel) = within("it is cancelled", both).await;
    assert_eq!(cancel.header("quell-disposition"), "accepted", "{path} {way:?}");
    assert_eq!(cancel.header("quell-quiescent"), "true", "{path} {way:?}");
    let marks = site.witness.get(PROBE).1.split_off(before);
    let dropped = marks.iter().filter(|mark| mark.ends_with(":dropped")).count();
    assert_eq!((dropped, marks.len()), (bodies, 2 * bodies), "{path} {way:?}: {marks:?}");
    let over = read(site, path, &run, "s").await;
    assert_eq!((&over["status"], &over["run_id"]), (&json!("CANCELLED"), &json!(run)));
    match way {
        ["false", "false"] => assert_eq!(answer.json()["status"], "CANCELLED", "{path}"),
        ["false", _] => assert_eq!(answer.status, 202, "{path}"),
        _ => return names(&answer.events()).into_iter().map(str::to_owned).collect(),
    }
    Vec::new()
}

/// agno #3106, #7929: a cancel is a flag there that is looked at between the pieces of an answer.
/// What says nothing, tools, and runs without a stream go on to their end.
#[tokio::test]
async fn agno_3106_7929_what_says_nothing_is_cut_in_every_way_of_asking() {
    let witness = Witness::default();
    let (model, tool, step) = (witness.clone(), witness.clone(), witness.clone());
    let catalog = Catalog::new()
        .with(Component::agent("model", move |_, _: Payload| silent(model.clone(), "a".into())))
        .with(Component::agent("tool", move |ctx: RunContext, input: Payload| {
            let work = silent(tool.clone(), "t".into());
            async move { ctx.tool(ToolCall::new("c", "t", input), work).await }
        }))
        .with(Component::workflow("step", move |ctx: RunContext, _: Payload| {
            let (work, spec) = (silent(step.clone(), "s".into()), RunSpec::step("one"));
            async move { Ok(ctx.spawn(spec, |_| work).await?) }
        }));
    let site = site(&witness, catalog);
    for path in ["/agents/model", "/agents/tool", "/workflows/step"] {
        for way in WAYS {
            let events = cancelled(&site, path, way, 1).await;
            let is_cancelled = events.last().is_none_or(|last| last.ends_with("Cancelled"));
            assert!(is_cancelled, "{path} {way:?}: {events:?}");
        }
    }
}

/// agno #10390: of a Parallel of functions neither the stream ends there when it is cancelled, nor,
/// in the background, its run.
#[tokio::test]
async fn agno_10390_a_parallel_of_functions_ends_its_stream_and_its_run_when_it_is_cancelled() {
    let site = Site::open();
    for way in WAYS {
        let events = cancelled(&site, "/workflows/fn-workflow", way, 4).await;
        let ends = events.iter().filter(|name| *name == "WorkflowCancelled").count();
        let has_ended = events.last().is_none_or(|last| last == "WorkflowCancelled" && ends == 1);
        assert!(has_ended, "{way:?}: {events:?}");
    }
}

/// agno #7718: a step that may fail (`on_error=skip`) takes the cancel of its workflow for its own
/// failure there, and the workflow goes on behind it.
#[tokio::test]
async fn agno_7718_what_goes_on_without_a_step_does_not_go_on_when_it_is_cancelled_itself() {
    let witness = Witness::default();
    let skip = "on_branch_cancelled: skip, on_branch_timeout: skip";
    let mut catalog = Catalog::new();
    let ways = [
        ("settle", format!("parallel: {{ policy: settle, {skip} }}")),
        ("effort", format!("parallel: {{ policy: best_effort, deadline: 1h, {skip} }}")),
        ("first", "parallel: { policy: first_success, on_branch_cancelled: skip }".to_owned()),
        ("retry", "parallel: {}\n  retry: { attempts: 3, min: 1ms, cap: 1ms }".to_owned()),
    ];
    for (id, how) in &ways {
        let yaml = format!(
            "name: p\nsteps:\n- name: fan\n  {how}\n  branches:\n  - {{ name: a, run: [a] }}\n  \
             - {{ name: b, run: [b] }}\n- {{ name: after, run: [after] }}\n"
        );
        let plan = Plan::from_yaml(&yaml).unwrap().link(&Catalog::new()).unwrap();
        catalog = catalog.with(plan.into_component(*id, Says(witness.clone())));
    }
    let site = site(&witness, catalog);
    for (id, _) in ways {
        for way in WAYS {
            let events = cancelled(&site, &format!("/workflows/{id}"), way, 2).await;
            let told = events.last().is_none_or(|last| last == "WorkflowCancelled");
            assert!(told, "{id} {way:?}: {events:?}");
        }
    }
}

/// agno #10474, and #7718 of teams: the leader answers once more there, behind the cancel.
#[tokio::test]
async fn agno_10474_a_team_that_goes_on_without_members_does_not_when_it_is_cancelled_itself() {
    let witness = Witness::default();
    let mut team = Team::broadcast("t").on_member_stopped(OnMember::GoOn);
    for who in ["a", "b"] {
        let witness = witness.clone();
        team = team.member(who, move |_, _: Payload| silent(witness.clone(), who.into()));
    }
    let theirs = witness.clone();
    let team = team.on_member_failed(OnMember::GoOn).combine(move |_, _| {
        Record::start(&theirs, Some(PROBE.into()), "leader").finish();
        async { Ok(Payload::from("once more")) }
    });
    let site = site(&witness, Catalog::new().with(team.into_component()));
    for way in WAYS {
        let events = cancelled(&site, "/teams/t", way, 2).await;
        assert!(events.last().is_none_or(|last| last == "TeamRunCancelled"), "{events:?}");
    }
}

/// agno #5473, #5335: the first cancel is a 500 there, or unheard, if nothing was stored of the
/// session yet.
#[tokio::test]
async fn agno_5473_5335_the_first_cancel_counts_also_in_a_session_that_has_nothing_yet() {
    let site = Site::open();
    for (path, ..) in KINDS {
        for query in ["", "&session_id=SESSION"] {
            let (run, session) = (fresh("run"), fresh("session"));
            let fields = [
                ("message", "m"),
                ("run_id", &*run),
                ("session_id", &session),
                ("stream", "false"),
                ("background", "true"),
            ];
            let answer = site.create(&format!("{path}/runs"), &fields).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
            let query = query.replace("SESSION", &session);
            let cancel = format!("{path}/runs/{run}/cancel?wait=true{query}");
            let answer = site.post(&cancel).await;
            assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})));
            assert_eq!(answer.header("quell-disposition"), "accepted", "{path}");
            assert_eq!(read(&site, path, &run, &session).await["status"], "CANCELLED");
        }
    }
}

/// No issue of agno: background runs of workflows have another id there than the one that the
/// caller gave, and live runs of the foreground are 404.
#[tokio::test]
async fn a_run_has_the_id_of_its_caller_and_is_read_and_cancelled_by_it_in_every_way_of_asking() {
    let witness = Witness::default();
    let body = witness.clone();
    let body = move |_, _: Payload| silent(body.clone(), "w".into());
    let site = site(&witness, Catalog::new().with(Component::workflow("w", body)));
    for [stream, background] in WAYS {
        let run = fresh("mine");
        let fields = [
            ("message", "m"),
            ("run_id", &*run),
            ("session_id", "s"),
            ("stream", stream),
            ("background", background),
        ];
        let cancel = async {
            let shown = loop {
                let answer = site.get(&format!("/workflows/w/runs/{run}?session_id=s")).await;
                if answer.status == 200 && answer.json()["status"] == "RUNNING" {
                    break answer.json();
                }
                tokio::task::yield_now().await;
            };
            assert_eq!(shown["run_id"], run.as_str());
            site.post(&format!("/workflows/w/runs/{run}/cancel?wait=true")).await
        };
        let (answer, cancel) = tokio::join!(site.create("/workflows/w/runs", &fields), cancel);
        assert_eq!(cancel.header("quell-disposition"), "accepted");
        let told = if stream == "true" { answer.events()[0].clone() } else { answer.json() };
        assert_eq!(told["run_id"], run.as_str(), "{stream} {background}");
    }
}

/// A process on a store: of what the one before it has left, a run that asks is asked again.
async fn process(boot: u32, store: &Arc<MemoryStore>) -> Site {
    let store: Arc<dyn Store> = Valve::reopened(store, boot);
    let engine = Engine::with_config(EngineConfig::new().store(store));
    let asks = |ctx: RunContext| async move {
        ctx.resumed_with().ok_or_else(|| ctx.pause(Payload::from("go on?")))
    };
    let left = |_: &RunRecord| Recovery::resumable(RunSpec::agent("asks"), asks);
    engine.recover(left).await.unwrap();
    let agent = Component::agent("asks", move |ctx, _: Payload| asks(ctx)).resumable();
    let (options, catalog) = (Options::default(), Catalog::new().with(agent));
    Site::made_of(Witness::default(), catalog, engine, options, Access::open())
}

/// agno PR #9079: a shutdown leaves runs `RUNNING` for ever there. #8910, #9278: what is torn down
/// with the server reads as a client that has left, and a paused run as cancelled.
#[tokio::test]
async fn agno_9079_8910_9278_a_server_that_ends_cancels_what_works_and_leaves_what_is_paused() {
    let store = Arc::new(MemoryStore::new());
    let site = process(1, &store).await;
    let fields = [("message", "m"), ("run_id", "asked"), ("session_id", "s")];
    let asked = site.create("/agents/asks/runs", &fields).await.events();
    assert_eq!(names(&asked).last(), Some(&"RunPaused"));
    let mut runs = Vec::new();
    for (path, ..) in KINDS {
        runs.push((path, start(&site, path, "m", "s").await));
    }
    site.service.engine().shutdown(Shutdown::default()).await;
    let next = process(2, &store).await;
    for (path, run) in runs {
        for site in [&site, &next] {
            let over = read(site, path, &run, "s").await;
            assert_eq!(over["status"], "CANCELLED", "{path}");
            assert_eq!(over["quell"]["cause"]["kind"], "shutdown", "{path}");
            assert_eq!(over.get("cancellation_stage"), None, "{path}");
        }
    }
    for site in [&site, &next] {
        assert_eq!(read(site, "/agents/asks", "asked", "s").await["status"], "PAUSED");
    }
    let fields = [("tools", "\"yes\""), ("session_id", "s"), ("stream", "false")];
    let over = next.create("/agents/asks/runs/asked/continue", &fields).await;
    assert_eq!(over.json()["status"], "COMPLETED");
}
