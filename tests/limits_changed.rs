use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quell::testing::held;
use quell::{
    CancelRequest, CauseKind, LimitsOutcome, NewLimits, OnBusy, RunContext, RunRef, RunReport,
    RunSpec, RunStatus,
};

use crate::support::{Lab, ignorant, listener, naive, now, secs};

fn changed(deadline: impl Into<Option<Instant>>) -> LimitsOutcome {
    LimitsOutcome::Changed { deadline: deadline.into() }
}

fn ends(report: &RunReport) -> Vec<(&str, RunStatus)> {
    report.rows.iter().map(|row| (&*row.name, row.status)).collect()
}

fn cause_of(report: &RunReport) -> CauseKind {
    report.cause.as_ref().expect("it was stopped").kind
}

/// A run that has started and waits for a stop.
async fn started(lab: &Lab, spec: RunSpec) -> RunRef {
    let run = lab.submit(spec, listener).unwrap().into_ref();
    tokio::task::yield_now().await;
    assert_eq!(run.status(), RunStatus::Running);
    run
}

#[tokio::test(start_paused = true)]
async fn i10_a_changed_timeout_counts_from_the_start_and_fires_when_it_says() {
    let lab = Lab::paused();
    // The timeout so far, the new one, and after how many seconds the run ends.
    let table = [
        (Some(60), Some(5), 5),
        (Some(4), Some(60), 60),
        (Some(4), None, 1_000),
        (None, Some(7), 7),
        (Some(9), Some(9), 9),
        (Some(60), Some(2), 3),
        (Some(60), Some(0), 3),
    ];
    for (before, after, end) in table {
        let mut spec = RunSpec::agent("changed");
        if let Some(before) = before {
            spec = spec.timeout(secs(before));
        }
        let began = now();
        let run = started(&lab, spec).await;
        tokio::time::sleep(secs(3)).await;
        let outcome = run.set_timeout(after.map(secs));
        match after {
            Some(..=3) => {
                assert!(matches!(outcome, LimitsOutcome::Exceeded { .. }), "{outcome:?}");
                assert_eq!(run.status(), RunStatus::Stopping, "at once");
            }
            _ => assert_eq!(outcome, changed(after.map(|after| began + secs(after)))),
        }
        let capped = tokio::time::timeout(secs(997), run.ended()).await;
        assert_eq!(now() - began, secs(end), "from {before:?} s to {after:?} s");
        if after.is_none() {
            run.cancel(CancelRequest::because("enough"));
            assert_eq!(run.ended().await.status, RunStatus::Cancelled);
        } else {
            let report = capped.unwrap();
            assert_eq!(
                (report.status, cause_of(&report)),
                (RunStatus::TimedOut, CauseKind::Deadline)
            );
        }
    }
    lab.finish().await;
}

/// A root of 10 s whose child has no timeout, or one of its own; both read their deadline whenever
/// they are asked.
async fn family(lab: &Lab, own: Option<Duration>) -> (RunRef, RunRef, Seen) {
    let seen = Seen::default();
    let (asked, mut spec) = (seen.clone(), RunSpec::step("child"));
    if let Some(own) = own {
        spec = spec.timeout(own);
    }
    let root = lab
        .submit(RunSpec::workflow("root").timeout(secs(10)), async move |ctx| {
            let child = ctx.spawn(spec, async move |ctx| {
                *asked.0.lock().unwrap() = Some(ctx.clone());
                listener(ctx).await
            });
            child.ended().await;
            listener(ctx).await
        })
        .unwrap()
        .into_ref();
    while seen.0.lock().unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    let child = root.children().remove(0);
    (root, child, seen)
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Option<RunContext>>>);

impl Seen {
    fn deadline(&self) -> Option<Instant> {
        self.0.lock().unwrap().as_ref().unwrap().deadline()
    }
}

#[tokio::test(start_paused = true)]
async fn i10_a_child_that_was_spawned_before_has_what_its_ancestors_allow_now() {
    let lab = Lab::paused();
    let began = now();
    let (root, child, seen) = family(&lab, None).await;
    let (second, second_child, second_seen) = family(&lab, Some(secs(30))).await;
    for at in [seen.deadline(), second_seen.deadline()] {
        assert_eq!(at, Some(began + secs(10)));
    }
    root.set_timeout(secs(20));
    assert_eq!(seen.deadline(), Some(began + secs(20)), "lengthened with its parent");
    assert_eq!(second.set_timeout(None), changed(None));
    assert_eq!(second_seen.deadline(), Some(began + secs(30)), "its own is left");
    tokio::time::sleep(secs(15)).await;
    assert_eq!((root.status(), child.status()), (RunStatus::Running, RunStatus::Running));
    assert_eq!(root.set_timeout(secs(17)), changed(began + secs(17)));
    let report = root.ended().await;
    assert_eq!(now() - began, secs(17), "shortened again");
    let (root_end, child_end) = (("root", RunStatus::TimedOut), ("child", RunStatus::Cancelled));
    assert_eq!(ends(&report), [root_end, child_end], "I11");
    second_child.ended().await;
    assert_eq!(now() - began, secs(30));
    assert_eq!(second_child.status(), RunStatus::TimedOut);
    second.cancel(CancelRequest::because("enough"));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i10_no_change_gives_a_run_longer_than_its_ancestors_allow() {
    let lab = Lab::paused();
    let began = now();
    for wanted in [Some(secs(60)), None, Some(Duration::MAX)] {
        let began = now();
        let (root, child, seen) = family(&lab, Some(secs(2))).await;
        assert_eq!(child.set_timeout(wanted), changed(began + secs(10)));
        assert_eq!(seen.deadline(), Some(began + secs(10)));
        let report = root.ended().await;
        assert_eq!(now() - began, secs(10));
        let (root_end, child_end) =
            (("root", RunStatus::TimedOut), ("child", RunStatus::Cancelled));
        assert_eq!(ends(&report), [root_end, child_end], "I11: the root declared what fired");
    }
    assert_eq!(now() - began, secs(30));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i25_a_run_that_leaves_keeps_its_changed_timeout_and_loses_that_of_its_parent() {
    let lab = Lab::paused();
    let began = now();
    let (root, child, seen) = family(&lab, Some(secs(5))).await;
    child.set_timeout(secs(40));
    child.detach().unwrap();
    assert_eq!(seen.deadline(), Some(began + secs(40)));
    root.set_timeout(secs(8));
    assert_eq!(child.set_timeout(secs(50)), changed(began + secs(50)));
    assert_eq!(root.ended().await.status, RunStatus::TimedOut);
    assert_eq!(now() - began, secs(8));
    assert_eq!(child.ended().await.status, RunStatus::TimedOut);
    assert_eq!(now() - began, secs(50));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i21_a_queued_run_has_its_new_limits_when_it_starts() {
    let lab = Lab::paused();
    let lane = |name: &'static str| RunSpec::agent(name).lane("L", OnBusy::Enqueue);
    let busy = started(&lab, lane("busy")).await;
    let began = now();
    let soon = lab.submit(lane("soon").start_within(secs(5)), listener).unwrap().into_ref();
    let timed = lab.submit(lane("timed").timeout(secs(60)), listener).unwrap().into_ref();
    let never = lab.submit(lane("never"), listener).unwrap().into_ref();
    assert_eq!(timed.set_timeout(secs(3)), changed(None), "nobody knows when it starts");
    tokio::time::sleep(secs(4)).await;
    assert_eq!(soon.set_limits(NewLimits::new().start_within(secs(9))), changed(None));
    tokio::time::sleep(secs(2)).await;
    assert_eq!(soon.status(), RunStatus::Queued, "its old time to start is over");
    let outcome = never.set_limits(NewLimits::new().start_within(secs(6)));
    assert!(matches!(outcome, LimitsOutcome::Exceeded { .. }), "{outcome:?}");
    let report = never.ended().await;
    assert_eq!((report.status, cause_of(&report)), (RunStatus::TimedOut, CauseKind::Deadline));
    assert_eq!(report.own_row().started_at, None);
    assert_eq!(soon.ended().await.status, RunStatus::TimedOut);
    assert_eq!(now() - began, secs(9));
    busy.cancel(CancelRequest::because("the next one"));
    assert_eq!(timed.ended().await.status, RunStatus::TimedOut);
    assert_eq!(now() - began, secs(12), "three seconds after its start");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i10_a_new_idle_limit_counts_from_the_last_sign_of_life() {
    let lab = Lab::paused();
    // The new limit, and after how many seconds the run ends: its last sign is at 3, the change
    // at 5.
    for (idle, end) in [(Some(6), 9), (Some(2), 5), (Some(0), 5), (None, 500)] {
        let began = now();
        let run = lab.submit(RunSpec::agent("talker").idle(secs(4)), async |ctx| {
            tokio::time::sleep(secs(3)).await;
            ctx.emit("word");
            listener(ctx).await
        });
        let run = run.unwrap().into_ref();
        tokio::time::sleep(secs(5)).await;
        let outcome = run.set_idle(idle.map(secs));
        assert_eq!(matches!(outcome, LimitsOutcome::Exceeded { .. }), end == 5, "{outcome:?}");
        let ended = tokio::time::timeout(secs(495), run.ended()).await;
        assert_eq!(now() - began, secs(end));
        match ended {
            Ok(report) => assert_eq!(cause_of(&report), CauseKind::IdleTimeout),
            Err(_) => drop(run.cancel(CancelRequest::because("enough"))),
        }
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i11_an_idle_limit_that_comes_later_sees_the_runs_spawned_before_it() {
    let lab = Lab::paused();
    let began = now();
    let root = lab
        .submit(RunSpec::team("root").idle(secs(100)), async |ctx| {
            let middle = ctx.spawn(RunSpec::step("middle"), async |ctx| {
                let plain = ctx.spawn(RunSpec::step("plain"), talks_for_ten);
                let watched = RunSpec::step("watched").idle(secs(90));
                let watched = ctx.spawn(watched, async |ctx| {
                    tokio::time::sleep(secs(10)).await;
                    talks_for_ten(ctx).await
                });
                plain.ended().await;
                watched.ended().await;
                let after = ctx.spawn(RunSpec::step("after"), talks_for_ten);
                after.ended().await;
                listener(ctx).await
            });
            middle.ended().await;
            listener(ctx).await
        })
        .unwrap()
        .into_ref();
    tokio::time::sleep(secs(1)).await;
    let middle = root.children().remove(0);
    // It had none of its own: it counts from here, and is shown what is below.
    assert_eq!(middle.set_idle(secs(2)), changed(None));
    let report = middle.ended().await;
    assert_eq!(now() - began, secs(32), "two seconds after the last word of the last child");
    assert_eq!((report.status, cause_of(&report)), (RunStatus::TimedOut, CauseKind::IdleTimeout));
    let below = ["plain", "watched", "after"].map(|name| (name, RunStatus::Completed));
    assert_eq!(ends(&report)[1..], below);
    // And those above still see what is below it: the end of `middle` was the last sign.
    assert_eq!(root.ended().await.status, RunStatus::TimedOut);
    assert_eq!(now() - began, secs(132));
    lab.finish().await;
}

/// Emits a word each second.
async fn talks_for_ten(ctx: RunContext) -> Result<(), quell::Failure> {
    for _ in 0..10 {
        tokio::time::sleep(secs(1)).await;
        ctx.emit("word");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn i25_a_subtree_that_leaves_shows_an_idle_limit_that_came_later_nothing_more() {
    let lab = Lab::paused();
    let began = now();
    let root = lab.submit(RunSpec::team("root"), async |ctx| {
        drop(ctx.spawn(RunSpec::step("plain"), talks_for_ten).into_ref());
        drop(ctx.spawn(RunSpec::step("watched").idle(secs(90)), talks_for_ten).into_ref());
        listener(ctx).await
    });
    let root = root.unwrap().into_ref();
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    root.set_idle(secs(2));
    let children = root.children();
    for child in &children {
        child.detach().unwrap();
    }
    assert_eq!(root.ended().await.status, RunStatus::TimedOut);
    assert_eq!(now() - began, Duration::from_millis(5_500));
    for child in children {
        assert_eq!(child.ended().await.status, RunStatus::Completed);
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i23_a_run_that_is_stopping_or_over_keeps_its_limits_and_says_so() {
    let lab = Lab::paused();
    let began = now();
    let spec = RunSpec::agent("stopping").timeout(secs(60)).grace(secs(4));
    let run = lab.submit(spec, ignorant).unwrap().into_ref();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("first"));
    for limits in [NewLimits::new().timeout(secs(0)), NewLimits::new().idle(secs(900))] {
        let LimitsOutcome::AlreadyStopping { cause, hard_deadline } = run.set_limits(limits) else {
            panic!("{limits:?}")
        };
        assert_eq!((cause.message.as_deref(), hard_deadline), (Some("first"), began + secs(4)));
    }
    let report = run.ended().await;
    assert_eq!((report.status, cause_of(&report)), (RunStatus::Cancelled, CauseKind::UserRequest));
    assert_eq!(now() - began, secs(4), "the grace is no limit that changes");
    let events = quell::testing::trace(&run).await.len();
    for limits in [NewLimits::new(), NewLimits::new().timeout(None).idle(secs(0))] {
        let outcome = run.set_limits(limits);
        assert_eq!(outcome, LimitsOutcome::AlreadyTerminal { status: RunStatus::Cancelled });
    }
    assert_eq!(quell::testing::trace(&run).await.len(), events);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i10_a_body_changes_the_limits_of_its_own_run() {
    let lab = Lab::paused();
    let began = now();
    let run = lab
        .submit(RunSpec::agent("asks for more").timeout(secs(2)), async move |ctx| {
            tokio::time::sleep(secs(1)).await;
            assert_eq!(ctx.run().set_timeout(secs(30)), changed(began + secs(30)));
            assert_eq!(ctx.deadline(), Some(began + secs(30)));
            tokio::time::sleep(secs(9)).await;
            let over = ctx.run().set_timeout(secs(10));
            assert!(matches!(over, LimitsOutcome::Exceeded { .. }), "{over:?}");
            assert!(ctx.is_stopping());
            Ok(())
        })
        .unwrap();
    assert_eq!(run.ended().await.status, RunStatus::TimedOut);
    assert_eq!(now() - began, secs(10));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i39_a_storm_of_changes_leaves_one_timer_and_then_none() {
    let lab = Lab::paused();
    let runs = [
        started(&lab, RunSpec::agent("calm").timeout(secs(500))).await,
        started(&lab, RunSpec::agent("storm").timeout(secs(500))).await,
    ];
    for turn in 0..100_000_u64 {
        let limits = NewLimits::new().timeout(secs(100 + turn % 300)).idle(secs(900 - turn % 300));
        let outcome = runs[1].set_limits(limits);
        assert!(outcome.is_changed(), "{outcome:?}");
    }
    assert_eq!(held(&lab).timers, 2, "one for each run");
    runs[1].set_limits(NewLimits::new().timeout(None).idle(None));
    assert_eq!(held(&lab).timers, 1);
    runs[1].cancel(CancelRequest::because("enough"));
    runs[1].ended().await;
    assert_eq!(runs[0].ended().await.status, RunStatus::TimedOut);
    assert_eq!(held(&lab).timers, 0);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i20_new_limits_do_not_bring_back_a_stop_that_is_asked_for() {
    let lab = Lab::paused();
    let run = started(&lab, RunSpec::agent("busy").timeout(secs(5))).await;
    run.cancel(CancelRequest::because("after this step").after_step(Some(secs(20))));
    assert!(run.set_timeout(secs(60)).is_changed(), "the stop is not accepted yet");
    let began = now();
    let report = run.ended().await;
    assert_eq!(now() - began, secs(20));
    assert_eq!((report.status, cause_of(&report)), (RunStatus::Cancelled, CauseKind::UserRequest));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i12_a_run_that_is_over_its_new_limit_has_its_grace_and_no_more() {
    let lab = Lab::paused();
    for (body, took) in [("naive", 0), ("ignorant", 3)] {
        let spec = RunSpec::agent(body).grace(secs(3));
        let run = match body {
            "naive" => lab.submit(spec, naive).unwrap(),
            _ => lab.submit(spec, ignorant).unwrap(),
        };
        tokio::time::sleep(secs(1)).await;
        let began = now();
        let outcome = run.run().set_timeout(secs(1));
        assert_eq!(outcome, LimitsOutcome::Exceeded { hard_deadline: began + secs(3) });
        assert_eq!(run.ended().await.status, RunStatus::TimedOut);
        assert_eq!(now() - began, secs(took));
    }
    lab.finish().await;
}
