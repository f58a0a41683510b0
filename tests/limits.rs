use std::sync::{Arc, Mutex};

use quell::testing::held;
use quell::{
    CancelRequest, Hold, OnBusy, RunFilter, RunKind, RunLimits, RunRef, RunSpec, RunStatus, Scope,
    SubmitError, WaitsFor, Work, limits,
};

use crate::support::{Book, Lab, config, listener, now, secs, within};

fn running(max: usize) -> RunLimits {
    RunLimits::new().running_max(max)
}

fn queued(max: usize) -> RunLimits {
    RunLimits::new().queued_max(max)
}

fn lab(limits: impl IntoIterator<Item = (Scope, RunLimits)>) -> Lab {
    let config = config().control_on_runtime();
    Lab::with(limits.into_iter().fold(config, |config, (scope, it)| config.limit(scope, it)))
}

/// Submits a run that stays until it is stopped.
fn stay(lab: &Lab, spec: RunSpec) -> RunRef {
    lab.submit(spec, listener).unwrap().into_ref()
}

fn stop(run: &RunRef) {
    run.cancel(CancelRequest::because("enough"));
}

/// Waits until every run has started that may.
async fn settle() {
    tokio::time::sleep(secs(1)).await;
}

fn is_running(run: &RunRef) -> bool {
    run.status() == RunStatus::Running
}

async fn finish(lab: Lab) {
    lab.cancel_where(&RunFilter::new(), CancelRequest::because("over"));
    for run in lab.runs(&RunFilter::new().roots()) {
        within("every run ends", run.quiescent()).await;
    }
    assert_eq!(held(&lab).admission, 0, "nothing waits, and no slot is taken");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i21_a_run_starts_when_each_of_its_limits_has_room_and_not_before() {
    let writer = Scope::component(RunKind::Agent, "writer");
    let scopes = [Scope::All, Scope::Kind(RunKind::Agent), writer, Scope::EachOwner];
    let spec = || RunSpec::agent("writer").owner("ada");
    let others = [
        None,
        Some(RunSpec::team("writer").owner("ada")),
        Some(RunSpec::agent("reader").owner("ada")),
        Some(RunSpec::agent("writer").owner("bob")),
    ];
    for (scope, other) in scopes.into_iter().zip(others) {
        let lab = lab([(scope.clone(), running(1))]);
        let first = stay(&lab, spec());
        let second = stay(&lab, spec());
        settle().await;
        assert!(is_running(&first) && !is_running(&second), "{scope}");
        let position = second.queue_position().unwrap();
        assert_eq!((position.ahead, position.waits_for), (0, WaitsFor::Slot(scope.clone())));
        assert_eq!(first.queue_position(), None, "{scope}");
        if let Some(other) = other {
            let other = stay(&lab, other);
            settle().await;
            assert!(is_running(&other), "it does not come under the limit: {scope}");
        }
        stop(&first);
        settle().await;
        assert!(is_running(&second), "{scope}");
        finish(lab).await;
    }
}

#[tokio::test(start_paused = true)]
async fn i21_runs_without_an_owner_share_one_limit() {
    let lab = lab([(Scope::EachOwner, running(1))]);
    let runs = ["one", "two"].map(|name| stay(&lab, RunSpec::agent(name)));
    settle().await;
    assert!(is_running(&runs[0]) && !is_running(&runs[1]));
    finish(lab).await;
}

#[tokio::test(start_paused = true)]
async fn i21_of_a_hundred_thousand_queued_runs_a_full_limit_holds_up_only_its_own() {
    const HALF: usize = 50_000;
    let scopes = ["busy", "free"].map(|name| Scope::component(RunKind::Agent, name));
    let lab = lab(scopes.clone().map(|scope| (scope, running(1))));
    let holder = stay(&lab, RunSpec::agent("busy"));
    let mut runs = Vec::new();
    for name in ["busy", "free"] {
        let many = (0..HALF).map(|_| {
            let run = lab.submit(RunSpec::agent(name), async |_| Ok(()));
            run.unwrap().into_ref()
        });
        runs.push(many.collect::<Vec<_>>());
    }
    // The last of each: nothing has started but the first of each.
    for (runs, scope) in runs.iter().zip(scopes) {
        let position = runs[HALF - 1].queue_position().unwrap();
        let ahead = (limits::QUEUE_AHEAD_MAX, WaitsFor::Slot(scope.clone()));
        assert_eq!((position.ahead, position.waits_for), ahead);
        let early = runs[100].queue_position().unwrap();
        assert!((99..=100).contains(&early.ahead), "{early:?}");
    }
    for run in &runs[1] {
        assert_eq!(run.ended_status().await, RunStatus::Completed);
    }
    settle().await;
    assert!(is_running(&holder) && runs[0].iter().all(|run| run.status() == RunStatus::Queued));
    for run in runs[0].iter().rev() {
        stop(run);
    }
    finish(lab).await;
}

#[tokio::test(start_paused = true)]
async fn i21_the_highest_priority_starts_first_then_who_came_first_in_lanes_too() {
    for lane in [None, Some("L")] {
        let lab = lab([(Scope::All, running(1))]);
        let book = Book::default();
        let submit = |name: &'static str, priority: i8, due: u64| {
            let (spec, book) = (RunSpec::agent(name).priority(priority), book.clone());
            let spec = if due > 0 { spec.not_before(now() + secs(due)) } else { spec };
            let spec = match lane {
                Some(lane) => spec.lane(lane, OnBusy::Enqueue),
                None => spec,
            };
            let run = lab.submit(spec, async move |_| {
                book.note(name);
                tokio::time::sleep(secs(10)).await;
                Ok(())
            });
            run.unwrap().into_ref()
        };
        submit("holds", 0, 0);
        submit("night", -5, 0);
        submit("first", 0, 0);
        submit("late", 0, 5);
        submit("second", 0, 0);
        submit("never due", 100, 1_000);
        submit("urgent", 7, 0);
        tokio::time::sleep(secs(100)).await;
        let order = ["holds", "urgent", "first", "second", "late", "night"];
        assert_eq!(book.read(), order, "{lane:?}");
        finish(lab).await;
    }
}

#[tokio::test(start_paused = true)]
async fn i36_who_holds_a_lane_and_waits_for_a_slot_gives_way_to_a_higher_priority() {
    let agents = Scope::Kind(RunKind::Agent);
    let lab = lab([(agents.clone(), running(0))]);
    let waits = stay(&lab, RunSpec::agent("waits").lane("L", OnBusy::Enqueue));
    let late = stay(&lab, RunSpec::team("late").lane("L", OnBusy::Enqueue));
    assert_eq!(late.queue_position().unwrap().ahead, 1, "the run before it has not started");
    let team = stay(&lab, RunSpec::team("urgent").lane("L", OnBusy::Enqueue).priority(1));
    settle().await;
    assert!(is_running(&team), "its kind has no limit");
    let position = waits.queue_position().unwrap();
    assert_eq!((position.ahead, position.waits_for), (0, WaitsFor::Lane("L".into())));
    assert_eq!(late.queue_position().unwrap().ahead, 1);
    stop(&team);
    settle().await;
    assert_eq!(waits.queue_position().unwrap().waits_for, WaitsFor::Slot(agents));
    stop(&waits);
    settle().await;
    assert!(is_running(&late));
    finish(lab).await;
}

#[tokio::test(start_paused = true)]
async fn i27_slots_return_when_the_run_is_quiescent_in_every_scope() {
    let writer = Scope::component(RunKind::Agent, "writer");
    for scope in [Scope::All, Scope::Kind(RunKind::Agent), writer, Scope::EachOwner] {
        let lab = lab([(scope.clone(), running(1))]);
        let kept = Arc::new(Mutex::new(None::<Hold>));
        let keep = Arc::clone(&kept);
        let spec = || RunSpec::agent("writer").owner("ada");
        let run = lab.submit(spec(), async move |ctx| {
            *keep.lock().unwrap() = Some(ctx.hold(Work::Process, "device")?);
            ctx.stopped().await;
            Ok(())
        });
        let run = run.unwrap().into_ref();
        let next = stay(&lab, spec());
        settle().await;
        stop(&run);
        assert!(!run.ended().await.quiescent, "the hold is abandoned");
        settle().await;
        assert!(!is_running(&next), "{scope}: what is abandoned keeps its slot");
        drop(kept.lock().unwrap().take());
        settle().await;
        assert!(is_running(&next), "{scope}");
        finish(lab).await;
    }
}

#[tokio::test(start_paused = true)]
async fn i39_a_full_queue_refuses_what_would_wait_and_says_whose_limit_it_is() {
    let writer = Scope::component(RunKind::Agent, "writer");
    let words = [
        (Scope::All, "in all"),
        (Scope::Kind(RunKind::Agent), "kind agent"),
        (writer, "component agent/writer"),
        (Scope::EachOwner, "owner"),
    ];
    for (scope, words) in words {
        let lab = lab([(scope.clone(), queued(2))]);
        let spec = || RunSpec::agent("writer").owner("ada");
        let in_lane = || spec().lane("L", OnBusy::Enqueue);
        // What starts at once is in no queue, and is never refused.
        for _ in 0..5 {
            stay(&lab, spec());
        }
        let holder = stay(&lab, in_lane());
        let waits = stay(&lab, in_lane());
        let due = stay(&lab, spec().not_before(now() + secs(60)));
        let before = held(&lab);
        for spec in [in_lane(), spec().not_before(now() + secs(60))] {
            let refused = lab.submit(spec, listener).unwrap_err();
            assert_eq!(refused, SubmitError::QueueFull { scope: scope.clone(), max: 2 });
            let told = format!("queue is full: at most 2 runs may wait ({words})");
            assert_eq!(refused.to_string(), told);
        }
        assert_eq!(held(&lab), before, "nothing was made");
        stay(&lab, spec());
        stop(&due);
        let again = stay(&lab, in_lane());
        stop(&holder);
        settle().await;
        assert!(is_running(&waits) && !is_running(&again), "{scope}");
        finish(lab).await;
    }
}

#[tokio::test(start_paused = true)]
async fn i39_a_queue_of_zero_takes_only_what_starts_at_once() {
    let lab = lab([(Scope::All, running(1).queued_max(0))]);
    let run = stay(&lab, RunSpec::agent("runs"));
    let refused = lab.submit(RunSpec::agent("waits"), listener).unwrap_err();
    assert_eq!(refused, SubmitError::QueueFull { scope: Scope::All, max: 0 });
    stop(&run);
    run.quiescent().await;
    settle().await;
    assert!(lab.submit(RunSpec::agent("next"), listener).is_ok());
    finish(lab).await;
}

#[tokio::test(start_paused = true)]
async fn i21_limits_that_change_start_who_waits_and_stop_nobody() {
    let writer = Scope::component(RunKind::Agent, "writer");
    for scope in [Scope::All, Scope::Kind(RunKind::Agent), writer, Scope::EachOwner] {
        let lab = lab([(scope.clone(), running(1))]);
        let runs = [(); 5].map(|()| stay(&lab, RunSpec::agent("writer").owner("ada")));
        let count = || runs.iter().filter(|run| is_running(run)).count();
        settle().await;
        assert_eq!(count(), 1, "{scope}");
        lab.set_limit(scope.clone(), lab.limit(&scope).running_max(3));
        settle().await;
        assert_eq!(count(), 3, "{scope}: raised");
        lab.set_limit(scope.clone(), running(1));
        settle().await;
        assert_eq!(count(), 3, "{scope}: nobody is stopped");
        stop(&runs[0]);
        stop(&runs[1]);
        settle().await;
        assert_eq!(count(), 1, "{scope}: slots fall");
        lab.set_limit(scope.clone(), RunLimits::new());
        settle().await;
        assert_eq!(count(), 3, "{scope}: no bound");
        finish(lab).await;
    }
}

#[tokio::test(start_paused = true)]
async fn i21_a_limit_that_comes_later_counts_what_runs_already() {
    let writer = Scope::component(RunKind::Agent, "writer");
    for scope in [Scope::All, Scope::Kind(RunKind::Agent), writer, Scope::EachOwner] {
        let lab = lab([]);
        let spec = || RunSpec::agent("writer").owner("ada");
        let child = lab.submit(spec(), async move |ctx| {
            // A child that leaves takes no slot, then or later.
            ctx.spawn(RunSpec::agent("writer"), listener).run().detach()?;
            listener(ctx).await
        });
        let first = child.unwrap().into_ref();
        let second = stay(&lab, spec());
        settle().await;
        lab.set_limit(scope.clone(), running(2));
        let third = stay(&lab, spec());
        settle().await;
        assert!(!is_running(&third), "{scope}: two run already");
        stop(&first);
        settle().await;
        assert!(is_running(&second) && is_running(&third), "{scope}");
        finish(lab).await;
    }
}
