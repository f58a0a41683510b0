//! A policy of one's own, in twenty lines: enough when the sum of the bids reaches a price.
//!
//! `cargo run -p quell-flow --example own_policy`

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use quell::{CauseKind, Engine, RunError, RunSpec};
use quell_flow::{Decision, Parallel, Policy, Settled, SoFar};

/// Decided by the bid that reaches the price, or, against it, when no bid is left.
fn reaches(price: u64) -> Policy<u64> {
    Policy::new(format!("reaches({price})"), move |so_far: &SoFar<'_, u64>| {
        let by = so_far.ended.last()?.branch;
        let sum: u64 = so_far.values().sum();
        if sum >= price {
            return Some(Decision::values(CauseKind::QuorumReached).by(by));
        }
        let words = format!("all bids are {sum}, less than {price}");
        so_far.all_ended().then(|| Decision::failed(words, CauseKind::RaceLost).by(by))
    })
}

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let settled = auction(100, [30, 80, 5]).await?;
    let by = settled.decided_by.map(|by| settled.rows[by].name.to_string());
    println!("{} decided: {:?}", by.unwrap_or_default(), settled.into_values());
    Ok(())
}

/// Takes bids as they come.
async fn auction(price: u64, bids: [u64; 3]) -> Result<Settled<u64>, RunError> {
    let engine = Engine::new();
    let run = engine.submit(RunSpec::step("auction"), async move |ctx| {
        let bidders = bids.into_iter().enumerate().map(|(place, bid)| {
            let body = async move |_| {
                tokio::time::sleep(std::time::Duration::from_millis(20 * place as u64)).await;
                Ok(bid)
            };
            (format!("bidder {place}"), body)
        });
        Parallel::new("bids").policy(reaches(price)).branches(bidders).run(&ctx).await
    })?;
    run.await
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn a_policy_of_ones_own_decides_as_it_says() {
        let settled = super::auction(100, [30, 80, 5]).await.unwrap();
        assert_eq!((settled.decided_by, &*settled.policy), (Some(1), "reaches(100)"));
        assert_eq!(settled.into_values(), [30, 80]);
        let error = super::auction(200, [30, 80, 5]).await.unwrap_err().to_string();
        assert!(error.contains("all bids are 115, less than 200"), "{error}");
    }
}
