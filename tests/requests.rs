use std::future::pending;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use quell::{
    CancelRequest, CauseKind, Disposition, EventKind, Failure, RunContext, RunHandle, RunRef,
    RunSpec, RunStatus, Shutdown, StopMode,
};

use crate::support::{Lab, chain, ignorant, listener, ms, naive, now, secs, seeds, within};

#[tokio::test(start_paused = true)]
async fn i6_the_first_cause_wins_and_nothing_overwrites_it() {
    let lab = Lab::paused();
    let spec = RunSpec::agent("many enemies").timeout(secs(2)).idle(secs(3)).grace(secs(9));
    let run = lab.submit(spec, ignorant).unwrap();
    tokio::time::sleep(secs(1)).await;
    let first = CancelRequest::because("first").by("ada").kind(CauseKind::Superseded);
    assert!(matches!(run.cancel(first), Disposition::Accepted { .. }));
    let answer = run.cancel(CancelRequest::because("second").by("bob"));
    let Disposition::AlreadyStopping { cause, .. } = answer else { panic!("{answer:?}") };
    assert_eq!((cause.message.as_deref(), cause.by.as_deref()), (Some("first"), Some("ada")));
    tokio::time::sleep(secs(4)).await;
    let shutdown = lab.shutdown(Shutdown::default());
    let report = tokio::join!(shutdown, run.ended()).1;
    let cause = report.cause.as_ref().unwrap();
    assert_eq!(cause.kind, CauseKind::Superseded);
    assert_eq!((cause.message.as_deref(), cause.by.as_deref()), (Some("first"), Some("ada")));
    assert_eq!((cause.origin, report.status), (report.run, RunStatus::Cancelled));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i6_the_cause_is_there_before_the_acknowledgement() {
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::agent("one"), naive).unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("now"));
    // Nothing was awaited since.
    let report = run.run().report();
    assert_eq!(report.cause.as_ref().unwrap().message.as_deref(), Some("now"));
    assert_eq!(report.status, RunStatus::Stopping);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i6_an_after_step_request_keeps_its_cause_when_another_stop_takes_hold_first() {
    let lab = Lab::paused();
    for escalation in ["cancel", "timeout", "time", "checkpoint"] {
        let spec = RunSpec::agent(escalation);
        let spec = if escalation == "timeout" { spec.timeout(secs(5)) } else { spec };
        let run = lab
            .submit(spec, async move |ctx| {
                tokio::time::sleep(secs(4)).await;
                if escalation == "checkpoint" {
                    ctx.checkpoint()?;
                }
                pending::<()>().await;
                Ok(())
            })
            .unwrap();
        tokio::task::yield_now().await;
        let began = now();
        let request = CancelRequest::because("after this step").after_step(Some(secs(7)));
        let answer = run.cancel(request);
        assert_eq!(answer, Disposition::Scheduled { escalate_at: began + secs(7) });
        assert_eq!(run.run().status(), RunStatus::Running, "it may go on");
        if escalation == "cancel" {
            tokio::time::sleep(secs(1)).await;
            let from = StopMode::AfterStep;
            let answer = run.cancel(CancelRequest::because("now"));
            assert_eq!(answer, Disposition::Escalated { from, to: StopMode::Cooperative });
        }
        let report = run.ended().await;
        let when = match escalation {
            "cancel" => secs(1),
            "timeout" => secs(5),
            "time" => secs(7),
            _ => secs(4),
        };
        assert_eq!(now() - began, when, "{escalation}");
        assert_eq!(report.status, RunStatus::Cancelled, "{escalation}");
        let cause = report.cause.as_ref().unwrap();
        assert_eq!(cause.message.as_deref(), Some("after this step"), "{escalation}");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i6_a_run_that_ends_before_its_next_checkpoint_keeps_its_own_outcome() {
    let lab = Lab::paused();
    let body = async |_| {
        tokio::time::sleep(secs(1)).await;
        Ok(7)
    };
    let run = lab.submit(RunSpec::agent("quick"), body).unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("after this step").after_step(None));
    let report = run.ended().await;
    assert_eq!((report.status, report.cause.clone()), (RunStatus::Completed, None));
    assert_eq!(run.await.unwrap(), 7);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i6_every_leaf_says_why_in_one_hop() {
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::workflow("root"), chain(20, listener)).unwrap();
    tokio::time::sleep(ms(1)).await;
    let middle: RunRef = (0..5).fold(run.run().clone(), |run, _| run.children().remove(0));
    middle.cancel(CancelRequest::because("enough").by("ada"));
    let report = run.ended().await;
    for row in report.rows.iter().skip(5) {
        let cause = row.cause.as_ref().unwrap();
        let own = row.run == middle.id();
        let kind = if own { CauseKind::UserRequest } else { CauseKind::ParentStopped };
        assert_eq!((cause.kind, cause.origin), (kind, middle.id()));
        assert_eq!((cause.message.as_deref(), cause.by.as_deref()), (Some("enough"), Some("ada")));
    }
    lab.finish().await;
}

/// Sends every request from a thread of its own, all at once.
fn storm(run: &RunRef, requests: Vec<CancelRequest>) -> Vec<Disposition> {
    let barrier = Arc::new(Barrier::new(requests.len()));
    let threads: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let (run, barrier) = (run.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                barrier.wait();
                run.cancel(request)
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn listeners(lab: &Lab) -> RunHandle<()> {
    let body = async |ctx: RunContext| {
        let kids = (0..20).map(|_| ctx.spawn(RunSpec::agent("kid"), listener));
        quell::join::all(kids.collect::<Vec<_>>()).await;
        Ok(())
    };
    lab.submit(RunSpec::team("root"), body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_a_storm_of_64_concurrent_cancels_equals_one() {
    let lab = Lab::real();
    for _ in 0..20 {
        let run = listeners(&lab);
        let requests = (0..64).map(|_| CancelRequest::because("storm").grace(secs(5)));
        let answers = storm(run.run(), requests.collect());
        let accepted = answers.iter().filter(|answer| is_accepted(answer)).count();
        assert_eq!(accepted, 1, "{answers:?}");
        let report = within("the run ends", run.ended()).await;
        let cause = report.cause.clone().unwrap();
        for answer in &answers {
            match answer {
                Disposition::Accepted { .. } => {}
                Disposition::AlreadyStopping { cause: first, .. } => assert_eq!(*first, cause),
                Disposition::AlreadyTerminal { status } => {
                    assert_eq!(*status, RunStatus::Cancelled);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(report.rows.iter().all(|row| row.status == RunStatus::Cancelled && !row.aborted));
        let trace = quell::testing::trace(run.run()).await;
        let stops = trace.iter().filter(|event| is_stopping(&event.kind) && event.run == run.id());
        assert_eq!(stops.count(), 1, "one cause, one event");
    }
    lab.finish().await;
}

const fn is_accepted(answer: &Disposition) -> bool {
    matches!(answer, Disposition::Accepted { .. })
}

const fn is_stopping(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Stopping(_))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_a_storm_of_unlike_cancels_merges_to_the_earliest_deadline() {
    let lab = Lab::real();
    for (_seed, mut rng) in seeds(20) {
        let run = lab.submit(RunSpec::agent("ignorant"), ignorant).unwrap();
        let started = || run.run().report().own_row().started_at.is_some();
        crate::support::soon("the run starts", started).await;
        let graces: Vec<u64> = (0..64).map(|_| rng.u64(60_000..600_000)).collect();
        let before = now();
        let requests = graces.iter().map(|grace| CancelRequest::because("g").grace(ms(*grace)));
        let answers = storm(run.run(), requests.collect());
        let after = now();
        assert_eq!(answers.iter().filter(|answer| is_accepted(answer)).count(), 1);
        let Disposition::AlreadyStopping { hard_deadline, .. } =
            run.cancel(CancelRequest::because("and now?"))
        else {
            panic!("a listener that ignores its stop is still there");
        };
        let least = ms(*graces.iter().min().unwrap());
        assert!(hard_deadline >= before + least && hard_deadline <= after + least);
        run.cancel(CancelRequest::because("enough").abort());
        within("the run ends", run.ended()).await;
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i7_modes_only_rise_and_deadlines_only_shrink() {
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::agent("ignorant"), ignorant).unwrap();
    tokio::task::yield_now().await;
    let began = now();
    let ask = |grace: Duration| run.cancel(CancelRequest::because("again").grace(grace));
    assert_eq!(ask(secs(10)), Disposition::Accepted { hard_deadline: began + secs(10) });
    for (asked, stands) in [(20, 10), (8, 8), (9, 8), (3, 3), (100, 3)] {
        let answer = ask(secs(asked));
        let Disposition::AlreadyStopping { hard_deadline, .. } = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(hard_deadline, began + secs(stands), "after {asked} s were asked for");
    }
    let answer = run.cancel(CancelRequest::because("after step").after_step(None));
    assert!(matches!(answer, Disposition::AlreadyStopping { .. }), "{answer:?}");
    tokio::time::sleep(secs(1)).await;
    let (from, to) = (StopMode::Cooperative, StopMode::Abort);
    let answer = run.cancel(CancelRequest::because("abort").abort());
    assert_eq!(answer, Disposition::Escalated { from, to });
    let answer = run.cancel(CancelRequest::because("abort").abort());
    let Disposition::AlreadyStopping { hard_deadline, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(hard_deadline, began + secs(1), "an abort has no grace");
    run.ended().await;
    assert_eq!(now(), began + secs(1));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i7_a_hundred_identical_cancels_leave_the_report_and_the_log_of_one() {
    let lab = Lab::paused();
    let mut logs = Vec::new();
    for times in [1, 100] {
        let run = lab.submit(RunSpec::workflow("root"), chain(3, listener)).unwrap();
        tokio::time::sleep(ms(1)).await;
        for _ in 0..times {
            run.cancel(CancelRequest::because("enough").grace(secs(2)));
        }
        let report = run.ended().await;
        let rows = report.rows.iter().map(|row| {
            (row.status, row.aborted, row.cause.as_ref().map(|cause| cause.message.clone()))
        });
        let trace = quell::testing::trace(run.run()).await;
        let kinds = trace.iter().map(|event| std::mem::discriminant(&event.kind));
        logs.push((rows.collect::<Vec<_>>(), kinds.collect::<Vec<_>>()));
    }
    assert_eq!(logs[0], logs[1]);
    lab.finish().await;
}

#[tokio::test]
async fn i2_i26_a_list_that_panics_leaves_no_run_half_stopped() {
    let lab = Lab::real();
    let mut team = lab.submit(RunSpec::team("team"), two_members).unwrap();
    let members = below(team.run(), 2).await;
    let listed = members.iter().chain(std::iter::from_fn(|| panic!("the list is broken")));
    let late = CancelRequest::because("late");
    let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        RunRef::cancel_each(listed, &late)
    }));
    assert!(asked.is_err(), "the panic is its caller's");
    for member in &members {
        assert_eq!(member.status(), RunStatus::Running, "the list was read before");
    }
    assert_eq!(RunRef::cancel_each(&members, &late).len(), 2);
    within("all are told, and counted out", &mut team).await.unwrap();
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i6_a_run_that_is_asked_together_with_those_below_it_is_their_cause() {
    let lab = Lab::paused();
    let team = lab.submit(RunSpec::team("team"), two_members).unwrap();
    let members = below(team.run(), 2).await;
    let runs = [team.run(), &members[0], &members[1]];
    let answers = RunRef::cancel_each(runs, &CancelRequest::because("all"));
    assert!(matches!(answers[0], Disposition::Accepted { .. }), "{answers:?}");
    for answer in &answers[1..] {
        let Disposition::AlreadyStopping { cause, .. } = answer else { panic!("{answers:?}") };
        assert_eq!((cause.kind, cause.origin), (CauseKind::ParentStopped, team.id()));
    }
    team.ended().await;
    lab.finish().await;
}

/// Waits for two members that wait for their stop.
async fn two_members(ctx: RunContext) -> Result<(), Failure> {
    let members = ["a", "b"].map(|name| ctx.spawn(RunSpec::agent(name), listener));
    for member in members {
        member.ended().await;
    }
    Ok(())
}

/// Yields the runs below one when there are so many, and all of them run.
async fn below(run: &RunRef, count: usize) -> Vec<RunRef> {
    loop {
        let runs = run.children();
        if runs.len() == count && runs.iter().all(|run| run.status() == RunStatus::Running) {
            return runs;
        }
        tokio::task::yield_now().await;
    }
}
