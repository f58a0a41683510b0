use quell::{
    CancelRequest, CauseKind, Disposition, EngineConfig, EventKind, Payload, RunContext, RunFilter,
    RunId, RunKind, RunSpec, RunStatus, Written, limits,
};

use crate::support::{
    Gate, Lab, Witness, body_runtime, bounded, config, listener, ms, naive, now, secs,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn i21_a_cancel_before_the_start_polls_no_user_code() {
    let bodies = body_runtime(1);
    let lab = Lab::with(config().runtime(bodies.handle().clone()));
    let gate = Gate::new();
    let _open = gate.at_end();
    let blocker = gate.clone();
    let busy = async move |_| {
        blocker.spin();
        Ok(())
    };
    let busy = lab.submit(RunSpec::agent("busy"), busy).unwrap();
    let (ran, captured) = (Witness::new(), Witness::new());
    let (seen, inside) = (ran.clone(), captured.enter());
    let run = lab
        .submit(RunSpec::agent("never"), move |_| {
            let _inside = inside;
            drop(seen.enter());
            async { Ok(()) }
        })
        .unwrap();
    assert_eq!(run.run().status(), RunStatus::Queued, "its one worker is busy");
    let answer = run.cancel(CancelRequest::because("before it starts"));
    assert!(matches!(answer, Disposition::Accepted { .. }));
    assert_eq!(run.run().status(), RunStatus::Stopping);
    gate.open();
    let report = run.ended().await;
    assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, true));
    assert_eq!(report.own_row().started_at, None);
    assert_eq!((ran.entered(), captured.inside()), (0, 0), "its captures are gone, unused");
    let trace = quell::testing::trace(run.run()).await;
    assert!(trace.iter().all(|event| event.kind != EventKind::Started));
    busy.await.unwrap();
    lab.finish().await;
    tokio::task::spawn_blocking(move || drop(bodies)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn i22_cancelling_an_unknown_id_changes_nothing_later() {
    let lab = Lab::paused();
    let id = RunId::from_text("later");
    assert_eq!(lab.cancel(id, CancelRequest::because("nobody there")), Disposition::Unknown);
    let zero = CancelRequest::because("nobody there").remember_for(secs(0));
    assert_eq!(lab.cancel(id, zero), Disposition::Unknown, "zero remembers nothing");
    let run = lab.submit(RunSpec::agent("later").id(id), async |_| Ok(1)).unwrap();
    assert_eq!(run.await.unwrap(), 1);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i22_a_reservation_is_used_once_and_keeps_its_cause() {
    let lab = Lab::paused();
    let id = RunId::from_text("later");
    for reason in ["first", "second"] {
        let request = CancelRequest::because(reason).by(reason).remember_for(secs(60));
        assert_eq!(lab.cancel(id, request), Disposition::Reserved);
    }
    assert!(lab.get(id).is_none() && lab.runs(&RunFilter::new()).is_empty());
    let witness = Witness::new();
    let seen = witness.clone();
    let body = async move |_| {
        drop(seen.enter());
        Ok(())
    };
    let run = lab.submit(RunSpec::agent("later").id(id), body).unwrap();
    let report = run.ended().await;
    let cause = report.cause.as_ref().unwrap();
    assert_eq!((report.status, cause.message.as_deref()), (RunStatus::Cancelled, Some("first")));
    assert_eq!(witness.entered(), 0);
    let again = lab.submit(RunSpec::agent("again").id(id), listener);
    assert!(again.is_err(), "the ended run is kept, and its id with it");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i22_a_used_reservation_does_not_stop_the_next_run_of_that_id() {
    let limits = bounded(|limits| limits.ended_trees_max = 0);
    let lab = Lab::paused_with(limits);
    let id = RunId::from_text("later");
    lab.cancel(id, CancelRequest::because("once").remember_for(secs(60)));
    for (round, status) in [(1, RunStatus::Cancelled), (2, RunStatus::Completed)] {
        let run = lab.submit(RunSpec::agent("later").id(id), async |_| Ok(())).unwrap();
        assert_eq!(run.ended().await.status, status, "round {round}");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i22_a_reservation_expires() {
    let lab = Lab::paused();
    for (wait, status) in [(59, RunStatus::Cancelled), (60, RunStatus::Completed)] {
        let id = RunId::from_text(&format!("later {wait}"));
        lab.cancel(id, CancelRequest::because("for a minute").remember_for(secs(60)));
        tokio::time::sleep(secs(wait)).await;
        let run = lab.submit(RunSpec::agent("later").id(id), async |_| Ok(())).unwrap();
        assert_eq!(run.ended().await.status, status, "after {wait} s");
    }
    let id = RunId::from_text("next week");
    let week = secs(7 * 24 * 3600);
    lab.cancel(id, CancelRequest::because("for a week").remember_for(week));
    tokio::time::sleep(limits::RESERVATIONS_TTL).await;
    let run = lab.submit(RunSpec::agent("next week").id(id), async |_| Ok(())).unwrap();
    assert_eq!(run.ended().await.status, RunStatus::Completed, "24 h at most");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i22_reservations_are_capped_and_the_oldest_leave_first() {
    let limits = bounded(|limits| limits.reservations_max = 3);
    let lab = Lab::paused_with(limits);
    let ids: Vec<_> = (0..5).map(|n| RunId::from_text(&format!("later {n}"))).collect();
    for id in &ids {
        let request = CancelRequest::because("later").remember_for(secs(60));
        assert_eq!(lab.cancel(*id, request), Disposition::Reserved);
    }
    assert_eq!(quell::testing::held(&lab).entries, 3);
    for (n, id) in ids.into_iter().enumerate() {
        let run = lab.submit(RunSpec::agent("later").id(id), async |_| Ok(())).unwrap();
        let status = if n < 2 { RunStatus::Completed } else { RunStatus::Cancelled };
        assert_eq!(run.ended().await.status, status, "reservation {n}");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i22_reserving_the_same_id_again_and_again_forgets_neither_it_nor_others() {
    let limits = bounded(|limits| limits.reservations_max = 3);
    let lab = Lab::paused_with(limits);
    let [other, same] = ["other", "same"].map(RunId::from_text);
    let request = || CancelRequest::because("later").remember_for(secs(60));
    lab.cancel(other, request());
    for _ in 0..10 {
        assert_eq!(lab.cancel(same, request()), Disposition::Reserved);
    }
    assert_eq!(quell::testing::held(&lab).entries, 2);
    for id in [same, other] {
        let run = lab.submit(RunSpec::agent("later").id(id), async |_| Ok(())).unwrap();
        assert_eq!(run.ended().await.status, RunStatus::Cancelled, "a reservation was forgotten");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i23_cancelling_a_terminal_run_changes_nothing_and_says_so() {
    let lab = Lab::paused();
    let fails = async |_| Err::<(), _>(quell::Failure::new("no idea"));
    let runs = [
        lab.submit(RunSpec::agent("fine"), async |_| Ok(())).unwrap(),
        lab.submit(RunSpec::agent("fails"), fails).unwrap(),
        lab.submit(RunSpec::agent("late").timeout(secs(1)), naive).unwrap(),
        lab.submit(RunSpec::agent("stopped"), naive).unwrap(),
    ];
    runs[3].cancel(CancelRequest::because("enough"));
    let statuses =
        [RunStatus::Completed, RunStatus::Failed, RunStatus::TimedOut, RunStatus::Cancelled];
    for (run, status) in runs.iter().zip(statuses) {
        let before = run.ended().await;
        let log = quell::testing::trace(run.run()).await;
        let requests = [
            CancelRequest::because("late"),
            CancelRequest::because("late").abort(),
            CancelRequest::because("late").after_step(None),
            CancelRequest::because("late").remember_for(secs(60)),
        ];
        for request in requests {
            assert_eq!(run.cancel(request.clone()), Disposition::AlreadyTerminal { status });
            let by_id = lab.cancel(run.id(), request);
            assert_eq!(by_id, Disposition::AlreadyTerminal { status });
        }
        assert_eq!(*run.run().report(), *before);
        assert_eq!(quell::testing::trace(run.run()).await, log);
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i7_cancel_where_takes_one_snapshot_and_asks_each() {
    let lab = Lab::paused();
    let spec = |name: &'static str| RunSpec::agent(name).label("customer", "ada").owner("team a");
    let runs = [
        lab.submit(spec("one"), listener).unwrap(),
        lab.submit(spec("two").label("urgent", "yes"), listener).unwrap(),
        lab.submit(RunSpec::team("two"), listener).unwrap(),
    ];
    tokio::task::yield_now().await;
    let count = |filter: RunFilter| lab.runs(&filter).len();
    assert_eq!(count(RunFilter::new().kind(RunKind::Team)), 1);
    assert_eq!(count(RunFilter::new().name("two")), 2);
    assert_eq!(count(RunFilter::new().owner("team a").label("customer", "ada")), 2);
    assert_eq!(count(RunFilter::new().label("customer", "ada").label("urgent", "yes")), 1);
    assert_eq!(count(RunFilter::new().status(RunStatus::Queued).status(RunStatus::Running)), 3);
    let ada = RunFilter::new().label("customer", "ada");
    let mut answers = lab.cancel_where(&ada, CancelRequest::because("ada leaves"));
    answers.sort_by_key(|(id, _)| *id);
    assert_eq!(answers.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [runs[0].id(), runs[1].id()]);
    let hard_deadline = now() + secs(5);
    for (_, answer) in answers {
        assert_eq!(answer, Disposition::Accepted { hard_deadline });
    }
    assert_eq!(runs[2].run().status(), RunStatus::Running);
    tokio::time::sleep(ms(1)).await;
    let answers = lab.cancel_where(&RunFilter::new(), CancelRequest::because("everybody"));
    assert_eq!(answers.len(), 3, "ended ones too: {answers:?}");
    for run in &runs {
        run.ended().await;
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i7_cancel_where_over_a_tree_leaves_one_cause_per_run() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::team("root"), async |ctx| {
            let kids = (0..50).map(|_| ctx.spawn(RunSpec::agent("kid"), listener));
            quell::join::all(kids.collect::<Vec<_>>()).await;
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(ms(1)).await;
    let answers = lab.cancel_where(&RunFilter::new(), CancelRequest::because("everybody"));
    assert_eq!(answers.len(), 51);
    let report = run.ended().await;
    for row in &report.rows {
        let cause = row.cause.as_ref().unwrap();
        let own = cause.kind == CauseKind::UserRequest && cause.origin == row.run;
        let inherited = cause.kind == CauseKind::ParentStopped && cause.origin == report.run;
        assert!(own || inherited, "{cause:?}");
    }
    lab.finish().await;
}

#[test]
fn i21_an_engine_without_a_runtime_is_refused_with_words() {
    let made = std::panic::catch_unwind(|| quell::Engine::with_config(EngineConfig::new()));
    let panic = made.unwrap_err();
    let words = panic.downcast_ref::<String>().cloned();
    let words = words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap();
    assert!(words.contains("EngineConfig::runtime"), "{words}");
}

/// An output that is written later, and looks at its run when it goes.
struct Looks(RunContext);

impl serde::Serialize for Looks {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0.run().row().status)
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        let _ = self.0.run().row();
    }
}

/// If it were dropped or written under the lock of its run, this would not end.
#[tokio::test(start_paused = true)]
async fn an_output_that_is_replaced_or_read_runs_no_code_under_a_lock() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("looks"), async |ctx| {
            for _ in 0..2 {
                let output = Payload::json_later(Looks(ctx.clone()), 100);
                assert_eq!(ctx.set_output(output), Written::Recorded);
            }
            let large = Payload::json_later(Looks(ctx.clone()), limits::PAYLOAD_BYTES_MAX + 1);
            assert_eq!(ctx.set_output(large), Written::TooLarge);
            Ok(())
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!(report.output.as_ref().unwrap().as_json(), "\"completed\"");
    lab.finish().await;
}
