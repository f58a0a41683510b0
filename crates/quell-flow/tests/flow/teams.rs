//! Teams: who works on what, and what a member that fails or is stopped means to the team.

use std::num::NonZeroUsize;
use std::sync::Arc;

use quell::{
    CancelRequest, CauseKind, Engine, EventKind, Failure, Payload, RunContext, RunHandle, RunKind,
    RunReport, RunSpec, RunStatus, ToolOutcome, testing,
};
use quell_flow::{Component, Delegated, Emit, Member, Members, Model, OnMember, Team};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::*;

/// A member that puts its name behind the task after a time.
fn signs(
    name: &'static str,
    time: std::time::Duration,
) -> impl Fn(RunContext, Payload) -> futures::future::BoxFuture<'static, Result<Payload, Failure>> {
    move |_ctx, task| {
        Box::pin(async move {
            sleep(time).await;
            let text: String = task.parse()?;
            Ok(Payload::from(format!("{text} {name}")))
        })
    }
}

/// A member that says at once what it has, and then takes a minute.
async fn drafts(ctx: RunContext, _task: Payload) -> Result<Payload, Failure> {
    ctx.set_output(Payload::from("half a draft"));
    sleep(secs(60)).await;
    Ok(Payload::from("a draft"))
}

async fn fails(_ctx: RunContext, _task: Payload) -> Result<Payload, Failure> {
    Err(Failure::new("no idea"))
}

fn start(engine: &Engine, team: Team) -> RunHandle<Payload> {
    let team = Arc::new(team.into_component());
    team.start(engine, team.spec(), Payload::from("task")).unwrap()
}

/// The tool calls of a team: name, input, outcome.
async fn calls(run: &quell::RunRef) -> Vec<(String, Value, ToolOutcome)> {
    let trace = testing::trace(run).await;
    testing::check_trace(&trace).unwrap();
    let mut calls: Vec<(Arc<str>, String, Value, Option<ToolOutcome>)> = Vec::new();
    for event in trace {
        match event.kind {
            EventKind::ToolStarted { call, name, input } => {
                assert!(calls.iter().all(|known| known.0 != call), "{call} is used twice");
                calls.push((call, name.to_string(), input.parse().unwrap(), None));
            }
            EventKind::ToolEnded { call, outcome } => {
                let open = calls.iter_mut().find(|known| known.0 == call).unwrap();
                assert_eq!(open.3.replace(outcome), None, "{call} ends twice");
            }
            _ => {}
        }
    }
    calls.into_iter().map(|(_, name, input, outcome)| (name, input, outcome.unwrap())).collect()
}

fn result(value: Value) -> ToolOutcome {
    ToolOutcome::Result(Some(Payload::from(value)))
}

fn of<'a>(report: &'a RunReport, name: &str) -> &'a quell::RunRow {
    row(report, name)
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_asks_all_at_once_and_combines_what_they_say() {
    let begin = Instant::now();
    let team = Team::broadcast("critics")
        .member("a", signs("a", secs(3)))
        .member("b", signs("b", secs(2)))
        .combine(async |_ctx, all: Vec<Delegated>| {
            let said = all.into_iter().map(Delegated::into_output);
            Ok(Payload::json(&said.collect::<Vec<_>>())?)
        });
    let engine = engine();
    let run = start(&engine, team);
    let team = run.run().clone();
    assert_eq!(json(Some(&run.await.unwrap())), json!(["task a", "task b"]));
    assert_eq!(since(begin), secs(3));
    let said = json!({ "a": "task a", "b": "task b" });
    let call = ("delegate_task_to_members".to_owned(), json!({ "task": "task" }), result(said));
    assert_eq!(calls(&team).await, [call]);
    for name in ["a", "b"] {
        let report = team.report();
        let member = of(&report, name);
        assert_eq!((member.kind, member.parent), (RunKind::Agent, Some(team.id())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_gives_the_task_to_the_one_that_was_chosen() {
    let desk = || {
        Team::route("desk", async |_ctx, task: Payload| {
            Ok(if task.as_json().contains("task") { "b" } else { "nobody" })
        })
        .member("a", signs("a", secs(1)))
        .member("b", signs("b", secs(1)))
    };
    let engine = engine();
    let run = start(&engine, desk());
    let team = run.run().clone();
    assert_eq!(run.await.unwrap(), Payload::from("task b"));
    assert_eq!(team.report().rows.len(), 2, "nobody else was asked");
    let input = json!({ "member_id": "b", "task": "task" });
    let call = ("delegate_task_to_member".to_owned(), input, result(json!("task b")));
    assert_eq!(calls(&team).await, [call]);

    let desk = Arc::new(desk().into_component());
    let run = desk.start(&engine, desk.spec(), Payload::from("else")).unwrap();
    let error = run.await.unwrap_err().to_string();
    assert!(error.contains("has no member `nobody`, it has `a`, `b`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_sequence_hands_on_what_each_put_out() {
    let begin = Instant::now();
    let team = Team::sequence("line")
        .leader(Model::new("m", "M", "Fake"))
        .member("a", signs("a", secs(1)))
        .member("broken", fails)
        .member("c", signs("c", secs(2)));
    let engine = engine();
    let run = start(&engine, team);
    let team = run.run().clone();
    assert_eq!(run.await.unwrap(), Payload::from("task a c"));
    assert_eq!(since(begin), secs(3));
    assert_eq!(of(&team.report(), "broken").status, RunStatus::Failed);
    let error = ToolOutcome::Error("run `broken` failed: no idea".into());
    let outcomes: Vec<_> = calls(&team).await.into_iter().map(|call| call.2).collect();
    assert_eq!(outcomes[1], error);
    assert_eq!(outcomes[2], result(json!("task a c")));
    let said = testing::trace(&team).await.into_iter().filter_map(|event| match event.kind {
        EventKind::Emitted(payload) => Emit::read(&payload),
        _ => None,
    });
    let said: Vec<_> = said.filter(|emit| matches!(emit, Emit::Content { .. })).collect();
    assert_eq!(said, [Emit::content("task a c")]);
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_asks_in_parallel_and_in_turn_as_often_as_it_likes() {
    let begin = Instant::now();
    let lead = async |_ctx, task: Payload, members: Members| {
        assert_eq!(members.names().collect::<Vec<_>>(), ["a", "b"]);
        let (left, right) =
            tokio::join!(members.ask("a", task.clone()), members.ask("b", task.clone()));
        let left = left?.into_output();
        drop(right?);
        let each = members.ask_each([("b", left.clone()), ("b", task)]).await?;
        assert_eq!(each.len(), 2);
        let both = members.ask_all(each[0].clone().into_output()).await?;
        Ok(both[1].clone().into_output())
    };
    let team = Team::coordinate("desk", lead)
        .member("a", signs("a", secs(1)))
        .member("b", signs("b", secs(2)));
    let engine = engine();
    let run = start(&engine, team);
    let team = run.run().clone();
    assert_eq!(run.await.unwrap(), Payload::from("task a b b"));
    assert_eq!(since(begin), secs(6));
    let names: Vec<_> = calls(&team).await.into_iter().map(|call| call.0).collect();
    assert_eq!(names.len(), 5);
    assert_eq!(names[4], "delegate_task_to_members");
    assert_eq!(team.report().rows.len(), 7, "a run for everything that was asked");
}

#[tokio::test(start_paused = true)]
async fn i5_a_member_that_is_cancelled_alone_does_not_end_the_team_and_leaves_what_it_has() {
    let engine = engine();
    let team = Team::broadcast("critics")
        .member("a", signs("a", secs(3)))
        .member("slow", drafts)
        .member("silent", async |_ctx, _task| std::future::pending().await);
    let run = start(&engine, team);
    let team = run.run().clone();
    sleep(secs(1)).await;
    for name in ["slow", "silent"] {
        let member = find(&team, name);
        engine.cancel(member.id(), CancelRequest::because("you are out"));
        assert_eq!(member.ended().await.status, RunStatus::Cancelled);
    }
    assert_eq!(team.status(), RunStatus::Running);
    let words = "done by 1 of 3: `slow` was cancelled (user-request: you are out); `silent` was \
                 cancelled (user-request: you are out)";
    assert_eq!(run.await.unwrap(), Payload::from(words));
    let ToolOutcome::Result(Some(said)) = calls(&team).await.remove(0).2 else {
        panic!("the call has a result")
    };
    let said = json(Some(&said));
    assert_eq!((&said["a"], &said["slow"]), (&json!("task a"), &json!("half a draft")));
    let silent = said["silent"]["stopped"].as_str().unwrap();
    assert!(silent.contains("you are out"), "{silent}");
}

#[tokio::test(start_paused = true)]
async fn i28_a_strict_team_fails_with_its_member_and_stops_those_asked_with_it() {
    let begin = Instant::now();
    let team = Team::broadcast("strict")
        .on_member_failed(OnMember::Fail)
        .member("slow", drafts)
        .member("broken", async |_ctx, _task| failure_after(secs(2), "no idea").await);
    let engine = engine();
    let run = start(&engine, team);
    let team = run.run().clone();
    let error = run.await.unwrap_err().to_string();
    assert!(error.contains("member `broken` failed: run `broken` failed: no idea"), "{error}");
    assert_eq!(since(begin), secs(2));
    let report = team.report();
    assert_eq!(report.status, RunStatus::Failed);
    let slow = of(&report, "slow");
    let cause = slow.cause.as_ref().unwrap();
    assert_eq!((slow.status, cause.kind), (RunStatus::Cancelled, CauseKind::SiblingFailed));
    assert_eq!(cause.message.as_deref(), Some("member `broken` did not complete"));
    assert_eq!(slow.partial, Some(Payload::from("half a draft")));
}

#[tokio::test(start_paused = true)]
async fn a_strict_team_fails_whatever_its_leader_makes_of_it_and_asks_nobody_any_more() {
    let lead = async |_ctx, task: Payload, members: Members| {
        drop(members.ask("slow", task.clone()).await);
        assert!(members.ask("a", task).await.is_err());
        Ok(Payload::from("all is well"))
    };
    let team = Team::coordinate("strict", lead)
        .on_member_stopped(OnMember::Fail)
        .with_member(Member::new("slow", drafts).timeout(secs(2)).grace(secs(1)))
        .member("a", signs("a", secs(1)));
    let engine = engine();
    let run = start(&engine, team);
    let team = run.run().clone();
    let error = run.await.unwrap_err().to_string();
    assert!(error.contains("member `slow` was stopped (deadline"), "{error}");
    let report = team.report();
    assert_eq!(of(&report, "slow").status, RunStatus::TimedOut);
    assert_eq!(report.rows.len(), 2, "nobody was asked after that");
}

#[tokio::test(start_paused = true)]
async fn a_leader_may_hand_out_tasks_in_a_text_that_is_json() {
    let leader = Component::agent("chief", async |_ctx, asked: Payload| {
        let asked: Value = asked.parse()?;
        let answer = asked["results"][0]["result"].as_str();
        let tasks = json!({ "delegate": [{ "member": "a", "task": asked["task"] }] });
        Ok(Payload::from(answer.map_or_else(|| format!("{tasks}\n"), str::to_owned)))
    });
    let max = NonZeroUsize::new(2).unwrap();
    let team = Team::led_by("team", &Arc::new(leader), max).member("a", signs("a", secs(1)));
    let engine = engine();
    let run = start(&engine, team);
    let output = run.await.unwrap();
    assert_eq!(output, Payload::from("task a"));
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_the_team_reaches_every_member_and_nobody_is_asked_after_it() {
    let member =
        || Team::sequence("inner").member("first", drafts).member("never", signs("never", secs(1)));
    let inner = Arc::new(member().into_component());
    let modes = [
        Team::broadcast("team"),
        Team::sequence("team"),
        Team::route("team", async |_ctx, _task| Ok("inner")),
        Team::coordinate("team", async |_ctx, task: Payload, members: Members| {
            drop(members.ask("inner", task.clone()).await);
            // A leader that does not care about the stop is refused, too.
            Ok(members.ask("inner", task).await?.into_output())
        }),
    ];
    let engine = engine();
    for team in modes {
        let run = start(&engine, team.with_member(Member::of(&inner)));
        let team = run.run().clone();
        sleep(secs(1)).await;
        assert_eq!(team.children().len(), 1);
        assert_eq!(find(&team, "inner").kind(), RunKind::Team);
        run.cancel(CancelRequest::because("enough"));
        let report = team.quiescent().await;
        assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, true));
        let statuses: Vec<_> = report.rows.iter().map(|row| row.status).collect();
        assert_eq!(statuses, [RunStatus::Cancelled; 3], "{report:#?}");
        // I17: what the member left is in the report, below the team.
        assert_eq!(of(&report, "first").partial, Some(Payload::from("half a draft")));
        let outcomes: Vec<_> = calls(&team).await.into_iter().map(|call| call.2).collect();
        assert!(outcomes.iter().all(|end| *end == ToolOutcome::Cancelled), "{outcomes:?}");
        let is_final = |event: &quell::RunEvent| matches!(event.kind, EventKind::Emitted(_));
        assert!(!testing::trace(&team).await.iter().any(is_final), "the leader speaks no more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_can_be_a_component_under_another_name() {
    let writer = Component::agent("writer", async |ctx: RunContext, task: Payload| {
        assert_eq!(ctx.run().label(quell_flow::COMPONENT), Some("writer"));
        Ok(task)
    });
    let writer = Arc::new(writer);
    let desk = Team::sequence("desk").with_member(Member::of(&writer).named("first hand"));
    let desk = Arc::new(desk.into_component());
    let part = &desk.parts()[0];
    assert_eq!((&*part.name, part.agent.as_deref()), ("first hand", Some("writer")));
    let engine = engine();
    let run = desk.start(&engine, desk.spec(), Payload::from("task")).unwrap();
    let team = run.run().clone();
    assert_eq!(run.await.unwrap(), Payload::from("task"));
    assert_eq!(of(&team.report(), "first hand").output, Some(Payload::from("task")));
}

#[tokio::test(start_paused = true)]
async fn a_task_larger_than_an_event_reaches_the_members_and_is_recorded_by_its_size() {
    let team = Team::sequence("line")
        .member("a", async |_ctx, task: Payload| Ok(Payload::json(&task.len())?));
    let team = Arc::new(team.into_component());
    let task = Payload::from("x".repeat(quell::limits::EVENT_BYTES_MAX));
    let bytes = task.len();
    let engine = engine();
    let run = team.start(&engine, team.spec(), task).unwrap();
    let root = run.run().clone();
    assert_eq!(json(Some(&run.await.unwrap())), json!(bytes));
    assert_eq!(calls(&root).await[0].1["task"], json!({ "bytes": bytes }));
}

#[tokio::test(start_paused = true)]
async fn what_no_value_can_hold_is_told_as_its_text() {
    let team = Team::broadcast("same").member("a", async |_ctx, task: Payload| Ok(task));
    let team = Arc::new(team.into_component());
    let engine = engine();
    let task = Payload::from_json_text("[1e400]").unwrap();
    let run = team.start(&engine, team.spec(), task).unwrap();
    let root = run.run().clone();
    run.await.unwrap();
    let said = result(json!({ "a": "[1e400]" }));
    let call = ("delegate_task_to_members".to_owned(), json!({ "task": "[1e400]" }), said);
    assert_eq!(calls(&root).await, [call]);
}

#[tokio::test(start_paused = true)]
async fn i26_a_panic_of_a_member_is_its_own_and_the_team_goes_on() {
    let team = Team::broadcast("team")
        .member("a", signs("a", secs(1)))
        .member("panics", async |_ctx, _task| panic!("oh no"));
    let engine = engine();
    let run = start(&engine, team);
    let team = run.run().clone();
    let words = "done by 1 of 2: run `panics` failed: panicked: oh no";
    assert_eq!(run.await.unwrap(), Payload::from(words));
    let report = team.report();
    assert_eq!(of(&report, "panics").error.as_deref(), Some("panicked: oh no"));
}

#[tokio::test(start_paused = true)]
async fn a_team_that_nobody_is_in_says_so() {
    let engine = engine();
    let run = start(&engine, Team::broadcast("empty").verdict("nobody came"));
    assert_eq!(run.await.unwrap(), Payload::from("nobody came"));
    let run = start(&engine, Team::sequence("empty"));
    assert_eq!(run.await.unwrap(), Payload::from("task"));
    let run = engine.submit(RunSpec::workflow("flow"), async |ctx| {
        let team = Team::route("empty", async |_ctx, _task| Ok("a")).into_body();
        Ok(ctx.spawn(RunSpec::team("empty"), move |ctx| team(ctx, "task".into())).await?)
    });
    let error = run.unwrap().await.unwrap_err().to_string();
    assert!(error.contains("team `empty` has no member `a`, it has none"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_output_beyond_the_bound_is_a_failure_that_says_so() {
    let large = async |_: RunContext, _: Payload| {
        Ok(Payload::from("x".repeat(quell::limits::PAYLOAD_BYTES_MAX)))
    };
    let engine = engine();
    let component = Arc::new(Component::agent("large", large));
    let run = component.start(&engine, component.spec(), Payload::from("go")).unwrap();
    let report = run.run().quiescent().await;
    assert_eq!(report.status, RunStatus::Failed);
    let words = report.error.as_ref().unwrap().to_string();
    assert!(words.contains("output has 16777218 bytes; the limit is 16777216"), "{words}");
    let team = Team::broadcast("team").with_member(Member::new("large", large));
    let report = start(&engine, team).run().quiescent().await;
    let member = report.rows.iter().find(|row| &*row.name == "large").unwrap();
    assert_eq!(member.status, RunStatus::Failed);
}
