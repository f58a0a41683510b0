//! [`ForgottenWork`]: work of a run whose member is gone for good.

use crate::RunId;

/// Work of a run that a member had which is gone for good, as somebody who knows has said, or as a
/// process shows or says that has joined under its name: nothing of it executes any more.
///
/// # Examples
///
/// ```
/// use quell_core::RunId;
/// use quell_core::cluster::ForgottenWork;
///
/// let work = ForgottenWork { run: RunId::from_text("order-7"), holds: vec![0, 3] };
/// assert_eq!(work.holds.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a run and numbers of its holds are all there is")]
pub struct ForgottenWork {
    /// The run.
    pub run: RunId,
    /// The numbers of its [holds](crate::store::StoredHold) that have ended.
    pub holds: Vec<u32>,
}
