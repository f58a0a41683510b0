//! Bodies that know their attempt and share a state, and pauses by a function.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quell::{CancelRequest, Failure, RunContext, RunSpec, RunStatus};
use quell_flow::{Attempt, Retry, RetryAfter};
use tokio::time::{Instant, sleep};

use crate::retries::{attempts, ok_at, thrice, tried};
use crate::support::{Witness, engine, secs, since};

#[tokio::test(start_paused = true)]
async fn an_attempt_knows_its_number_and_shares_the_state_of_the_others() {
    let (engine, seen) = (engine(), Arc::new(Mutex::new(Vec::new())));
    let body = async |ctx: RunContext, attempt: Attempt<Arc<Mutex<Vec<_>>>>| {
        let name = ctx.run().name().to_owned();
        attempt.state.lock().unwrap().push((name, attempt.number, attempt.is_last()));
        if attempt.number == 2 { Ok(attempt.attempts_max) } else { Err(Failure::new("no")) }
    };
    let retried = thrice().body_with(Arc::clone(&seen), body);
    let run = engine.submit(RunSpec::workflow("flow"), retried).unwrap();
    assert_eq!(run.await.unwrap(), 3);
    let expected = [("attempt 1".to_owned(), 1, false), ("attempt 2".to_owned(), 2, false)];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_knows_that_it_is_and_zero_attempts_are_one() {
    let engine = engine();
    let body = async |_, attempt: Attempt<()>| Ok((attempt.number, attempt.is_last()));
    let run = engine.submit(RunSpec::workflow("flow"), Retry::new(0).body_with((), body)).unwrap();
    assert_eq!(run.await.unwrap(), (1, true));
}

#[tokio::test(start_paused = true)]
async fn a_function_says_how_long_to_wait_and_a_failure_may_ask_for_longer() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::clone(&asked);
    let retry = Retry::new(4).backoff_by(move |failures, last| {
        calls.lock().unwrap().push((failures, last.to_string()));
        // The second does not wait.
        if failures == 2 { Duration::ZERO } else { secs(10 * u64::from(failures)) }
    });
    let start = Instant::now();
    let engine = engine();
    let body = async |_, attempt: Attempt<()>| -> Result<u32, Failure> {
        match attempt.number {
            3 => Err(RetryAfter::because(secs(45), "busy").into()),
            number => Err(Failure::new(format!("no {number}"))),
        }
    };
    let run = engine.submit(RunSpec::workflow("flow"), retry.body_with((), body)).unwrap();
    assert!(run.await.unwrap_err().to_string().contains("no 4"));
    // 10 s, none, and the 45 s that are asked for instead of 30 s.
    assert_eq!(since(start), secs(55));
    let asked = asked.lock().unwrap();
    let asked: Vec<_> = asked.iter().map(|(failures, last)| (*failures, &**last)).collect();
    assert_eq!(asked, [(1, "no 1"), (2, "no 2"), (3, "retry after 45s: busy")]);
}

#[tokio::test(start_paused = true)]
async fn a_function_of_pauses_that_panics_fails_the_run_and_nothing_else() {
    let retry = Retry::new(3).backoff_by(|_, _| panic!("in the function"));
    let (outcome, report) = tried(retry, ok_at(3, &Witness::default())).await;
    assert!(outcome.unwrap_err().contains("in the function"));
    assert_eq!((report.status, attempts(&report).len()), (RunStatus::Failed, 1));
}

#[tokio::test(start_paused = true)]
async fn i20_a_stop_ends_a_pause_that_a_function_made() {
    let start = Instant::now();
    let engine = engine();
    let retried = Retry::new(2).backoff_by(|_, _| secs(3_600));
    let retried = retried.body_with((), async |_, _| Err::<u32, _>(Failure::new("no")));
    let run = engine.submit(RunSpec::workflow("flow"), retried).unwrap();
    sleep(secs(1)).await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.run().quiescent().await;
    assert_eq!((report.status, since(start)), (RunStatus::Cancelled, secs(1)));
    assert_eq!(attempts(&report).len(), 1);
}
