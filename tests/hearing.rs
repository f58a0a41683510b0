use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use quell::{CancelRequest, Disposition, RunContext, RunSpec, RunStatus};

use crate::support::{Gate, Lab, config, ms, now, secs, seeds, soon, spin_for, within};

/// What a body does first.
#[derive(Clone, Copy, Debug)]
enum First {
    Shield,
    Stopped,
    Checkpoint,
    Nothing,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i15_what_a_body_does_in_its_first_poll_counts_although_the_stop_was_before() {
    for first in [First::Shield, First::Stopped, First::Checkpoint, First::Nothing] {
        let lab = Lab::with(config().grace(secs(30)));
        let (started, gate) = (Arc::new(AtomicBool::new(false)), Gate::new());
        let _open = gate.at_end();
        let saved = Arc::new(AtomicBool::new(false));
        let body = {
            let (started, gate, saved) = (Arc::clone(&started), gate.clone(), Arc::clone(&saved));
            async move |ctx: RunContext| {
                // Held up between its start and its first call.
                started.store(true, Ordering::SeqCst);
                gate.spin();
                match first {
                    First::Shield => {
                        let cleanup = async {
                            tokio::time::sleep(ms(20)).await;
                            saved.store(true, Ordering::SeqCst);
                        };
                        ctx.shield(cleanup).await?;
                    }
                    First::Stopped => {
                        ctx.stopped().await;
                        tokio::time::sleep(ms(20)).await;
                        saved.store(true, Ordering::SeqCst);
                    }
                    First::Checkpoint => {
                        assert!(ctx.checkpoint().is_err());
                        tokio::time::sleep(ms(20)).await;
                        saved.store(true, Ordering::SeqCst);
                    }
                    First::Nothing => pending::<()>().await,
                }
                Ok(())
            }
        };
        let run = lab.submit(RunSpec::agent("busy"), body).unwrap();
        soon("it has started", || started.load(Ordering::SeqCst)).await;
        let answer = run.cancel(CancelRequest::because("enough"));
        assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
        assert_eq!(run.run().status(), RunStatus::Stopping);
        gate.open();
        let report = within("it ends long before its grace is over", run.ended()).await;
        assert_eq!((report.status, report.own_row().aborted), (RunStatus::Cancelled, false));
        let has_grace = !matches!(first, First::Nothing);
        assert_eq!(saved.load(Ordering::SeqCst), has_grace, "{first:?}");
        lab.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i15_whoever_listened_before_the_stop_was_accepted_has_the_grace() {
    let lab = Lab::with(config().grace(secs(30)));
    let denied = Arc::new(AtomicU32::new(0));
    let mut in_time = 0;
    for (_, mut rng) in seeds(2_000) {
        let barrier = Arc::new(Barrier::new(2));
        let (meet, count) = (Arc::clone(&barrier), Arc::clone(&denied));
        let spins = rng.u32(0..400);
        let run = lab
            .submit(RunSpec::agent("listener"), async move |ctx| {
                tokio::task::yield_now().await;
                meet.wait();
                spin_for(spins);
                // It was not to stop when it asked for the first time: so it listens.
                let listened = !ctx.is_stopping();
                let mut guard = Denied(listened.then_some(count));
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                ctx.stopped().await;
                guard.0 = None;
                Ok(listened)
            })
            .unwrap();
        let canceller = run.run().clone();
        let cancel = thread::spawn(move || {
            barrier.wait();
            spin_for(rng.u32(0..400));
            canceller.cancel(CancelRequest::because("enough"))
        });
        assert!(matches!(cancel.join().unwrap(), Disposition::Accepted { .. }));
        if let quell::Outcome::Stopped { partial: Some(true), .. } =
            within("it ends", run.outcome()).await
        {
            in_time += 1;
        }
    }
    assert_eq!(denied.load(Ordering::SeqCst), 0, "listeners that were dropped");
    assert!(in_time > 20, "the race was none: {in_time}");
    lab.finish().await;
}

/// Dropped with its body, it says that a listener was denied the grace.
struct Denied(Option<Arc<AtomicU32>>);

impl Drop for Denied {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn i15_a_body_that_stops_itself_in_its_first_poll_and_never_asks_is_dropped() {
    let lab = Lab::paused();
    let began = now();
    let run = lab
        .submit(RunSpec::agent("tired"), async |ctx| {
            ctx.run().cancel(CancelRequest::because("of myself"));
            pending::<()>().await;
            Ok(())
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!((report.status, now() - began), (RunStatus::Cancelled, ms(0)));
    lab.finish().await;
}
