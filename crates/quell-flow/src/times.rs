//! The times that steps, branches, attempts and members can have.

use std::time::Duration;

use quell::RunSpec;

/// Sets those times of a spec that are given.
pub(crate) fn timed(
    mut spec: RunSpec,
    timeout: Option<Duration>,
    grace: Option<Duration>,
    idle: Option<Duration>,
) -> RunSpec {
    if let Some(timeout) = timeout {
        spec = spec.timeout(timeout);
    }
    if let Some(grace) = grace {
        spec = spec.grace(grace);
    }
    if let Some(idle) = idle {
        spec = spec.idle(idle);
    }
    spec
}
