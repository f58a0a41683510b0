use std::future::pending;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use quell::{
    CancelRequest, CauseKind, DetachError, EventKind, Failure, RunContext, RunEvent, RunFilter,
    RunRef, RunSpec, RunStatus, Shutdown, testing,
};

use crate::support::{Lab, bounded, config, listener, ms, naive, now, secs, within};

type Kept = Arc<Mutex<Option<RunRef>>>;

#[tokio::test(start_paused = true)]
async fn i25_a_child_survives_its_parent_only_by_detach_and_has_a_log_of_its_own() {
    let lab = Lab::paused();
    let kept = Kept::default();
    let keep = Arc::clone(&kept);
    let run = lab
        .submit(RunSpec::workflow("root"), async move |ctx| {
            let child = ctx.spawn(RunSpec::agent("child"), async |ctx| {
                ctx.emit("attached");
                let grandchild = ctx.spawn(RunSpec::step("grandchild"), async |ctx| {
                    tokio::time::sleep(secs(5)).await;
                    ctx.emit("grandchild");
                    Ok(())
                });
                tokio::time::sleep(secs(3)).await;
                ctx.emit("detached");
                grandchild.await?;
                ctx.spawn(RunSpec::step("born later"), async |_| Ok(())).await?;
                Ok(7)
            });
            tokio::time::sleep(secs(1)).await;
            child.run().detach()?;
            *keep.lock().unwrap() = Some(child.into_ref());
            Ok(())
        })
        .unwrap();
    let began = now();
    let above = run.ended().await;
    assert_eq!((now() - began, above.status), (secs(1), RunStatus::Completed));
    assert_eq!(above.rows.len(), 1, "it is in the parent's report no more");
    let child = kept.lock().unwrap().take().unwrap();
    assert_eq!((child.parent(), child.status()), (None, RunStatus::Running));
    let report = child.ended().await;
    assert_eq!(now() - began, secs(5));
    assert_eq!(report.rows.len(), 3);
    assert_eq!(report.own_row().detached_from, Some(run.id()));
    let said = |trace: &[RunEvent]| -> Vec<String> {
        let emitted = trace.iter().filter_map(|event| match &event.kind {
            EventKind::Emitted(payload) => Some(payload.to_string()),
            EventKind::Detached { from, .. } => Some(format!("from {from}")),
            _ => None,
        });
        emitted.collect()
    };
    let from = format!("from {}", run.id());
    let old = testing::trace(run.run()).await;
    assert_eq!(said(&old), ["\"attached\"".to_owned(), from.clone()]);
    let new = testing::trace(&child).await;
    assert_eq!(said(&new), [from, "\"detached\"".to_owned(), "\"grandchild\"".to_owned()]);
    assert!(new.iter().all(|event| event.root == child.id()));
    lab.finish().await;
}

/// Submits a parent whose child is detached after a second; both wait to be stopped.
async fn detached(lab: &Lab, parent: RunSpec, child: RunSpec) -> (RunRef, RunRef) {
    let kept = Kept::default();
    let keep = Arc::clone(&kept);
    let body = async move |ctx: RunContext| {
        let child = ctx.spawn(child, listener).into_ref();
        tokio::time::sleep(secs(1)).await;
        child.detach()?;
        *keep.lock().unwrap() = Some(child);
        listener(ctx).await
    };
    let parent = lab.submit(parent, body).unwrap().into_ref();
    tokio::time::sleep(ms(1100)).await;
    let child = kept.lock().unwrap().take().unwrap();
    (parent, child)
}

#[tokio::test(start_paused = true)]
async fn i25_a_detached_run_keeps_its_own_timeout_and_loses_what_it_inherited() {
    let lab = Lab::paused();
    let began = now();
    let above = RunSpec::team("parent").timeout(secs(3)).idle(secs(2));
    let (parent, child) = detached(&lab, above, RunSpec::agent("child").timeout(secs(10))).await;
    let report = parent.ended().await;
    // The idle limit counts from the detach, the last sign of life of the parent.
    assert_eq!((report.status, now() - began), (RunStatus::TimedOut, secs(3)));
    assert_eq!(child.status(), RunStatus::Running);
    let report = child.ended().await;
    assert_eq!((report.status, now() - began), (RunStatus::TimedOut, secs(10)));
    assert_eq!(report.cause.as_ref().unwrap().origin, child.id());
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i25_a_detached_run_shows_no_signs_of_life_to_its_former_parent() {
    // Without an idle limit of its own, and with one.
    for talker in [RunSpec::agent("talker"), RunSpec::agent("talker").idle(secs(5))] {
        let lab = Lab::paused();
        let began = now();
        let kept = Kept::default();
        let keep = Arc::clone(&kept);
        let parent = lab
            .submit(RunSpec::team("parent").idle(secs(2)), async move |ctx| {
                let child = ctx.spawn(talker, async |ctx| {
                    for _ in 0..8 {
                        tokio::time::sleep(secs(1)).await;
                        ctx.emit("word");
                    }
                    Ok(())
                });
                child.run().detach()?;
                *keep.lock().unwrap() = Some(child.into_ref());
                listener(ctx).await
            })
            .unwrap();
        let report = parent.ended().await;
        assert_eq!((report.status, now() - began), (RunStatus::TimedOut, secs(2)));
        let child = kept.lock().unwrap().take().unwrap();
        assert_eq!(child.ended().await.status, RunStatus::Completed);
        lab.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn i25_the_stop_of_the_former_parent_does_not_reach_a_detached_run() {
    let lab = Lab::paused();
    let (parent, child) = detached(&lab, RunSpec::team("parent"), RunSpec::agent("child")).await;
    parent.cancel(CancelRequest::because("enough"));
    assert_eq!(parent.ended().await.status, RunStatus::Cancelled);
    assert_eq!(child.status(), RunStatus::Running);
    child.cancel(CancelRequest::because("enough of you too"));
    let cause = child.ended().await.cause.clone().unwrap();
    assert_eq!((cause.kind, cause.origin), (CauseKind::UserRequest, child.id()));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i25_shutdown_stops_a_detached_run() {
    let lab = Lab::paused();
    let (parent, child) = detached(&lab, RunSpec::team("parent"), RunSpec::agent("child")).await;
    let report = lab.shutdown(Shutdown::default()).await;
    assert_eq!(report.roots.cancelled, 2);
    for run in [parent, child] {
        let report = run.report();
        assert_eq!(report.cause.as_ref().unwrap().kind, CauseKind::Shutdown);
        assert_eq!(report.status, RunStatus::Cancelled);
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i25_only_a_live_child_that_is_not_stopping_can_leave() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::team("parent"), async |ctx| {
            assert_eq!(ctx.run().detach(), Err(DetachError::IsRoot));
            let over = ctx.spawn(RunSpec::agent("over"), async |_| Ok(())).into_ref();
            over.ended().await;
            assert_eq!(over.detach(), Err(DetachError::Ended));
            let stopping = ctx.spawn(RunSpec::agent("stopping"), async |ctx| {
                ctx.stopped().await;
                tokio::time::sleep(secs(1)).await;
                Ok(())
            });
            tokio::task::yield_now().await;
            stopping.cancel(CancelRequest::because("enough"));
            assert_eq!(stopping.run().detach(), Err(DetachError::Stopping));
            stopping.ended().await;
            Ok(())
        })
        .unwrap();
    assert_eq!(run.ended().await.status, RunStatus::Completed, "{:#?}", run.run().report());
    lab.finish().await;
}

fn word(event: RunEvent) -> Option<String> {
    match event.kind {
        EventKind::Emitted(payload) => Some(payload.to_string()),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn i25_streams_follow_a_run_that_leaves_and_its_descendants() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::workflow("root"), async |ctx| {
            let child = ctx.spawn(RunSpec::agent("child"), async |ctx| {
                let grandchild = ctx.spawn(RunSpec::step("grandchild"), async |ctx| {
                    ctx.emit("before");
                    tokio::time::sleep(secs(2)).await;
                    ctx.emit("after");
                    Ok(())
                });
                Ok(grandchild.await?)
            });
            tokio::time::sleep(secs(1)).await;
            child.run().detach()?;
            drop(child);
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(ms(500)).await;
    let child = run.run().children().remove(0);
    let grandchild = child.children().remove(0);
    // One reads as it comes, the other when all is over.
    let [mut live, late] = [grandchild.events(), child.events()];
    let mut read = Vec::new();
    let reading = async {
        while let Some(event) = live.next().await {
            read.extend(word(event));
        }
    };
    within("the stream of the grandchild ends", reading).await;
    assert_eq!(read, ["\"before\"", "\"after\""]);
    let late: Vec<_> = within("the stream of the child ends", late.collect()).await;
    let late: Vec<_> = late.into_iter().filter_map(word).collect();
    assert_eq!(late, read);
    run.ended().await;
    lab.finish().await;
}

/// The last run is accepted below one whose acceptance is told in no log but the first.
#[tokio::test(start_paused = true)]
async fn i25_a_run_leaves_a_tree_that_has_left_and_each_log_tells_its_part() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::workflow("first"), async |ctx| {
            let second = ctx.spawn(RunSpec::agent("second"), async |ctx| {
                let third = ctx.spawn(RunSpec::agent("third"), async |ctx| {
                    let above = ctx.spawn(RunSpec::step("above"), async |ctx| {
                        tokio::time::sleep(secs(2)).await;
                        let last = ctx.spawn(RunSpec::step("last"), async |_| {
                            tokio::time::sleep(secs(2)).await;
                            Ok(())
                        });
                        Ok(last.await?)
                    });
                    Ok(above.await?)
                });
                tokio::time::sleep(secs(3)).await;
                Ok(third.run().detach()?)
            });
            tokio::time::sleep(secs(1)).await;
            Ok(second.run().detach()?)
        })
        .unwrap();
    run.ended().await;
    let [second] = &lab.runs(&RunFilter::new().name("second"))[..] else { panic!("no second") };
    second.ended().await;
    let [third] = &lab.runs(&RunFilter::new().name("third"))[..] else { panic!("no third") };
    third.ended().await;
    for (run, told) in [(run.run(), 3), (second, 3), (third, 3)] {
        let mut log = testing::trace(run).await;
        let checked = testing::check_trace(&log).unwrap_or_else(|what| panic!("{what}: {log:#?}"));
        assert_eq!(checked.runs, told);
        // A log without the end of its root is no whole log.
        let last = log.pop().unwrap();
        assert_eq!((last.run, last.kind), (run.id(), EventKind::Ended(RunStatus::Completed)));
        testing::check_trace(&log).unwrap_err();
    }
    lab.finish().await;
}

/// The log of the second run tells neither the acceptance nor the end of the third, which stopped
/// the last one by its failure.
#[tokio::test(start_paused = true)]
async fn i25_a_log_that_began_at_a_detach_may_lose_the_origin_of_a_stop_to_another_one() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::workflow("first"), async |ctx| {
            let second = ctx.spawn(RunSpec::agent("second"), async |ctx| {
                let third = ctx.spawn(RunSpec::agent("third"), async |ctx| {
                    ctx.on_end(async |_| tokio::time::sleep(secs(2)).await);
                    let last = ctx.spawn(RunSpec::step("last"), async |_| {
                        tokio::time::sleep(secs(60)).await;
                        Ok(())
                    });
                    tokio::time::sleep(secs(2)).await;
                    drop(last);
                    Err::<(), _>(Failure::new("no"))
                });
                tokio::time::sleep(secs(3)).await;
                Ok(third.run().detach()?)
            });
            tokio::time::sleep(secs(1)).await;
            Ok(second.run().detach()?)
        })
        .unwrap();
    run.ended().await;
    let [second] = &lab.runs(&RunFilter::new().name("second"))[..] else { panic!("no second") };
    second.ended().await;
    let [last] = &lab.runs(&RunFilter::new().name("last"))[..] else { panic!("no last") };
    let log = testing::trace(second).await;
    let stopped =
        |event: &RunEvent| event.run == last.id() && matches!(event.kind, EventKind::Stopping(_));
    assert!(log.iter().any(stopped), "{log:#?}");
    testing::check_trace(&log).unwrap_or_else(|what| panic!("{what}: {log:#?}"));
    let [third] = &lab.runs(&RunFilter::new().name("third"))[..] else { panic!("no third") };
    third.ended().await;
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i25_a_detached_run_is_a_root_to_the_limits() {
    let limits = bounded(|limits| limits.depth_max = 3);
    let lab = Lab::with(config().control_on_runtime().limits(limits));
    let run = lab
        .submit(RunSpec::workflow("root"), async |ctx| {
            let child = ctx.spawn(RunSpec::agent("child"), async |ctx| {
                tokio::time::sleep(secs(1)).await;
                let second = ctx.spawn(RunSpec::step("second"), async |ctx| {
                    Ok(ctx.spawn(RunSpec::step("third"), async |_| Ok(())).await?)
                });
                Ok(second.await?)
            });
            child.run().detach()?;
            Ok(child.await?)
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!(report.status, RunStatus::Completed, "{:?}", report.error);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i25_the_failure_of_a_detached_run_is_its_own() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::team("parent"), async |ctx| {
            let child = ctx.spawn(RunSpec::agent("child"), async |_| {
                tokio::time::sleep(secs(1)).await;
                Err::<(), _>(Failure::new("no idea"))
            });
            child.run().detach()?;
            drop(child);
            tokio::time::sleep(secs(2)).await;
            let attached = ctx.spawn(RunSpec::agent("attached"), naive);
            attached.cancel(CancelRequest::because("enough"));
            attached.ended().await;
            Ok(())
        })
        .unwrap();
    assert_eq!(run.ended().await.status, RunStatus::Completed);
    let failed = RunFilter::new().status(RunStatus::Failed).roots();
    assert_eq!(lab.runs(&failed).len(), 1);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i25_a_child_cannot_leave_a_parent_that_stops_or_fails() {
    let lab = Lab::paused();
    for fails in [false, true] {
        let kept = Kept::default();
        let keep = Arc::clone(&kept);
        let run = lab
            .submit(RunSpec::team("parent"), async move |ctx| {
                let child = ctx.spawn(RunSpec::agent("child"), async |ctx| {
                    ctx.stopped().await;
                    pending::<()>().await;
                    Ok(())
                });
                *keep.lock().unwrap() = Some(child.into_ref());
                tokio::task::yield_now().await;
                if fails {
                    return Err(Failure::new("no idea"));
                }
                listener(ctx).await
            })
            .unwrap();
        tokio::time::sleep(ms(1)).await;
        run.cancel(CancelRequest::because("enough"));
        let child = kept.lock().unwrap().take().unwrap();
        assert_eq!(child.detach(), Err(DetachError::Stopping));
        run.ended().await;
    }
    lab.finish().await;
}
