//! What does it cost to say a workflow as data?
//!
//! 1. `plan/parse`: from the text of a plan of 10,000 steps to the plan, in each format. There is
//!    no other side; the bound is 50 ms.
//! 2. `plan/run`: such a plan, run, against the same runs spawned by a body of one's own: 10,000
//!    children, one after the other, each of which sets its output.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use quell::{Engine, Failure, Payload, RunContext, RunSpec};
use quell_benches::figures::{compare, section};
use quell_benches::race::{Race, Ring, Stopwatch, Took, is_wanted};
use quell_flow::{CommandStep, Plan, PlanFormat, Runner};

fn main() {
    if is_wanted("parse") {
        parse();
    }
    if is_wanted("run") {
        run(&Ring::new(|_| {}));
    }
}

fn parse() {
    section("from the text to the plan", "10 000 steps, each a command of two words");
    for (name, format, text) in [
        ("toml", PlanFormat::Toml, toml()),
        ("json", PlanFormat::Json, json()),
        ("yaml", PlanFormat::Yaml, yaml()),
    ] {
        let mut times: Vec<Duration> = (0..ROUNDS)
            .map(|_| {
                let watch = Stopwatch::start();
                let plan = format.read(&text).expect("the text is a plan");
                let took = watch.stop();
                assert_eq!(plan.steps().len(), STEPS, "every step is there");
                took.time
            })
            .collect();
        times.sort_unstable();
        let ms = times[times.len() / 2].as_secs_f64() * 1e3;
        println!("   {name:<8} {ms:.1} ms for {} bytes", text.len());
        println!("   smaller is better, of a bound of 50 ms");
        println!("ratio plan/parse/{name} {:.2}", ms / 50.0);
    }
}

fn run(ring: &Ring) {
    let shape = "theirs: the same children of a body of one's own";
    section("10 000 steps, one after the other", shape);
    let plan = Plan::from_json(&json()).expect("the text is a plan");
    let names: Arc<[Arc<str>]> = plan.steps().iter().map(|step| Arc::clone(&step.name)).collect();
    let race = Race::run(
        ROUNDS,
        || ring.drive(ours(ring.engine.clone(), plan.clone())),
        || ring.drive(theirs(ring.engine.clone(), Arc::clone(&names))),
    );
    compare("plan/run", STEPS, &race);
}

#[derive(Clone)]
struct Say;

impl Runner for Say {
    async fn run(&self, _: RunContext, command: CommandStep) -> Result<Payload, Failure> {
        Ok(said(&command.command))
    }
}

fn said(words: &[String]) -> Payload {
    Payload::from(words.last().map_or("", String::as_str))
}

async fn ours(engine: Engine, plan: Plan) -> Took {
    let watch = Stopwatch::start();
    let run = engine.submit(plan.spec(), move |ctx| plan.run(ctx, Say)).expect("it is accepted");
    run.await.expect("every step completes");
    watch.stop()
}

async fn theirs(engine: Engine, names: Arc<[Arc<str>]>) -> Took {
    let watch = Stopwatch::start();
    let body = async move |ctx: RunContext| {
        let mut outputs = Vec::with_capacity(names.len());
        for name in &*names {
            let words = ["say".to_owned(), "hello".to_owned()];
            let step = ctx.spawn(RunSpec::step(Arc::clone(name)), async move |ctx| {
                let output = said(&words);
                ctx.set_output(output.clone());
                Ok(output)
            });
            outputs.push((Arc::clone(name), step.await?));
        }
        let outputs: Vec<_> = outputs.iter().map(|(name, output)| (&**name, output)).collect();
        let output = Payload::json(&outputs)?;
        ctx.set_output(output.clone());
        Ok(output)
    };
    let run = engine.submit(RunSpec::workflow("by hand"), body).expect("it is accepted");
    run.await.expect("every step completes");
    watch.stop()
}

fn toml() -> String {
    let mut text = String::from("name = \"many\"\n");
    for step in 0..STEPS {
        let _ = write!(text, "[[steps]]\nname = \"step {step}\"\nrun = [\"say\", \"hello\"]\n");
    }
    text
}

fn json() -> String {
    let steps: Vec<String> = (0..STEPS)
        .map(|step| format!("{{\"name\": \"step {step}\", \"run\": [\"say\", \"hello\"]}}"))
        .collect();
    format!("{{\"name\": \"many\", \"steps\": [{}]}}", steps.join(",\n"))
}

fn yaml() -> String {
    let mut text = String::from("name: many\nsteps:\n");
    for step in 0..STEPS {
        let _ = write!(text, "- name: step {step}\n  run: [say, hello]\n");
    }
    text
}

const STEPS: usize = 10_000;

const ROUNDS: usize = 21;
