//! [`SkippedStep`]: a step of a plan that was not started, as the report shows it.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;

use quell::{Payload, RunContext, RunRow, Written};
use serde::{Deserialize, Serialize};

use crate::excerpt::excerpt;

/// A step of a plan that was not started, and why. It has no run, and so no row of its own: it is
/// listed as `skipped` in the summary of the run whose child it would have been.
///
/// Steps inside a step that was not started are not listed, nor are rounds of a loop, cleanup after
/// a failure or stop that did not happen, and steps of a run whose body was never polled. Branches
/// of a parallel step that were not started have a [`BranchRow`](crate::BranchRow).
///
/// # Examples
///
/// ```
/// use quell::{Engine, Failure, Payload, RunContext};
/// use quell_flow::{CommandStep, Plan, Runner, SkipReason, SkippedStep};
///
/// #[derive(Clone)]
/// struct Nobody;
///
/// impl Runner for Nobody {
///     async fn run(&self, _: RunContext, _: CommandStep) -> Result<Payload, Failure> {
///         Err(Failure::new("there are no commands here"))
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let plan = Plan::from_toml(r#"
///     name = "two"
///     steps = [{ name = "a", run = ["true"] }, { name = "b", run = ["true"] }]
/// "#).unwrap();
/// let engine = Engine::new();
/// let run = engine.submit(plan.spec(), move |ctx| plan.run(ctx, Nobody)).unwrap();
/// let report = run.ended().await;
/// let skipped = SkippedStep::all_of(report.own_row());
/// assert_eq!((&*skipped[0].name, skipped[0].reason), ("b", SkipReason::StepFailed));
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SkippedStep {
    /// Its name.
    pub name: Arc<str>,
    /// Why it was not started.
    pub reason: SkipReason,
    /// The beginning of what it asks, if the run is paused, or was stopped, because it waits for an
    /// answer; of a question with several lines the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Arc<str>>,
}

impl SkippedStep {
    /// Reads those in the row of a run, in the order in which they were given up; none if all of
    /// its steps were started.
    pub fn all_of(row: &RunRow) -> Vec<Self> {
        listed(row.summary.as_ref())
    }
}

/// Why a step of a plan was not started.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_flow::SkipReason::StepFailed.as_str(), "step-failed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SkipReason {
    /// A step before it failed.
    StepFailed,
    /// The run was stopped first.
    Stopped,
    /// The run is paused before it, or was stopped when it was.
    Paused,
    /// It is in `then`, and the condition was false.
    ConditionFalse,
    /// It is in `else`, and the condition was true.
    ConditionTrue,
    /// Another of the routes was taken.
    OtherRoute,
    /// It is in `on_stop`, and the grace was over.
    GraceOver,
}

impl SkipReason {
    /// Yields the name on the wire, in kebab-case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StepFailed => "step-failed",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::ConditionFalse => "condition-false",
            Self::ConditionTrue => "condition-true",
            Self::OtherRoute => "other-route",
            Self::GraceOver => "grace-over",
        }
    }
}

/// Writes into the summary of a run, beside what is there, that steps were not started. A summary
/// that becomes too large or comes too late is refused.
pub(crate) fn add(ctx: &RunContext, names: impl Iterator<Item = Arc<str>>, reason: SkipReason) {
    add_steps(ctx, names.map(|name| SkippedStep { name, reason, ask: None }));
}

/// As [`add`], of a step that asks this, and of those behind it, which wait as well.
pub(crate) fn add_asking(
    ctx: &RunContext,
    (asks, ask): (Arc<str>, &str),
    behind: impl Iterator<Item = Arc<str>>,
) {
    let reason = SkipReason::Paused;
    let asks = SkippedStep { name: asks, reason, ask: Some(excerpt(ask).into()) };
    let behind = behind.map(|name| SkippedStep { name, reason, ask: None });
    add_steps(ctx, iter::once(asks).chain(behind));
}

fn add_steps(ctx: &RunContext, added: impl Iterator<Item = SkippedStep>) {
    let mut added = added.peekable();
    if added.peek().is_none() {
        return;
    }
    let added: Vec<_> = added.collect();
    // A hook and a body may do so at once.
    ctx.update_summary(|before| {
        let mut skipped = listed(before);
        skipped.extend(added.iter().cloned());
        beside(before.cloned().unwrap_or_else(|| "".into()), &skipped)
    });
}

/// Takes the steps out of the summary of a run before which it was paused: it goes on. Nothing
/// else of the summary changes, and none is made.
pub(crate) fn go_on(ctx: &RunContext) {
    let report = ctx.run().report();
    let is_paused = |step: &SkippedStep| step.reason == SkipReason::Paused;
    if !SkippedStep::all_of(report.own_row()).iter().any(is_paused) {
        return;
    }
    ctx.update_summary(|before| {
        let mut skipped = listed(before);
        skipped.retain(|step| !is_paused(step));
        beside(without(before.cloned().unwrap_or_else(|| "".into())), &skipped)
    });
}

/// Takes the list out of a summary.
fn without(summary: Payload) -> Payload {
    let mut entries = entries(&summary);
    if entries.remove(SKIPPED).is_none() {
        return summary;
    }
    Payload::json(&entries).unwrap_or(summary)
}

/// Writes the summary of a run, and keeps the list of its steps that were not started.
pub(crate) fn write_beside(ctx: &RunContext, summary: &Payload) -> Written {
    ctx.update_summary(|before| beside(summary.clone(), &listed(before)))
}

/// Reads the list in a summary.
fn listed(summary: Option<&Payload>) -> Vec<SkippedStep> {
    let skipped = summary.and_then(|summary| entries(summary).remove(SKIPPED));
    skipped.and_then(|skipped| skipped.parse().ok()).unwrap_or_default()
}

/// Puts a list that has steps into a summary, in the place of the list that it had.
fn beside(summary: Payload, skipped: &[SkippedStep]) -> Payload {
    if skipped.is_empty() {
        return summary;
    }
    let mut entries = entries(&summary);
    let put = |list| {
        entries.insert(SKIPPED.into(), list);
        Payload::json(&entries)
    };
    Payload::json(&skipped).and_then(put).unwrap_or(summary)
}

/// Yields what a summary says, by key.
fn entries(summary: &Payload) -> BTreeMap<String, Payload> {
    summary.parse().unwrap_or_default()
}

/// The key of the list in a summary.
const SKIPPED: &str = "skipped";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_the_name_that_reports_show() {
        for reason in [
            SkipReason::StepFailed,
            SkipReason::Stopped,
            SkipReason::ConditionFalse,
            SkipReason::ConditionTrue,
            SkipReason::OtherRoute,
            SkipReason::GraceOver,
        ] {
            assert_eq!(serde_json::json!(reason), reason.as_str());
        }
    }

    #[test]
    fn the_rest_of_a_summary_stays_as_it_is_spelt() {
        let before = Payload::from_json_text(r#"{"policy":"all","x":1.500}"#).unwrap();
        let skipped = [SkippedStep { name: "a".into(), reason: SkipReason::GraceOver, ask: None }];
        let after = beside(before, &skipped);
        let text = r#"{"policy":"all","skipped":[{"name":"a","reason":"grace-over"}],"x":1.500}"#;
        assert_eq!(after.as_json(), text);
    }
}
