//! The nodes of a component, and how a run of it goes on where another one has come to.

use std::sync::Arc;

use quell::{Payload, RunContext};

use super::component::Component;
use super::lasting::Output;
use crate::nodes::{ASKED, NodesAsked};

impl Component {
    /// Declares that it has nodes, in the order in which they come: it says each of its steps
    /// ([`Emit::Step`](crate::Emit::Step)), and can begin at any of them, as
    /// [`Nodes`](crate::Nodes) does. Defaults to none: then a run of it is one step.
    pub fn nodes<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.nodes = names.into_iter().map(Into::into).collect();
        self
    }

    /// Lists its nodes.
    pub fn nodes_of(&self) -> &[String] {
        &self.nodes
    }

    /// Yields what comes behind one of its nodes: the next one, or nothing behind the last; none if
    /// it has no such node.
    pub fn behind(&self, node: &str) -> Option<Option<&str>> {
        let place = self.nodes.iter().position(|name| name == node)?;
        Some(self.nodes.get(place + 1).map(String::as_str))
    }

    /// Calls its body for a run that was made before it was known on what and where it begins.
    pub fn go_on(self: &Arc<Self>, ctx: RunContext, input: Payload, asked: NodesAsked) -> Output {
        let body = ASKED.sync_scope(asked.clone(), || (self.body)(ctx, input));
        Box::pin(ASKED.scope(asked, body))
    }
}
