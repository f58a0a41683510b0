//! [`StoredSpec`] is what is stored of a run to start it again, besides what has its own place.

use std::time::{Duration, SystemTime};

use quell_core::Payload;
use quell_core::store::Accepted;
use serde::{Deserialize, Serialize};

use crate::gate::Gate;

/// What is stored of a run to start it again, besides what has its own place. Nothing of most.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct StoredSpec {
    /// Its place among those that wait for the same; 0 if it asked for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) priority: i8,
    /// How far its times are ahead of the wall clock of its process, as they were raised to what
    /// another one had told: its timeout is not.
    #[serde(default, skip_serializing_if = "is_zero")]
    ahead_ms: u64,
}

impl StoredSpec {
    pub(crate) fn new(gate: Option<&Gate>, ahead: Duration) -> Self {
        let ahead_ms = u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX);
        Self { priority: gate.map_or(0, |gate| gate.priority), ahead_ms }
    }

    /// Yields what is written of it; none if nothing is to be said.
    pub(crate) fn written(&self) -> Option<Payload> {
        (*self != Self::default()).then(|| Payload::json(self).ok())?
    }

    /// Reads what is stored of a run.
    pub(crate) fn of(accepted: &Accepted) -> Self {
        accepted.spec.as_ref().and_then(|spec| spec.parse().ok()).unwrap_or_default()
    }

    /// Yields what the wall clock said at a time of the run, of the process that accepted it: what
    /// the timeout of the run is reckoned by. If a later process started it, whose times were ahead
    /// by less or by more, that is off by the difference.
    pub(crate) fn unraised(&self, at: SystemTime) -> SystemTime {
        at.checked_sub(Duration::from_millis(self.ahead_ms)).unwrap_or(at)
    }
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
