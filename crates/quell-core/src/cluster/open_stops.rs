//! [`OpenStops`]: stops of which a store knows more than that their run is stopping.

use crate::RunId;
use crate::cluster::AskedStop;

/// Stops that are open, of the runs of all members: beside those whose run is stopping in the
/// store.
///
/// # Examples
///
/// ```
/// use quell_core::cluster::OpenStops;
///
/// let open = OpenStops::default();
/// assert!(open.asked.is_empty() && open.left.is_empty() && !open.more);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a stop is not decided yet, or its run has ended")]
pub struct OpenStops {
    /// Those that were asked for, and that the owners of their runs have not answered, the first
    /// first.
    pub asked: Vec<AskedStop>,
    /// Roots that were stopped, have ended, and are not quiescent in the store, the one that was
    /// accepted first at the front.
    pub left: Vec<RunId>,
    /// Whether there are more of either.
    pub more: bool,
}
