use std::cell::RefCell;
use std::future::pending;

use quell::{
    CancelRequest, Failure, HookOutcome, RunContext, RunRef, RunReport, RunSpec, RunStatus, Work,
};
use quell_test_support::{soon, within};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::support::{Book, Gate, Lab, body_runtime, config, hook_outcomes, listener, ms, secs};

fn abandoned(report: &RunReport) -> Vec<(Work, &str)> {
    report.abandoned.iter().map(|left| (left.what, &*left.name)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_i16_no_hook_starts_when_the_run_is_terminal_whatever_the_one_before_it_does() {
    for stops in [false, true] {
        let bodies = body_runtime(1);
        let config = config().runtime(bodies.handle().clone()).grace(secs(1)).abort_wait(secs(1));
        let (lab, book, gate, up) = (Lab::with(config), Book::default(), Gate::new(), Gate::new());
        let _open = gate.at_end();
        let (seen, held, is_up) = (book.clone(), gate.clone(), up.clone());
        let run = lab
            .submit(RunSpec::agent("hooked"), async move |ctx| {
                seen.stop_hook(&ctx, "of a stop");
                seen.end_hook(&ctx, "late", 0);
                ctx.on_end_named("blocks", async move |_| held.spin());
                is_up.open();
                if stops { listener(ctx).await } else { Ok(()) }
            })
            .unwrap();
        if stops {
            soon("its hooks wait", || up.is_open()).await;
            run.cancel(CancelRequest::because("enough"));
        }
        let ended = within("terminal in time", run.ended()).await;
        let status = if stops { RunStatus::Cancelled } else { RunStatus::Completed };
        assert_eq!((ended.status, ended.quiescent), (status, false));
        assert_eq!(abandoned(&ended), [(Work::Hook, "blocks")]);
        assert_eq!(ended.own_row().hooks_skipped, 1 + u32::from(stops), "those that never ran");
        gate.open();
        within("it quiesces", run.run().quiescent()).await;
        let late = run.run().report();
        assert_eq!(late.own_row().hooks_skipped, ended.own_row().hooks_skipped, "it was final");
        assert!(late.own_row().cleanup_errors.is_empty(), "{late:#?}");
        assert_eq!(book.read(), Vec::<String>::new());
        lab.finish().await;
        bodies.shutdown_background();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i12_i16_hooks_that_never_yield_are_followed_by_none_when_the_grace_is_over() {
    let bodies = body_runtime(1);
    let config = config().runtime(bodies.handle().clone()).grace(secs(1)).abort_wait(secs(600));
    let (lab, book, gate, up) = (Lab::with(config), Book::default(), Gate::new(), Gate::new());
    let _open = gate.at_end();
    let (seen, held, is_up) = (book.clone(), gate.clone(), up.clone());
    let run = lab
        .submit(RunSpec::agent("hooked"), async move |ctx| {
            seen.stop_hook(&ctx, "0");
            seen.end_hook(&ctx, "1", 0);
            ctx.on_stop(async move |_| held.spin());
            is_up.open();
            listener(ctx).await
        })
        .unwrap();
    // Those that are registered in a run that stops already are not one batch.
    soon("its hooks wait", || up.is_open()).await;
    run.cancel(CancelRequest::because("enough"));
    // Before the hook that blocks has noticed anything.
    soon("they are skipped", || run.run().report().own_row().hooks_skipped == 2).await;
    gate.open();
    let report = within("it ends", run.ended()).await;
    assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, true));
    assert_eq!(book.read(), Vec::<String>::new());
    let skipped = HookOutcome::Skipped;
    let expected = [(1, skipped), (0, skipped), (2, HookOutcome::Finished)];
    assert_eq!(hook_outcomes(run.run()).await, expected);
    lab.finish().await;
    bodies.shutdown_background();
}

#[tokio::test(start_paused = true)]
async fn i7_i16_an_abort_while_hooks_run_skips_those_that_wait() {
    let (lab, book) = (Lab::paused(), Book::default());
    let seen = book.clone();
    let run = lab
        .submit(RunSpec::agent("hooked"), async move |ctx| {
            for name in ["0", "1", "2"] {
                seen.end_hook(&ctx, name, 0);
            }
            let own = ctx.run().clone();
            ctx.on_end(async move |_| {
                own.cancel(CancelRequest::because("now").abort());
                seen.note("3");
            });
            Ok(())
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!((report.status, report.own_row().hooks_skipped), (RunStatus::Cancelled, 3));
    assert_eq!(book.read(), ["3"]);
    lab.finish().await;
}

/// Stops a run when it is dropped.
struct Stops(RunRef);

impl Drop for Stops {
    fn drop(&mut self) {
        self.0.cancel(CancelRequest::because("too late for hooks"));
    }
}

#[tokio::test(start_paused = true)]
async fn i16_a_stop_while_hooks_are_dropped_at_an_end_tells_of_them() {
    for fails in [false, true] {
        let lab = Lab::paused();
        let run = lab
            .submit(RunSpec::agent("hooked"), async move |ctx| {
                let stops = Stops(ctx.run().clone());
                ctx.on_stop(async move |_| drop(stops));
                ctx.on_stop(async |_| {});
                if fails { Err(Failure::new("no idea")) } else { Ok(()) }
            })
            .unwrap();
        let report = run.ended().await;
        assert_eq!((report.status, report.own_row().hooks_skipped), (RunStatus::Cancelled, 2));
        let skipped = HookOutcome::Skipped;
        assert_eq!(hook_outcomes(run.run()).await, [(1, skipped), (0, skipped)]);
        lab.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_i4_hooks_that_wait_for_a_blocked_child_are_told_of_before_the_end_and_not_abandoned() {
    let bodies = body_runtime(2);
    let config = config().runtime(bodies.handle().clone()).grace(ms(30)).abort_wait(secs(3));
    let (lab, book, gate) = (Lab::with(config), Book::default(), Gate::new());
    let _open = gate.at_end();
    let (seen, held) = (book.clone(), gate.clone());
    let run = lab
        .submit(RunSpec::agent("hooked"), async move |ctx| {
            seen.stop_hook(&ctx, "0");
            seen.end_hook(&ctx, "1", 0);
            let begun = Gate::new();
            let begins = begun.clone();
            let child = ctx.spawn(RunSpec::step("blocks"), async move |_| {
                begins.open();
                held.spin();
                Ok(())
            });
            drop(child.into_ref());
            soon("it blocks", || begun.is_open()).await;
            Err::<(), _>(Failure::new("no idea"))
        })
        .unwrap();
    let ended = within("terminal in time", run.ended()).await;
    assert_eq!((ended.status, ended.own_row().hooks_skipped), (RunStatus::Failed, 1));
    assert_eq!(abandoned(&ended), [(Work::Body, "blocks")]);
    gate.open();
    within("it quiesces", run.run().quiescent()).await;
    assert_eq!(run.run().report().own_row().hooks_skipped, 1);
    assert_eq!(book.read(), Vec::<String>::new());
    lab.finish().await;
    bodies.shutdown_background();
}

/// Blocks when it is dropped, and panics then.
struct BlocksAndPanics(Gate);

impl Drop for BlocksAndPanics {
    fn drop(&mut self) {
        self.0.spin();
        panic!("in a destructor");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_i26_a_destructor_that_panics_after_the_end_changes_no_final_report() {
    let bodies = body_runtime(1);
    let config = config().runtime(bodies.handle().clone()).grace(ms(30)).abort_wait(ms(30));
    let (lab, gate, up) = (Lab::with(config), Gate::new(), Gate::new());
    let _open = gate.at_end();
    let (held, is_up) = (gate.clone(), up.clone());
    let run = lab
        .submit(RunSpec::agent("hooked"), async move |ctx| {
            let unused = BlocksAndPanics(held);
            ctx.on_stop(async move |_| drop(unused));
            is_up.open();
            listener(ctx).await
        })
        .unwrap();
    soon("its hook waits", || up.is_open()).await;
    run.cancel(CancelRequest::because("enough").abort());
    let ended = within("terminal in time", run.ended()).await;
    assert!(abandoned(&ended).contains(&(Work::Hook, "hooked hook")), "{ended:#?}");
    gate.open();
    within("it quiesces", run.run().quiescent()).await;
    let late = run.run().report();
    assert_eq!(late.own_row().cleanup_errors, ended.own_row().cleanup_errors);
    lab.finish().await;
    bodies.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i16_a_hook_whose_runtime_is_gone_says_so_and_those_that_wait_are_told_of() {
    let bodies = body_runtime(1);
    let config = config().runtime(bodies.handle().clone()).grace(secs(600));
    let (lab, up) = (Lab::with(config), Gate::new());
    let begun = up.clone();
    let run = lab
        .submit(RunSpec::agent("hooked"), async move |ctx| {
            ctx.on_stop(async |_| {});
            ctx.on_end(async |_| {});
            ctx.on_end(async move |_| {
                begun.open();
                pending::<()>().await;
            });
            Ok(())
        })
        .unwrap();
    soon("the last one runs", || up.is_open()).await;
    bodies.shutdown_background();
    let report = within("it ends", run.ended()).await;
    assert_eq!((report.status, report.quiescent), (RunStatus::Completed, true));
    let row = report.own_row();
    let errors: Vec<_> = row.cleanup_errors.iter().map(|error| &**error).collect();
    assert_eq!(errors, ["end hook 2 was aborted: its runtime has shut down"]);
    assert_eq!(row.hooks_skipped, 1, "no stop has come, so that the first one was not needed");
    let expected = [(1, HookOutcome::Skipped), (2, HookOutcome::Aborted)];
    assert_eq!(hook_outcomes(run.run()).await, expected);
    lab.finish().await;
}

// The runtime of a thread that ends is dropped after what the engine keeps for that thread.
#[test]
fn i4_i16_one_that_runs_on_a_thread_that_ends_with_its_runtime_is_aborted_and_told_of() {
    thread_local! {
        static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
    }
    let gate = Gate::new();
    let inside = gate.clone();
    let ends = std::thread::spawn(move || {
        // The clock of the tests is tokio's own: it is read to the last.
        assert!(Handle::try_current().is_err());
        RUNTIME.with(|runtime| {
            let mut runtime = runtime.borrow_mut();
            runtime.insert(small_runtime()).block_on(async {
                let lab = Lab::with(config().runtime(Handle::current()).grace(secs(600)));
                let brief = async |ctx: RunContext| {
                    ctx.on_end(async |_| {});
                    Ok(())
                };
                let brief = lab.submit(RunSpec::agent("brief"), brief).unwrap();
                within("a runner has ended here", brief.ended()).await;
                let run = lab
                    .submit(RunSpec::agent("hooked"), async move |ctx| {
                        ctx.on_end(async |_| {});
                        ctx.on_end(async move |_| {
                            inside.open();
                            pending::<()>().await;
                        });
                        Ok(())
                    })
                    .unwrap();
                soon("a hook runs", || gate.is_open()).await;
                (lab, run)
            })
        })
    });
    let (lab, run) = ends.join().unwrap();
    small_runtime().block_on(async {
        let report = within("it ends", run.ended()).await;
        assert_eq!((report.status, report.quiescent), (RunStatus::Completed, true));
        let row = report.own_row();
        let errors: Vec<_> = row.cleanup_errors.iter().map(|error| &**error).collect();
        assert_eq!(errors, ["end hook 1 was aborted: its runtime has shut down"]);
        assert_eq!(row.hooks_skipped, 1);
        lab.finish().await;
    });
}

fn small_runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
