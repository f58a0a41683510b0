//! [`check_goto`]: the nodes that a command names.

use quell_flow::Component;

use crate::wire::refusal::{Refusal, quoted};

/// Refuses to go to a node that a graph does not have.
pub(crate) fn check_goto(graph: &Component, goto: &[String]) -> Result<(), Refusal> {
    let names = graph.nodes_of();
    match goto.iter().find(|name| !names.is_empty() && !names.contains(name)) {
        Some(bad) => {
            let text = format!("command.goto: '{}' is none of {}", quoted(bad), names.join(", "));
            Err(Refusal::invalid(text))
        }
        None => Ok(()),
    }
}
