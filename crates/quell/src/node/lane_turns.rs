//! How the roots of a node get their turns in lanes that all nodes share.

use std::sync::Arc;

use quell_core::RunId;

use crate::cluster::Member;
use crate::foreign;
use crate::node::{Node, Shared};

impl Shared {
    /// Hears what an append has decided of the lanes of the roots that it has stored, before any of
    /// them starts. Called with no lock held.
    pub(crate) fn hear_of_lanes(&self, member: &Member) {
        let placed = foreign::catch_panic(|| member.cluster.take_placed());
        for placed in placed.unwrap_or_default() {
            if !placed.replaced.is_empty()
                && let Some(node) = self.registry.get(placed.run)
            {
                member.turns.stop(&placed.replaced, &node.superseding());
            }
            if placed.has_turn {
                self.give_turn(placed.run);
            } else {
                // It may have become free since.
                member.turns.ask(&placed.lane);
            }
        }
    }

    /// Gives a root of this node its turn in its lane, of which the store has said so. Called with
    /// no lock held.
    pub(crate) fn give_turn(&self, run: RunId) {
        if let Some(node) = self.registry.get(run) {
            self.admission.give_turn(&node, self.clock.now()).start();
        }
    }
}

impl Node {
    /// Has the nodes ask whose turn it is, since this run may have no use for its lane any more:
    /// its end is stored.
    pub(super) fn ask_for_next(self: &Arc<Self>) {
        let Some(member) = &self.shared.member else { return };
        let lane = self.gate().and_then(|gate| gate.lane.as_ref());
        if let Some(lane) = lane.filter(|_| self.is_root()) {
            member.turns.ask(&lane.key);
        }
    }
}
