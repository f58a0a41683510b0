use std::future::pending;

use quell::{
    CancelRequest, CauseKind, EventKind, Failure, HookOutcome, Outcome, RunContext, RunSpec,
    RunStatus, Work,
};
use quell_test_support::{soon, within};
use tokio::time::sleep;

use crate::support::{
    Book, Gate, Lab, Witness, body_runtime, config, hook_outcomes, ms, naive, now, secs,
};

#[tokio::test(start_paused = true)]
async fn i12_i16_a_stop_while_they_run_only_takes_time_from_them() {
    // The grace of the stop, a second after their start; how long they have had in all.
    for (grace, had) in [(secs(1), secs(2)), (secs(60), secs(5)), (secs(0), secs(1))] {
        let lab = Lab::paused();
        let run = lab
            .submit(RunSpec::agent("hooked").grace(secs(5)), async |ctx| {
                ctx.on_end(async |_| pending().await);
                Ok(())
            })
            .unwrap();
        let began = now();
        sleep(secs(1)).await;
        run.cancel(CancelRequest::because("enough").grace(grace));
        let report = run.ended().await;
        assert_eq!((now() - began, report.status), (had, RunStatus::Cancelled));
        assert_eq!(hook_outcomes(run.run()).await, [(0, HookOutcome::Aborted)]);
        lab.finish().await;
    }
}

// The deadline has come when they would start: the control thread need not have said so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i12_i16_without_a_grace_none_starts() {
    for end in ["completes", "fails", "is stopped"] {
        let (lab, book) =
            (Lab::with(config().grace(secs(0)).abort_wait(secs(600))), Book::default());
        for _ in 0..50 {
            let seen = book.clone();
            let run = lab
                .submit(RunSpec::agent("hooked"), async move |ctx| {
                    seen.end_hook(&ctx, "0", 0);
                    match end {
                        "completes" => Ok(()),
                        "fails" => Err(Failure::new("no idea")),
                        _ => pending().await,
                    }
                })
                .unwrap();
            if end == "is stopped" {
                soon("it waits", || run.run().status() == RunStatus::Running).await;
                run.cancel(CancelRequest::because("enough"));
            }
            let report = within("it ends", run.ended()).await;
            assert_eq!((report.own_row().hooks_skipped, report.quiescent), (1, true), "{end}");
        }
        assert_eq!(book.read(), Vec::<String>::new(), "{end}");
        lab.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn i16_the_grace_bounds_them_from_their_start_on_and_the_report_names_what_it_cut() {
    for fails in [false, true] {
        let (lab, book) = (Lab::paused(), Book::default());
        let seen = book.clone();
        let run = lab
            .submit(RunSpec::agent("hooked").grace(secs(3)), async move |ctx| {
                seen.stop_hook(&ctx, "never");
                seen.end_hook(&ctx, "skipped", 0);
                seen.end_hook(&ctx, "hangs", 60_000);
                seen.end_hook(&ctx, "quick", 1_000);
                sleep(secs(10)).await;
                if fails { Err(Failure::new("no idea")) } else { Ok(()) }
            })
            .unwrap();
        let began = now();
        let report = run.ended().await;
        assert_eq!(now() - began, secs(13));
        assert_eq!(book.read(), ["quick: no stop", "hangs: no stop"]);
        let row = report.own_row();
        let errors: Vec<_> = row.cleanup_errors.iter().map(|error| &**error).collect();
        assert_eq!(errors, ["end hook 2 was aborted: its time was over"]);
        assert_eq!((row.hooks_skipped, row.quiescent), (1, true), "there was no stop to miss");
        let status = if fails { RunStatus::Failed } else { RunStatus::Completed };
        assert_eq!((report.status, &report.cause), (status, &None));
        let (finished, aborted) = (HookOutcome::Finished, HookOutcome::Aborted);
        let expected = [(3, finished), (1, HookOutcome::Skipped), (2, aborted)];
        assert_eq!(hook_outcomes(run.run()).await, expected);
        lab.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_i12_one_that_blocks_its_thread_is_abandoned_and_the_run_completes_all_the_same() {
    let bodies = body_runtime(1);
    let config = config().runtime(bodies.handle().clone()).grace(ms(30)).abort_wait(ms(30));
    let lab = Lab::with(config);
    let gate = Gate::new();
    let _open = gate.at_end();
    let held = gate.clone();
    let run = lab
        .submit(RunSpec::agent("hooked"), async move |ctx| {
            ctx.on_stop(async |_| {});
            ctx.on_end(async move |_| held.spin());
            Ok(7)
        })
        .unwrap();
    let report = within("terminal in time", run.ended()).await;
    assert_eq!((report.status, report.quiescent), (RunStatus::Completed, false));
    let named: Vec<_> = report.abandoned.iter().map(|left| (left.what, &*left.name)).collect();
    assert_eq!(named, [(Work::Hook, "hooked hook")]);
    assert_eq!(run.run().report().own_row().quiesced_at, None);
    gate.open();
    within("it quiesces", run.run().quiescent()).await;
    let trace = quell::testing::trace(run.run()).await;
    assert!(matches!(trace.last().unwrap().kind, EventKind::Quiesced));
    lab.finish().await;
    bodies.shutdown_background();
}

#[tokio::test(start_paused = true)]
async fn i16_registered_while_they_run_one_runs_at_once_and_one_without_time_is_skipped() {
    let (lab, book) = (Lab::paused(), Book::default());
    let seen = book.clone();
    let run = lab
        .submit(RunSpec::agent("hooked").grace(secs(3)), async move |ctx| {
            let own = ctx.clone();
            ctx.on_end(async move |_| {
                let late = seen.clone();
                own.on_end(async move |_| late.note("second"));
                seen.stop_hook(&own, "never");
                sleep(secs(1)).await;
                seen.note("first");
                // Its destructor runs when its time is over.
                let _late = Registers(own, seen);
                pending::<()>().await;
            });
            Ok(())
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!(book.read(), ["second", "first"]);
    assert_eq!((report.status, report.own_row().hooks_skipped), (RunStatus::Completed, 1));
    lab.finish().await;
}

/// Registers a hook when it is dropped.
struct Registers(RunContext, Book);

impl Drop for Registers {
    fn drop(&mut self) {
        self.1.end_hook(&self.0, "too late", 0);
    }
}

#[tokio::test(start_paused = true)]
async fn i16_the_work_of_a_run_that_completes_has_all_the_time_it_takes_before_them() {
    let (lab, book) = (Lab::paused(), Book::default());
    let seen = book.clone();
    let run = lab
        .submit(RunSpec::agent("hooked").grace(secs(1)), async move |ctx| {
            seen.end_hook(&ctx, "hook", 500);
            let hold = ctx.hold(Work::Process, "outside")?;
            tokio::spawn(async move {
                sleep(secs(60)).await;
                seen.note("work");
                drop(hold);
            });
            Ok(())
        })
        .unwrap();
    let began = now();
    let report = run.ended().await;
    assert_eq!(book.read(), ["work", "hook: no stop"]);
    assert_eq!((now() - began, report.quiescent), (ms(60_500), true));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i8_while_they_run_nothing_starts_but_cleanup_which_ends_in_their_time() {
    let (lab, book, inside) = (Lab::paused(), Book::default(), Witness::new());
    let (seen, enter) = (book.clone(), inside.clone());
    let run = lab
        .submit(RunSpec::agent("hooked").grace(secs(2)), async move |ctx| {
            let own = ctx.clone();
            ctx.on_end(async move |_| {
                assert!(own.deadline().is_some_and(|at| at - now() == secs(2)));
                let child = own.spawn(RunSpec::step("cleanup"), async move |ctx| {
                    let _inside = enter.enter();
                    ctx.spawn(RunSpec::step("below"), naive).await?;
                    Ok(())
                });
                drop(child.into_ref());
                // Not a part of the hook any more.
                tokio::spawn(async move {
                    let late = own.spawn(RunSpec::step("late"), async |_| Ok(()));
                    let Outcome::Stopped { cause, .. } = late.outcome().await else {
                        return seen.note("started");
                    };
                    seen.note(cause.message.as_deref().unwrap_or("refused"));
                });
            });
            Ok(())
        })
        .unwrap();
    let began = now();
    soon("the cleanup is up", || inside.inside() == 1).await;
    let report = run.ended().await;
    assert_eq!((now() - began, report.status), (secs(2), RunStatus::Completed));
    let [_, cleanup, below] = &report.rows[..] else { panic!("{report:#?}") };
    let cause = cleanup.cause.as_ref().expect("it was stopped");
    assert_eq!((cause.kind, cause.origin), (CauseKind::Deadline, cleanup.run));
    assert_eq!((cleanup.status, below.status), (RunStatus::Cancelled, RunStatus::Cancelled));
    assert_eq!(
        (inside.inside(), book.read()),
        (0, vec!["the hooks of its end run already".to_owned()])
    );
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i2_a_stop_leaves_their_cleanup_alone_until_its_hard_deadline() {
    let (lab, book) = (Lab::paused(), Book::default());
    let seen = book.clone();
    let run = lab
        .submit(RunSpec::agent("hooked").grace(secs(5)), async move |ctx| {
            let own = ctx.clone();
            ctx.on_end(async move |_| {
                let cleanup = own.spawn(RunSpec::step("cleanup"), async move |ctx| {
                    let whole = ctx.run_until_stopped(sleep(secs(2))).await.is_ok();
                    seen.note(if whole { "whole" } else { "cut" });
                    Ok(())
                });
                drop(cleanup.outcome().await);
            });
            Ok(())
        })
        .unwrap();
    sleep(secs(1)).await;
    run.cancel(CancelRequest::because("enough"));
    assert_eq!(run.ended().await.status, RunStatus::Cancelled);
    assert_eq!(book.read(), ["whole"]);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i11_the_timeout_of_the_run_goes_on_while_they_run() {
    let (lab, book) = (Lab::paused(), Book::default());
    let seen = book.clone();
    let run = lab
        .submit(RunSpec::agent("hooked").timeout(secs(2)), async move |ctx| {
            seen.stop_hook(&ctx, "0");
            seen.end_hook(&ctx, "1", 3_000);
            Ok(())
        })
        .unwrap();
    assert_eq!(run.ended().await.status, RunStatus::TimedOut);
    assert_eq!(book.read(), ["1: no stop", "0: deadline"]);
    lab.finish().await;
}
