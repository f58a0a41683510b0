//! Components of `quell.toml`: programs and plans.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quell::{Failure, Payload, RunContext};
use quell_flow::{Catalog, Component, Contract, Model, Plan, Reducer};
use quell_process::Process;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::server::time;
use crate::faults::{in_full, listed};
use crate::processes::Processes;
use crate::{environment, programs};

/// `[agents.ID]` or `[workflows.ID]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ComponentEntry {
    /// A program with its arguments.
    run: Option<Vec<String>>,
    cwd: Option<PathBuf>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The file of a plan.
    plan: Option<PathBuf>,
    description: Option<String>,
    model: Option<ModelEntry>,
    contracts: Option<Vec<Served>>,
    #[serde(default, deserialize_with = "some_time")]
    timeout: Option<Duration>,
    #[serde(default, deserialize_with = "some_time")]
    grace: Option<Duration>,
    /// How keys of its state take new values.
    #[serde(default)]
    reducers: BTreeMap<String, ReducerName>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelEntry {
    id: String,
    name: String,
    provider: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReducerName {
    Overwrite,
    Append,
}

impl From<ReducerName> for Reducer {
    fn from(name: ReducerName) -> Self {
        match name {
            ReducerName::Overwrite => Self::Overwrite,
            ReducerName::Append => Self::Append,
        }
    }
}

/// A contract that this server serves.
#[derive(Clone, Copy, Debug)]
struct Served(Contract);

impl<'de> Deserialize<'de> for Served {
    /// Refuses a name that no contract has: its component would be exposed nowhere.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let found = SERVED.into_iter().find(|contract| contract.name() == name);
        found.map(Self).ok_or_else(|| {
            let names = SERVED.map(|contract| format!("`{}`", contract.name())).join(", ");
            D::Error::custom(format!("unknown contract `{name}`; expected one of {names}"))
        })
    }
}

/// Every contract of the server.
const SERVED: [Contract; 4] = [
    quell_http::NATIVE,
    quell_agentos::CONTRACT,
    quell_langgraph::CONTRACT,
    quell_playbook3d::CONTRACT,
];

/// The folder of the configuration, and what programs of its components must not read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    /// The folder of the file.
    pub(super) folder: &'a Path,
    /// Variables with secrets of the server, which programs do not get.
    pub(super) secrets: &'a Arc<[String]>,
}

impl ComponentEntry {
    /// Makes the component. None for a workflow that is a plan: such plans may name each other and
    /// are linked together.
    pub(super) fn component(
        &self,
        kind: &str,
        id: &str,
        source: Source<'_>,
    ) -> Result<Option<Component>, String> {
        let component = match (&self.run, &self.plan) {
            (Some(command), None) => self.program(kind, id, command, source)?,
            (None, Some(_)) if kind == "workflows" => return Ok(None),
            (None, Some(plan)) => {
                let plan = Plan::load(source.folder.join(plan)).map_err(|error| in_full(&error))?;
                let plan = plan.link(&Catalog::new()).map_err(|faults| listed(&faults, 0))?;
                let runner = Processes { without: Arc::clone(source.secrets) };
                made(kind, id, move |ctx, _input: Payload| plan.run(ctx, runner.clone()))
            }
            _ => return Err("expected `run = [\"program\", …]` or `plan = \"FILE\"`".into()),
        };
        Ok(Some(self.adjust(component)))
    }

    /// Reads the plan, if it is one.
    pub(super) fn plan(&self, folder: &Path) -> Result<Option<Plan>, String> {
        let Some(plan) = &self.plan else { return Ok(None) };
        Plan::load_all(folder.join(plan)).map(Some).map_err(|faults| listed(&faults, 0))
    }

    /// Sets the other options of the entry.
    pub(super) fn adjust(&self, mut component: Component) -> Component {
        if let Some(description) = &self.description {
            component = component.describe(description);
        }
        if let Some(ModelEntry { id, name, provider }) = &self.model {
            component = component.model(Model::new(id, name, provider));
        }
        if let Some(contracts) = &self.contracts {
            component = component.exposed_in(contracts.iter().map(|served| served.0));
        }
        if let Some(timeout) = self.timeout {
            component = component.timeout(timeout);
        }
        if let Some(grace) = self.grace {
            component = component.grace(grace);
        }
        for (key, reducer) in &self.reducers {
            component = component.reducer(key, (*reducer).into());
        }
        component
    }

    fn program(
        &self,
        kind: &str,
        id: &str,
        command: &[String],
        Source { folder, secrets }: Source<'_>,
    ) -> Result<Component, String> {
        let Some((program, arguments)) = command.split_first().filter(|(p, _)| !p.is_empty())
        else {
            return Err("`run` is empty; expected a program and its arguments".into());
        };
        // A path with a slash is relative to the file, as are all paths in it.
        let program =
            if program.contains('/') { folder.join(program) } else { PathBuf::from(program) };
        let cwd = self.cwd.as_ref().map_or_else(|| folder.to_owned(), |cwd| folder.join(cwd));
        let (arguments, env) = (arguments.to_vec(), self.env.clone());
        let secrets = Arc::clone(secrets);
        Ok(made(kind, id, move |ctx, input| {
            let mut process = environment::program(&program, &ctx).args(&arguments);
            for key in secrets.iter() {
                process = process.env_remove(key);
            }
            // Variables of the entry come last: it may pass a secret on deliberately.
            for (key, value) in &env {
                process = process.env(key, value);
            }
            if !cwd.as_os_str().is_empty() {
                process = process.cwd(&cwd);
            }
            talk(process, ctx, input)
        }))
    }
}

fn made<F, Fut>(kind: &str, id: &str, body: F) -> Component
where
    F: Fn(RunContext, Payload) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
{
    if kind == "agents" { Component::agent(id, body) } else { Component::workflow(id, body) }
}

/// Runs a program with its input as one line of JSON on stdin. Its output is what it wrote on
/// stdout: as JSON if it is JSON, otherwise as text, in which `U+FFFD` replaces bytes that are not
/// UTF-8. The run fails if the output was cut.
async fn talk(process: Process, ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    // Between the tokens of JSON a line break is a space, and within them there is none.
    let line = input.as_json().replace(['\n', '\r'], " ") + "\n";
    let output = programs::run(process.input(line), ctx.clone()).await?;
    ctx.checkpoint()?;
    let (bytes, is_cut) = (output.stdout_bytes, output.stdout_truncated);
    let kept = output.into_stdout_bytes().unwrap_or_default();
    if is_cut {
        let kept = kept.len();
        return Err(Failure::new(format!("stdout has {bytes} bytes, and {kept} of them are kept")));
    }
    let text = String::from_utf8_lossy(&kept);
    let text = text.trim_end();
    let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    Ok(value.into())
}

fn some_time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    time(from).map(Some)
}
