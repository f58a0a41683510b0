//! Runs that wait: the same id twice, due times, and tokens that stop all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use quell::{
    CauseKind, Engine, OnBusy, RunContext, RunId, RunRef, RunSpec, RunStatus, SubmitError, testing,
};
use shuttle::future::{block_on, yield_now};
use shuttle::thread;
use tokio_util::sync::CancellationToken;

use crate::play::{
    NEVER, SOON, because, checked_log, config, draw, is_stopped, pause, play, shut_down,
};
use crate::witness::Witness;

#[test]
fn i36_of_runs_with_one_id_one_is_accepted_and_no_lane_has_two() {
    play("one id twice against lanes, slots and cancel", 1, |seen| {
        let engine = Engine::with_config(config().grace(NEVER).abort_wait(NEVER).running_max(2));
        let (lane, all) = (Witness::new(), Witness::new());
        // Two pairs of twins, and one run besides.
        let submitters = [0, 0, 1, 1, 2].map(|id| {
            let (engine, lane, all) = (engine.clone(), Arc::clone(&lane), Arc::clone(&all));
            thread::spawn(move || {
                let spec = RunSpec::agent("twin").id(RunId::from_text(&id.to_string()));
                engine.submit(spec.lane("lane", OnBusy::Enqueue), async move |ctx: RunContext| {
                    let here = all.enter(&ctx);
                    let _in_lane = lane.enter(&ctx);
                    yield_now().await;
                    here.step();
                    Ok(())
                })
            })
        });
        let runs = submitters.map(|submitter| submitter.join().unwrap());
        let refused = runs.iter().filter(|run| matches!(run, Err(SubmitError::IdInUse(_))));
        // Nothing is kept here: a twin that comes after the end of the other is no duplicate.
        seen.note(2 - refused.count().min(2));
        let runs: Vec<_> = runs.into_iter().flatten().map(quell::RunHandle::into_ref).collect();
        if draw(2) == 0 {
            runs[0].cancel(because("out of the lane"));
        }
        let logs: Vec<_> = runs.iter().map(checked_log).collect();
        assert!(lane.most() <= 1, "{} in the lane at once", lane.most());
        shut_down(&engine);
        all.seal();
        all.agree_with(logs.iter().map(Vec::as_slice));
    });
}

#[test]
fn i36_of_two_that_take_the_place_of_a_lane_at_its_handover_one_is_left() {
    play("two take a lane against the end of its holder", 2, |seen| {
        let engine = Engine::with_config(config().grace(NEVER).abort_wait(NEVER).running_max(2));
        let (lane, all) = (Witness::new(), Witness::new());
        let submit = |name: &'static str, on_busy, stays: bool| {
            let (lane, all) = (Arc::clone(&lane), Arc::clone(&all));
            let spec = RunSpec::agent(name).lane("lane", on_busy);
            let run = engine.submit(spec, async move |ctx: RunContext| {
                let here = all.enter(&ctx);
                let _in_lane = lane.enter(&ctx);
                if stays {
                    ctx.stopped().await;
                }
                yield_now().await;
                here.step();
                Ok(())
            });
            run.unwrap().into_ref()
        };
        // The holder ends by itself, and may hand the lane over to the one behind it before.
        let holder = submit("holder", OnBusy::Enqueue, false);
        let behind = submit("behind", OnBusy::Enqueue, true);
        let (one, other) = thread::scope(|scope| {
            let take = || submit("new", OnBusy::CancelExisting, true);
            let (one, other) = (scope.spawn(take), scope.spawn(take));
            (one.join().unwrap(), other.join().unwrap())
        });
        assert!(is_stopped(behind.status()), "both stop what the lane has");
        let stopped = [&one, &other].map(|run| is_stopped(run.status()));
        assert!(stopped[0] != stopped[1], "one of the two is left: {stopped:?}");
        let (left, gone) = if stopped[0] { (&other, &one) } else { (&one, &other) };
        for run in [&holder, &behind, gone] {
            block_on(run.quiescent());
        }
        let cause = gone.report().cause.clone().unwrap();
        assert_eq!(cause.kind, CauseKind::Superseded);
        assert_eq!(cause.by.as_deref(), Some(&*left.id().to_string()));
        seen.note(usize::from(behind.row().started_at.is_some()));
        left.cancel(because("enough"));
        block_on(left.quiescent());
        assert!(lane.most() <= 1, "{} in the lane at once", lane.most());
        all.seal();
        let logs = [&holder, &behind, &one, &other].map(checked_log);
        shut_down(&engine);
        all.agree_with(logs.iter().map(Vec::as_slice));
    });
}

#[test]
fn i14_a_run_with_a_due_time_starts_whatever_the_control_thread_does_meanwhile() {
    play("due times against the turns of the control thread", 2, |seen| {
        let engine = Engine::with_config(config().grace(SOON).abort_wait(SOON));
        // Something that is due, too: a run that ignores its stop.
        let busy = engine.submit(RunSpec::agent("busy").timeout(SOON / 2), async |ctx| {
            ctx.stopped().await;
            ctx.shield(std::future::pending::<()>()).await?;
            Ok(())
        });
        let submitters = [SOON, SOON, SOON * 3].map(|wait| {
            let engine = engine.clone();
            thread::spawn(move || {
                pause(40);
                let due = testing::now() + wait;
                let spec = RunSpec::agent("due").not_before(due);
                let run = engine.submit(spec, async move |_| Ok(testing::now() >= due));
                // If nobody woke it, this would be a deadlock.
                block_on(run.unwrap()).unwrap()
            })
        });
        for submitter in submitters {
            assert!(submitter.join().unwrap(), "it started before its time");
        }
        let busy = busy.unwrap().into_ref();
        seen.note(usize::from(busy.status().is_terminal()));
        block_on(busy.quiescent());
        shut_down(&engine);
    });
}

#[test]
fn i21_a_token_that_stops_all_starts_nobody_who_waits() {
    play("a token against a queue", 2, |seen| {
        let token = CancellationToken::new();
        let mut config = config().grace(NEVER).abort_wait(NEVER).running_max(1);
        let is_of_each = draw(2) == 0;
        if !is_of_each {
            config = config.parent_token(token.clone());
        }
        let engine = Engine::with_config(config);
        let (all, is_over) = (Witness::new(), Arc::new(AtomicBool::new(false)));
        let late = Arc::new(AtomicUsize::new(0));
        let runs: Vec<RunRef> = (0..4)
            .map(|_| {
                let (all, over) = (Arc::clone(&all), Arc::clone(&is_over));
                let late = Arc::clone(&late);
                let mut spec = RunSpec::agent("one of many");
                if is_of_each {
                    spec = spec.linked_to(token.clone());
                }
                let run = engine.submit(spec, async move |ctx| {
                    let here = all.enter(&ctx);
                    late.fetch_add(usize::from(over.load(Ordering::SeqCst)), Ordering::SeqCst);
                    ctx.stopped().await;
                    here.step();
                    Ok(())
                });
                run.unwrap().into_ref()
            })
            .collect();
        pause(60);
        token.cancel();
        is_over.store(true, Ordering::SeqCst);
        for run in &runs {
            assert_eq!(block_on(run.quiescent()).status, RunStatus::Cancelled);
        }
        // One may have been about to start.
        assert!(late.load(Ordering::SeqCst) <= 1, "{late:?} were started by the end of others");
        seen.note(usize::from(is_of_each));
        all.seal();
        let logs: Vec<_> = runs.iter().map(checked_log).collect();
        shut_down(&engine);
        all.agree_with(logs.iter().map(Vec::as_slice));
    });
}

#[test]
fn i25_a_run_that_left_is_stopped_by_no_stage_of_its_former_ancestors() {
    play("detach against a stop with stages", 2, |seen| {
        let engine = Engine::with_config(config().grace(SOON).abort_wait(SOON));
        let (tell, told) = futures::channel::oneshot::channel();
        let root = engine.submit(RunSpec::team("root"), async move |ctx: RunContext| {
            let child = ctx.spawn(RunSpec::agent("child"), async move |ctx: RunContext| {
                let leaf = ctx.spawn(RunSpec::step("leaf"), async |ctx| {
                    ctx.stopped().await;
                    Ok(())
                });
                drop(tell.send(leaf.into_ref()));
                let _ = ctx.is_stopping();
                std::future::pending::<()>().await;
                Ok(())
            });
            drop(child.into_ref());
            let _ = ctx.is_stopping();
            std::future::pending::<()>().await;
            Ok(())
        });
        let root = root.unwrap().into_ref();
        let leaf = block_on(told).unwrap();
        let detacher = thread::spawn({
            let leaf = leaf.clone();
            move || {
                pause(60);
                leaf.detach().is_ok()
            }
        });
        pause(60);
        root.cancel(because("above"));
        let left = detacher.join().unwrap();
        block_on(root.quiescent());
        assert_eq!(is_stopped(leaf.status()), !left, "the leaf is {}", leaf.status());
        seen.note(usize::from(left));
        leaf.cancel(because("enough"));
        block_on(leaf.quiescent());
        checked_log(&root);
        shut_down(&engine);
    });
}
