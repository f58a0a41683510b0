use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quell::{
    CancelRequest, CauseKind, Disposition, Engine, EventKind, Failure, OnBusy, Outcome, Payload,
    RunError, RunFilter, RunId, RunKind, RunRef, RunSpec, RunStatus, Shutdown, Usage, Work,
    Written, join, limits, testing,
};

use crate::support::{Gate, Lab, Witness, config, listener, ms, naive, now, secs, soon, within};

type Kept = Arc<Mutex<Option<RunRef>>>;

#[tokio::test(start_paused = true)]
async fn i22_a_reference_is_equal_to_those_of_the_same_run_and_to_no_other_of_its_id() {
    let lab = Lab::paused();
    let spec = || RunSpec::agent("brief").id(RunId::from_text("mine"));
    let first = lab.submit(spec(), async |_| Ok(())).unwrap().into_ref();
    first.quiescent().await;
    assert_eq!(lab.get(first.id()), Some(first.clone()));
    lab.forget(first.id()).unwrap();
    let second = lab.submit(spec(), async |_| Ok(())).unwrap().into_ref();
    assert_eq!(first.id(), second.id());
    assert_ne!(first, second, "another run has the id now");
    second.quiescent().await;
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i17_progress_is_cut_and_the_last_output_counts() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("counts"), async |ctx| {
            for fraction in [-1.0, 0.5, 7.0, f32::NAN, f32::INFINITY] {
                assert_eq!(ctx.progress(fraction), Written::Recorded);
            }
            for output in ["first", "last"] {
                assert_eq!(ctx.set_output(Payload::from(output)), Written::Recorded);
            }
            Ok(())
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!((&report.output, &report.partial), (&Some(Payload::from("last")), &None));
    let trace = testing::trace(run.run()).await;
    let said = trace.iter().filter_map(|event| match event.kind {
        EventKind::Progress(fraction) => Some(fraction),
        _ => None,
    });
    assert_eq!(said.collect::<Vec<_>>(), [0.0, 0.5, 1.0, 0.0, 1.0]);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i15_a_stop_that_is_there_already_wins_against_a_future_that_is_ready() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("ready"), async |ctx| {
            assert_eq!(ctx.run_until_stopped(ready(7)).await.unwrap(), 7);
            ctx.run().cancel(CancelRequest::because("enough"));
            let stopped = ctx.run_until_stopped(ready(7)).await.unwrap_err();
            assert_eq!(stopped.cause.message.as_deref(), Some("enough"));
            let witness = Witness::new();
            let seen = witness.clone();
            let refused = ctx.spawn_blocking(move |_| drop(seen.enter())).await;
            assert_eq!((refused.unwrap_err(), witness.entered()), (stopped.clone(), 0));
            assert_eq!(ctx.hold(Work::Process, "late").unwrap_err(), stopped);
            Ok(())
        })
        .unwrap();
    let report = run.ended().await;
    assert!(report.own_row().cleanup_errors.is_empty(), "{report:?}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i27_a_blocking_closure_gives_its_panic_on_and_its_run_waits_for_one_that_was_dropped() {
    let lab = Lab::real();
    let panics = lab.submit(RunSpec::agent("panics"), async |ctx| {
        ctx.spawn_blocking(|_| std::panic::panic_any("broken")).await?;
        Ok(())
    });
    let RunError::Failed(failed) = panics.unwrap().await.unwrap_err() else { panic!("it failed") };
    assert!(failed.failure.is_panic());
    assert_eq!(failed.failure.to_string(), "panicked: broken");
    let (gate, witness) = (Gate::new(), Witness::new());
    let _open = gate.at_end();
    let (held, seen) = (gate.clone(), witness.clone());
    let drops = lab.submit(RunSpec::agent("drops"), async move |ctx| {
        let closure = ctx.spawn_blocking(move |_| {
            let _inside = seen.enter();
            held.spin();
        });
        drop(tokio::time::timeout(ms(50), closure).await);
        Err::<(), _>(Failure::new("body is through"))
    });
    let drops = drops.unwrap();
    soon("the closure runs", || witness.inside() == 1).await;
    tokio::time::sleep(ms(100)).await;
    assert!(!drops.run().status().is_terminal(), "its closure works on");
    gate.open();
    assert!(within("the run ends", drops.ended()).await.quiescent);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i27_a_blocking_closure_of_a_run_that_fails_hears_of_it_and_why() {
    let lab = Lab::real();
    let told = Arc::new(Mutex::new(None));
    let tell = Arc::clone(&told);
    let run = lab.submit(RunSpec::agent("fails"), async move |ctx| {
        let closure = ctx.spawn_blocking(move |blocking| {
            assert!(blocking.cause().is_none());
            while !blocking.is_stopping() {
                std::thread::yield_now();
            }
            *tell.lock().unwrap() = blocking.cause();
        });
        drop(tokio::time::timeout(ms(20), closure).await);
        Err::<(), _>(Failure::new("broken"))
    });
    let report = within("the run ends", run.unwrap().ended()).await;
    assert_eq!((report.status, report.quiescent), (RunStatus::Failed, true));
    let cause = told.lock().unwrap().take().expect("there is a cause");
    assert_eq!((cause.kind, cause.message.as_deref()), (CauseKind::ParentFailed, Some("broken")));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i2_filters_let_through_what_they_say_and_lists_are_in_order() {
    let lab = Lab::paused();
    let team = RunSpec::team("team").owner("ada").label("a", "1").label("a", "2").label("b", "3");
    let team = lab.submit(team, async |ctx| {
        drop(ctx.spawn(RunSpec::step("below"), listener).into_ref());
        listener(ctx).await
    });
    let team = team.unwrap().into_ref();
    let over = lab.submit(RunSpec::agent("over").owner("bob"), async |_| Ok(())).unwrap();
    let over = over.into_ref();
    over.quiescent().await;
    let waits = RunSpec::agent("waits").not_before(now() + secs(60)).lane("L", OnBusy::Enqueue);
    let waits = lab.submit(waits, listener).unwrap().into_ref();
    let names = |filter: RunFilter| -> Vec<String> {
        lab.runs(&filter).iter().map(|run| run.name().to_owned()).collect()
    };
    let all = RunFilter::new;
    assert!(lab.runs(&all()).is_sorted_by_key(RunRef::id));
    assert_eq!(names(all()).len(), 4);
    assert_eq!(names(all().roots()), ["team", "over", "waits"]);
    assert_eq!(names(all().kind(RunKind::Step)), ["below"]);
    let statuses = all().status(RunStatus::Queued).status(RunStatus::Completed);
    assert_eq!(names(statuses), ["over", "waits"], "several statuses add up");
    assert_eq!(names(all().live().roots()), ["team", "waits"]);
    assert_eq!(names(all().name("below")), ["below"]);
    assert_eq!(names(all().owner("ada")), ["team"]);
    assert_eq!(names(all().label("a", "2").label("b", "3")), ["team"]);
    assert!(names(all().label("a", "2").label("b", "4")).is_empty(), "labels apply together");
    assert!(names(all().label("a", "1")).is_empty(), "the same key again replaces it");
    let answers = lab.cancel_where(&all().roots(), CancelRequest::because("over"));
    let of = |id| answers.iter().find(|(run, _)| *run == id).map(|(_, answer)| answer.clone());
    let completed = Disposition::AlreadyTerminal { status: RunStatus::Completed };
    assert_eq!((answers.len(), of(over.id())), (3, Some(completed)));
    assert!(matches!(of(team.id()), Some(Disposition::Accepted { .. })));
    assert!(matches!(of(waits.id()), Some(Disposition::Accepted { .. })));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i28_joins_yield_in_order_and_return_when_the_others_have_ended() {
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::team("joins"), async |ctx| {
        let after = |time: u64| {
            ctx.spawn(RunSpec::step("after"), async move |_| {
                tokio::time::sleep(secs(time)).await;
                Ok(time)
            })
        };
        let outcomes = join::all([after(3), after(1), after(2)]).await;
        let values: Vec<_> = outcomes.into_iter().filter_map(Outcome::into_value).collect();
        assert_eq!(values, [3, 1, 2]);
        let fails = |words: &'static str, time: u64| {
            ctx.spawn(RunSpec::step(words), async move |_| {
                tokio::time::sleep(secs(time)).await;
                Err::<u64, _>(Failure::new(words))
            })
        };
        let cleans = |stopped: &Kept| {
            let handle = ctx.spawn(RunSpec::step("cleans"), async |ctx| {
                ctx.stopped().await;
                tokio::time::sleep(secs(1)).await;
                Ok(0)
            });
            *stopped.lock().unwrap() = Some(handle.run().clone());
            handle
        };
        let slow = Kept::default();
        let stopped = || slow.lock().unwrap().clone().expect("it was started");
        let error = join::try_all([cleans(&slow), fails("broken", 1)]).await.unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
        let report = stopped().report();
        assert_eq!(report.status, RunStatus::Cancelled, "it has ended");
        assert_eq!(report.cause.as_ref().unwrap().kind, CauseKind::SiblingFailed);
        assert_eq!(join::first_ok([cleans(&slow), after(1)]).await.unwrap(), 1);
        let report = stopped().report();
        assert_eq!(report.status, RunStatus::Cancelled, "it has ended");
        assert_eq!(report.cause.as_ref().unwrap().kind, CauseKind::RaceLost);
        let errors = join::first_ok([fails("one", 2), fails("two", 1)]).await.unwrap_err();
        let words: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert!(words[0].contains("one") && words[1].contains("two"), "{words:?}");
        Ok(())
    });
    assert_eq!(run.unwrap().ended().await.status, RunStatus::Completed);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i5_a_failure_that_is_given_up_stays_the_childs_and_one_that_is_passed_on_names_the_first()
{
    let lab = Lab::paused();
    let fails = async |_| Err::<(), _>(Failure::new("broken"));
    let parent = lab.submit(RunSpec::team("parent"), async move |ctx| {
        let child = ctx.spawn(RunSpec::step("given up"), fails).into_ref();
        assert_eq!(child.ended().await.status, RunStatus::Failed);
        assert_eq!(ctx.run().children(), std::slice::from_ref(&child), "it has a row");
        assert_eq!(child.parent().as_ref(), Some(ctx.run()));
        Ok(())
    });
    let parent = parent.unwrap();
    assert_eq!(parent.run().parent(), None);
    assert_eq!(parent.ended().await.status, RunStatus::Completed);
    let chain = lab.submit(RunSpec::team("top"), async move |ctx| {
        let middle = ctx.spawn(RunSpec::team("middle"), async move |ctx| {
            Ok(ctx.spawn(RunSpec::step("first"), fails).await?)
        });
        Ok(middle.await?)
    });
    let error = chain.unwrap().await.unwrap_err().to_string();
    assert!(error.contains("`first` failed: broken") && !error.contains("middle"), "{error}");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i25_what_is_used_after_the_end_counts_for_the_nearest_run_above_that_is_live() {
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::team("root"), async |ctx| {
        let middle = ctx.spawn(RunSpec::team("middle"), async |ctx| {
            let below = ctx.clone();
            Ok(ctx.spawn(RunSpec::step("below"), async move |own| Ok((below, own))).await?)
        });
        let (middle, below) = middle.await?;
        let used = Usage { output_tokens: 5, ..Usage::default() };
        assert_eq!(below.usage(used), Written::Late);
        assert_eq!(middle.run().report().own_row().usage, Usage::default());
        assert_eq!(ctx.run().report().own_row().usage, used);
        assert_eq!(below.emit("late"), Written::Late);
        assert_eq!(below.run().report().own_row().late_output, 2);
        Ok(())
    });
    assert_eq!(run.unwrap().ended().await.status, RunStatus::Completed);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i38_a_shutdown_counts_what_was_live_and_names_what_had_been_abandoned_before() {
    // What can be dropped has gone by then, also on a busy machine.
    let lab = Lab::with(config().grace(ms(10)).abort_wait(secs(2)));
    let gate = Gate::new();
    let _open = gate.at_end();
    let (begun, held) = (Gate::new(), gate.clone());
    let begins = begun.clone();
    let stuck = lab.submit(RunSpec::agent("stuck"), async move |ctx| {
        ctx.spawn_blocking(move |_| {
            begins.open();
            held.spin();
        })
        .await?;
        Ok(())
    });
    let stuck = stuck.unwrap().into_ref();
    soon("it blocks", || begun.is_open()).await;
    stuck.cancel(CancelRequest::because("enough"));
    within("it is abandoned", stuck.ended()).await;
    let live = lab.submit(RunSpec::agent("live"), naive).unwrap();
    let plan = Shutdown::from(ms(10));
    assert_eq!((plan.grace, plan.after_step), (ms(10), Duration::ZERO));
    let report = within("shutdown", lab.shutdown(plan)).await;
    assert_eq!(report.roots.total(), 1, "the other had ended before: {report:?}");
    assert_eq!(report.abandoned.len(), 1);
    assert_eq!((report.abandoned[0].run, report.abandoned[0].what), (stuck.id(), Work::Blocking));
    assert_eq!(live.ended().await.status, RunStatus::Cancelled);
    gate.open();
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i31_a_handle_that_is_dropped_lets_its_run_go_on_and_the_last_engine_stops_it() {
    let engine = Engine::with_config(config().control_on_runtime());
    let run = engine.submit(RunSpec::agent("goes on"), listener).unwrap();
    let kept = run.run().clone();
    drop(tokio::time::timeout(secs(1), run).await);
    assert_eq!(kept.status(), RunStatus::Running);
    let clone = engine.clone();
    drop(engine);
    tokio::time::sleep(secs(1)).await;
    assert_eq!(kept.status(), RunStatus::Running, "one engine is left");
    drop(clone);
    let cause = kept.ended().await.cause.clone().unwrap();
    assert_eq!((kept.status(), cause.kind), (RunStatus::Cancelled, CauseKind::Shutdown));
}

#[tokio::test(start_paused = true)]
async fn i30_the_streams_of_an_engine_begin_now_and_number_gaps_by_themselves() {
    let lab = Lab::paused();
    let before = lab.submit(RunSpec::agent("before"), async |_| Ok(())).unwrap();
    before.ended().await;
    let mut events = Engine::events(&lab);
    let run = lab.submit(RunSpec::agent("chatty"), async |ctx| {
        for _ in 0..limits::SUBSCRIBER_BACKLOG_MAX + 10 {
            ctx.emit("word");
        }
        Ok(())
    });
    let run = run.unwrap();
    run.ended().await;
    let first = events.next().await.unwrap();
    // Queued, Started, the words and the end, of which it holds the newest.
    assert_eq!(first.kind, EventKind::Lagged { from: 1, to: 13 });
    let next = events.next().await.unwrap();
    assert_eq!((next.root, next.seq), (run.id(), 14), "the number in the tree's log");
    drop(events);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i12_a_context_is_one_word_and_refuses_no_spawn_at_the_call() {
    assert_eq!(size_of::<quell::RunContext>(), size_of::<usize>());
    assert_eq!(size_of::<RunRef>(), size_of::<usize>());
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::team("stops"), async |ctx| {
        ctx.run().cancel(CancelRequest::because("enough"));
        let late = ctx.spawn(RunSpec::step("late"), async |_| Ok(()));
        let late_run = late.run().clone();
        let RunError::Stopped(stopped) = late.await.unwrap_err() else { panic!("stopped") };
        assert_eq!(stopped.cause.message.as_deref(), Some("enough"));
        assert!(ctx.run().children().is_empty() && late_run.status().is_terminal());
        pending::<()>().await;
        Ok(())
    });
    let report = run.unwrap().ended().await;
    assert_eq!(report.rows.len(), 1, "what was refused is in no report");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_names_its_run_without_what_a_terminal_would_obey() {
    let lab = Lab::paused();
    let spec = RunSpec::agent("a\u{1b}[2J\nb'ä");
    let run = lab.submit(spec, async |_| Err::<(), _>(Failure::new("no"))).unwrap();
    let error = run.await.unwrap_err().to_string();
    assert_eq!(error, "run `a\u{fffd}[2J\u{fffd}b'ä` failed: no");
    lab.finish().await;
}
