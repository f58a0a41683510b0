use std::future::pending;

use quell::{CancelRequest, CauseKind, Failure, RunContext, RunSpec, RunStatus, Work};
use tokio_util::sync::CancellationToken;

use crate::support::{Lab, Witness, chain, config, listener, ms, now, secs, soon, within};

/// Foreign code that knows tokio-util and nothing of us.
async fn foreign(token: CancellationToken) -> &'static str {
    tokio::select! {
        biased;
        () = token.cancelled() => "cancelled",
        () = pending::<()>() => "never",
    }
}

#[tokio::test(start_paused = true)]
async fn i2_a_stop_reaches_foreign_code_through_a_token() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("wrapper"), async |ctx| {
            let told = foreign(ctx.cancellation_token()).await;
            let cause = ctx.stopped().await;
            assert!(ctx.cancellation_token().is_cancelled(), "one made later is cancelled too");
            ctx.set_output(format!("{told}: {cause}").into());
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    let partial = report.partial.as_ref().unwrap().parse::<String>().unwrap();
    assert_eq!(partial, "cancelled: user-request: enough");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i2_cancelling_a_token_of_a_run_does_not_stop_the_run() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("wrapper"), async |ctx| {
            ctx.cancellation_token().cancel();
            assert!(!ctx.cancellation_token().is_cancelled(), "each is one's own");
            ctx.checkpoint()?;
            tokio::time::sleep(secs(1)).await;
            ctx.checkpoint()?;
            Ok(())
        })
        .unwrap();
    assert_eq!(run.ended().await.status, RunStatus::Completed);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i6_a_linked_token_stops_the_run_and_its_subtree_with_cause_external_token() {
    let lab = Lab::paused();
    let token = CancellationToken::new();
    let linked = RunSpec::workflow("linked").linked_to(token.clone());
    let run = lab
        .submit(RunSpec::team("root"), async move |ctx| {
            let linked = ctx.spawn(linked, chain(2, listener));
            linked.ended().await;
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(secs(1)).await;
    let began = now();
    token.cancel();
    let report = run.ended().await;
    assert_eq!(now(), began, "listeners give way at once");
    assert_eq!(report.status, RunStatus::Completed, "the parent was not stopped");
    let origin = report.rows[1].run;
    for row in &report.rows[1..] {
        let cause = row.cause.as_ref().unwrap();
        let own = row.run == origin;
        let kind = if own { CauseKind::ExternalToken } else { CauseKind::ParentStopped };
        assert_eq!((row.status, cause.kind, cause.origin), (RunStatus::Cancelled, kind, origin));
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i21_a_token_that_is_cancelled_already_lets_nothing_start() {
    let lab = Lab::paused();
    let token = CancellationToken::new();
    token.cancel();
    let witness = Witness::new();
    let seen = witness.clone();
    let root = async move |_: RunContext| -> Result<(), Failure> {
        drop(seen.enter());
        Ok(())
    };
    let run = lab.submit(RunSpec::agent("linked").linked_to(token.clone()), root).unwrap();
    let report = run.ended().await;
    assert_eq!((report.status, witness.entered()), (RunStatus::Cancelled, 0));
    let seen = witness.clone();
    let parent = lab
        .submit(RunSpec::team("parent"), async move |ctx| {
            let child = RunSpec::agent("child").linked_to(token);
            let child = ctx.spawn(child, async move |_| {
                drop(seen.enter());
                Ok(())
            });
            let Err(quell::RunError::Stopped(stopped)) = child.await else { panic!("stopped") };
            assert_eq!(stopped.cause.kind, CauseKind::ExternalToken);
            Ok(())
        })
        .unwrap();
    assert_eq!(parent.ended().await.status, RunStatus::Completed);
    assert_eq!(witness.entered(), 0);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_the_parent_token_of_an_engine_stops_what_is_live_and_what_comes() {
    let token = CancellationToken::new();
    let lab = Lab::with(config().parent_token(token.clone()));
    let runs: Vec<_> =
        (0..50).map(|_| lab.submit(RunSpec::agent("live"), listener).unwrap()).collect();
    tokio::time::sleep(ms(5)).await;
    token.cancel();
    for run in &runs {
        let report = within("a live run is stopped", run.ended()).await;
        assert_eq!(report.status, RunStatus::Cancelled);
        assert_eq!(report.cause.as_ref().unwrap().kind, CauseKind::ExternalToken);
    }
    let witness = Witness::new();
    let seen = witness.clone();
    let late = lab
        .submit(RunSpec::agent("late"), async move |_| {
            drop(seen.enter());
            Ok(())
        })
        .unwrap();
    let report = within("a run that comes later is stopped", late.ended()).await;
    assert_eq!((report.status, witness.entered()), (RunStatus::Cancelled, 0));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i39_a_link_is_gone_when_its_run_is() {
    let lab = Lab::real();
    let token = CancellationToken::new();
    let spec = || RunSpec::agent("brief").linked_to(token.clone());
    for _ in 0..100 {
        let run = lab.submit(spec(), async |_| Ok(())).unwrap();
        assert_eq!(run.ended().await.status, RunStatus::Completed);
    }
    let last = lab.submit(spec(), listener).unwrap();
    token.cancel();
    let report = within("the last one is stopped", last.ended()).await;
    assert_eq!(report.status, RunStatus::Cancelled);
    soon("all timers are gone", || quell::testing::held(&lab).timers == 0).await;
    assert_eq!(lab.finish().await.stopped, 1, "those that had ended changed in nothing");
}

#[tokio::test(start_paused = true)]
async fn i2_a_run_that_fails_tells_its_token_and_all_who_ask() {
    let lab = Lab::paused();
    for how in ["token", "token made later", "stopped", "checkpoint", "run until stopped"] {
        let run = lab
            .submit(RunSpec::agent(how), async move |ctx| {
                let hold = ctx.hold(Work::Process, "waits")?;
                let (token, own) = (ctx.cancellation_token(), ctx.clone());
                tokio::spawn(async move {
                    match how {
                        "token" => token.cancelled().await,
                        "token made later" => {
                            tokio::task::yield_now().await;
                            own.cancellation_token().cancelled().await;
                        }
                        "stopped" => {
                            let cause = own.stopped().await;
                            assert_eq!(cause.kind, CauseKind::ParentFailed);
                        }
                        "checkpoint" => {
                            while own.checkpoint().is_ok() {
                                tokio::task::yield_now().await;
                            }
                            assert!(own.is_stopping());
                        }
                        _ => drop(own.run_until_stopped(pending::<()>()).await.unwrap_err()),
                    }
                    drop(hold);
                });
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
                Err::<(), _>(Failure::new("broken"))
            })
            .unwrap();
        let began = now();
        let report = run.ended().await;
        assert_eq!((report.status, report.quiescent), (RunStatus::Failed, true), "{how}");
        assert_eq!(now(), began, "{how}: nobody waits for the end of the ladder");
    }
    lab.finish().await;
}
