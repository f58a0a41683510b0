//! [`check_goto`] and [`check_asked`]: what a request asks of a graph.

use std::sync::Arc;

use quell_flow::Component;
use quell_http::offload_if_large;

use crate::messages::check_messages;
use crate::wire::create::Create;
use crate::wire::nodes::NodesWanted;
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

/// Refuses what a graph cannot take: a hold, or what is no message.
pub(crate) async fn check_asked(graph: &Arc<Component>, create: &Create) -> Result<(), Refusal> {
    check_hold(graph, &create.nodes)?;
    let key = match (create.is_update, create.nodes.goes_on) {
        (true, _) => "values",
        (_, true) => "command.update",
        _ => "input",
    };
    let (graph, input) = (Arc::clone(graph), create.input.clone());
    offload_if_large(input.len(), async move { check_messages(&graph, (key, &input)) }).await?
}

/// Refuses to hold a graph without nodes before its one step: it would execute all the same, which
/// somebody may rely on that it does not. Null input is not held at what it begins with.
fn check_hold(graph: &Component, wanted: &NodesWanted) -> Result<(), Refusal> {
    let is_it = |name: &String| name == "*" || name == graph.id();
    if !graph.nodes_of().is_empty() || wanted.goes_on || !wanted.interrupt_before.iter().any(is_it)
    {
        return Ok(());
    }
    let (kind, id) = (graph.kind(), graph.id());
    Err(Refusal::invalid(format!(
        "interrupt_before: the {kind} `{id}` has no nodes, so nothing holds it before it begins"
    )))
}

#[cfg(test)]
mod tests {
    use quell::Payload;
    use serde_json::{Value, json};

    use super::*;

    #[tokio::test]
    async fn a_graph_without_nodes_cannot_be_held_before_it_begins() {
        let graph = || Component::agent("g", async |_ctx, input: Payload| Ok(input));
        let (bare, two) = (Arc::new(graph()), Arc::new(graph().nodes(["a", "b"])));
        let input = json!({});
        for (before, input, is_held) in [
            (json!("*"), &input, true),
            (json!(["a", "g"]), &input, true),
            (json!(["a"]), &input, false),
            (json!("*"), &Value::Null, false),
        ] {
            let body = json!({ "assistant_id": "g", "input": input, "interrupt_before": before });
            let create = Create::read(&Payload::from(body.clone()).parse().unwrap()).unwrap();
            let told = check_asked(&bare, &create).await.map_err(|refusal| refusal.detail);
            assert_eq!(told.is_err(), is_held, "{body} {told:?}");
            assert!(check_asked(&two, &create).await.is_ok(), "{body}");
        }
    }
}
