//! I33: every waiter for an end wakes, however many others wait.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use quell::{CancelRequest, EventKind, RunSpec, RunStatus, Work};

use crate::support::{Gate, Lab, secs, seeds, within};

/// Counts how often it is woken.
#[derive(Default)]
struct Alarm(AtomicUsize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Alarm {
    fn rings(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn poll<F: Future>(self: &Arc<Self>, future: Pin<&mut F>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(self));
        future.poll(&mut Context::from_waker(&waker))
    }
}

#[tokio::test(start_paused = true)]
async fn i33_a_waiter_that_comes_between_two_news_is_told_of_the_end() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("slow"), async |ctx| {
            ctx.stopped().await;
            tokio::time::sleep(secs(1)).await;
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    let (early, late) = (Arc::new(Alarm::default()), Arc::new(Alarm::default()));
    let (mut first, mut second) = (pin!(run.ended()), pin!(run.ended()));
    assert!(early.poll(first.as_mut()).is_pending());
    run.cancel(CancelRequest::because("enough"));
    // The stop has woken the first; the second comes before the first looks again.
    assert!(late.poll(second.as_mut()).is_pending());
    assert!(early.poll(first.as_mut()).is_pending());
    let before = (early.rings(), late.rings());
    tokio::time::sleep(secs(2)).await;
    assert_eq!(run.run().status(), RunStatus::Cancelled);
    assert!(early.rings() > before.0, "the first waiter was not woken");
    assert!(late.rings() > before.1, "the second waiter was not woken");
    assert!(late.poll(second.as_mut()).is_ready() && early.poll(first.as_mut()).is_ready());
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i30_a_reader_that_comes_between_two_events_is_told_of_the_next() {
    let lab = Lab::paused();
    let gate = Arc::new(tokio::sync::Notify::new());
    let go = Arc::clone(&gate);
    let run = lab
        .submit(RunSpec::agent("speaker"), async move |ctx| {
            for word in ["one", "two"] {
                go.notified().await;
                ctx.emit(word);
            }
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    let (mut first, mut second) = (run.run().events_since(2), run.run().events_since(3));
    let (early, late) = (Arc::new(Alarm::default()), Arc::new(Alarm::default()));
    assert!(early.poll(pin!(first.next())).is_pending());
    gate.notify_one();
    tokio::task::yield_now().await;
    assert!(late.poll(pin!(second.next())).is_pending());
    assert!(early.poll(pin!(first.next())).is_ready());
    assert!(early.poll(pin!(first.next())).is_pending());
    let before = (early.rings(), late.rings());
    gate.notify_one();
    run.ended().await;
    assert!(early.rings() > before.0, "the first reader was not woken");
    assert!(late.rings() > before.1, "the second reader was not woken");
    drop((first, second));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i33_any_number_of_waiters_is_told_and_none_too_early() {
    let lab = Lab::real();
    for (_seed, mut rng) in seeds(20) {
        let gate = Gate::new();
        let _open = gate.at_end();
        let hold = gate.clone();
        let spec = RunSpec::agent("held").grace(secs(0));
        let run = lab
            .submit(spec, async move |ctx| {
                let blocking = ctx.spawn_blocking(move |_| hold.spin());
                ctx.emit("up");
                Ok(blocking.await?)
            })
            .unwrap();
        let waiters = (0..100).map(|n| {
            let (run, delay) = (run.run().clone(), rng.u64(0..3_000));
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_micros(delay)).await;
                let report = if n % 2 == 0 { run.ended().await } else { run.quiescent().await };
                assert!(report.status.is_terminal() && (n % 2 == 0 || report.quiescent));
                n
            })
        });
        let waiters: Vec<_> = waiters.collect();
        let mut events = run.events();
        while !matches!(events.next().await.unwrap().kind, EventKind::Emitted(_)) {}
        let cancel = run.cancel(CancelRequest::because("enough"));
        assert!(matches!(cancel, quell::Disposition::Accepted { .. }));
        tokio::time::sleep(std::time::Duration::from_micros(rng.u64(0..3_000))).await;
        gate.open();
        for waiter in waiters {
            within("a waiter is told", waiter).await.unwrap();
        }
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i33_quiescent_waits_longer_than_ended() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("held").grace(secs(1)), async |ctx| {
            let hold = ctx.hold(Work::Process, "outside")?;
            tokio::spawn(async move {
                tokio::time::sleep(secs(30)).await;
                drop(hold);
            });
            ctx.stopped().await;
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    let began = crate::support::now();
    run.cancel(CancelRequest::because("enough"));
    let ended = run.ended().await;
    assert_eq!((crate::support::now() - began, ended.quiescent), (secs(2), false));
    let quiescent = run.run().quiescent().await;
    assert_eq!((crate::support::now() - began, quiescent.quiescent), (secs(30), true));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i4_nobody_waits_for_a_hold_that_is_abandoned_and_it_is_named() {
    let lab = Lab::paused();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let run = lab
        .submit(RunSpec::agent("asks"), async move |ctx| {
            let mut confirmed = ctx.hold(Work::Remote, "confirmed")?;
            confirmed.abandon();
            let mut silent = ctx.hold(Work::Remote, "silent")?;
            ctx.stopped().await;
            silent.abandon();
            silent.abandon();
            drop(confirmed);
            assert!(sender.send(silent).is_ok());
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    let began = crate::support::now();
    run.cancel(CancelRequest::because("enough"));
    let ended = run.ended().await;
    assert_eq!((crate::support::now() - began, ended.quiescent), (secs(0), false));
    let named: Vec<_> = ended.abandoned.iter().map(|left| (left.what, &*left.name)).collect();
    assert_eq!(named, [(Work::Remote, "silent")]);
    drop(receiver.await);
    assert!(run.run().quiescent().await.quiescent);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i33_who_waits_without_a_report_gets_the_status_when_nothing_executes_any_more() {
    let lab = Lab::paused();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let run = lab
        .submit(RunSpec::agent("held").grace(secs(1)), async move |ctx| {
            assert!(sender.send(ctx.hold(Work::Process, "outside")?).is_ok());
            ctx.stopped().await;
            Ok(())
        })
        .unwrap();
    let (hold, alarm) = (receiver.await.unwrap(), Arc::new(Alarm::default()));
    let mut quiescent = pin!(run.run().quiescent_status());
    run.cancel(CancelRequest::because("enough"));
    assert_eq!(run.run().ended_status().await, RunStatus::Cancelled);
    assert!(alarm.poll(quiescent.as_mut()).is_pending(), "something of it still executes");
    drop(hold);
    assert_eq!(quiescent.await, RunStatus::Cancelled);
    assert!(run.run().report().quiescent);
    lab.finish().await;
}
