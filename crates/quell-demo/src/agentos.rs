//! The demo components of `AgentOS` (`quell_agentos::contract`, section 16): deterministic, no
//! network, no keys.

use std::time::Duration;

use futures::future::join_all;
use quell::{Failure, Outcome, Payload, RunContext, RunHandle, RunSpec};
use quell_flow::{Catalog, Component, Emit, Member, Model, Part, Reducer, Team};
use quell_http::NATIVE;
use serde_json::{Value, json};

use crate::contracts::{AGENTOS, PLAYBOOK3D};
use crate::{Record, Witness};

/// Adds the demo components that the `AgentOS` contract lists to a catalog, under their ids with a
/// prefix. `everywhere` is exposed in every contract, two workflows in `Playbook3D` as well, the
/// others in this contract and in the native one.
pub fn components(catalog: Catalog, witness: &Witness, prefix: &str) -> Catalog {
    let here = [AGENTOS, NATIVE];
    let shared = [AGENTOS, NATIVE, PLAYBOOK3D];
    let id = |id: &str| format!("{prefix}{id}");
    let short = Pace { ticks: 3, tick_ms: 0.0, first_ms: 0.0 };
    let silent = Pace { ticks: 1, tick_ms: 0.0, first_ms: 5000.0 };
    catalog
        .with(agent(id("slow-agent"), SLOW, witness).exposed_in(here))
        .with(agent(id("short-agent"), short, witness).exposed_in(here))
        .with(agent(id("silent-agent"), silent, witness).exposed_in(here))
        .with(slow_team(id("slow-team"), witness).exposed_in(here))
        .with(agent_flow(id("slow-workflow"), witness).exposed_in(shared))
        .with(function_flow(id("fn-workflow"), witness).exposed_in(here))
        .with(short_flow(id("short-workflow")).exposed_in(shared))
        .with(everywhere(id("everywhere"), witness))
}

/// How a ticker ticks.
#[derive(Clone, Copy, Debug)]
struct Pace {
    ticks: u64,
    tick_ms: f64,
    first_ms: f64,
}

const SLOW: Pace = Pace { ticks: 500, tick_ms: 20.0, first_ms: 0.0 };

fn tick_model() -> Model {
    Model::new("tick-model", "TickModel", "Fake")
}

fn agent(id: String, pace: Pace, witness: &Witness) -> Component {
    let (who, witness) = (id.clone(), witness.clone());
    let body = move |ctx, input| talk(ctx, input, who.clone(), pace, witness.clone());
    Component::agent(id, body).model(tick_model())
}

fn slow_team(id: String, witness: &Witness) -> Component {
    let leader = Model::new("leader-model", "LeaderModel", "Fake");
    let mut team = Team::broadcast(id).leader(leader).verdict("done");
    for number in 1..=3 {
        let (who, witness) = (format!("member-{number}"), witness.clone());
        let name = who.clone();
        let body = move |ctx, input| talk(ctx, input, who.clone(), SLOW, witness.clone());
        team = team.with_member(Member::new(name, body).model(tick_model()));
    }
    team.into_component()
}

/// A Parallel of four steps that agents do.
fn agent_flow(id: String, witness: &Witness) -> Component {
    let witness = witness.clone();
    let body = move |ctx, input| four_agents(ctx, input, witness.clone());
    Component::workflow(id, body).steps(agent_steps())
}

/// The same; what it has done it also says as a state, for contracts that show states.
fn everywhere(id: String, witness: &Witness) -> Component {
    let witness = witness.clone();
    let body = move |ctx: RunContext, input: Payload| {
        let witness = witness.clone();
        async move {
            let given: Value = input.parse()?;
            let message = if given.is_object() { given["message"].clone() } else { given };
            let said = four_agents(ctx.clone(), input, witness).await?;
            let values = json!({ "message": message, "log": ["done"] });
            Emit::Values { values: values.into() }.send(&ctx);
            Ok(said)
        }
    };
    Component::workflow(id, body).steps(agent_steps()).reducer("log", Reducer::Append)
}

fn agent_steps() -> [Part; 1] {
    let agent = |n| Part::agent(format!("step-{n}"), format!("step-agent-{n}"));
    let steps = (1..=4).map(|n| agent(n).model(tick_model()));
    [Part::parallel("fan-out", steps)]
}

async fn four_agents(
    ctx: RunContext,
    input: Payload,
    witness: Witness,
) -> Result<Payload, Failure> {
    fan_out(ctx, input, move |ctx, n, input| {
        let (who, witness) = (format!("step-agent-{n}"), witness.clone());
        let agent = RunSpec::agent(who.as_str()).input(input.clone());
        ctx.spawn(RunSpec::step(format!("step-{n}")), move |ctx: RunContext| async move {
            let body = move |ctx| talk(ctx, input, who, SLOW, witness);
            returned(&ctx, ctx.spawn(agent, body)).await
        })
    })
    .await
}

/// A Parallel of four steps that are plain code.
fn function_flow(id: String, witness: &Witness) -> Component {
    let witness = witness.clone();
    let steps = (1..=4).map(|n| Part::function(format!("fn-{n}")));
    let body = move |ctx: RunContext, input: Payload| {
        let witness = witness.clone();
        fan_out(ctx, input, move |ctx, n, input| {
            let (who, witness) = (format!("fn-{n}"), witness.clone());
            ctx.spawn(RunSpec::step(who.as_str()), move |ctx| tick(ctx, input, who, SLOW, witness))
        })
    };
    Component::workflow(id, body).steps([Part::parallel("fan-out", steps)])
}

fn short_flow(id: String) -> Component {
    let body = async |ctx: RunContext, _input: Payload| {
        let step = ctx.spawn(RunSpec::step("instant"), async |ctx: RunContext| {
            ctx.set_output("ok".into());
            Ok(Payload::from("ok"))
        });
        Ok(step.await?)
    };
    Component::workflow(id, body).steps([Part::function("instant")])
}

/// Runs the Parallel `fan-out` of four steps; its result, and the workflow's, is their texts.
async fn fan_out<F>(ctx: RunContext, input: Payload, step: F) -> Result<Payload, Failure>
where
    F: Fn(&RunContext, u32, Payload) -> RunHandle<Payload> + Send + 'static,
{
    let all = ctx.spawn(RunSpec::step("fan-out"), async move |ctx: RunContext| {
        let steps: Vec<_> = (1..=4).map(|number| step(&ctx, number, input.clone())).collect();
        let texts = join_all(steps).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<String> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        let all = Payload::from(texts.join("\n\n"));
        ctx.set_output(all.clone());
        Ok(all)
    });
    Ok(all.await?)
}

/// Waits for a child and takes over its text, whole or partial.
async fn returned(ctx: &RunContext, child: RunHandle<Payload>) -> Result<Payload, Failure> {
    match child.outcome().await {
        Outcome::Completed(text) => {
            ctx.set_output(text.clone());
            Ok(text)
        }
        Outcome::Stopped { cause, .. } => Err(quell::Stopped { cause }.into()),
        Outcome::Failed(error) => Err(error.into()),
    }
}

/// A ticker within the brackets of a model.
async fn talk(
    ctx: RunContext,
    input: Payload,
    who: String,
    pace: Pace,
    witness: Witness,
) -> Result<Payload, Failure> {
    let (model, provider) = ("tick-model".to_owned(), "Fake".to_owned());
    Emit::ModelStarted { model: model.clone(), provider: provider.clone() }.send(&ctx);
    let text = tick(ctx.clone(), input, who, pace, witness).await?;
    Emit::ModelEnded { model, provider, input_tokens: 0, output_tokens: 0 }.send(&ctx);
    Ok(text)
}

/// Sleeps, then `ticks` times: sleeps, counts itself, says `t<i> `. What it said is its output.
///
/// It never asks about a stop: it is dropped at its next await.
async fn tick(
    ctx: RunContext,
    input: Payload,
    who: String,
    pace: Pace,
    witness: Witness,
) -> Result<Payload, Failure> {
    let (pace, probe) = directed(input.as_json(), pace);
    let record = Record::start(&witness, probe, &who);
    sleep(pace.first_ms).await;
    let mut said = String::new();
    for number in 0..pace.ticks {
        sleep(pace.tick_ms).await;
        record.tick();
        let text = format!("t{number} ");
        Emit::content(text.as_str()).send(&ctx);
        said.push_str(&text);
        ctx.set_output(said.as_str().into());
        if pace.tick_ms <= 0.0 {
            // It gives way all the same, so that a stop finds an await.
            tokio::task::yield_now().await;
        }
    }
    record.finish();
    Ok(said.into())
}

async fn sleep(millis: f64) {
    if let Ok(time) = Duration::try_from_secs_f64(millis / 1000.0)
        && !time.is_zero()
    {
        tokio::time::sleep(time).await;
    }
}

/// Reads the directives in a message: `ticks=N tick_ms=M first_ms=K probe=P`, anywhere.
fn directed(text: &str, mut pace: Pace) -> (Pace, Option<String>) {
    let mut probe = None;
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for (at, _) in text.match_indices('=') {
        let start = text[..at]
            .rfind(|c| !is_word(c))
            .map_or(0, |before| before + text[before..].chars().next().map_or(0, char::len_utf8));
        let value = &text[at + 1..];
        let end = value.find(|c| !is_word(c) && c != '.' && c != '-').unwrap_or(value.len());
        let value = &value[..end];
        match &text[start..at] {
            "ticks" => pace.ticks = value.parse().unwrap_or(pace.ticks),
            "tick_ms" => pace.tick_ms = value.parse().unwrap_or(pace.tick_ms),
            "first_ms" => pace.first_ms = value.parse().unwrap_or(pace.first_ms),
            "probe" if !value.is_empty() => probe = Some(value.to_owned()),
            _ => {}
        }
    }
    (pace, probe)
}
