//! [`StartError`]: why a request has started no run.

use quell::{RunId, RunKind, Scope, SubmitError};

use crate::ids::BadId;

/// Why a request has started no run.
///
/// Exhaustive on purpose, so that every adapter must name a new reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "every adapter must name a new reason")]
pub enum StartError {
    /// The text is not a run id.
    #[error(transparent)]
    BadId(#[from] BadId),
    /// A run has the id already, of this caller or of another one.
    #[error("run id `{0}` is in use")]
    IdInUse(String),
    /// The lane has a run, and [`OnBusy::Reject`](quell::OnBusy::Reject) refuses the new one; or
    /// the principal may not see or stop what the other policies would join or cancel.
    #[error("lane is busy{}", has_it(run.as_deref()))]
    LaneBusy {
        /// The run that has the lane, as its caller knows it; none if the principal does not see
        /// that, or it has ended meanwhile.
        run: Option<String>,
    },
    /// A bound of the engine is reached. There may be room later.
    #[error("{what} would exceed the limit of {max}")]
    TooMany {
        /// What the bound counts.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The run would have to wait, and the queue for that is full. There may be room later.
    #[error("{}", queue_full(scope, *max))]
    QueueFull {
        /// Whose queue it is.
        scope: Scope,
        /// How many may wait in it.
        max: usize,
    },
    /// The caller's share of a bound of the engine is used up.
    #[error("{what} of one caller would exceed their share of {max}")]
    ShareUsedUp {
        /// What the share counts.
        what: &'static str,
        /// The share.
        max: usize,
    },
    /// A part of the request exceeds its bound.
    #[error("{}", too_large(what, *bytes, *max))]
    TooLarge {
        /// The part.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The idempotency key was used with another request.
    #[error("idempotency key was used with a different request")]
    KeyConflict,
    /// The same request has started a run before, which is only in the store by now:
    /// [`View::find_by_id`](crate::View::find_by_id) finds it.
    #[error("run of this idempotency key is `{0}`")]
    StartedBefore(RunId),
    /// The idempotency key is known, but its run is no longer kept.
    #[error("run of this idempotency key is no longer kept")]
    KeyForgotten,
    /// The principal may not run the component.
    #[error("credentials do not allow to run this component")]
    Forbidden,
    /// The store has not taken the run: it is full, or cannot be written. The log says why.
    #[error("run could not be stored, and was not started; try again later")]
    NotStored,
    /// The engine is shutting down, or refuses for another reason that is not the caller's fault.
    #[error("engine takes no new runs")]
    Unavailable,
}

fn has_it(run: Option<&str>) -> String {
    run.map(|run| format!(": run `{run}` has it")).unwrap_or_default()
}

fn too_large(what: &str, bytes: usize, max: usize) -> String {
    // Labels are bounded by number, not by bytes.
    if what == LABELS {
        return format!("there are more than {max} labels");
    }
    format!("{what} has {bytes} bytes, the limit is {max}")
}

/// Says that a queue is full, with the name that the limit has in a configuration.
pub(crate) fn queue_full(scope: &Scope, max: usize) -> String {
    let table = match scope {
        Scope::EachOwner => "limits.each_owner".to_owned(),
        Scope::Kind(RunKind::Agent) => "limits.agents".to_owned(),
        Scope::Kind(RunKind::Team) => "limits.teams".to_owned(),
        Scope::Kind(RunKind::Workflow) => "limits.workflows".to_owned(),
        Scope::Component(kind, id) => format!("{kind}s.{id}"),
        _ => "limits".to_owned(),
    };
    let runs = if max == 1 { "run" } else { "runs" };
    format!("queue is full: at most {max} {runs} may wait ([{table}] queued)")
}

const LABELS: &str = "labels";

impl StartError {
    pub(crate) fn from_submit(error: &SubmitError, id: Option<&str>) -> Self {
        match *error {
            SubmitError::IdInUse(run) => {
                Self::IdInUse(id.map_or_else(|| run.to_string(), str::to_owned))
            }
            SubmitError::LaneBusy { .. } | SubmitError::LaneJoined(_) => {
                Self::LaneBusy { run: None }
            }
            SubmitError::KeyConflict => Self::KeyConflict,
            SubmitError::AlreadySubmitted(_) | SubmitError::KeyForgotten(_) => Self::KeyForgotten,
            SubmitError::LimitReached { what: LABELS, max } => {
                Self::TooLarge { what: LABELS, bytes: max + 1, max }
            }
            SubmitError::LimitReached { what, max } => Self::TooMany { what, max },
            SubmitError::QueueFull { ref scope, max } => {
                Self::QueueFull { scope: scope.clone(), max }
            }
            SubmitError::ShareUsedUp { what, max, .. } => Self::ShareUsedUp { what, max },
            SubmitError::TooLarge { what, bytes, max } => Self::TooLarge { what, bytes, max },
            SubmitError::NotStored(_) => Self::NotStored,
            _ => Self::Unavailable,
        }
    }
}

/// Yields the run that a refusal of the store names.
pub(crate) const fn run_of(error: &SubmitError) -> Option<RunId> {
    match error {
        SubmitError::AlreadySubmitted(run)
        | SubmitError::KeyForgotten(run)
        | SubmitError::IdInUse(run) => Some(*run),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_is_too_many_runs_and_no_shutdown() {
        for (scope, max, end) in [
            (Scope::All, 1, "1 run may wait ([limits] queued)"),
            (Scope::EachOwner, 0, "0 runs may wait ([limits.each_owner] queued)"),
            (Scope::Kind(RunKind::Team), 2, "2 runs may wait ([limits.teams] queued)"),
            (Scope::component(RunKind::Agent, "a"), 1, "1 run may wait ([agents.a] queued)"),
        ] {
            let full = SubmitError::QueueFull { scope, max };
            let words = StartError::from_submit(&full, None).to_string();
            assert_eq!(words, format!("queue is full: at most {end}"));
        }
    }
}
