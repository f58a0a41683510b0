//! A component with nodes: it says after each step what comes next, ends before a node that the
//! caller names, and goes on there in another run.
//!
//! `cargo run -p quell-flow --example nodes`

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use std::sync::Arc;

use quell::{Engine, Failure, Payload, RunContext, RunError};
use quell_flow::{Component, NODES, Nodes};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), RunError> {
    for state in publish().await? {
        println!("{}", state.as_json());
    }
    Ok(())
}

/// Drafts a letter, and sends it in a second run, when somebody has read it.
async fn publish() -> Result<[Payload; 2], RunError> {
    let letter = Arc::new(Component::workflow("letter", letter).nodes(["draft", "send"]));
    let engine = Engine::new();
    let held = json!({ "interrupt_before": ["send"] });
    let spec = letter.spec().annotation(NODES, held.into());
    let draft = letter.start(&engine, spec, "hello".into())?.await?;
    let there = json!({ "next": ["send"] });
    let spec = letter.spec().annotation(NODES, there.into());
    let sent = letter.start(&engine, spec, draft.clone())?.await?;
    Ok([draft, sent])
}

async fn letter(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    let mut nodes = Nodes::begin(&ctx, input, ["draft"]).await;
    while let Some(now) = nodes.now() {
        let text: String = nodes.state().parse()?;
        if now == ["draft"] {
            nodes.leave(format!("Dear reader, {text}").into(), ["send"]);
        } else {
            nodes.leave(format!("{text} (sent)").into(), [""; 0]);
        }
    }
    Ok(nodes.into_state())
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn the_second_run_goes_on_before_the_node_where_the_first_one_has_ended() {
        let [draft, sent] = super::publish().await.unwrap();
        assert_eq!(draft, "Dear reader, hello".into());
        assert_eq!(sent, "Dear reader, hello (sent)".into());
    }
}
