//! [`is_there`] tells a refusal that loses nothing.

use quell_core::store::StoreError;

use crate::journal::Entry;
use crate::node::{Node, flags};

/// Tells whether a refusal says that the entry is stored already: an append may be stored although
/// it has failed, and is then tried again.
pub(super) fn is_there(entry: &Entry<Node>, error: &StoreError) -> bool {
    matches!(
        (entry, error),
        (Entry::Event(..), StoreError::SeqTaken { .. })
            | (Entry::Stop(..) | Entry::Ended(..) | Entry::Started(..), StoreError::Ended { .. })
            | (Entry::Paused(..) | Entry::Resumed(..), StoreError::Ended { .. })
            | (Entry::HoldBegan(..) | Entry::Annotated(..), StoreError::Ended { .. })
            | (Entry::Forgotten(..), StoreError::Unknown { .. })
    ) || is_of_forgotten(entry, error)
}

/// Tells whether a stop is refused since its run has ended, and somebody has forgotten it since: a
/// stop is appended beside what its run leaves behind it, and may come after that.
fn is_of_forgotten(entry: &Entry<Node>, error: &StoreError) -> bool {
    let (Entry::Stop(node, _), StoreError::Unknown { .. }) = (entry, error) else { return false };
    // Only what is quiescent is forgotten; one that was never accepted is not in the store either.
    node.is_over() && node.flags() & flags::ACCEPTANCE_STORED != 0
}
