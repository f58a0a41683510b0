//! What is seen of a lifecycle while a history is played.

use std::fmt;
use std::time::Instant;

use quell_core::RunStatus;
use quell_core::lifecycle::{BodyAction, Effects, Input, Stage, Trigger};

use crate::history::{Limits, Setup};

/// What was written down while a history was played.
pub(crate) struct Trace {
    pub(crate) setup: Setup,
    /// Every timer was served when it was due.
    pub(crate) punctual: bool,
    /// Timers fell due at one instant without end.
    pub(crate) stuck: bool,
    pub(crate) born: Instant,
    pub(crate) steps: Vec<Step>,
}

/// One input and all that could be seen of it.
pub(crate) struct Step {
    pub(crate) born: Instant,
    pub(crate) at: Instant,
    pub(crate) input: Input,
    pub(crate) before: Seen,
    pub(crate) fx: Effects,
    pub(crate) after: Seen,
    /// The state, private parts included, is the same as before. Only asked of stops and of limits.
    pub(crate) unchanged: bool,
}

/// What the lifecycle shows, beside what the world knows.
#[expect(clippy::struct_excessive_bools, reason = "what is asked of a lifecycle is asked apart")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) status: RunStatus,
    pub(crate) stopping: bool,
    pub(crate) fenced: bool,
    pub(crate) fenced_shielded: bool,
    pub(crate) aborting: bool,
    pub(crate) hard: Option<Instant>,
    pub(crate) timeout_at: Option<Instant>,
    pub(crate) quiescent: bool,
    pub(crate) live_children: u32,
    pub(crate) next: Option<Instant>,
    pub(crate) books: Books,
}

/// What the world knows of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) body: Body,
    /// What it has, and what the input at hand gives it.
    pub(crate) limits: Limits,
    pub(crate) children: u32,
    pub(crate) works: u32,
    /// Children that ended and of which something goes on.
    pub(crate) non_quiescent: u32,
    /// Hooks that were registered and neither run nor skipped.
    pub(crate) hooks: u32,
    /// Those of them that run at every end.
    pub(crate) end_hooks: u32,
    /// Children that failed while their handle was held.
    pub(crate) failures_held: u32,
    pub(crate) listens: bool,
    /// The first poll of the body has returned.
    pub(crate) parked: bool,
    /// The last sign of life.
    pub(crate) active_at: Option<Instant>,
    /// What the lifecycle wants to happen to the body.
    pub(crate) wanted: BodyAction,
    /// The latest stage that reached the run.
    pub(crate) stage: Option<Stage>,
    /// The run was stopped, or fails while something is live, or completes and its hooks run.
    pub(crate) winds_down: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Body {
    #[default]
    Waiting,
    Running,
    Ended,
}

impl Trace {
    /// Yields the step at which a stop was accepted.
    pub(crate) fn accepted(&self) -> Option<(&Step, Trigger)> {
        self.steps.iter().find_map(|step| step.fx.accepted.map(|trigger| (step, trigger)))
    }

    /// Yields the step at which the run became terminal, and how.
    pub(crate) fn ended(&self) -> Option<(&Step, RunStatus)> {
        self.steps.iter().find_map(|step| step.fx.ended.map(|status| (step, status)))
    }
}

impl fmt::Debug for Step {
    /// Shows what is not as usual, with times as milliseconds after the run was accepted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |at: Instant| at.saturating_duration_since(self.born).as_millis();
        writeln!(f, "at {} ms: {:?} (born {:?})", millis(self.at), self.input, self.born)?;
        for (when, seen) in [("before", &self.before), ("after", &self.after)] {
            let (hard, next) = (seen.hard.map(millis), seen.next.map(millis));
            writeln!(f, "  {when}: {:?}, hard {hard:?}, next {next:?}", seen.status)?;
            writeln!(f, "    stopping {}, aborting {}", seen.stopping, seen.aborting)?;
            writeln!(f, "    fenced {}, in shields {}", seen.fenced, seen.fenced_shielded)?;
            writeln!(f, "    quiescent {}, {:?}", seen.quiescent, seen.books)?;
        }
        write!(f, "  effects: {:?}", self.fx)
    }
}
