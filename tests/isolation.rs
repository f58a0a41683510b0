use std::panic::panic_any;

use quell::{CancelRequest, Failure, RunContext, RunError, RunHandle, RunSpec, RunStatus};

use crate::support::{Lab, Witness, body_runtime, listener, ms, secs, within};

/// Panics when it is dropped, but not during another panic: that would end the process.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "{}", self.0);
    }
}

/// Where a body panics.
#[derive(Clone, Copy, Debug)]
enum Place {
    Body,
    LaterPoll,
    MakingTheFuture,
    Destructor,
    BlockingClosure,
    Nested,
    Payload,
    Value,
}

async fn panics(ctx: RunContext, place: Place) -> Result<Option<Bomb>, Failure> {
    match place {
        Place::Body => panic!("in the first poll"),
        Place::LaterPoll => {
            tokio::time::sleep(ms(1)).await;
            panic!("{}", "in a later poll".to_owned());
        }
        Place::MakingTheFuture => unreachable!("the closure panics before"),
        Place::Destructor => {
            let _bomb = Bomb("in a destructor");
            tokio::time::sleep(ms(1)).await;
            Ok(None)
        }
        Place::BlockingClosure => {
            ctx.spawn_blocking(|_| panic!("in a closure")).await?;
            Ok(None)
        }
        Place::Nested => {
            let child = ctx.spawn(RunSpec::step("child"), async |_| -> Result<(), Failure> {
                panic!("in a child")
            });
            child.await?;
            Ok(None)
        }
        Place::Payload => panic_any(Bomb("in a panic's own words")),
        Place::Value => Ok(Some(Bomb("in the value"))),
    }
}

fn submit(lab: &Lab, place: Place) -> RunHandle<Option<Bomb>> {
    let body = move |ctx| {
        assert!(!matches!(place, Place::MakingTheFuture), "in the closure");
        panics(ctx, place)
    };
    lab.submit(RunSpec::agent(format!("{place:?}")), body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn i26_a_panic_anywhere_in_a_body_is_that_runs_failure_and_nothing_elses() {
    let lab = Lab::paused();
    let bystander = lab.submit(RunSpec::agent("bystander"), listener).unwrap();
    let places = [
        (Place::Body, "first poll"),
        (Place::LaterPoll, "later poll"),
        (Place::MakingTheFuture, "closure"),
        (Place::Destructor, "destructor"),
        (Place::BlockingClosure, "closure"),
        (Place::Nested, "child"),
        (Place::Payload, "panic"),
    ];
    for (place, words) in places {
        let run = submit(&lab, place);
        let report = within(&format!("{place:?} ends"), run.ended()).await;
        assert_eq!(report.status, RunStatus::Failed, "{place:?}");
        assert!(report.error.as_deref().unwrap().contains(words), "{place:?}: {report:#?}");
        let Err(RunError::Failed(failure)) = run.await else { panic!("{place:?}") };
        let nested = matches!(place, Place::Nested);
        assert_eq!(failure.failure.is_panic(), !nested, "{place:?}");
    }
    // A value whose destructor panics, and nobody to read it: it is dropped as part of the body.
    let unread = submit(&lab, Place::Value).into_ref();
    within("the run ends", unread.ended()).await;
    assert_eq!(bystander.run().status(), RunStatus::Running, "nobody else noticed");
    bystander.cancel(CancelRequest::because("over"));
    assert_eq!(bystander.ended().await.status, RunStatus::Cancelled);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i26_panics_while_bodies_are_dropped_by_a_stop_hold_nothing_up() {
    let lab = Lab::real();
    let witness = Witness::new();
    let seen = witness.clone();
    let run = lab
        .submit(RunSpec::team("parent").grace(ms(50)), async move |ctx| {
            let kids = (0..20).map(|kid| {
                let seen = seen.clone();
                ctx.spawn(RunSpec::agent("child"), async move |ctx| {
                    let _inside = seen.enter();
                    let _bomb = (kid % 2 == 0).then(|| Bomb("while it is dropped"));
                    if kid % 4 == 0 {
                        // It overruns its grace and is dropped at the hard deadline.
                        let _ = ctx.is_stopping();
                    }
                    std::future::pending::<()>().await;
                    Ok(())
                })
            });
            let kids: Vec<_> = kids.collect();
            quell::join::all(kids).await;
            Ok(())
        })
        .unwrap();
    crate::support::soon("every child is up", || witness.inside() == 20).await;
    run.cancel(CancelRequest::because("enough"));
    let report = within("the tree ends", run.ended()).await;
    assert_eq!(
        (report.status, report.quiescent, witness.inside()),
        (RunStatus::Cancelled, true, 0)
    );
    let errors = report.rows.iter().map(|row| row.cleanup_errors.len()).sum::<usize>();
    assert_eq!(errors, 10, "each bomb is in the report of its run");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i26_a_panicking_child_stops_its_siblings_only_if_the_parent_says_so() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::team("parent"), async |ctx| {
            let wild = ctx
                .spawn(RunSpec::agent("wild"), async |_| -> Result<(), Failure> { panic!("wild") });
            let calm = ctx.spawn(RunSpec::agent("calm"), async |_| {
                tokio::time::sleep(secs(1)).await;
                Ok(1)
            });
            assert!(matches!(wild.outcome().await, quell::Outcome::Failed(_)));
            Ok(calm.await?)
        })
        .unwrap();
    assert_eq!(run.await.unwrap(), 1);
    lab.finish().await;
}

/// A waker of somebody's own making.
struct Rude;

impl std::task::Wake for Rude {
    fn wake(self: std::sync::Arc<Self>) {
        panic!("in a waker");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i26_a_panic_in_a_waiters_waker_does_not_end_the_control_thread() {
    let lab = Lab::real();
    let rude = lab.submit(RunSpec::agent("rude").timeout(ms(30)), listener).unwrap();
    let mut waiting = Box::pin(rude.ended());
    let waker = std::task::Waker::from(std::sync::Arc::new(Rude));
    let polled = waiting.as_mut().poll(&mut std::task::Context::from_waker(&waker));
    assert!(polled.is_pending());
    let polite = lab.submit(RunSpec::agent("polite").timeout(ms(200)), listener).unwrap();
    let report = within("a later deadline fires", polite.ended()).await;
    assert_eq!(report.status, RunStatus::TimedOut);
    drop(waiting);
    within("the rude one ends", rude.ended()).await;
    lab.finish().await;
}

#[test]
fn i26_a_runtime_that_goes_away_fails_the_runs_that_it_carried() {
    let outside = tokio::runtime::Runtime::new().unwrap();
    outside.block_on(async {
        let bodies = body_runtime(1);
        let lab = Lab::with(crate::support::config().runtime(bodies.handle().clone()));
        let witness = Witness::new();
        let inside = witness.enter();
        let run = lab
            .submit(RunSpec::agent("carried"), async move |_| {
                let _inside = inside;
                std::future::pending::<()>().await;
                Ok(())
            })
            .unwrap();
        crate::support::soon("it runs", || run.run().status() == RunStatus::Running).await;
        bodies.shutdown_background();
        let report = within("the run ends", run.ended()).await;
        assert_eq!((report.status, witness.inside()), (RunStatus::Failed, 0));
        assert!(report.error.as_deref().unwrap().contains("runtime"));
        let late = lab.submit(RunSpec::agent("late"), async |_| Ok(())).unwrap();
        let report = within("a run without a runtime ends", late.ended()).await;
        assert_eq!(report.status, RunStatus::Failed);
        lab.finish().await;
    });
}

/// An error that does more than it should when it is put into words.
#[derive(Debug)]
struct Wordy(Option<quell::RunRef>);

impl std::fmt::Display for Wordy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            // It asks the engine about its own run: a thread that holds a lock meanwhile is stuck.
            Some(run) => write!(f, "{} rows", run.report().rows.len()),
            None => panic!("in a Display"),
        }
    }
}

impl std::error::Error for Wordy {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i26_an_error_that_panics_or_asks_the_engine_while_it_is_written_hurts_nobody() {
    let lab = Lab::real();
    for (asks, stops) in [(true, false), (true, true), (false, false), (false, true)] {
        let run = lab
            .submit(RunSpec::agent("wordy"), async move |ctx| {
                if stops {
                    ctx.stopped().await;
                }
                let child = ctx.spawn(RunSpec::step("child"), listener);
                Err::<(), _>(Wordy(asks.then(|| child.run().parent()).flatten()))?;
                Ok(())
            })
            .unwrap();
        if stops {
            crate::support::soon("it listens", || run.run().status() == RunStatus::Running).await;
            tokio::time::sleep(ms(5)).await;
            run.cancel(CancelRequest::because("enough"));
        }
        let report = within("the run ends", run.ended()).await;
        let status = if stops { RunStatus::Cancelled } else { RunStatus::Failed };
        assert_eq!(report.status, status, "asks: {asks}, stops: {stops}");
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_value_that_comes_too_late_is_gone_before_quiesced() {
    let lab = Lab::with(crate::support::config().grace(ms(20)).abort_wait(ms(20)));
    let gate = crate::support::Gate::new();
    let _open = gate.at_end();
    let witness = Witness::new();
    let (hold, seen) = (gate.clone(), witness.clone());
    let run = lab
        .submit(RunSpec::agent("late"), async move |_| {
            let value = Lingers(Some(seen.enter()));
            hold.spin();
            Ok(value)
        })
        .unwrap();
    crate::support::soon("it spins", || witness.inside() == 1).await;
    run.cancel(CancelRequest::because("enough"));
    assert!(!within("the run ends", run.ended()).await.quiescent);
    gate.open();
    while !run.run().report().quiescent {
        std::thread::yield_now();
    }
    assert_eq!(witness.inside(), 0, "its destructor is the body's code");
    lab.finish().await;
}

/// Takes its time to go.
struct Lingers(Option<crate::support::Inside>);

impl Drop for Lingers {
    fn drop(&mut self) {
        std::thread::sleep(ms(30));
        drop(self.0.take());
    }
}
