use std::sync::{Arc, Mutex};
use std::time::Instant;

use quell::{CancelRequest, CauseKind, RunContext, RunSpec, RunStatus};

use crate::support::{Lab, Witness, chain, ignorant, listener, ms, naive, now, secs};

#[tokio::test(start_paused = true)]
async fn i10_the_earliest_deadline_of_a_run_and_its_ancestors_counts() {
    let lab = Lab::paused();
    let seen: Arc<Mutex<Vec<Option<Instant>>>> = Arc::default();
    let deadlines = Arc::clone(&seen);
    let began = now();
    let run = lab
        .submit(RunSpec::workflow("root").timeout(secs(10)), async move |ctx| {
            deadlines.lock().unwrap().push(ctx.deadline());
            tokio::time::sleep(secs(1)).await;
            let longer = Arc::clone(&deadlines);
            let long = ctx.spawn(RunSpec::step("long").timeout(secs(60)), async move |ctx| {
                longer.lock().unwrap().push(ctx.deadline());
                let short = ctx.spawn(RunSpec::step("short").timeout(secs(3)), async move |ctx| {
                    longer.lock().unwrap().push(ctx.deadline());
                    listener(ctx).await
                });
                short.ended().await;
                listener(ctx).await
            });
            long.ended().await;
            listener(ctx).await
        })
        .unwrap();
    let report = run.ended().await;
    let at = |s: u64| Some(began + secs(s));
    assert_eq!(*seen.lock().unwrap(), [at(10), at(10), at(4)]);
    assert_eq!(now() - began, secs(10));
    let ends: Vec<_> = report.rows.iter().map(|row| row.status).collect();
    assert_eq!(ends, [RunStatus::TimedOut, RunStatus::Cancelled, RunStatus::TimedOut]);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i10_after_a_stop_the_deadline_is_the_hard_one() {
    let lab = Lab::paused();
    let began = now();
    let run = lab
        .submit(RunSpec::agent("asker").timeout(secs(60)).grace(secs(7)), async move |ctx| {
            assert_eq!(ctx.deadline(), Some(began + secs(60)));
            ctx.stopped().await;
            assert_eq!(ctx.deadline(), Some(began + secs(1) + secs(7)));
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(secs(1)).await;
    run.cancel(CancelRequest::because("enough"));
    assert!(run.ended().await.own_row().cleanup_errors.is_empty());
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i11_only_the_run_that_declared_the_deadline_is_timed_out() {
    let lab = Lab::paused();
    let root = lab
        .submit(RunSpec::workflow("root"), async |ctx| {
            let step = RunSpec::step("step").timeout(secs(2));
            let step = ctx.spawn(step, chain(3, listener));
            let sibling = ctx.spawn(RunSpec::step("sibling"), async |_| {
                tokio::time::sleep(secs(5)).await;
                Ok(1)
            });
            let late = step.outcome().await;
            assert!(matches!(late, quell::Outcome::Stopped { .. }), "{late:?}");
            Ok(sibling.await?)
        })
        .unwrap();
    let report = root.ended().await;
    let step = report.rows[1].run;
    for row in &report.rows {
        let (status, kind) = match &*row.name {
            "step" => (RunStatus::TimedOut, Some(CauseKind::Deadline)),
            "link" => (RunStatus::Cancelled, Some(CauseKind::ParentStopped)),
            _ => (RunStatus::Completed, None),
        };
        assert_eq!((row.status, row.cause.as_ref().map(|cause| cause.kind)), (status, kind));
        assert!(row.cause.as_ref().is_none_or(|cause| cause.origin == step));
    }
    assert_eq!(report.rows.len(), 6);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i11_a_cancel_with_cause_deadline_times_nobody_out() {
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::branch("slow"), listener).unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("the policy's deadline").kind(CauseKind::Deadline));
    let report = run.ended().await;
    assert_eq!(report.status, RunStatus::Cancelled, "a policy's own deadline times nobody out");
    assert_eq!(report.cause.as_ref().unwrap().kind, CauseKind::Deadline);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i11_an_idle_limit_fires_after_silence_in_the_whole_subtree_only() {
    let lab = Lab::paused();
    let began = now();
    let run = lab
        .submit(RunSpec::agent("talker").idle(secs(2)), async |ctx| {
            tokio::time::sleep(ms(1900)).await;
            ctx.emit("word");
            tokio::time::sleep(ms(1900)).await;
            ctx.progress(0.5);
            tokio::time::sleep(ms(1900)).await;
            let child = ctx.spawn(RunSpec::step("child"), async |ctx| {
                for _ in 0..3 {
                    tokio::time::sleep(ms(1900)).await;
                    ctx.emit("child's word");
                }
                Ok(())
            });
            child.await?;
            listener(ctx).await
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!(now() - began, ms(1900) * 6 + secs(2), "two seconds after the child's end");
    assert_eq!(report.status, RunStatus::TimedOut);
    assert_eq!(report.cause.as_ref().unwrap().kind, CauseKind::IdleTimeout);
    assert_eq!(report.rows[1].status, RunStatus::Completed);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i11_the_idle_limit_of_a_child_leaves_its_parent_alone() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::team("root").idle(secs(3)), async |ctx| {
            let silent = ctx.spawn(RunSpec::agent("silent").idle(secs(2)), naive);
            let ended = silent.ended().await;
            assert_eq!(ended.cause.as_ref().unwrap().kind, CauseKind::IdleTimeout);
            tokio::time::sleep(ms(2900)).await;
            Ok(())
        })
        .unwrap();
    let report = run.ended().await;
    let ends: Vec<_> = report.rows.iter().map(|row| row.status).collect();
    assert_eq!(ends, [RunStatus::Completed, RunStatus::TimedOut]);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i11_a_run_that_does_not_start_in_time_is_timed_out_and_never_polled() {
    let lab = Lab::real();
    let witness = Witness::new();
    for _ in 0..500 {
        let seen = witness.clone();
        let spec = RunSpec::agent("never").start_within(secs(0));
        let run = lab
            .submit(spec, async move |_| {
                drop(seen.enter());
                Ok(())
            })
            .unwrap();
        let report = run.ended().await;
        assert_eq!(report.status, RunStatus::TimedOut, "zero leaves no time to start");
        assert_eq!(report.cause.as_ref().unwrap().kind, CauseKind::Deadline);
        assert_eq!(report.own_row().started_at, None);
    }
    assert_eq!(witness.entered(), 0);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i12_a_body_that_ignores_its_stop_ends_with_the_grace() {
    let lab = Lab::paused();
    for grace in [0, 1, 7] {
        let run = lab.submit(RunSpec::agent("ignorant").grace(secs(grace)), ignorant).unwrap();
        tokio::task::yield_now().await;
        let began = now();
        run.cancel(CancelRequest::because("enough"));
        let report = run.ended().await;
        assert_eq!(now() - began, secs(grace));
        assert!(report.quiescent && report.own_row().aborted);
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i12_depth_does_not_multiply_the_grace() {
    let lab = Lab::paused();
    let deep = async |ctx: RunContext| {
        let leaf = async |ctx: RunContext| {
            ctx.spawn(RunSpec::step("leaf"), ignorant).ended().await;
            // Everybody listens, and nobody gives way before the leaf does.
            listener(ctx).await
        };
        chain(200, leaf)(ctx).await
    };
    let run = lab.submit(RunSpec::workflow("deep").grace(secs(3)), deep).unwrap();
    tokio::time::sleep(ms(1)).await;
    let began = now();
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert_eq!(now() - began, secs(3), "one grace for 202 levels");
    assert_eq!(report.rows.len(), 202);
    let offenders: Vec<_> =
        report.rows.iter().filter(|row| row.aborted).map(|row| &*row.name).collect();
    assert_eq!(offenders, ["leaf"], "only who had not ended although its children had");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn d8_the_grace_of_a_nested_run_can_only_be_earlier() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::workflow("root").grace(secs(4)), async |ctx| {
            let short = ctx.spawn(RunSpec::step("short").grace(secs(1)), ignorant);
            let long = ctx.spawn(RunSpec::step("long").grace(secs(60)), ignorant);
            let under = ctx.spawn(RunSpec::step("under").grace(secs(2)), async |ctx| {
                ctx.spawn(RunSpec::step("under it").grace(secs(3)), ignorant).ended().await;
                listener(ctx).await
            });
            tokio::join!(short.ended(), long.ended(), under.ended());
            listener(ctx).await
        })
        .unwrap();
    tokio::time::sleep(ms(1)).await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    for row in &report.rows {
        let grace = match &*row.name {
            "short" => 1,
            "under" | "under it" => 2,
            _ => 4,
        };
        assert_eq!(row.stop_took(), Some(secs(grace)), "{}", row.name);
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i13_a_shield_holds_until_the_hard_deadline_and_hides_nothing() {
    let lab = Lab::paused();
    for (work, survives) in [(secs(2), true), (secs(9), false)] {
        let outcome = Arc::new(Mutex::new(None));
        let told = Arc::clone(&outcome);
        let run = lab
            .submit(RunSpec::agent("shielded").grace(secs(3)), async move |ctx| {
                let result = ctx
                    .shield(async {
                        tokio::time::sleep(work).await;
                        // A stop is visible inside, at every call.
                        (ctx.is_stopping(), ctx.checkpoint().is_err())
                    })
                    .await;
                *told.lock().unwrap() = Some(result);
                listener(ctx).await
            })
            .unwrap();
        tokio::time::sleep(secs(1)).await;
        let began = now();
        run.cancel(CancelRequest::because("enough"));
        let report = run.ended().await;
        let outcome = outcome.lock().unwrap().take();
        if survives {
            assert_eq!(outcome, Some(Ok((true, true))));
            assert_eq!(now() - began, secs(1), "it ended in its own time");
        } else {
            assert_eq!(now() - began, secs(3), "and not after the hard deadline");
            assert!(outcome.is_none_or(|outcome| outcome.is_err()), "the section was cut");
        }
        assert!(report.quiescent);
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i13_a_shield_that_is_under_way_at_the_stop_is_not_interrupted() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("writer"), async |ctx| {
            let saved = ctx.shield(tokio::time::sleep(secs(3))).await;
            ctx.set_output("saved".into());
            assert_eq!(saved, Ok(()));
            ctx.checkpoint()?;
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(secs(1)).await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert_eq!(report.partial.as_ref().map(quell::Payload::as_json), Some("\"saved\""));
    assert_eq!(report.own_row().stop_took(), Some(secs(2)));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i13_a_further_request_moves_the_bound_of_a_shield_and_stops_nothing_inside_it() {
    let lab = Lab::paused();
    for (second_grace, tidied) in [(secs(6), true), (secs(2), false)] {
        let run = lab
            .submit(RunSpec::agent("shielded").grace(secs(9)), async |ctx| {
                ctx.stopped().await;
                let section = ctx.shield(async {
                    let tidy = ctx.spawn(RunSpec::step("tidy"), async |ctx| {
                        ctx.run_until_stopped(tokio::time::sleep(secs(5))).await?;
                        Ok(())
                    });
                    tidy.await
                });
                section.await??;
                ctx.set_output("tidied".into());
                Ok(())
            })
            .unwrap();
        tokio::task::yield_now().await;
        let began = now();
        run.cancel(CancelRequest::because("enough"));
        tokio::time::sleep(secs(1)).await;
        run.cancel(CancelRequest::because("hurry").grace(second_grace));
        let report = run.ended().await;
        assert_eq!(now() - began, if tidied { secs(5) } else { secs(3) });
        assert_eq!(report.partial.is_some(), tidied, "{report:#?}");
        let status = if tidied { RunStatus::Completed } else { RunStatus::Cancelled };
        assert_eq!(report.rows[1].status, status);
    }
    lab.finish().await;
}
