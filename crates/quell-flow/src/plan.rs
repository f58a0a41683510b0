//! A workflow as data: what to run, in which order, side by side, and how long it may take.

mod action;
mod actions;
mod document;
mod draw;
mod error;
mod expression;
mod fields;
mod json;
mod names;
mod options;
mod parallel;
mod reader;
mod step;
mod text;
mod toml;
mod yaml;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub use action::{
    ComponentStep, IfStep, LoopOptions, LoopStep, OnMax, RouteStep, TeamMode, TeamOptions,
    TeamStep, WorkflowStep,
};
pub use error::PlanError;
pub use expression::Expression;
pub use parallel::{ParallelOptions, ParallelStep, PlanPolicy, PlanRetry};
pub use step::{Action, Cleanup, CommandStep, PlanStep, SequenceStep};

pub(crate) use action::Origin;
#[cfg(feature = "test-util")]
pub(crate) use expression::check_template;
pub(crate) use expression::{is_template, only_expression, read, render};
pub(crate) use fields::excerpt;

use crate::limits;
use error::Place;

/// A workflow as data. Every plan that exists is valid.
///
/// # The format
///
/// TOML, JSON and YAML say the same with the same keys; [`PLAN_SCHEMA`] is the schema. A plan has a
/// `name`, `steps`, and may have a `description`, a `timeout`, a `grace`, `on_failure`, `on_stop`.
/// A step has a `name`, may have a `timeout`, a `grace`, an `idle` limit, a `retry`, `on_failure`
/// and `on_stop`, and has exactly one of
///
/// | key | value | goes with |
/// |---|---|---|
/// | `run` | a program and its arguments | `cwd`, `env` (a table of texts), `input` (a text) |
/// | `sequence` | a list of steps that run one after another | |
/// | `parallel` | a table of options, or an empty one | `branches`, steps that run side by side |
/// | `loop` | `{ count }`, or `{ until, max, on_max }` | `steps`, those of a round |
/// | `if` | an expression | `then`, `else`: steps |
/// | `route` | an expression that names a step | `routes`; `otherwise`, the name of one |
/// | `team` | `{ mode }`, what goes with it, and the words below | `members`; `input`, the task |
/// | `component` | a component's id, or its kind and id | `input`: any value |
/// | `workflow` | a plan | `input`: any value |
///
/// and `parallel` may hold
///
/// | key | value |
/// |---|---|
/// | `policy` | the name of a [policy](PlanPolicy), by default `"all"` |
/// | `quorum` | of a quorum: how many branches have to succeed |
/// | `until` | of the policy of that name: an expression |
/// | `deadline`, `min` | of the best effort: when, and with how many at least (1) |
/// | `delay` | of a hedge: the time between two starts |
/// | `limit` | how many branches run at once |
/// | `branch_timeout`, `branch_grace`, `branch_idle` | times of branches that name none |
/// | `on_branch_timeout` | `"fail"`, the default, `"skip"`, `"partial"`, `{ default = <value> }` |
/// | `on_branch_cancelled` | `"fail"`, the default, `"skip"`, `"partial"` |
/// | `on_loser` | `"cancel"`, the default, `"let_finish"`, `"detach"` |
/// | `start_next` | `"settled"`, the default, `"decided"` |
///
/// `on_member_failed` and `on_member_stopped` of a team are `"go_on"`, the default, or `"fail"`.
///
/// and `retry` holds `attempts` and may hold `backoff`, `cap`, `attempt_timeout`. Times are texts
/// such as `"1m 30s"` or `"500ms"`. Names are unique among siblings. An unknown key is an error
/// everywhere, and so is one that does not go with its fellows; what is beyond a bound is refused,
/// never cut.
///
/// # Values
///
/// Texts of a `run` and of an `input` may be templates: `{{ steps.build.output.stdout | trim }}`.
/// Conditions and the like are expressions without the braces. Both are `minijinja`'s, without
/// statements. They may read
///
/// | name | is | where |
/// |---|---|---|
/// | `input` | the input of the plan | everywhere |
/// | `steps.NAME.output` | the output of a step before, here or further out | everywhere |
/// | `index`, `last` | the number of the round, the output of the one before | in a loop |
/// | `output` | the output of the round, of the leader | in `until` of a loop, in `delegate` |
/// | `task` | what the team is asked to do | in its members |
/// | `results`, `round` | what came of what was handed out, how often it was asked | in a leader |
/// | `error` | the failure, as a text | in `on_failure` |
/// | `cause` | the cause of the stop, with `kind` and `message` | in `on_stop` |
/// | `branches`, `ended`, `ok`, `failed`, `values` | the branches so far | in a policy's `until` |
///
/// A name that is no word is written `steps["a name"]`. The filters are `abs`, `bool`, `default`,
/// `first`, `float`, `int`, `join`, `last`, `length`, `lines`, `list`, `lower`, `max`, `min`,
/// `replace`, `reverse`, `round`, `sort`, `split`, `string`,
/// `sum`, `tojson`, `trim`, `unique` and `upper`. What is not there is an error: when the plan is
/// read if its name is unknown, when it runs otherwise; `x is defined` asks. `*` takes numbers. How
/// many operators an expression has, and how deep it nests, is bounded, and what an evaluation may
/// read, make and compare: see [`limits`](crate::limits).
///
/// # Cleanup
///
/// Steps of `on_stop` run when what they belong to was stopped and its work has ended, until the
/// hard deadline; those of `on_failure` when it has failed, for at most its grace. Give the work a
/// shorter grace than what cleans up after it. Cleanup of a `sequence`, and of a plan, may read the
/// steps inside that have ended; `steps.x is defined` tells which.
///
/// A plan serializes to the JSON that [`from_json`](Self::from_json) reads, and displays as a tree.
///
/// # Examples
///
/// ```
/// use quell_flow::Plan;
///
/// let plan = Plan::from_toml(r#"
///     name = "tour"
///     timeout = "60s"
///     grace = "3s"
///
///     [[steps]]
///     name = "list"
///     run = ["ls", "-l"]
///
///     [[steps]]
///     name = "work"
///     parallel = { policy = "settle", branch_timeout = "5s", on_branch_timeout = "partial" }
///
///     [[steps.branches]]
///     name = "hash"
///     run = ["sha256sum", "README.md"]
///
///     [[steps.branches]]
///     name = "count"
///     sequence = [
///         { name = "lines", run = ["wc", "-l", "README.md"] },
///         { name = "words", run = ["wc", "-w", "README.md"] },
///     ]
/// "#).unwrap();
/// assert_eq!(plan.name(), "tour");
/// assert_eq!(plan.steps().len(), 2);
///
/// let json = serde_json::to_string(&plan).unwrap();
/// assert_eq!(Plan::from_json(&json).unwrap(), plan);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub(crate) name: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<Arc<str>>,
    #[serde(with = "text", skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<Duration>,
    #[serde(with = "text", skip_serializing_if = "Option::is_none")]
    pub(crate) grace: Option<Duration>,
    pub(crate) steps: Arc<[PlanStep]>,
    #[serde(flatten)]
    pub(crate) cleanup: Cleanup,
}

impl Plan {
    /// Reads a plan from TOML.
    ///
    /// # Errors
    ///
    /// Fails with the place of the first fault if the text is no TOML, is over
    /// [`limits::PLAN_BYTES_MAX`], or is no plan.
    pub fn from_toml(text: &str) -> Result<Self, PlanError> {
        PlanFormat::Toml.read(text).map_err(first)
    }

    /// Reads a plan from JSON.
    ///
    /// # Errors
    ///
    /// Fails with the place of the first fault if the text is no JSON, is over
    /// [`limits::PLAN_BYTES_MAX`], or is no plan.
    pub fn from_json(text: &str) -> Result<Self, PlanError> {
        PlanFormat::Json.read(text).map_err(first)
    }

    /// Reads a plan from YAML: one document without anchors and tags.
    ///
    /// # Errors
    ///
    /// Fails with the place of the first fault if the text is no YAML, is over
    /// [`limits::PLAN_BYTES_MAX`], or is no plan.
    pub fn from_yaml(text: &str) -> Result<Self, PlanError> {
        PlanFormat::Yaml.read(text).map_err(first)
    }

    /// Reads a plan from a file, by its extension: `.toml`, `.json`, `.yaml` or `.yml`.
    ///
    /// It blocks the thread while it reads.
    ///
    /// # Errors
    ///
    /// Fails if the extension is another, if the file cannot be read or is over
    /// [`limits::PLAN_BYTES_MAX`], or if its text is no plan. The error names the file, and the
    /// first fault.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = quell_flow::Plan::load("no/such/plan.txt").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "no/such/plan.txt: unknown extension `txt`; expected `.toml`, `.json`, `.yaml`",
    /// );
    /// ```
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PlanError> {
        Self::load_all(path).map_err(first)
    }

    /// As [`load`](Self::load), with every fault and not only the first.
    ///
    /// # Errors
    ///
    /// Fails as `load` does, with at least one and about [`limits::PLAN_FAULTS_MAX`] faults at
    /// most, in the order of the text.
    pub fn load_all(path: impl AsRef<Path>) -> Result<Self, Vec<PlanError>> {
        let path = path.as_ref();
        Self::load_file(path)
            .map_err(|faults| faults.into_iter().map(|fault| fault.in_file(path)).collect())
    }

    fn load_file(path: &Path) -> Result<Self, Vec<PlanError>> {
        let format = PlanFormat::of(path).map_err(one)?;
        let bytes = read_bounded(path).map_err(one)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            one(PlanError::new("invalid UTF-8; expected text")
                .at(Place::of(&bytes, error.valid_up_to())))
        })?;
        format.read_in(text, Some(path))
    }

    /// Yields the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Yields what it says about itself, if anything.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Yields the time from the start to the plan's own deadline, if it has one.
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Yields the time between the acceptance of a stop and abort, if the plan names one.
    pub const fn grace(&self) -> Option<Duration> {
        self.grace
    }

    /// Yields the steps at the top, which run one after another.
    pub fn steps(&self) -> &[PlanStep] {
        &self.steps
    }

    /// Yields what to clean up when the plan fails or is stopped.
    pub const fn cleanup(&self) -> &Cleanup {
        &self.cleanup
    }
}

/// What a plan can be written in.
///
/// # Examples
///
/// ```
/// use quell_flow::PlanFormat;
///
/// let faults = PlanFormat::Yaml.read("name: x\nsteps:\n- name: a\n- name: b\n").unwrap_err();
/// assert_eq!(faults.len(), 2);
/// assert!(faults[1].to_string().starts_with("line 4, column 3: step `b` does nothing"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PlanFormat {
    /// TOML 1.1.
    Toml,
    /// JSON.
    Json,
    /// YAML 1.2: one document, without anchors and tags.
    Yaml,
}

impl PlanFormat {
    /// Tells the format of a file by its extension.
    ///
    /// # Errors
    ///
    /// Fails if the extension is none of `.toml`, `.json`, `.yaml`, `.yml`.
    pub fn of(path: impl AsRef<Path>) -> Result<Self, PlanError> {
        let right = "expected `.toml`, `.json`, `.yaml`";
        match path.as_ref().extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Ok(Self::Toml),
            Some("json") => Ok(Self::Json),
            Some("yaml" | "yml") => Ok(Self::Yaml),
            Some(other) => Err(PlanError::new(format!("unknown extension `{other}`; {right}"))),
            None => Err(PlanError::new(format!("no extension; {right}"))),
        }
    }

    /// Reads a plan.
    ///
    /// # Errors
    ///
    /// Fails with every fault of the text, about [`limits::PLAN_FAULTS_MAX`] at most.
    pub fn read(self, text: &str) -> Result<Plan, Vec<PlanError>> {
        self.read_in(text, None)
    }

    fn read_in(self, text: &str, file: Option<&Path>) -> Result<Plan, Vec<PlanError>> {
        if text.len() > limits::PLAN_BYTES_MAX {
            return Err(one(PlanError::new(too_long(text.len()))));
        }
        let parse = match self {
            Self::Toml => toml::parse,
            Self::Json => json::parse,
            Self::Yaml => yaml::parse,
        };
        let read = parse(text).map_err(one).and_then(|root| reader::read(&root, text, file));
        read.map_err(|faults| faults.into_iter().map(|fault| fault.in_text(text)).collect())
    }
}

/// The format of a plan as a JSON Schema, draft 2020-12.
///
/// # Examples
///
/// ```
/// let schema: serde_json::Value = serde_json::from_str(quell_flow::PLAN_SCHEMA).unwrap();
/// assert_eq!(schema["title"], "Plan of quell");
/// ```
pub const PLAN_SCHEMA: &str = include_str!("plan/schema.json");

fn one<E>(error: E) -> Vec<E> {
    vec![error]
}

fn first(faults: Vec<PlanError>) -> PlanError {
    let nothing = || PlanError::new("the plan was refused without a reason");
    faults.into_iter().next().unwrap_or_else(nothing)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, PlanError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => PlanError::from_io("no such file", error),
        _ => PlanError::from_io("file cannot be read", error),
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(PlanError::new("expected a file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(limits::PLAN_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > limits::PLAN_BYTES_MAX {
        let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        return Err(PlanError::new(too_long(size.max(bytes.len()))));
    }
    Ok(bytes)
}

fn too_long(bytes: usize) -> String {
    format!("plan has {bytes} bytes; expected at most {}", limits::PLAN_BYTES_MAX)
}
