use std::future::{Future as _, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use quell::{CancelRequest, Disposition, RunContext, RunRef, RunSpec, RunStatus};
use tokio::sync::oneshot;

use crate::support::{Lab, bounded, config, listener, ms, secs, within};

/// Submits a root with so many children that wait for ever and never listen, or do.
async fn wide(lab: &Lab, children: usize, deaf: bool, spec: RunSpec) -> RunRef {
    let (tell, told) = oneshot::channel();
    let run = lab.submit(spec, async move |ctx| {
        for _ in 0..children {
            let child = RunSpec::step("child").stop_delivery(quell::StopDelivery::Signal);
            let body = async move |ctx: RunContext| {
                if deaf {
                    std::future::pending::<()>().await;
                }
                listener(ctx).await
            };
            drop(ctx.spawn(child, body).into_ref());
        }
        let _ = tell.send(());
        listener(ctx).await
    });
    told.await.unwrap();
    run.unwrap().into_ref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_second_cancel_returns_when_every_descendant_is_signalled_too() {
    let lab = Lab::with(config());
    let mut met = 0;
    for _ in 0..6 {
        let root = wide(&lab, 20_000, false, RunSpec::team("wide")).await;
        let children = root.children();
        let first = {
            let root = root.clone();
            thread::spawn(move || root.cancel(CancelRequest::because("first")))
        };
        while root.status() == RunStatus::Running {
            std::hint::spin_loop();
        }
        let answer = root.cancel(CancelRequest::because("second"));
        let late = children.iter().filter(|child| child.status() == RunStatus::Running).count();
        assert_eq!(late, 0, "not signalled when the second cancel returned {answer:?}");
        met += u32::from(matches!(answer, Disposition::AlreadyStopping { .. }));
        first.join().unwrap();
        within("the tree ends", root.quiescent()).await;
    }
    assert!(met > 0, "the race was none");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i14_no_due_time_is_missed_while_the_control_thread_works() {
    // Trees leave by their time while runs with a due time come in.
    let lab = Lab::with(config().limits(bounded(|limits| {
        limits.ended_trees_ttl = ms(20);
    })));
    let over = Arc::new(AtomicBool::new(false));
    let busy = {
        let (engine, over) = ((*lab).clone(), Arc::clone(&over));
        tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                let run = engine.submit(RunSpec::team("wide"), async |ctx| {
                    for _ in 0..500 {
                        ctx.spawn(RunSpec::step("child"), async |_| Ok(())).await?;
                    }
                    Ok(())
                });
                run.unwrap().await.unwrap();
            }
        })
    };
    let began = Instant::now();
    while began.elapsed() < secs(3) {
        let due = Instant::now() + Duration::from_micros(fastrand::u64(0..2_000));
        let run = lab.submit(RunSpec::agent("due").not_before(due), async |_| Ok(())).unwrap();
        within("it starts when it is due", run.ended()).await;
    }
    over.store(true, Ordering::SeqCst);
    busy.await.unwrap();
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i14_a_body_that_waits_in_many_ways_at_once_holds_up_nobody() {
    let lab = Lab::with(config());
    let (tell, told) = oneshot::channel();
    let mut tell = Some(tell);
    let run = lab.submit(RunSpec::agent("waits"), async move |ctx| {
        // All with the waker of its own task.
        let mut waits: Vec<_> = (0..200_000).map(|_| Box::pin(ctx.stopped())).collect();
        poll_fn(|cx| {
            let stopped = waits.iter_mut().any(|wait| wait.as_mut().poll(cx).is_ready());
            tell.take().map(|tell| tell.send(()));
            if stopped { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        Ok(())
    });
    let run = run.unwrap();
    within("it waits", told).await.unwrap();
    let began = Instant::now();
    run.run().cancel(CancelRequest::because("enough"));
    assert!(began.elapsed() < secs(1), "{:?}", began.elapsed());
    within("it ends", run.ended()).await;
    lab.finish().await;
}
