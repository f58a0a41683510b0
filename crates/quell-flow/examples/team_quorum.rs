//! A team of three: two answers are enough, and what the third had by then is kept.
//!
//! `cargo run -p quell-flow --example team_quorum`

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use std::time::Duration;

use quell::{Engine, Failure, Payload, RunContext, RunError, RunSpec};
use quell_flow::{OnTimeout, Parallel, Policy, Settled};

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let settled = poll().await?;
    for row in settled.rows.iter() {
        let left = row.partial.as_ref().or(row.output.as_ref());
        let left = left.map_or("nothing", Payload::as_json);
        println!("{}: {}, counted as {:?}, left {left}", row.name, row.status, row.counted_as);
    }
    println!("{} answers of {}", settled.into_values().len(), 3);
    Ok(())
}

/// Asks three at once, each within its own time and grace.
async fn poll() -> Result<Settled<String>, RunError> {
    let engine = Engine::new();
    let team = engine.submit(RunSpec::team("editors"), async |ctx| {
        let draft = Parallel::new("draft")
            .policy(Policy::quorum(2))
            .branch_timeout(Duration::from_millis(200))
            .branch_grace(Duration::from_millis(50))
            .on_branch_timeout(OnTimeout::Partial)
            .branch("terse", async |ctx| write(ctx, 2).await)
            .branch("chatty", async |ctx| write(ctx, 1_000_000).await)
            .branch("down", async |_| Err(Failure::new("no route")));
        draft.run(&ctx).await
    })?;
    team.await
}

/// Writes words until it is through or told to stop; then it hands over what it has.
async fn write(ctx: RunContext, words: usize) -> Result<String, Failure> {
    let mut text = String::new();
    for word in ["once", "upon", "a", "time"].into_iter().cycle().take(words) {
        let think = tokio::time::sleep(Duration::from_millis(10));
        if ctx.run_until_stopped(think).await.is_err() {
            break;
        }
        text.push_str(word);
        text.push(' ');
        ctx.set_output(Payload::from(text.as_str()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use quell::RunStatus;
    use quell_flow::CountedAs;

    #[tokio::test]
    async fn a_team_of_three_has_its_quorum_with_a_partial_answer() {
        let settled = super::poll().await.unwrap();
        let chatty = settled.row("chatty").unwrap();
        assert_eq!((chatty.status, chatty.counted_as), (RunStatus::TimedOut, CountedAs::Partial));
        assert_eq!(settled.row("down").unwrap().counted_as, CountedAs::Failed);
        assert_eq!(settled.decided_by, Some(1));
        let values = settled.into_values();
        assert_eq!(values[0], "once upon ");
        assert!(values[1].starts_with("once upon a time once"), "{values:?}");
    }
}
