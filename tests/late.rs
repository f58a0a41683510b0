use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use quell::{CancelRequest, Failure, RunSpec, RunStatus, Work};
use quell_test_support::{soon, within};

use crate::foreign::subscriber::{heed, told_of};
use crate::support::{Gate, Lab, body_runtime, config, ms, naive, secs};

fn is_told(name: &str, words: &str) -> bool {
    told_of(name).iter().any(|line| line.contains(words))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_what_fails_after_the_end_is_told_to_subscribers_and_not_in_the_report() {
    let bodies = body_runtime(4);
    // What can be dropped has gone by then, also on a busy machine.
    let times = config().grace(ms(30)).abort_wait(secs(2));
    let lab = Lab::with(times.runtime(bodies.handle().clone()));
    let gate = Gate::new();
    let _open = gate.at_end();
    let (up, hooked, body) = (Gate::new(), gate.clone(), gate.clone());
    let ready = up.clone();
    heed("late hook");
    heed("late body");
    let of_hook = lab.submit(RunSpec::agent("late hook"), async move |ctx| {
        ctx.on_stop_named("slow", async move |_| {
            hooked.spin();
            panic!("the hook is too late");
        });
        ready.open();
        naive(ctx).await
    });
    let of_body = lab.submit(RunSpec::agent("late body"), async move |_| {
        body.spin();
        Err::<(), _>(Failure::new("the body is too late"))
    });
    let runs = [of_hook.unwrap().into_ref(), of_body.unwrap().into_ref()];
    soon("the hook waits for its stop", || up.is_open()).await;
    soon("the body blocks its thread", || runs[1].status() == RunStatus::Running).await;
    for run in &runs {
        run.cancel(CancelRequest::because("enough"));
    }
    let mut ends = Vec::new();
    for run in &runs {
        ends.push(within("it ends in time", run.ended()).await);
    }
    gate.open();
    for (run, end) in runs.iter().zip(ends) {
        let name = end.own_row().name.to_string();
        let left = format!("{:?}", [&end.abandoned[0].name]);
        let later = within("it is quiescent", run.quiescent()).await;
        let errors = |row: &quell::RunRow| row.cleanup_errors.clone();
        assert_eq!(errors(later.own_row()), errors(end.own_row()), "the report was final");
        soon("who was abandoned is told", || is_told(&name, &format!("abandoned={left}"))).await;
        soon("the error is told", || is_told(&name, "is too late")).await;
    }
    lab.finish().await;
    bodies.shutdown_background();
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_is_told_the_first_names_of_very_much_abandoned_work_and_how_much_it_is() {
    heed("holds much");
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::agent("holds much"), async |ctx| {
        let mut holds = Vec::new();
        for n in 0..100 {
            let mut hold = ctx.hold(Work::Remote, format!("job {n}"))?;
            hold.abandon();
            holds.push(hold);
        }
        Ok(holds)
    });
    let run = run.unwrap();
    let report = run.run().ended().await;
    assert_eq!(report.abandoned.len(), 100);
    soon("it is told", || is_told("holds much", "abandoned_count=100")).await;
    assert!(is_told("holds much", "\"job 15\"]") && !is_told("holds much", "job 16"));
    drop(run.await);
    lab.finish().await;
}

/// Panics when it is dropped, with these words.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "{}", self.0);
    }
}

/// A body whose own destructor panics, after it has failed.
struct Failing {
    panics: bool,
    _bomb: Bomb,
}

impl Future for Failing {
    type Output = Result<(), Failure>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.panics, "in the poll");
        Poll::Ready(Err(Failure::new("by a result")))
    }
}

#[tokio::test(start_paused = true)]
async fn i26_of_two_panics_of_one_body_both_are_in_the_report() {
    let lab = Lab::paused();
    for (panics, error) in [(true, "panicked: in the poll"), (false, "by a result")] {
        let body = move |_| Failing { panics, _bomb: Bomb("in its destructor") };
        let run = lab.submit(RunSpec::agent("twice"), body).unwrap();
        let report = run.ended().await;
        assert_eq!(report.error.as_deref(), Some(error));
        let second = report.own_row().cleanup_errors.iter().map(|error| &**error);
        assert_eq!(second.collect::<Vec<_>>(), ["panicked: in its destructor"]);
    }
    let raised = lab.submit(RunSpec::agent("raised"), async |_| -> Result<(), Failure> {
        std::panic::panic_any(Bomb("in what it was raised with"))
    });
    let report = raised.unwrap().ended().await;
    let words = "panicked: a panic without words, then as that was dropped: in what it was raised \
                 with";
    assert_eq!(report.error.as_deref(), Some(words));
    lab.finish().await;
}
