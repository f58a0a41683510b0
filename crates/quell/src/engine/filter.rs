//! Which nodes a [`RunFilter`] means.

use quell_core::{RunFacts, RunFilter};

use crate::node::Node;

/// Tells whether a filter means a node. Takes no lock of the node: the caller may hold one of the
/// registry.
pub(super) fn matches(filter: &RunFilter, node: &Node) -> bool {
    let about = node.about();
    filter.matches(&RunFacts {
        is_root: node.is_root(),
        kind: node.kind,
        status: node.status(),
        name: &node.name,
        owner: about.and_then(|about| about.owner.as_deref()),
        labels: about.map(|about| &about.labels),
    })
}
