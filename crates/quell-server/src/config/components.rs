//! Components of `quell.toml`: programs, plans and services.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{env, path};

use quell::{Failure, Payload, RunContext};
use quell_flow::{
    Catalog, Component, Contract, OnWorkerLost, Plan, PlanError, PlanRefusal, Reducer, excerpt,
};
use quell_process::Process;
use serde::Deserialize;

use super::contracts::served;
use super::executables;
use super::file::Config;
use super::limits::Limit;
use super::mistaken::load_plan;
use super::model::ModelEntry;
use super::services::Asks;
use super::shapes::{
    command, display_name, folder, history, some_time, time_above_zero, variables,
};
use super::sort::SORTS;
use crate::environment::{self, Inherits};
use crate::processes::Processes;
use crate::quoted::{of_path, quoted};
use crate::{printed, programs};

/// `[agents.ID]` or `[workflows.ID]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ComponentEntry {
    /// A program with its arguments.
    #[serde(default, deserialize_with = "command")]
    pub(super) run: Option<Vec<String>>,
    #[serde(default, deserialize_with = "folder")]
    pub(super) cwd: Option<PathBuf>,
    #[serde(default, deserialize_with = "variables")]
    pub(super) env: BTreeMap<String, String>,
    /// Whether the program gets nothing of the environment of quell but `PATH`.
    #[serde(default)]
    pub(super) env_clear: bool,
    /// The file of a plan.
    pub(super) plan: Option<PathBuf>,
    /// The address of a service.
    pub(super) url: Option<String>,
    /// Where the service is told to stop a run.
    pub(super) cancel: Option<String>,
    /// How long an answer to a cancel is waited for before it is posted again.
    #[serde(default, deserialize_with = "some_time")]
    pub(super) cancel_timeout: Option<Duration>,
    /// Headers of every request, with their values.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// Headers of every request, with the variables that hold their values.
    #[serde(default)]
    pub(super) headers_env: BTreeMap<String, String>,
    /// The variable that holds the key of the service, a bearer token.
    pub(super) key_env: Option<String>,
    /// How often a request is sent again.
    pub(super) retries: Option<u32>,
    #[serde(default, deserialize_with = "some_time")]
    pub(super) connect_timeout: Option<Duration>,
    /// The longest time that the service is in doubt after the end of a run.
    #[serde(default, deserialize_with = "some_time")]
    pub(super) confirm: Option<Duration>,
    /// The name that people read.
    #[serde(default, deserialize_with = "display_name")]
    name: Option<String>,
    description: Option<String>,
    /// How many of its runs run at once, and how many wait.
    running: Option<usize>,
    queued: Option<usize>,
    /// What model it has, or is.
    pub(super) model: Option<ModelEntry>,
    pub(super) contracts: Option<Vec<String>>,
    #[serde(default, deserialize_with = "time_above_zero")]
    timeout: Option<Duration>,
    #[serde(default, deserialize_with = "some_time")]
    grace: Option<Duration>,
    /// The longest time without a sign of life.
    #[serde(default, deserialize_with = "time_above_zero")]
    idle: Option<Duration>,
    /// How many earlier runs of its session a run gets.
    #[serde(default, deserialize_with = "history")]
    history: usize,
    /// What becomes of its runs whose process was killed.
    pub(super) on_worker_lost: Option<Lost>,
    /// How keys of its state take new values.
    #[serde(default)]
    reducers: BTreeMap<String, ReducerName>,
    /// The names of its nodes, in their order.
    #[serde(default)]
    pub(super) nodes: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReducerName {
    Overwrite,
    Append,
    Messages,
}

impl From<ReducerName> for Reducer {
    fn from(name: ReducerName) -> Self {
        match name {
            ReducerName::Overwrite => Self::Overwrite,
            ReducerName::Append => Self::Append,
            ReducerName::Messages => Self::Messages,
        }
    }
}

/// What becomes of runs whose process was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Lost {
    Fail,
    Continue,
}

impl From<Lost> for OnWorkerLost {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Fail => Self::Fail,
            Lost::Continue => Self::Continue,
        }
    }
}

/// The configuration, and what programs of its components must not read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    /// The configuration.
    pub(super) config: &'a Config,
    /// Variables with secrets of the server, which programs do not get.
    pub(super) secrets: &'a Arc<[String]>,
}

impl ComponentEntry {
    /// Yields how many of its runs run at once, and how many wait.
    pub(super) const fn limit(&self) -> Limit {
        Limit { running: self.running, queued: self.queued }
    }

    /// Makes the component. None for a workflow that is a plan: such plans may name each other and
    /// are linked together.
    pub(super) fn component(
        &self,
        kind: &str,
        id: &str,
        source: Source<'_>,
    ) -> Result<Option<Component>, Vec<PlanError>> {
        let at =
            |keys: &[&str], words: &str| source.config.fault(&[&[kind, id], keys].concat(), words);
        let is_lost = |keys: &[&str]| source.config.is_lost(&[&[kind, id], keys].concat());
        // A key that is missing because it has a fault is no other fault.
        let is_sort_lost = || SORTS.iter().any(|keys| is_lost(keys));
        let sort = match self.sort() {
            Ok(sort) => sort,
            Err((Some(key), words)) => return Err(vec![at(&[key], &words)]),
            Err((None, _)) if is_sort_lost() => return Err(Vec::new()),
            Err((None, words)) => return Err(vec![at(&[], &words)]),
        };
        let stray = self.stray_keys(sort).into_iter().map(|(key, words)| at(&[key], words));
        let mut faults: Vec<PlanError> = stray.collect();
        faults.extend(self.bad_node().map(|words| at(&["nodes"], &words)));
        let of_model = |model: &ModelEntry| model.faults(|key| is_lost(&["model", key]));
        for (key, words) in self.model.iter().flat_map(of_model) {
            faults.push(at(&[&["model"], key.as_slice()].concat(), &words));
        }
        match self.made(kind, id, source) {
            Ok(made) if faults.is_empty() => Ok(made.map(|component| self.adjust(component))),
            Ok(_) => Err(faults),
            Err(found) => {
                faults.extend(found);
                Err(faults)
            }
        }
    }

    /// As [`component`](Self::component), without the other options of the entry.
    fn made(
        &self,
        kind: &str,
        id: &str,
        source: Source<'_>,
    ) -> Result<Option<Component>, Vec<PlanError>> {
        let config = source.config;
        if let Some(command) = &self.run {
            let Some((program, arguments)) = split(command) else {
                if config.is_torn(&[kind, id, "run"]) {
                    return Err(Vec::new());
                }
                let right = "empty command; expected a program and its arguments";
                return Err(vec![config.fault(&[kind, id, "run"], right)]);
            };
            return Ok(Some(self.program(kind, id, program, arguments, source)));
        }
        if let Some(asks) = self.asks() {
            return asks.component(kind, id, config).map(Some);
        }
        if kind == "workflows" {
            return Ok(None);
        }
        let plan = self.plan(kind, id, config).map_err(PlanRefusal::into_faults)?;
        let Some(plan) = plan else { return Ok(None) };
        if !plan.components().is_empty() {
            let right = "the plan names components; expected it in `[workflows]`, where it may";
            return Err(vec![config.fault(&[kind, id, "plan"], right)]);
        }
        let plan = plan.link(&Catalog::new())?;
        Ok(Some(plan.into_agent(id, Processes { without: Arc::clone(source.secrets) })))
    }

    /// Yields how the service is asked that it is; none if it is none, or two.
    pub(super) fn asks(&self) -> Option<Asks<'_>> {
        let model = self.model.as_ref().filter(|model| model.url.is_some());
        match (&self.url, model) {
            (Some(_), None) => Some(Asks::of_service(self)),
            (None, Some(model)) => Some(Asks::of_model(model)),
            _ => None,
        }
    }

    /// Reads the plan, if it is one.
    pub(super) fn plan(
        &self,
        kind: &str,
        id: &str,
        config: &Config,
    ) -> Result<Option<Plan>, PlanRefusal> {
        let Some(plan) = &self.plan else { return Ok(None) };
        let path = config.folder.join(plan);
        let read = load_plan(&path);
        read.map(Some).map_err(|refusal| {
            let placed = |fault: PlanError| match fault.line() {
                Some(_) => fault,
                // It could not be read: the name is wrong.
                None => config.fault(&[kind, id, "plan"], &told_of_file(&path, &fault)),
            };
            refusal.map_faults(placed)
        })
    }

    /// Says why its program cannot be started, with the key that is wrong; none if it can, or if
    /// there is none.
    pub(super) fn program_fault(&self, folder: &Path) -> Option<(&'static str, String)> {
        let (program, _) = split(self.run.as_deref()?)?;
        let cwd = self.cwd(folder);
        if !cwd.is_dir() {
            let cwd = quoted(&cwd.display().to_string());
            return Some(("cwd", format!("{cwd}: no such folder")));
        }
        let path = self.env.get("PATH").map(OsString::from).or_else(|| env::var_os("PATH"));
        Some(("run", executables::fault_of(program, folder, &cwd, path.as_deref())?))
    }

    fn cwd(&self, folder: &Path) -> PathBuf {
        self.cwd.as_ref().map_or_else(|| absolute(folder), |cwd| absolute(&folder.join(cwd)))
    }

    /// Sets the other options of the entry.
    pub(super) fn adjust(&self, mut component: Component) -> Component {
        if let Some(name) = &self.name {
            component = component.display_name(name);
        }
        if let Some(description) = &self.description {
            component = component.describe(description);
        }
        if let Some(model) = self.model.as_ref().and_then(ModelEntry::shown) {
            component = component.model(model);
        }
        // With a fault it is exposed everywhere, so that nothing else seems to be missing.
        let all = |names: &Vec<String>| names.iter().map(|name| served(name)).collect();
        if let Some(contracts) = self.contracts.as_ref().and_then(all) {
            let contracts: Vec<Contract> = contracts;
            component = component.exposed_in(contracts);
        }
        if let Some(timeout) = self.timeout {
            component = component.timeout(timeout);
        }
        if let Some(grace) = self.grace {
            component = component.grace(grace);
        }
        if let Some(idle) = self.idle {
            component = component.idle(idle);
        }
        if let Some(then) = self.on_worker_lost {
            component = component.on_worker_lost(then.into());
        }
        for (key, reducer) in &self.reducers {
            component = component.reducer(key, (*reducer).into());
        }
        component.nodes(&self.nodes).history(self.history)
    }

    fn program(
        &self,
        kind: &str,
        id: &str,
        program: &str,
        arguments: &[String],
        Source { config, secrets }: Source<'_>,
    ) -> Component {
        let program = program_path(program, &config.folder);
        let cwd = self.cwd(&config.folder);
        let (arguments, env) = (arguments.to_vec(), self.env.clone());
        let inherits = Inherits::of(self.env_clear);
        let secrets = Arc::clone(secrets);
        made(kind, id, move |ctx, input| {
            let process = environment::program(&program, inherits, &ctx);
            let mut process = process.args(&arguments).cwd(&cwd);
            for key in secrets.iter() {
                process = process.env_remove(key);
            }
            // Variables of the entry come last: it may pass a secret on deliberately.
            for (key, value) in &env {
                process = process.env(key, value);
            }
            talk(process, ctx, input)
        })
    }
}

/// Says why a file that a component names is no plan.
fn told_of_file(path: &Path, fault: &PlanError) -> String {
    let whole = path.display().to_string();
    let (shown, mut words) = (quoted(&whole), fault.message().to_owned());
    if let Some(end) = path.extension().filter(|_| shown != whole) {
        words = words.replace(&format!("`{}`", excerpt(&end.to_string_lossy())), "`…`");
    }
    of_path(&whole, &words)
}

/// Splits a command into a program, which has a name, and its arguments.
fn split(command: &[String]) -> Option<(&str, &[String])> {
    let (program, arguments) = command.split_first()?;
    (!program.is_empty()).then_some((program, arguments))
}

/// Yields what is started. A path with a slash is relative to the file, as are all paths in it.
fn program_path(program: &str, folder: &Path) -> PathBuf {
    if program.contains('/') { absolute(&folder.join(program)) } else { program.into() }
}

/// Yields a path that means the same in every working directory.
fn absolute(path: &Path) -> PathBuf {
    // An empty path is the working directory.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

pub(super) fn made<F, Fut>(kind: &str, id: &str, body: F) -> Component
where
    F: Fn(RunContext, Payload) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Payload, Failure>> + Send + 'static,
{
    if kind == "agents" { Component::agent(id, body) } else { Component::workflow(id, body) }
}

/// Runs a program with its input as one line of JSON on stdin. Its output is what it said with an
/// event `result`. Without one it is what it wrote on stdout, but for events.
async fn talk(process: Process, ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    // Between the tokens of JSON a line break is a space, and within them there is none.
    let line = input.as_json().replace(['\n', '\r'], " ") + "\n";
    let output = programs::run(process.input(line), ctx.clone()).await?;
    ctx.checkpoint()?;
    if let Some(result) = output.result {
        return Ok(result);
    }
    let bytes = output.stdout_bytes;
    let (content, content_bytes) = (output.content.clone(), output.content_bytes);
    let kept = output.into_stdout_bytes().unwrap_or_default();
    printed::output("stdout", (&kept, bytes), (&content, content_bytes))
}
