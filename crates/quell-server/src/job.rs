//! What is to be run: a plan, or a single command.

use std::ffi::OsString;
use std::path::Path;

use quell::{Engine, RunRef, RunSpec, SubmitError};
use quell_flow::Plan;
use quell_process::Process;

use crate::args::RunArgs;
use crate::processes::{Processes, in_full, output};

/// What is to be run, checked as far as that is possible without running it.
pub(crate) struct Job {
    spec: RunSpec,
    body: Body,
}

enum Body {
    Plan(Plan),
    Command(Process),
}

impl Job {
    /// Reads the plan, or takes the command, and what the command line says about either.
    ///
    /// # Errors
    ///
    /// Fails with one message if there is no plan or the plan is wrong.
    pub(crate) fn load(args: RunArgs) -> Result<Self, String> {
        let mut command = args.command.into_iter();
        let (mut spec, body) = match (args.plan, command.next()) {
            (Some(path), _) => {
                let plan = Plan::load(&path).map_err(|error| in_full(&error))?;
                (plan.spec(), Body::Plan(plan))
            }
            (None, Some(program)) => {
                let spec = RunSpec::step(file_name(&program));
                (spec, Body::Command(Process::new(program).args(command)))
            }
            (None, None) => return Err("there is neither a plan nor a command".into()),
        };
        if let Some(timeout) = args.timeout {
            spec = spec.timeout(timeout);
        }
        if let Some(grace) = args.grace {
            spec = spec.grace(grace);
        }
        Ok(Self { spec, body })
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// Fails if the engine refuses, for instance because of a name that is too long.
    pub(crate) fn submit(self, engine: &Engine) -> Result<RunRef, SubmitError> {
        let handle = match self.body {
            Body::Plan(plan) => {
                engine.submit(self.spec, |ctx| plan.run(ctx, Processes::default()))?
            }
            Body::Command(process) => {
                engine.submit(self.spec, async move |ctx| output(process, ctx).await)?
            }
        };
        Ok(handle.into_ref())
    }
}

fn file_name(program: &OsString) -> String {
    let name = Path::new(program).file_name().unwrap_or(program);
    name.to_string_lossy().into_owned()
}
