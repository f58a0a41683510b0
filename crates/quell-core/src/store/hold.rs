//! [`StoredHold`]: what is kept of work that does not end with its process.

use std::sync::Arc;

use crate::{Abandoned, RunId, Work};

/// Work of a run that does not end with its process, and has not ended as far as is stored: a
/// program, a request to a service.
///
/// # Examples
///
/// ```
/// use quell_core::store::StoredHold;
/// use quell_core::{RunId, Work};
///
/// let hold = StoredHold::new(0, Work::Process, "make".into());
/// assert_eq!(hold.abandoned(RunId::from_text("order-7")).what, Work::Process);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StoredHold {
    /// Its number among those of the run.
    pub nr: u32,
    /// What sort of work it is.
    pub what: Work,
    /// Its name.
    pub name: Arc<str>,
}

impl StoredHold {
    /// Names work.
    pub const fn new(nr: u32, what: Work, name: Arc<str>) -> Self {
        Self { nr, what, name }
    }

    /// Yields it as a report names what nobody waits for any more.
    pub fn abandoned(&self, run: RunId) -> Abandoned {
        Abandoned::new(run, Arc::clone(&self.name), self.what)
    }

    /// Tells whether work of this sort is held: it does not end with its process.
    pub(crate) const fn is_for(what: Work) -> bool {
        matches!(what, Work::Process | Work::Remote | Work::Node)
    }

    /// Tells whether a report names such work, perhaps with more about it: `sh (pid 4711)`.
    pub(crate) fn is_named_by(&self, left: &Abandoned) -> bool {
        let rest = left.name.strip_prefix(&*self.name).filter(|_| left.what == self.what);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
    }
}
