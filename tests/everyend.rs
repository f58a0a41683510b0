use quell::{
    CancelRequest, CauseKind, Failure, HookOutcome, Outcome, RunHandle, RunSpec, RunStatus, Work,
};
use tokio::time::sleep;

use crate::support::{Book, Lab, hook_outcomes, ms, naive, now, secs};

/// Notes when it is dropped.
struct Leaves(Book, &'static str);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

fn enough() -> CancelRequest {
    CancelRequest::because("enough")
}

#[tokio::test(start_paused = true)]
async fn i16_a_hook_of_every_end_runs_however_the_body_ends() {
    for (end, status, error) in [
        ("ok", RunStatus::Completed, None),
        ("err", RunStatus::Failed, Some("no idea")),
        ("panic", RunStatus::Failed, Some("panicked: no idea")),
    ] {
        let (lab, book) = (Lab::paused(), Book::default());
        let seen = book.clone();
        let run = lab
            .submit(RunSpec::agent("hooked"), async move |ctx| {
                let _body = Leaves(seen.clone(), "body");
                seen.stop_hook(&ctx, "never");
                let (told, run) = (seen.clone(), ctx.run().clone());
                ctx.on_end(async move |cause| {
                    assert!(cause.is_none(), "no stop came");
                    told.note(format!("hook, {}", run.status()));
                    sleep(secs(1)).await;
                });
                let child = ctx.spawn(RunSpec::step("child"), async move |ctx| {
                    // A body that fails has it stopped, and it takes its time.
                    let _ = ctx.run_until_stopped(sleep(secs(1))).await;
                    sleep(secs(1)).await;
                    seen.note("child");
                    Ok(())
                });
                drop(child.into_ref());
                tokio::task::yield_now().await;
                match end {
                    "ok" => Ok(7),
                    "err" => Err(Failure::new("no idea")),
                    _ => panic!("no idea"),
                }
            })
            .unwrap();
        let report = run.ended().await;
        assert_eq!(book.read(), ["body", "child", "hook, running"], "{end}");
        assert_eq!((report.status, report.error.as_deref()), (status, error));
        let row = report.own_row();
        assert_eq!((row.hooks_skipped, row.cleanup_errors.len(), row.quiescent), (0, 0, true));
        assert_eq!(hook_outcomes(run.run()).await, [(1, HookOutcome::Finished)]);
        assert_eq!(run.outcome().await.into_value(), (end == "ok").then_some(7), "it is kept");
        lab.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn i16_after_a_stop_hooks_of_both_sorts_run_in_one_reverse_order() {
    let (lab, book) = (Lab::paused(), Book::default());
    let seen = book.clone();
    let run = lab
        .submit(RunSpec::agent("hooked"), async move |ctx| {
            seen.stop_hook(&ctx, "0");
            seen.end_hook(&ctx, "1", 1_000);
            seen.stop_hook(&ctx, "2");
            seen.end_hook(&ctx, "3", 1_000);
            naive(ctx).await
        })
        .unwrap();
    tokio::task::yield_now().await;
    let began = now();
    run.cancel(enough());
    assert_eq!(run.ended().await.status, RunStatus::Cancelled);
    assert_eq!(now() - began, secs(2), "they had the grace, one after the other");
    let expected = ["3", "2", "1", "0"].map(|name| format!("{name}: user-request"));
    assert_eq!(book.read(), expected);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i16_a_stop_while_they_run_goes_on_with_the_hooks_of_a_stop_and_runs_none_twice() {
    let (lab, book) = (Lab::paused(), Book::default());
    let seen = book.clone();
    let run = lab
        .submit(RunSpec::agent("hooked").grace(secs(5)), async move |ctx| {
            seen.stop_hook(&ctx, "0");
            seen.end_hook(&ctx, "1", 1_000);
            seen.stop_hook(&ctx, "2");
            seen.end_hook(&ctx, "3", 1_000);
            Ok(7)
        })
        .unwrap();
    sleep(ms(500)).await;
    assert_eq!(run.run().status(), RunStatus::Running);
    run.cancel(enough());
    let Outcome::Stopped { cause, partial } = run.outcome().await else { panic!("not stopped") };
    assert_eq!((cause.kind, partial), (CauseKind::UserRequest, Some(7)));
    let expected = ["3: no stop", "2: user-request", "1: user-request", "0: user-request"];
    assert_eq!(book.read(), expected);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i16_a_stop_after_they_have_run_finds_the_hooks_of_a_stop() {
    for is_stopped in [true, false] {
        let (lab, book) = (Lab::paused(), Book::default());
        let seen = book.clone();
        let run = lab
            .submit(RunSpec::agent("hooked"), async move |ctx| {
                for name in ["0", "1"] {
                    seen.stop_hook(&ctx, name);
                }
                let own = ctx.clone();
                ctx.on_end(async move |_| {
                    // It leaves something behind that holds up the end.
                    let Ok(hold) = own.hold(Work::Process, "goes on") else { return };
                    tokio::spawn(async move {
                        sleep(secs(2)).await;
                        drop(hold);
                    });
                });
                Ok(())
            })
            .unwrap();
        sleep(secs(1)).await;
        assert_eq!(run.run().status(), RunStatus::Running);
        if is_stopped {
            run.cancel(enough());
        }
        let report = run.ended().await;
        let expected: &[&str] =
            if is_stopped { &["1: user-request", "0: user-request"] } else { &[] };
        assert_eq!(book.read(), expected);
        assert_eq!(report.own_row().hooks_skipped, 0);
        lab.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn i16_one_that_comes_after_the_body_runs_when_the_children_have_ended() {
    let (lab, book) = (Lab::paused(), Book::default());
    let seen = book.clone();
    let run = lab
        .submit(RunSpec::team("hooked"), async move |ctx| {
            let above = ctx.clone();
            let child = ctx.spawn(RunSpec::step("child"), async move |_| {
                sleep(secs(1)).await;
                seen.end_hook(&above, "late", 0);
                sleep(secs(1)).await;
                seen.note("child");
                Ok(())
            });
            drop(child.into_ref());
            Ok(())
        })
        .unwrap();
    assert_eq!(run.ended().await.status, RunStatus::Completed);
    assert_eq!(book.read(), ["child", "late: no stop"]);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i26_panics_of_them_and_of_their_destructors_are_cleanup_errors_and_no_failure() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "in a destructor");
        }
    }
    let (lab, book) = (Lab::paused(), Book::default());
    let seen = book.clone();
    let run: RunHandle<u32> = lab
        .submit(RunSpec::agent("hooked"), async move |ctx| {
            let (bomb, unused) = (Bomb, Bomb);
            seen.end_hook(&ctx, "last", 0);
            ctx.on_stop(async move |_| drop(unused));
            ctx.on_end(async |_| panic!("in the future"));
            ctx.on_end(|_| {
                assert!(ms(1).is_zero(), "in the closure");
                async {}
            });
            ctx.on_end(async move |_| drop(bomb));
            Ok(7)
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!(book.read(), ["last: no stop"]);
    assert_eq!((report.status, report.own_row().cleanup_errors.len()), (RunStatus::Completed, 4));
    let panicked = HookOutcome::Panicked;
    let expected = [(4, panicked), (3, panicked), (2, panicked), (0, HookOutcome::Finished)];
    assert_eq!(hook_outcomes(run.run()).await, expected);
    assert_eq!(run.outcome().await.into_value(), Some(7));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i16_an_abort_skips_them_and_says_so() {
    let (lab, book) = (Lab::paused(), Book::default());
    let seen = book.clone();
    let run = lab
        .submit(RunSpec::agent("hooked"), async move |ctx| {
            seen.end_hook(&ctx, "never", 0);
            naive(ctx).await
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(enough().abort());
    assert_eq!(run.ended().await.own_row().hooks_skipped, 1);
    assert_eq!(
        (book.read().len(), hook_outcomes(run.run()).await),
        (0, vec![(0, HookOutcome::Skipped)])
    );
    lab.finish().await;
}

// A child that a hook leaves is waited for by hooks that come after it, not by those that wait
// their turn already.
#[tokio::test(start_paused = true)]
async fn i16_a_hook_that_a_hook_registers_waits_for_the_child_of_that_hook_beside_the_others() {
    let (lab, book) = (Lab::paused(), Book::default());
    let seen = book.clone();
    let run = lab
        .submit(RunSpec::agent("hooked"), async move |ctx| {
            seen.end_hook(&ctx, "e0", 0);
            let own = ctx.clone();
            ctx.on_end(async move |_| {
                seen.note("e1");
                let child = own.spawn(RunSpec::step("child"), async |_| {
                    sleep(secs(1)).await;
                    Ok(())
                });
                drop(child.into_ref());
                seen.end_hook(&own, "e2", 0);
            });
            Ok(())
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!((report.own_row().hooks_skipped, report.quiescent), (0, true));
    assert_eq!(book.read(), ["e1", "e0: no stop", "e2: no stop"]);
    lab.finish().await;
}
