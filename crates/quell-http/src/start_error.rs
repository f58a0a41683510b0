//! [`StartError`]: why a request has started no run.

use quell::{RunId, Scope, SubmitError};

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
    #[error("lane is busy")]
    LaneBusy,
    /// A bound of the engine is reached. There may be room later.
    #[error("{what} would exceed the limit of {max}")]
    TooMany {
        /// What the bound counts.
        what: &'static str,
        /// The bound.
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

fn too_large(what: &str, bytes: usize, max: usize) -> String {
    // Labels are bounded by number, not by bytes.
    if what == LABELS {
        return format!("there are more than {max} labels");
    }
    format!("{what} has {bytes} bytes, the limit is {max}")
}

/// Names what waits under a limit.
const fn queued_in(scope: &Scope) -> &'static str {
    match scope {
        Scope::Kind(_) => "queued runs of this kind",
        Scope::Component(..) => "queued runs of this component",
        Scope::EachOwner => "queued runs of this owner",
        _ => "queued runs",
    }
}

const LABELS: &str = "labels";

impl StartError {
    pub(crate) fn from_submit(error: &SubmitError, id: Option<&str>) -> Self {
        match *error {
            SubmitError::IdInUse(run) => {
                Self::IdInUse(id.map_or_else(|| run.to_string(), str::to_owned))
            }
            SubmitError::LaneBusy(_) | SubmitError::LaneJoined(_) => Self::LaneBusy,
            SubmitError::KeyConflict => Self::KeyConflict,
            SubmitError::AlreadySubmitted(_) | SubmitError::KeyForgotten(_) => Self::KeyForgotten,
            SubmitError::LimitReached { what: LABELS, max } => {
                Self::TooLarge { what: LABELS, bytes: max + 1, max }
            }
            SubmitError::LimitReached { what, max } => Self::TooMany { what, max },
            SubmitError::QueueFull { ref scope, max } => {
                Self::TooMany { what: queued_in(scope), max }
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
        let full = SubmitError::QueueFull { scope: Scope::EachOwner, max: 1 };
        let words = StartError::from_submit(&full, None).to_string();
        assert_eq!(words, "queued runs of this owner would exceed the limit of 1");
    }
}
