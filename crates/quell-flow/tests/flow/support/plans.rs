//! Plans of a small language, and what runs them.

use std::sync::{Arc, Mutex};

use quell::{Failure, Payload, RunContext, RunHandle, RunReport, testing};
use quell_flow::{CommandStep, Plan, Runner};
use tokio::time::sleep;

use super::*;

/// Runs commands of a small language, and remembers which it started:
/// `say WORDS`, `json TEXT`, `input`, `wait MS`, `fail WORDS`, `tidy MS WORDS`
/// (waits for a stop, cleans up, says),
/// `half WORDS` (sets a partial output and waits for ever).
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Arc<Mutex<Vec<String>>>);

impl Script {
    pub(crate) fn started(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Runner for Script {
    async fn run(&self, ctx: RunContext, step: CommandStep) -> Result<Payload, Failure> {
        self.0.lock().unwrap().push(step.command.join(" "));
        let words: Vec<&str> = step.command.iter().map(String::as_str).collect();
        match *words {
            ["say", words] => Ok(Payload::from(words)),
            ["wait", time] => {
                sleep(millis(time.parse()?)).await;
                Ok(Payload::from(time))
            }
            ["input"] => Ok(Payload::from(step.input.unwrap_or_default())),
            ["json", text] => Ok(Payload::from_json_text(text)?),
            ["fail", words] => Err(Failure::new(words.to_owned())),
            ["tidy", time, words] => {
                cleanup_for(ctx, millis(time.parse()?), Ok(Payload::from(words))).await
            }
            ["half", words] => {
                ctx.set_output(Payload::from(words));
                std::future::pending().await
            }
            ["large"] => Ok(Payload::from("x".repeat(quell::limits::PAYLOAD_BYTES_MAX))),
            _ => Err(Failure::new("no such command")),
        }
    }
}

/// Submits a plan; yields its handle and what its runner has started.
pub(crate) fn submit_plan(engine: &Engine, toml: &str) -> (RunHandle<Payload>, Script) {
    let plan = Plan::from_toml(toml).unwrap();
    let script = Script::default();
    let runner = script.clone();
    let run = engine.submit(plan.spec(), move |ctx| plan.run(ctx, runner)).unwrap();
    (run, script)
}

/// Runs a plan to its end.
pub(crate) async fn run_plan(toml: &str) -> (Result<String, String>, Arc<RunReport>, Script) {
    let engine = engine();
    let (run, script) = submit_plan(&engine, toml);
    let root = run.run().clone();
    let output = run.await.map(|output| output.as_json().to_owned()).map_err(|e| e.to_string());
    let report = root.quiescent().await;
    testing::check_trace(&testing::trace(&root).await).unwrap();
    (output, report, script)
}
