use std::time::{Duration, Instant};

use quell::{CancelRequest, Disposition, EventKind, RunHandle, RunSpec, RunStatus, Work, Written};
use tokio::runtime::Runtime;

use crate::support::{Gate, Lab, Witness, body_runtime, config, ms, secs, soon, within};

/// What a noisy machine may add to a bound.
const SLACK: Duration = Duration::from_mins(1);

/// An engine whose body runtime has two workers, both held by bodies that spin.
struct Blocked {
    lab: Lab,
    gate: Gate,
    witness: Witness,
    spinning: Vec<RunHandle<()>>,
    bodies: Runtime,
}

impl Blocked {
    async fn new() -> Self {
        Self::with_timeout(secs(600)).await
    }

    /// As [`new`](Self::new); the first one is stopped by a deadline of its own.
    async fn with_timeout(first: Duration) -> Self {
        let bodies = body_runtime(2);
        let config = config().runtime(bodies.handle().clone()).grace(ms(100)).abort_wait(ms(100));
        let lab = Lab::with(config);
        let (gate, witness) = (Gate::new(), Witness::new());
        let spinning = [("first", first), ("second", secs(600))].map(|(name, timeout)| {
            let (gate, seen) = (gate.clone(), witness.clone());
            let spec = RunSpec::agent(name).timeout(timeout);
            let body = async move |ctx: quell::RunContext| {
                let _inside = seen.enter();
                gate.spin();
                assert_eq!(ctx.emit("too late"), Written::Late, "its writes are fenced");
                Ok(())
            };
            lab.submit(spec, body).unwrap()
        });
        let blocked = Self { lab, gate, witness, spinning: spinning.into(), bodies };
        soon("both workers spin", || blocked.witness.inside() == 2).await;
        blocked
    }

    /// Lets the bodies go, and waits until they have really ended.
    async fn release(self) -> quell::testing::Checked {
        self.gate.open();
        for run in &self.spinning {
            within("the body really ends", run.run().quiescent()).await;
        }
        let checked = self.lab.finish().await;
        self.bodies.shutdown_background();
        checked
    }
}

#[tokio::test]
async fn i14_deadlines_cancels_and_reads_work_while_every_body_worker_is_blocked() {
    let blocked = Blocked::with_timeout(ms(400)).await;
    let _open = blocked.gate.at_end();
    let [timed, cancelled] = &blocked.spinning[..] else { panic!() };
    let began = Instant::now();
    // A cancel from another thread.
    let run = cancelled.run().clone();
    let cancel = std::thread::spawn(move || run.cancel(CancelRequest::because("enough")));
    assert!(matches!(cancel.join().unwrap(), Disposition::Accepted { .. }));
    assert_ne!(cancelled.run().status(), RunStatus::Running, "read while it spins");
    assert!(began.elapsed() < SLACK, "a cancel waits for no worker");
    // A deadline, and a run that cannot even start.
    let spec = RunSpec::agent("never").start_within(ms(50));
    let never = blocked.lab.submit(spec, async |_| Ok(())).unwrap();
    let report = within("the cancelled one ends", cancelled.ended()).await;
    assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, false));
    let report = within("the deadline fires", timed.ended()).await;
    assert_eq!((report.status, report.quiescent), (RunStatus::TimedOut, false));
    assert!(began.elapsed() < ms(400) + ms(200) + SLACK, "took {:?}", began.elapsed());
    let name = |run: &RunHandle<()>| run.run().report().abandoned[0].clone();
    for (run, label) in [(timed, "first"), (cancelled, "second")] {
        let abandoned = name(run);
        assert_eq!((abandoned.what, &*abandoned.name), (Work::Body, label));
        assert_eq!(abandoned.run, run.id());
    }
    assert_eq!(blocked.witness.inside(), 2, "the witness knows that they still run");
    // It cannot be dropped either: its task has no worker.
    assert_eq!(never.run().status(), RunStatus::TimedOut);
    blocked.gate.open();
    let never = within("it goes when a worker is free", never.run().quiescent()).await;
    assert_eq!(never.own_row().started_at, None);
    let checked = blocked.release().await;
    assert_eq!((checked.runs, checked.stopped), (3, 3));
}

#[tokio::test]
async fn i4_quiesced_follows_when_an_abandoned_body_has_really_ended() {
    let blocked = Blocked::new().await;
    let _open = blocked.gate.at_end();
    let run = &blocked.spinning[0];
    run.cancel(CancelRequest::because("now").abort());
    let report = within("the run ends", run.ended()).await;
    assert!(!report.quiescent);
    let mut events = run.events();
    let mut kinds = Vec::new();
    while kinds.last() != Some(&EventKind::Ended(RunStatus::Cancelled)) {
        kinds.push(events.next().await.unwrap().kind);
    }
    let abandoned = EventKind::Abandoned { what: Work::Body, name: "first".into() };
    assert!(kinds.contains(&abandoned), "{kinds:?}");
    let early = tokio::time::timeout(ms(100), events.next()).await;
    assert!(early.is_err(), "nothing follows while it runs: {early:?}");
    assert_eq!(blocked.witness.inside(), 2);
    blocked.gate.open();
    let last = within("Quiesced", events.next()).await.unwrap();
    assert_eq!(last.kind, EventKind::Quiesced);
    assert_eq!(events.next().await, None);
    let report = run.run().report();
    assert!(report.quiescent && report.own_row().quiesced_at > report.own_row().ended_at);
    assert_eq!(report.own_row().late_output, 2, "an event and a value came late");
    blocked.release().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i12_every_program_is_terminal_by_grace_and_abort_wait() {
    let bodies = body_runtime(8);
    let config = config().runtime(bodies.handle().clone()).grace(secs(1)).abort_wait(secs(5));
    let lab = Lab::with(config);
    let gate = Gate::new();
    let _open = gate.at_end();
    let ready = Witness::new();
    let programs = ["naive", "ignorant", "spins", "blocking", "hook", "held", "destructor"];
    let mut runs = Vec::new();
    for name in programs {
        let (gate, ready) = (gate.clone(), ready.clone());
        let body = async move |ctx: quell::RunContext| {
            let _stuck = (name == "destructor").then(|| Stuck(gate.clone()));
            let _hold = (name == "held").then(|| ctx.hold(Work::Process, "held")).transpose()?;
            if name == "hook" {
                let gate = gate.clone();
                ctx.on_stop(async move |_| gate.spin());
            }
            let _inside = ready.enter();
            match name {
                "naive" | "destructor" => std::future::pending().await,
                "spins" => gate.spin(),
                "blocking" => {
                    let seen = ready.clone();
                    let stuck = move |_| {
                        let _inside = seen.enter();
                        gate.spin();
                    };
                    ctx.spawn_blocking(stuck).await?;
                }
                "hook" => drop(ctx.stopped().await),
                _ => {
                    let _ = ctx.is_stopping();
                    std::future::pending::<()>().await;
                }
            }
            Ok(())
        };
        runs.push(lab.submit(RunSpec::agent(name), body).unwrap());
    }
    soon("all are up", || ready.entered() == programs.len() + 1).await;
    let began = Instant::now();
    lab.cancel_where(&quell::RunFilter::new(), CancelRequest::because("everybody"));
    for run in &runs {
        let report = within("terminal in time", run.ended()).await;
        assert_eq!(report.status, RunStatus::Cancelled);
        let what = match run.run().name() {
            "spins" | "destructor" => Some(Work::Body),
            "blocking" => Some(Work::Blocking),
            "hook" => Some(Work::Hook),
            _ => None,
        };
        let named: Vec<_> = report.abandoned.iter().map(|abandoned| abandoned.what).collect();
        assert_eq!(named, what.into_iter().collect::<Vec<_>>(), "{}", run.run().name());
        assert_eq!(report.quiescent, what.is_none());
    }
    assert!(began.elapsed() < secs(6) + SLACK, "took {:?}", began.elapsed());
    gate.open();
    assert_eq!(lab.finish().await.non_quiescent, 4);
    bodies.shutdown_background();
}

/// A destructor that does not come back.
struct Stuck(Gate);

impl Drop for Stuck {
    fn drop(&mut self) {
        self.0.spin();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i12_a_destructor_of_a_hook_that_blocks_holds_up_nobody_else() {
    let bodies = body_runtime(2);
    let config = config().runtime(bodies.handle().clone()).grace(ms(50)).abort_wait(ms(100));
    let lab = Lab::with(config);
    let gate = Gate::new();
    let _open = gate.at_end();
    let stuck = Stuck(gate.clone());
    let up = Gate::new();
    let ready = up.clone();
    let run = lab
        .submit(RunSpec::agent("hooked"), async move |ctx| {
            ctx.on_stop(async move |_| drop(stuck));
            ready.open();
            std::future::pending::<()>().await;
            Ok(())
        })
        .unwrap();
    let other = lab.submit(RunSpec::agent("other").timeout(ms(300)), crate::support::naive);
    let other = other.unwrap();
    soon("it is up", || up.is_open()).await;
    // At the hard deadline its hook is skipped, and dropped: not by the control thread.
    run.cancel(CancelRequest::because("enough"));
    let report = within("the deadline of another run fires", other.ended()).await;
    assert_eq!(report.status, RunStatus::TimedOut);
    within("the hooked run ends", run.ended()).await;
    gate.open();
    lab.finish().await;
    bodies.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i27_a_blocking_closure_is_abandoned_honestly_and_its_late_output_is_counted() {
    // The body has gone by then, also on a busy machine.
    let lab = Lab::with(config().grace(ms(50)).abort_wait(secs(4)));
    let gate = Gate::new();
    let _open = gate.at_end();
    let witness = Witness::new();
    let (hold, seen) = (gate.clone(), witness.clone());
    let run = lab
        .submit(RunSpec::step("crunch"), async move |ctx| {
            let writer = ctx.clone();
            let crunch = ctx.spawn_blocking(move |_| {
                let _inside = seen.enter();
                hold.spin();
                assert_eq!(writer.emit("late"), Written::Late);
                assert_eq!(writer.progress(1.0), Written::Late);
                assert_eq!(writer.set_output("late".into()), Written::Late);
                7
            });
            Ok(crunch.await?)
        })
        .unwrap();
    soon("it crunches", || witness.inside() == 1).await;
    let began = Instant::now();
    run.cancel(CancelRequest::because("enough"));
    let report = within("the run ends", run.ended()).await;
    assert!(began.elapsed() < secs(5) + SLACK);
    assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, false));
    assert_eq!(report.abandoned[0].what, Work::Blocking);
    assert_eq!(witness.inside(), 1, "and the report says so");
    gate.open();
    let report = within("it really ends", run.run().quiescent()).await;
    assert_eq!((report.own_row().late_output, witness.inside()), (3, 0));
    assert_eq!((&report.output, &report.partial), (&None, &None), "nothing changed the result");
    let outcome = within("the handle", run.outcome()).await;
    assert!(matches!(outcome, quell::Outcome::Stopped { partial: None, .. }), "{outcome:?}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i27_a_blocking_closure_that_asks_ends_in_time() {
    let lab = Lab::real();
    let up = Gate::new();
    let ready = up.clone();
    let run = lab
        .submit(RunSpec::step("crunch"), async move |ctx| {
            let crunched = ctx.spawn_blocking(move |ctx| {
                ready.open();
                let mut steps = 0_u64;
                while !ctx.is_stopping() {
                    steps += 1;
                    std::thread::yield_now();
                }
                assert!(ctx.cause().is_some());
                steps
            });
            Ok(crunched.await?)
        })
        .unwrap();
    soon("it crunches", || up.is_open()).await;
    run.cancel(CancelRequest::because("enough"));
    let outcome = within("the run ends", run.outcome()).await;
    let quell::Outcome::Stopped { partial: Some(_), .. } = outcome else { panic!("{outcome:?}") };
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i27_a_parent_is_not_quiescent_before_its_abandoned_descendants() {
    // What can be dropped has gone by then, also on a busy machine.
    let lab = Lab::with(config().grace(ms(20)).abort_wait(secs(4)));
    let gate = Gate::new();
    let _open = gate.at_end();
    let hold = gate.clone();
    let up = Witness::new();
    let seen = up.clone();
    let leaf = async move |ctx: quell::RunContext| {
        ctx.spawn_blocking(move |_| {
            let _inside = seen.enter();
            hold.spin();
        })
        .await?;
        Ok(())
    };
    let run = lab.submit(RunSpec::workflow("root"), crate::support::chain(5, leaf)).unwrap();
    soon("the leaf blocks", || up.inside() == 1).await;
    run.cancel(CancelRequest::because("enough"));
    let report = within("the tree ends", run.ended()).await;
    assert_eq!(report.rows.len(), 6);
    assert!(report.rows.iter().all(|row| !row.quiescent && row.status.is_terminal()));
    assert_eq!(report.abandoned.len(), 1, "only the leaf has work of its own");
    gate.open();
    let report = within("the tree comes to rest", run.run().quiescent()).await;
    assert!(report.rows.iter().all(|row| row.quiescent));
    let trace = quell::testing::trace(run.run()).await;
    let ends = trace.iter().rev().take_while(|event| event.kind == EventKind::Quiesced).count();
    assert_eq!(ends, 6, "one Quiesced per run that ended non-quiescent, after all else");
    assert_eq!(lab.finish().await.non_quiescent, 6);
}

#[tokio::test]
async fn i14_a_reader_on_its_own_runtime_sees_events_while_bodies_block() {
    let blocked = Blocked::new().await;
    let _open = blocked.gate.at_end();
    let mut all = blocked.lab.events();
    blocked.spinning[0].cancel(CancelRequest::because("now").abort());
    let ended = async {
        while let Some(event) = all.next().await {
            if matches!(event.kind, EventKind::Ended(_)) {
                return event.run;
            }
        }
        panic!("the stream of the engine ended");
    };
    assert_eq!(within("the end is published", ended).await, blocked.spinning[0].id());
    let waited = within("shutdown", blocked.lab.shutdown(secs(0))).await;
    assert_eq!(waited.abandoned.len(), 2, "one that ended before, and what shutdown met");
    blocked.release().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i27_a_closure_of_a_run_that_fails_is_told_to_stop() {
    let lab = Lab::real();
    let up = Gate::new();
    let ready = up.clone();
    let run = lab
        .submit(RunSpec::step("crunch"), async move |ctx| {
            let begun = ready.clone();
            let asks = move |ctx: quell::BlockingContext| {
                ready.open();
                while !ctx.is_stopping() {
                    std::thread::yield_now();
                }
            };
            // Who gives up before it has begun takes the closure back.
            tokio::select! {
                biased;
                _ = ctx.spawn_blocking(asks) => {}
                () = soon("it has begun", || begun.is_open()) => {}
            }
            Err::<(), _>(quell::Failure::new("no idea"))
        })
        .unwrap();
    soon("it crunches", || up.is_open()).await;
    let report = within("the run ends", run.ended()).await;
    assert_eq!(
        (report.status, report.quiescent),
        (RunStatus::Failed, true),
        "nobody was abandoned"
    );
    lab.finish().await;
}
