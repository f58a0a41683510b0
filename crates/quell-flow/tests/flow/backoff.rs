//! Pauses between attempts, and attempts on several threads.

use std::time::Duration;

use proptest::prelude::*;
use quell::{CancelRequest, Engine, Failure, RunContext, RunSpec, RunStatus, testing};
use quell_flow::{Backoff, Retry};
use tokio::time::Instant;

use crate::support::{Witness, engine, millis, secs, since};

#[tokio::test(start_paused = true)]
async fn a_seed_makes_the_pauses_the_same() {
    let (engine, mut times) = (engine(), Vec::new());
    for _ in 0..2 {
        let start = Instant::now();
        let retry = Retry::new(4).backoff(secs(100)).seed(7);
        let body = retry.body(async |_| Err::<(), _>(Failure::new("no")));
        engine.submit(RunSpec::workflow("flow"), body).unwrap().await.unwrap_err();
        times.push(since(start));
    }
    let exact: Duration = (1..4).map(|n| Backoff::from(secs(100)).delay(n, 7)).sum();
    assert_eq!(times[0], times[1]);
    assert!(times[0].abs_diff(exact) <= millis(4), "{times:?} {exact:?}");
}

#[test]
fn i19_and_i20_attempts_on_several_threads_never_overlap_nor_outlive_a_stop() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    let mut stopped = 0;
    runtime.block_on(async {
        let engine = Engine::new();
        for round in 0..1_000_u32 {
            let witness = Witness::default();
            let inside = witness.clone();
            let body = move |ctx: RunContext| {
                let inside = inside.enter();
                async move {
                    // The guard is dropped with the body, after its last await.
                    let _inside = inside;
                    let child = ctx.spawn(RunSpec::step("child"), async |_| {
                        tokio::task::yield_now().await;
                        Ok(())
                    });
                    child.await?;
                    Err::<(), _>(Failure::new("no"))
                }
            };
            let retry = Retry::new(20).backoff(Duration::ZERO);
            let run = engine.submit(RunSpec::workflow("flow"), retry.body(body)).unwrap();
            for _ in 0..round % 40 {
                tokio::task::yield_now().await;
            }
            run.cancel(CancelRequest::because("enough"));
            let report = run.run().quiescent().await;
            let ever = witness.entered();
            assert!(witness.most() <= 1, "{} at once", witness.most());
            assert_eq!(witness.inside(), 0);
            tokio::task::yield_now().await;
            assert_eq!(witness.entered(), ever, "an attempt began after the end");
            stopped += u32::from(report.status == RunStatus::Cancelled);
            testing::check_trace(&testing::trace(run.run()).await).unwrap();
        }
    });
    runtime.shutdown_background();
    assert!(stopped > 50, "a stop has to come first now and then: {stopped}");
}

proptest! {
    #[test]
    fn a_pause_is_never_longer_than_its_bound_and_the_bound_never_than_the_cap(
        base in 0..100_000_u64,
        cap in 0..100_000_u64,
        failures in any::<u32>(),
        seed in any::<u64>(),
    ) {
        let backoff = Backoff::exponential(millis(base)).cap(millis(cap));
        let (bound, delay) = (backoff.bound(failures), backoff.delay(failures, seed));
        prop_assert!(delay <= bound && bound <= millis(cap));
        prop_assert!(bound >= backoff.bound(failures.saturating_sub(1)));
        prop_assert_eq!(backoff.without_jitter().delay(failures, seed), bound);
    }

    #[test]
    fn a_pause_is_never_shorter_than_the_shortest_unless_the_cap_is(
        base in 0..100_000_u64,
        cap in 0..100_000_u64,
        min in 0..100_000_u64,
        failures in any::<u32>(),
        seed in any::<u64>(),
    ) {
        let plain = Backoff::exponential(millis(base)).cap(millis(cap));
        let backoff = plain.min(millis(min));
        let (bound, delay) = (backoff.bound(failures), backoff.delay(failures, seed));
        prop_assert!(delay >= millis(min.min(cap)) && delay <= bound && bound <= millis(cap));
        prop_assert_eq!(backoff.min(Duration::ZERO), plain);
    }

    #[test]
    fn pauses_above_the_shortest_vary_over_all_of_their_range(failures in 3..20_u32) {
        let min = millis(1_500);
        let backoff = Backoff::exponential(secs(1)).cap(secs(60)).min(min);
        let bound = backoff.bound(failures);
        let delays: Vec<_> = (0..400).map(|seed| backoff.delay(failures, seed)).collect();
        prop_assert!(delays.iter().all(|delay| (min..=bound).contains(delay)));
        let low = delays.iter().filter(|delay| **delay < (min + bound) / 2).count();
        prop_assert!((120..280).contains(&low), "{low} of 400 are in the lower half");
        let different: std::collections::HashSet<_> = delays.iter().collect();
        prop_assert!(different.len() > 350, "{} of 400 differ", different.len());
    }

    #[test]
    fn jitter_is_full(failures in 1..20_u32) {
        let backoff = Backoff::exponential(secs(1)).cap(secs(60));
        let bound = backoff.bound(failures);
        let delays = (0..200).map(|seed| backoff.delay(failures, seed));
        let low = delays.filter(|delay| *delay * 2 < bound).count();
        prop_assert!((50..150).contains(&low), "{low} of 200 are in the lower half");
    }
}
