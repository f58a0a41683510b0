//! [`RunMeant`]: which run is meant by what is asked of it.

use std::time::SystemTime;

use crate::RunId;
use crate::store::{Accepted, RunRecord};

/// A run that something is asked of. An id is free again once its run is forgotten, and a later run
/// may have it, of somebody else: whoever has read the run names it by the time at which it was
/// accepted as well, and a later run is left alone. That is compared in whole milliseconds, as
/// stores keep it.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use quell_core::RunId;
/// use quell_core::cluster::RunMeant;
///
/// let (id, at) = (RunId::from_text("order-7"), SystemTime::UNIX_EPOCH);
/// let meant = RunMeant::accepted_at(id, at);
/// assert!(meant.is(at) && !meant.is(at + Duration::from_millis(1)));
/// // By its id alone it is whichever has that.
/// assert!(RunMeant::from(id).is(at));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RunMeant {
    /// Its id.
    id: RunId,
    /// When it was accepted, in milliseconds since 1970; none if it is whichever has the id.
    accepted_ms: Option<u64>,
}

impl RunMeant {
    /// Names the run of this id that was accepted at this time, and no other.
    pub fn accepted_at(id: RunId, at: SystemTime) -> Self {
        Self { id, accepted_ms: Some(millis(at)) }
    }

    /// Names a run as a store has kept it, by [`accepted_ms`](Self::accepted_ms).
    pub const fn of_stored(id: RunId, accepted_ms: Option<u64>) -> Self {
        Self { id, accepted_ms }
    }

    /// Yields the id.
    pub const fn id(self) -> RunId {
        self.id
    }

    /// Yields the time at which the run was accepted, in whole milliseconds since 1970; none if it
    /// is whichever has the id.
    pub const fn accepted_ms(self) -> Option<u64> {
        self.accepted_ms
    }

    /// Tells whether a run of this id that was accepted at this time is it.
    pub fn is(self, accepted_at: SystemTime) -> bool {
        self.accepted_ms.is_none_or(|ms| ms == millis(accepted_at))
    }
}

/// Whichever run has the id.
impl From<RunId> for RunMeant {
    fn from(id: RunId) -> Self {
        Self { id, accepted_ms: None }
    }
}

/// This run, and no other.
impl From<&Accepted> for RunMeant {
    fn from(run: &Accepted) -> Self {
        Self::accepted_at(run.run, run.at)
    }
}

/// This run, and no other.
impl From<&RunRecord> for RunMeant {
    fn from(run: &RunRecord) -> Self {
        Self::from(&run.accepted)
    }
}

/// Whole milliseconds since 1970; an earlier instant is 1970.
fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
