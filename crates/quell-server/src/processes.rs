//! The commands of a plan as processes.

use std::sync::Arc;

use quell::{Failure, Payload, RunContext};
use quell_flow::{CommandStep, Runner};
use quell_process::Process;

use crate::environment::{self, Inherits};
use crate::programs;

/// Runs the commands of a plan as processes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processes {
    /// Variables of our environment that they do not get.
    pub(crate) without: Arc<[String]>,
}

impl Runner for Processes {
    async fn run(&self, ctx: RunContext, command: CommandStep) -> Result<Payload, Failure> {
        let mut words = command.command.into_iter();
        let program = words.next().ok_or_else(|| Failure::new("the command is empty"))?;
        let inherits = Inherits::of(command.env_clear);
        let mut process = environment::program(program, inherits, &ctx).args(words);
        if let Some(cwd) = command.cwd {
            process = process.cwd(cwd);
        }
        for key in self.without.iter() {
            process = process.env_remove(key);
        }
        for (key, value) in command.env {
            process = process.env(key, value);
        }
        if let Some(input) = command.input {
            process = process.input(input);
        }
        output(process, ctx).await
    }
}

/// Runs one program; its output is that of the run. If the run was stopped and the program did not
/// end with exit code 0, the run has no value: what the program wrote is its partial output.
pub(crate) async fn output(process: Process, ctx: RunContext) -> Result<Payload, Failure> {
    let output = programs::run(process, ctx.clone()).await?;
    if output.exit_code != Some(0) {
        ctx.checkpoint()?;
    }
    Ok(Payload::json(&output)?)
}
