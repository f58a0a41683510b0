//! [`lines()`]: the steps of a plan that were not started, and why.

use quell_flow::{SkipReason, SkippedStep};

use crate::text::{NAME_COLUMNS_MAX, cut, printable, width};

/// Yields a line per step.
pub(crate) fn lines(steps: &[SkippedStep]) -> String {
    let name = |step: &SkippedStep| cut(&printable(&step.name), NAME_COLUMNS_MAX);
    let columns = steps.iter().map(|step| width(&name(step))).max().unwrap_or(0);
    let line = |step: &SkippedStep| {
        let name = name(step);
        let pad = columns - width(&name);
        format!("{name}{:pad$}  {}", "", because(step.reason))
    };
    steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Yields a reason as people read it.
const fn because(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::StepFailed => "an earlier step failed",
        SkipReason::Stopped => "the run was stopped before",
        SkipReason::Paused => "the run was paused before",
        SkipReason::ConditionFalse => "the condition was false",
        SkipReason::ConditionTrue => "the condition was true",
        SkipReason::OtherRoute => "another route was taken",
        SkipReason::GraceOver => "cleanup: the grace was over",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use quell::{Payload, RunStatus};
    use serde_json::json;

    use super::*;
    use crate::render::tests::row;

    #[test]
    fn every_step_that_was_not_started_is_a_line_with_the_reason() {
        let mut run = row("p", 0, RunStatus::Failed);
        let skipped = json!([
            { "name": "ship", "reason": "step-failed" },
            { "name": "a\u{7}", "reason": "grace-over" },
        ]);
        run.summary = Some(Payload::from(json!({ "skipped": skipped })));
        let expected = "ship    an earlier step failed\na\\u{7}  cleanup: the grace was over";
        assert_eq!(lines(&SkippedStep::all_of(&run)), expected);
    }
}
