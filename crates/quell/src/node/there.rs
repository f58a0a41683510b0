//! [`is_there`] tells a refusal that loses nothing.

use quell_core::store::StoreError;

use crate::journal::Entry;
use crate::node::{Node, flags};
use crate::sync::Ordering;

/// Tells whether a refusal says that the entry is stored already: an append may be stored although
/// it has failed, and is then tried again.
pub(super) fn is_there(entry: &Entry<Node>, error: &StoreError) -> bool {
    matches!(
        (entry, error),
        (Entry::Event(..), StoreError::SeqTaken { .. })
            | (
                Entry::Stop(..) | Entry::Ended(..) | Entry::Started { .. },
                StoreError::Ended { .. }
            )
            | (Entry::Paused(..) | Entry::Resumed(..), StoreError::Ended { .. })
            | (Entry::HoldBegan(..) | Entry::Annotated(..), StoreError::Ended { .. })
            | (Entry::Forgotten(..), StoreError::Unknown { .. })
    ) || is_of_forgotten(entry, error)
        || is_of_another(entry, error)
}

/// Tells whether a stop is refused since its run has ended, and somebody has forgotten it since: a
/// stop is appended beside what its run leaves behind it, and may come after that.
fn is_of_forgotten(entry: &Entry<Node>, error: &StoreError) -> bool {
    let (Entry::Stop(node, _), StoreError::Unknown { .. }) = (entry, error) else { return false };
    // Only what is quiescent is forgotten; one that was never accepted is not in the store either.
    node.is_over() && node.flags() & flags::ACCEPTANCE_STORED != 0
}

/// Tells whether an entry is refused since another run has the id by now, of a later epoch: the end
/// of this one is stored, and the epoch of what has ended is raised by nobody. So somebody has
/// forgotten it.
fn is_of_another(entry: &Entry<Node>, error: &StoreError) -> bool {
    let (Entry::Forgotten(node, ..) | Entry::Stop(node, _), StoreError::Fenced { .. }) =
        (entry, error)
    else {
        return false;
    };
    let [left, stops] =
        [&node.unstored, &node.unstored_stops].map(|count| count.load(Ordering::Relaxed));
    // What is stored in its order is counted until then: the end comes before it is forgotten.
    let waits = left.saturating_sub(stops);
    let is_end_stored = waits == u16::from(matches!(entry, Entry::Forgotten(..)));
    node.is_over()
        && is_end_stored
        && node.lock().extra.as_ref().is_none_or(|it| it.not_stored.is_none())
}
