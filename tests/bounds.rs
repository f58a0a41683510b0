use std::sync::{Arc, Mutex};

use quell::{
    CancelRequest, EventKind, Failure, Outcome, Payload, RunContext, RunError, RunSpec, RunStatus,
    SubmitError, Work, Written, limits,
};

use crate::support::{Lab, bounded, config, listener, secs};

#[tokio::test(start_paused = true)]
async fn i8_a_spawn_beyond_a_limit_is_refused_and_yields_why() {
    let lab = Lab::paused_with(bounded(|limits| {
        limits.depth_max = 2;
        limits.children_max = 3;
        limits.runs_max = 7;
    }));
    let run = lab
        .submit(RunSpec::team("root"), async |ctx| {
            let kids: Vec<_> = (0..3).map(|_| ctx.spawn(RunSpec::agent("kid"), listener)).collect();
            assert_refused(ctx.spawn(RunSpec::agent("fourth"), listener).await, "live children", 3);
            kids[0].cancel(CancelRequest::because("make room"));
            kids[0].ended().await;
            let deep = ctx.spawn(RunSpec::agent("deep"), async |ctx| {
                let deeper = ctx.spawn(RunSpec::agent("deeper"), listener);
                assert_refused(deeper.await, "depth", 2);
                Ok(())
            });
            deep.await?;
            for kid in &kids {
                kid.cancel(CancelRequest::because("over"));
            }
            Ok(quell::join::all(kids).await.len())
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!(report.status, RunStatus::Completed, "{report:#?}");
    assert_eq!(report.rows.len(), 5, "what was refused is in no report");
    let runs: Vec<_> =
        (0..7).map(|_| lab.submit(RunSpec::agent("one"), listener).unwrap()).collect();
    let eighth = lab.submit(RunSpec::agent("eighth"), listener).unwrap_err();
    assert_eq!(eighth, SubmitError::LimitReached { what: "live runs", max: 7 });
    runs[0].cancel(CancelRequest::because("make room"));
    runs[0].ended().await;
    let ninth = lab.submit(RunSpec::agent("ninth"), listener).unwrap();
    for run in runs.iter().chain([&ninth]) {
        run.cancel(CancelRequest::because("over"));
    }
    lab.finish().await;
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T, RunError>, what: &str, max: usize) {
    match result {
        Err(RunError::Refused(SubmitError::LimitReached { what: named, max: bound })) => {
            assert_eq!((named, bound), (what, max));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn i8_a_refused_child_is_a_failed_outcome_and_fails_only_who_insists() {
    let lab = Lab::paused_with(bounded(|limits| limits.children_max = 0));
    let run = lab
        .submit(RunSpec::team("root"), async |ctx| {
            let child = ctx.spawn(RunSpec::agent("child"), listener);
            assert_eq!(child.run().status(), RunStatus::Failed);
            let Outcome::Failed(RunError::Refused(_)) = child.outcome().await else { panic!() };
            drop(ctx.spawn(RunSpec::agent("silent"), listener));
            ctx.spawn(RunSpec::agent("insisted"), listener).await?;
            Ok(())
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!(report.status, RunStatus::Failed);
    let error = report.error.as_deref().unwrap();
    assert!(error.contains("live children would exceed the limit of 0"), "{error}");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i22_a_spec_beyond_its_bounds_is_refused_and_makes_nothing() {
    let lab = Lab::paused();
    let long = "x".repeat(limits::LABEL_BYTES_MAX);
    let too_long = format!("{long}x");
    let many = |count: usize| {
        (0..count).fold(RunSpec::agent("many"), |spec, n| spec.label(n.to_string(), "v"))
    };
    let owner = "o".repeat(limits::OWNER_BYTES_MAX);
    let good = [
        RunSpec::agent(&*long),
        RunSpec::agent("label").label(long.clone(), long.clone()),
        RunSpec::agent("owner").owner(&*owner),
        many(limits::LABELS_MAX),
    ];
    for spec in good {
        lab.submit(spec, async |_| Ok(())).unwrap().await.unwrap();
    }
    let bad = [
        (RunSpec::agent(&*too_long), "name"),
        (RunSpec::agent("key").label(too_long.clone(), "v"), "label key"),
        (RunSpec::agent("value").label("k", too_long.clone()), "label value"),
        (RunSpec::agent("owner").owner(format!("{owner}o")), "owner"),
        (many(limits::LABELS_MAX + 1), "labels"),
    ];
    for (spec, field) in bad {
        match lab.submit(spec, async |_| Ok(())).unwrap_err() {
            SubmitError::TooLarge { what, bytes, max } => {
                assert_eq!((what, bytes), (field, max + 1));
            }
            SubmitError::LimitReached { what, max } => {
                assert_eq!((what, max), (field, limits::LABELS_MAX));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lab.runs(&quell::RunFilter::new()).len(), 4);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i22_an_id_in_use_is_refused() {
    let lab = Lab::paused();
    let id = quell::RunId::from_text("mine");
    let run = lab.submit(RunSpec::agent("first").id(id), listener).unwrap();
    let second = lab.submit(RunSpec::agent("second").id(id), listener).unwrap_err();
    assert_eq!(second, SubmitError::IdInUse(id));
    let parent = lab
        .submit(RunSpec::team("parent"), async move |ctx| {
            let child = ctx.spawn(RunSpec::agent("third").id(id), listener);
            assert_ne!(child.id(), id, "a refused run is not the other one");
            child.await?;
            Ok(())
        })
        .unwrap();
    assert_eq!(parent.ended().await.status, RunStatus::Failed);
    assert_eq!(run.run().status(), RunStatus::Running, "the first one noticed nothing");
    run.cancel(CancelRequest::because("over"));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i29_what_is_too_large_is_refused_and_the_log_says_so() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("verbose"), async |ctx| {
            let text = |bytes: usize| Payload::from("x".repeat(bytes - 2));
            assert_eq!(ctx.emit(text(limits::EVENT_BYTES_MAX)), Written::Recorded);
            assert_eq!(ctx.emit(text(limits::EVENT_BYTES_MAX + 1)), Written::TooLarge);
            assert_eq!(ctx.set_output(text(limits::PAYLOAD_BYTES_MAX)), Written::Recorded);
            assert_eq!(ctx.set_output(text(limits::PAYLOAD_BYTES_MAX + 1)), Written::TooLarge);
            Ok(())
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!(report.status, RunStatus::Completed, "{:?}", report.error);
    assert_eq!(
        report.output.as_ref().unwrap().len(),
        limits::PAYLOAD_BYTES_MAX,
        "the last good one"
    );
    let trace = quell::testing::trace(run.run()).await;
    let refused = trace.iter().filter_map(|event| match &event.kind {
        EventKind::Refused { what, bytes, bytes_max } => Some((&**what, *bytes, *bytes_max)),
        _ => None,
    });
    let (event, output) = (limits::EVENT_BYTES_MAX, limits::PAYLOAD_BYTES_MAX);
    let expected = [("event", event + 1, event), ("output", output + 1, output)];
    assert_eq!(refused.collect::<Vec<_>>(), expected);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i6_a_reason_beyond_its_bound_is_cut_and_never_refused() {
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::agent("one"), listener).unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("ä".repeat(limits::REASON_BYTES_MAX)));
    let cause = run.ended().await.cause.clone().unwrap();
    let message = cause.message.as_deref().unwrap();
    assert!(message.len() <= limits::REASON_BYTES_MAX && message.ends_with("ä…"));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i22_the_name_of_a_hold_beyond_its_bound_is_cut() {
    let lab = Lab::paused();
    let (to_test, held) = tokio::sync::oneshot::channel();
    let run = lab.submit(RunSpec::agent("one"), async move |ctx| {
        let names = ["x".repeat(limits::LABEL_BYTES_MAX), "ä".repeat(limits::LABEL_BYTES_MAX)];
        let _ = to_test.send(names.map(|name| ctx.hold(Work::Process, name)));
        std::future::pending::<Result<(), Failure>>().await
    });
    let run = run.unwrap();
    let held = held.await.unwrap();
    run.cancel(CancelRequest::because("enough").abort());
    let report = run.ended().await;
    let names: Vec<_> = report.abandoned.iter().map(|work| &*work.name).collect();
    assert_eq!(names.len(), 2);
    assert_eq!(names[0].len(), limits::LABEL_BYTES_MAX);
    assert!(names[1].len() <= limits::LABEL_BYTES_MAX && names[1].ends_with("ä…"));
    drop(held);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i17_errors_of_cleanup_are_bounded() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("clumsy"), async |ctx: RunContext| {
            for _ in 0..limits::CLEANUP_ERRORS_MAX + 5 {
                ctx.on_stop(async |_| panic!("clumsy"));
            }
            ctx.stopped().await;
            Err::<(), _>(Failure::new("clumsy too"))
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert_eq!(report.own_row().cleanup_errors.len(), limits::CLEANUP_ERRORS_MAX);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i17_a_report_has_a_bound_and_what_did_not_complete_comes_first() {
    let lab = Lab::paused_with(bounded(|limits| limits.report_rows_max = 10));
    let run = lab
        .submit(RunSpec::team("root"), async |ctx| {
            for n in 0..100 {
                let child = ctx.spawn(RunSpec::step(format!("{n}")), async move |_| {
                    if n % 20 == 0 { Err(Failure::new("no")) } else { Ok(()) }
                });
                drop(child.outcome().await);
            }
            let live: Vec<_> = (0..3).map(|_| ctx.spawn(RunSpec::step("live"), listener)).collect();
            tokio::time::sleep(secs(1)).await;
            let report = ctx.run().report();
            assert_eq!(report.rows.len(), 10);
            assert_eq!(report.omitted.total() + 10, 104);
            for run in &live {
                run.cancel(CancelRequest::because("over"));
            }
            Ok(quell::join::all(live).await.len())
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!(report.status, RunStatus::Completed, "{:?}", report.error);
    let incomplete = report.rows.iter().filter(|row| row.status != RunStatus::Completed).count();
    assert_eq!((report.rows.len(), incomplete), (10, 8), "five failed, three cancelled");
    assert_eq!((report.omitted.completed, report.omitted.total()), (94, 94));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i12_times_without_end_are_taken_as_very_long() {
    let forever = std::time::Duration::MAX;
    let limits = bounded(|limits| limits.ended_trees_ttl = forever);
    let lab = Lab::with(
        config()
            .control_on_runtime()
            .limits(limits)
            .grace(forever)
            .abort_wait(forever)
            .escalate_after(forever),
    );
    let spec = || RunSpec::agent("patient").timeout(forever).idle(forever).start_within(forever);
    let brief = lab.submit(spec().grace(forever), async |_| Ok(1)).unwrap();
    assert_eq!(brief.await.unwrap(), 1);
    let run = lab
        .submit(spec(), async |ctx| {
            assert!(ctx.deadline().is_some());
            listener(ctx).await
        })
        .unwrap();
    tokio::time::sleep(secs(1)).await;
    run.cancel(CancelRequest::because("some day").after_step(None));
    assert_eq!(run.run().status(), RunStatus::Running);
    let id = quell::RunId::from_text("some day");
    lab.cancel(id, CancelRequest::because("some day").remember_for(forever));
    run.cancel(CancelRequest::because("enough").grace(forever));
    assert_eq!(run.ended().await.status, RunStatus::Cancelled);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i12_zero_is_no_time_and_no_room() {
    let lab = Lab::with(
        config()
            .control_on_runtime()
            .grace(secs(0))
            .abort_wait(secs(0))
            .escalate_after(secs(0))
            .limits(bounded(|limits| limits.report_rows_max = 0)),
    );
    for after_step in [false, true] {
        let run = lab
            .submit(RunSpec::team("ignorant"), async |ctx| {
                let child = ctx.spawn(RunSpec::agent("child"), crate::support::ignorant);
                child.ended().await;
                crate::support::ignorant(ctx).await
            })
            .unwrap();
        tokio::time::sleep(secs(1)).await;
        let began = crate::support::now();
        let request = CancelRequest::because("now");
        run.cancel(if after_step { request.after_step(None) } else { request });
        let report = run.run().quiescent().await;
        assert_eq!(crate::support::now() - began, secs(0));
        assert_eq!((report.status, report.rows.len()), (RunStatus::Cancelled, 1));
        assert_eq!(report.omitted.cancelled, 1, "zero rows count as one");
    }
    lab.finish().await;
    let lab = Lab::paused_with(bounded(|limits| limits.runs_max = 0));
    let refused = lab.submit(RunSpec::agent("one"), listener).unwrap_err();
    assert_eq!(refused, SubmitError::LimitReached { what: "live runs", max: 0 });
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i3_a_hook_that_comes_after_the_end_changes_no_count_unless_it_were_run_there() {
    let lab = Lab::paused();
    for before in [0, limits::HOOKS_MAX] {
        let kept = Arc::new(Mutex::new(None));
        let keeps = Arc::clone(&kept);
        let run = lab
            .submit(RunSpec::agent("hooks"), async move |ctx| {
                (0..before).for_each(|_| ctx.on_stop(async |_| {}));
                *keeps.lock().unwrap() = Some(ctx);
                Ok(())
            })
            .unwrap();
        assert_eq!(run.ended().await.own_row().hooks_skipped, 0);
        let ctx = kept.lock().unwrap().take().unwrap();
        ctx.on_stop(async |_| {});
        assert_eq!(run.run().report().own_row().hooks_skipped, 0, "no stop has come");
        ctx.on_end(async |_| {});
        assert_eq!(run.run().report().own_row().hooks_skipped, 1, "of every end");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i22_hooks_beyond_their_bound_are_reported_as_skipped_and_errors_beyond_theirs_left_out() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("hooks"), async |ctx| {
            for at in 0..limits::HOOKS_MAX + 3 {
                ctx.on_stop(async move |_| {
                    assert!(at >= 100, "a hook that panics");
                });
            }
            ctx.stopped().await;
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    let row = report.own_row();
    assert_eq!(row.hooks_skipped, 3);
    assert_eq!(row.cleanup_errors.len(), limits::CLEANUP_ERRORS_MAX);
    lab.finish().await;
}
