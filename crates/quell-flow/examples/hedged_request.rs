//! A hedged request: a second server is asked when the first has not answered in time.
//!
//! `cargo run -p quell-flow --example hedged_request`

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use std::time::Duration;

use quell::{Engine, Failure, RunError, RunSpec};
use quell_flow::{Parallel, Policy, Settled};

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let settled = fetch(Duration::from_millis(50)).await?;
    for row in settled.rows.iter() {
        let cause = row.cause.as_ref().map_or("", |cause| cause.kind.as_str());
        println!("{}: {} {cause}", row.name, row.status);
    }
    println!("{}", settled.into_first().unwrap_or("nobody answered"));
    Ok(())
}

/// Asks one server after another, `delay` apart, and takes the first answer.
async fn fetch(delay: Duration) -> Result<Settled<&'static str>, RunError> {
    let engine = Engine::new();
    let run = engine.submit(RunSpec::step("fetch"), async move |ctx| {
        let request = Parallel::new("request")
            .policy(Policy::hedge(delay))
            .branch("near", async |_| answer(Duration::from_hours(1), "from near by").await)
            .branch("far", async |_| answer(Duration::from_millis(20), "from afar").await)
            .branch("spare", async |_| answer(Duration::ZERO, "from nowhere").await);
        request.run(&ctx).await
    })?;
    run.await
}

async fn answer(after: Duration, words: &'static str) -> Result<&'static str, Failure> {
    tokio::time::sleep(after).await;
    Ok(words)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quell::RunStatus;

    #[tokio::test]
    async fn a_hedged_request_is_answered_by_the_second_server() {
        let settled = super::fetch(Duration::from_millis(50)).await.unwrap();
        assert_eq!(settled.row("near").unwrap().status, RunStatus::Cancelled);
        assert_eq!(settled.row("spare").unwrap().run, None, "it was not needed");
        assert_eq!(settled.into_first(), Some("from afar"));
    }
}
