//! [`Plan`] is a workflow as data.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

#[cfg(doc)]
use super::PLAN_SCHEMA;
use super::error::PlanError;
use super::format::{PlanFormat, first};
use super::refusal::PlanRefusal;
use super::step::{Cleanup, PlanStep};
#[cfg(doc)]
use crate::limits;

/// A workflow as data. Every plan that exists is valid.
///
/// # The format
///
/// TOML, JSON and YAML say the same with the same keys; [`PLAN_SCHEMA`] is the schema. The chapter
/// [`plans`](crate::manual::plans) lists every key, its default, and the output of each kind of
/// step. Names are unique among siblings. An unknown key is an error everywhere, and so is a key
/// that does not go with the others. Values beyond a bound are refused, and what a command wrote
/// beyond its bound cannot be read by mistake.
///
/// # Values
///
/// Texts of a `run` and of an `input` may be templates: `{{ steps.build.output.stdout | trim }}`.
/// Conditions, routes and choices are expressions, without the braces. The language of both is
/// that of `minijinja`, without statements. The chapter [`templates`](crate::manual::templates)
/// lists the names that they may read, the filters, the tests and the operators.
///
/// What a command wrote is in its output: `stdout`, `exit_code` and so on. If some of `stdout` was
/// not kept, because it was longer than its bound, a step that reads `stdout`, or the output as a
/// whole, fails with the number of bytes that there were. `stdout_head` is what was kept, cut or
/// not, at most [`limits::TEMPLATE_BYTES_MAX`] also as base64: a step that reads it says that the
/// beginning is enough. `content` of which some was not kept is not there: a step that reads it
/// fails, also with `default`, and `content_bytes` says how much it was. `stderr_tail` is the end
/// in any case.
///
/// An unknown name is an error when the plan is read. A value that is missing is an error when the
/// plan runs; `x is defined` checks for one. `*` takes numbers only. The number of
/// operators of an expression and its nesting are bounded, and so is what an evaluation may read,
/// make and compare: see [`limits`](crate::limits).
///
/// # Cleanup
///
/// The steps of `on_stop` run when their step or plan was stopped and its work has ended, until the
/// hard deadline. Those of `on_failure` run when it has failed, for at most its grace. Give the
/// work a shorter grace than the step that cleans up after it. Cleanup of a `sequence`, and of a
/// plan, may read the inner steps that have ended; `steps.x is defined` checks for one.
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
    #[serde(with = "super::duration", skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<Duration>,
    #[serde(with = "super::duration", skip_serializing_if = "Option::is_none")]
    pub(crate) grace: Option<Duration>,
    pub(crate) steps: Arc<[PlanStep]>,
    #[serde(flatten)]
    pub(crate) cleanup: Cleanup,
    /// What is no fault and should be otherwise, of the whole text.
    #[serde(skip)]
    pub(crate) warnings: Warnings,
}

/// The warnings of a plan. They are no part of it: all are equal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warnings(pub(crate) Arc<[PlanError]>);

impl PartialEq for Warnings {
    fn eq(&self, _: &Self) -> bool {
        true
    }
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
    /// Fails as `load` does, with at least one and at most [`limits::PLAN_FAULTS_MAX`] faults,
    /// in the order of the text.
    pub fn load_all(path: impl AsRef<Path>) -> Result<Self, Vec<PlanError>> {
        Self::load_checked(path).map_err(PlanRefusal::into_faults)
    }

    /// As [`load_all`](Self::load_all), with the rest of a plan that is refused.
    ///
    /// # Errors
    ///
    /// Fails as `load_all` does.
    pub fn load_checked(path: impl AsRef<Path>) -> Result<Self, PlanRefusal> {
        let path = path.as_ref();
        let refused = |refusal: PlanRefusal| refusal.map_faults(|fault| fault.in_file(path));
        PlanFormat::load(path).map_err(refused)
    }

    /// Reads a plan from a stream to its end; the text says which of the formats it is. Messages
    /// name the stream as if it were a file.
    ///
    /// It blocks the thread until the stream has ended, or is over [`limits::PLAN_BYTES_MAX`].
    ///
    /// # Errors
    ///
    /// Fails as [`load_all`](Self::load_all) does.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::Plan;
    ///
    /// let text = "name: tour\nsteps: [{ name: a, run: [ls] }]\n";
    /// assert_eq!(Plan::read_all(text.as_bytes(), "stdin").unwrap().name(), "tour");
    /// let faults = Plan::read_all("name = 7".as_bytes(), "stdin").unwrap_err();
    /// assert_eq!(faults[0].to_string(), "stdin:1:1: plan has no `steps`");
    /// ```
    pub fn read_all(from: impl Read, name: impl AsRef<Path>) -> Result<Self, Vec<PlanError>> {
        Self::read_checked(from, name).map_err(PlanRefusal::into_faults)
    }

    /// As [`read_all`](Self::read_all), with the rest of a plan that is refused.
    ///
    /// # Errors
    ///
    /// Fails as `read_all` does.
    pub fn read_checked(from: impl Read, name: impl AsRef<Path>) -> Result<Self, PlanRefusal> {
        let name = name.as_ref();
        let refused = |refusal: PlanRefusal| refusal.map_faults(|fault| fault.in_file(name));
        PlanFormat::read_stream(from, name).map_err(refused)
    }

    /// Yields what is no fault and should be otherwise, each with its place, in the order of the
    /// text; at most [`limits::PLAN_FAULTS_MAX`].
    ///
    /// A template in the script of a shell, `sh -c SCRIPT`, is one: what is in its value becomes
    /// part of the script. The filter `quote` makes it one word.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::Plan;
    ///
    /// let plan = |script: &str| {
    ///     let text = format!("name: p\nsteps:\n- {{ name: a, run: [sh, -c, '{script}'] }}\n");
    ///     Plan::from_yaml(&text).unwrap()
    /// };
    /// let warned = plan("echo {{ input }}");
    /// assert_eq!(warned.warnings()[0].column(), Some(34));
    /// assert!(plan("echo {{ input | quote }}").warnings().is_empty());
    /// ```
    pub fn warnings(&self) -> &[PlanError] {
        &self.warnings.0
    }

    /// Yields the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Yields the description, if it has one.
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
