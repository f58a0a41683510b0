//! Two sites on two nodes of one store: a workflow of which some parts have ended, through both.

use futures::StreamExt as _;
use quell::testing::cluster::Nodes;
use quell::{Failure, Payload, RunContext, RunSpec};
use quell_agentos::Options;
use quell_flow::{Component, Emit, Part};
use quell_test_support::{secs, within};
use serde_json::json;
use tower::ServiceExt as _;

use crate::nodes::{PATHS, followed, followed_at, site, soon_read, two};
use crate::support::http::{Events as _, names, post_form, read};
use crate::support::{Site, fresh};

/// A workflow with a step that an agent does, a Parallel of two, and a question. Then it stays.
pub(crate) fn parts() -> Component {
    let pair = ["left", "right"].map(|name| Part::agent(name, format!("agent-{name}")));
    let parts = [Part::agent("one", "agent-one"), Part::parallel("both", pair)];
    Component::workflow("parts", body).steps(parts).resumable()
}

async fn body(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    if ctx.resumed_with().is_some() {
        return std::future::pending().await;
    }
    step(&ctx, "one").await?;
    let both = ctx.spawn(RunSpec::step("both"), async |ctx: RunContext| {
        let (left, right) = (step(&ctx, "left").await?, step(&ctx, "right").await?);
        Ok(Payload::from(json!([left, right])))
    });
    both.await?;
    Err(ctx.pause("go on?"))
}

async fn step(ctx: &RunContext, name: &'static str) -> Result<Payload, Failure> {
    let step = ctx.spawn(RunSpec::step(name), async move |ctx: RunContext| {
        let agent = ctx.spawn(RunSpec::agent(format!("agent-{name}")), async |ctx: RunContext| {
            Emit::content("hi").send(&ctx);
            Ok(Payload::from("done"))
        });
        Ok(agent.await?)
    });
    Ok(step.await?)
}

#[tokio::test]
async fn parts_that_have_ended_are_told_through_another_node_while_the_whole_goes_on() {
    let (a, b) = two();
    let (path, run) = ("/workflows/parts", fresh("run"));
    let near = a.follow(followed(path, &run)).await.until_its_end().await;
    let far = b.follow(followed(path, &run)).await.until_its_end().await;
    assert_eq!(names(&near).last(), Some(&"WorkflowPaused"), "{near:?}");
    let step = near.iter().find(|event| event["event"] == "StepCompleted").unwrap();
    assert_eq!(step["step_response"]["executor_name"], "agent-one");
    assert_eq!(far, near);

    let paused = read(&a, path, &run, "s").await;
    assert_eq!(paused["step_executor_runs"].as_array().map(Vec::len), Some(3), "{paused}");
    assert_eq!(paused["step_results"].as_array().map(Vec::len), Some(2), "{paused}");
    assert_eq!(read(&b, path, &run, "s").await, paused);
    let form = [("step_requirements", "[]"), ("background", "true"), ("stream", "false")];
    let form = [&form[..], &[("session_id", "s")]].concat();
    let answered = b.create(&format!("{path}/runs/{run}/continue"), &form).await;
    assert_eq!(answered.status, 202, "{answered:?}");
    soon_read(&b, path, &run, "RUNNING").await;
    assert_eq!(read(&b, path, &run, "s").await, read(&a, path, &run, "s").await);
    let over = b.post(&format!("{path}/runs/{run}/cancel?wait=true")).await;
    assert_eq!(over.status, 200);
    assert!(!b.send(followed(path, &run)).await.events().is_empty());
}

#[tokio::test]
async fn a_stop_ends_the_stream_through_another_node_as_that_through_its_own() {
    let nodes = Nodes::new(secs(30));
    for (nth, (sentinel, brackets)) in
        [(true, true), (true, false), (false, true), (false, false)].into_iter().enumerate()
    {
        let mut options = Options::default();
        (options.completed_sentinel, options.close_brackets) = (sentinel, brackets);
        let [a, b] =
            ["a", "b"].map(|name| site(&nodes.join(&format!("{name}{nth}")), options.clone()));
        for path in PATHS {
            let (run, probe) = (fresh("run"), path.rsplit('/').next().unwrap());
            let message = format!("ticks=100000 tick_ms=20 probe={probe}");
            let follows = |site: &Site| {
                let (site, request) = (site.clone(), followed_at(path, &run, &message));
                tokio::spawn(async move { site.send(request).await })
            };
            let near = follows(&a);
            soon_read(&b, path, &run, "RUNNING").await;
            let far = follows(&b);
            a.at_work(probe, 1).await;
            let over = b.post(&format!("{path}/runs/{run}/cancel?wait=quiescent")).await;
            assert_eq!(over.header("quell-disposition"), "accepted", "{path}");
            let (near, far) = within("they end", async { (near.await, far.await) }).await;
            let (near, far) = (near.unwrap(), far.unwrap());
            assert_eq!(far.text, near.text, "{path} {sentinel} {brackets}");
            let events = near.events();
            let last = names(&events).last().copied().unwrap_or_default().to_owned();
            assert_eq!(last.ends_with("Completed"), sentinel, "{path}: {last}");
        }
    }
}

#[tokio::test]
async fn who_is_told_an_end_is_told_the_same_by_every_node() {
    let (a, b) = two();
    for (path, end) in
        [("/agents/short-agent", "RunCompleted"), ("/teams/slow-team", "TeamRunCompleted")]
    {
        for _ in 0..5 {
            let run = fresh("run");
            let message = "ticks=3 tick_ms=1 probe=ends";
            let form = [("message", message), ("session_id", "s"), ("run_id", &run)];
            let request = post_form(&format!("{path}/runs"), &form);
            let answer = a.app.clone().oneshot(request).await.unwrap();
            let mut told = answer.into_body().into_data_stream();
            let mut seen = None;
            while let Some(part) = told.next().await {
                if String::from_utf8_lossy(&part.unwrap()).contains(&format!("event: {end}\n")) {
                    seen = Some(read(&b, path, &run, "s").await);
                }
            }
            let seen = seen.unwrap();
            assert_eq!(seen["status"], "COMPLETED", "{seen}");
            for member in seen["member_responses"].as_array().into_iter().flatten() {
                assert_eq!(member["status"], "COMPLETED", "{seen}");
            }
        }
    }
}
