//! [`members_of`] and [`concerns`] decide which runs of a tree belong to a subtree, for a reader of
//! its events.

use std::collections::HashSet;
use std::sync::Arc;

use quell_core::{EventKind, RunId};

use crate::log::Log;
use crate::node::Node;

/// Collects the ids of a run and its descendants: those that are kept, and those without a row of
/// which the log may still hold an event.
pub(crate) fn members_of(node: &Arc<Node>, log: &Log) -> HashSet<RunId> {
    let mut ids = HashSet::from([node.id]);
    ids.extend(crate::step::cascade::subtree(node, |_| true).iter().map(|node| node.id));
    log.add_unlinked(&mut ids);
    ids
}

/// Tells whether an event belongs to the subtree; the members are those that may still have one.
pub(crate) fn concerns(
    of: &Node,
    members: Option<&mut HashSet<RunId>>,
    run: RunId,
    kind: &EventKind,
) -> bool {
    let Some(members) = members else { return true };
    if let EventKind::Queued { parent: Some(parent), .. } = kind
        && members.contains(parent)
    {
        members.insert(run);
    }
    let concerns = members.contains(&run);
    let over = match kind {
        EventKind::Quiesced | EventKind::Detached { .. } => true,
        EventKind::Ended(_) => match of.shared.registry.get(run) {
            Some(run) => !run.ended_non_quiescent(),
            // It has no row, so nothing of it goes on; or its whole tree is forgotten.
            None => !of.is_over(),
        },
        _ => false,
    };
    if over && run != of.id {
        members.remove(&run);
    }
    concerns
}
