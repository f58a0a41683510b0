use std::sync::Arc;

use quell::{
    CancelRequest, CauseKind, DetachError, Disposition, Failure, OnBusy, RunFilter, RunHandle,
    RunRef, RunSpec, RunStatus,
};

use crate::support::{Gate, Lab, Servo, Witness, listener, secs, seeds, spin_for, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_an_accepted_cancel_never_ends_completed_and_a_completed_run_refuses_it() {
    let lab = Lab::real();
    let mut servo = Servo::new(100);
    for (_seed, mut rng) in seeds(3_000) {
        let (for_body, for_cancel) = servo.handicaps(&mut rng);
        let up = Gate::new();
        let ready = up.clone();
        let run = lab
            .submit(RunSpec::agent("racer"), async move |_| {
                ready.open();
                spin_for(for_body);
                Ok(())
            })
            .unwrap();
        up.spin();
        spin_for(for_cancel);
        let answer = run.cancel(CancelRequest::because("race").grace(secs(20)));
        let report = within("the run ends", run.ended()).await;
        match (&answer, report.status) {
            (Disposition::Accepted { .. }, RunStatus::Cancelled) => servo.first_won(false),
            (Disposition::AlreadyTerminal { status }, RunStatus::Completed) => {
                assert_eq!(*status, RunStatus::Completed);
                servo.first_won(true);
            }
            other => panic!("{other:?}"),
        }
        let again = run.cancel(CancelRequest::because("again"));
        assert_eq!(again, Disposition::AlreadyTerminal { status: report.status });
        assert_eq!(run.run().status(), report.status, "nothing changes it");
    }
    servo.assert_raced("cancel against completion");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_of_a_deadline_and_a_cancel_exactly_one_is_the_cause() {
    let lab = Lab::real();
    let mut servo = Servo::new(2_000);
    for (_seed, mut rng) in seeds(400) {
        let (_, for_cancel) = servo.handicaps(&mut rng);
        let timeout = std::time::Duration::from_micros(300);
        let run = lab.submit(RunSpec::agent("racer").timeout(timeout), listener).unwrap();
        spin_for(for_cancel);
        let answer = run.cancel(CancelRequest::because("race"));
        let report = within("the run ends", run.ended()).await;
        let kind = report.cause.as_ref().unwrap().kind;
        let cancelled = match (&answer, report.status, kind) {
            (Disposition::Accepted { .. }, RunStatus::Cancelled, CauseKind::UserRequest) => true,
            (
                Disposition::AlreadyStopping { .. } | Disposition::AlreadyTerminal { .. },
                RunStatus::TimedOut,
                CauseKind::Deadline,
            ) => false,
            other => panic!("{other:?}"),
        };
        // The deadline is the first runner.
        servo.first_won(!cancelled);
    }
    servo.assert_raced("cancel against deadline");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i21_a_cancel_that_races_the_start_polls_nothing_or_stops_what_started() {
    let lab = Lab::real();
    let mut servo = Servo::new(100);
    for (_seed, mut rng) in seeds(3_000) {
        let (_, for_cancel) = servo.handicaps(&mut rng);
        let witness = Witness::new();
        let seen = witness.clone();
        let run = lab
            .submit(RunSpec::agent("racer"), async move |ctx| {
                let _inside = seen.enter();
                ctx.stopped().await;
                Ok(())
            })
            .unwrap();
        spin_for(for_cancel);
        run.cancel(CancelRequest::because("race").grace(secs(20)));
        let report = within("the run ends", run.ended()).await;
        let started = report.own_row().started_at.is_some();
        assert_eq!(report.status, RunStatus::Cancelled);
        // A closure that has started is called at least; before, not even that.
        assert!(started || witness.entered() == 0, "user code ran in a run that never started");
        assert_eq!(witness.inside(), 0);
        // The start was first.
        servo.first_won(started);
    }
    servo.assert_raced("cancel against start");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i22_a_reservation_that_races_the_submit_stops_the_run_or_is_refused() {
    let lab = Lab::real();
    let mut servo = Servo::new(100);
    for (seed, mut rng) in seeds(2_000) {
        let (for_submit, for_cancel) = servo.handicaps(&mut rng);
        let id = quell::RunId::from_text(&format!("race-{}", seed.0));
        let witness = Witness::new();
        let seen = witness.clone();
        let (engine, go) = ((*lab).clone(), Gate::new());
        let start = go.clone();
        let canceller = std::thread::spawn(move || {
            start.spin();
            spin_for(for_cancel);
            engine.cancel(id, CancelRequest::because("race").remember_for(secs(60)))
        });
        go.open();
        spin_for(for_submit);
        let run = lab
            .submit(RunSpec::agent("racer").id(id), async move |ctx| {
                let _inside = seen.enter();
                ctx.stopped().await;
                Ok(())
            })
            .unwrap();
        let answer = canceller.join().unwrap();
        let report = within("the run is stopped either way", run.ended()).await;
        assert_eq!(report.status, RunStatus::Cancelled);
        let reserved = match answer {
            Disposition::Reserved => true,
            Disposition::Accepted { .. } => false,
            other => panic!("{other:?}"),
        };
        if reserved {
            assert_eq!(witness.entered(), 0, "a run whose stop was waiting polls nothing");
            assert_eq!(report.own_row().started_at, None);
        }
        // The submit came first if there was somebody to accept.
        servo.first_won(!reserved);
    }
    servo.assert_raced("reservation against submit");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i25_a_detach_that_races_a_cancel_leaves_whole_or_stays_and_is_stopped() {
    let lab = Lab::real();
    let mut servo = Servo::new(100);
    for (_seed, mut rng) in seeds(1_500) {
        let (for_detach, for_cancel) = servo.handicaps(&mut rng);
        let up = Gate::new();
        let ready = up.clone();
        let run = lab
            .submit(RunSpec::team("parent"), async move |ctx| {
                let child = ctx.spawn(RunSpec::agent("child"), async |ctx| {
                    let grandchild = ctx.spawn(RunSpec::step("grandchild"), listener);
                    Ok(grandchild.await?)
                });
                let child = child.into_ref();
                ready.open();
                spin_for(for_detach);
                let left = child.detach();
                ctx.emit(format!("{left:?}"));
                ctx.stopped().await;
                Ok(())
            })
            .unwrap();
        up.spin();
        let child = run.run().children().pop();
        spin_for(for_cancel);
        run.cancel(CancelRequest::because("race").grace(secs(20)));
        within("the parent ends", run.ended()).await;
        let child = child.unwrap_or_else(|| lab.runs(&RunFilter::new().live()).remove(0));
        let left = child.parent().is_none();
        servo.first_won(left);
        if left {
            assert_ne!(child.status(), RunStatus::Stopping, "it lost the stop of its parent");
            assert_eq!(child.detach(), Err(DetachError::IsRoot));
            child.cancel(CancelRequest::because("over"));
        }
        let report = within("the child ends", child.ended()).await;
        assert_eq!(report.status, RunStatus::Cancelled);
        let kind = report.cause.as_ref().unwrap().kind;
        let why = if left { CauseKind::UserRequest } else { CauseKind::ParentStopped };
        assert_eq!(kind, why);
        assert!(report.rows.iter().all(|row| row.status == RunStatus::Cancelled));
    }
    servo.assert_raced("detach against cancel");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_a_failure_whose_handle_is_dropped_meanwhile_fails_the_parent_every_time() {
    let lab = Lab::real();
    let mut servo = Servo::new(100);
    for (_seed, mut rng) in seeds(2_000) {
        let (for_failure, for_drop) = servo.handicaps(&mut rng);
        let (give, take) = tokio::sync::oneshot::channel();
        let (dropped, gone) = tokio::sync::oneshot::channel();
        let run = lab
            .submit(RunSpec::team("parent"), async move |ctx| {
                let child = ctx.spawn(RunSpec::agent("child"), async move |_| {
                    spin_for(for_failure);
                    Err::<(), _>(Failure::new("silent"))
                });
                drop(give.send(child));
                gone.await?;
                Ok(())
            })
            .unwrap();
        let child = within("the child is there", take).await.unwrap();
        spin_for(for_drop);
        servo.first_won(child.run().status() == RunStatus::Failed);
        drop(child);
        dropped.send(()).unwrap();
        let report = within("the parent ends", run.ended()).await;
        assert_eq!(report.status, RunStatus::Failed, "an error was silent: {report:#?}");
        assert!(report.error.as_deref().unwrap().contains("silent"));
    }
    servo.assert_raced("failure against drop of the handle");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i30_a_reader_that_races_the_end_reads_the_whole_log() {
    let lab = Lab::real();
    let mut servo = Servo::new(100);
    for (_seed, mut rng) in seeds(2_000) {
        let (for_end, for_reader) = servo.handicaps(&mut rng);
        let go = Gate::new();
        let start = go.clone();
        let body = async move |_| {
            start.open();
            spin_for(for_end);
            Ok(())
        };
        let run = lab.submit(RunSpec::agent("racer"), body).unwrap();
        let run = Arc::new(run.into_ref());
        go.spin();
        spin_for(for_reader);
        let mut events = run.events();
        servo.first_won(run.status().is_terminal());
        let ended = run.ended();
        let read = async {
            let mut seqs = Vec::new();
            while let Some(event) = events.next().await {
                seqs.push(event.seq);
            }
            seqs
        };
        let (seqs, report) = within("both are told", async { tokio::join!(read, ended) }).await;
        assert_eq!((seqs, report.status), (vec![1, 2, 3], RunStatus::Completed));
    }
    servo.assert_raced("reader against end");
    lab.finish().await;
}

/// One run at work, and twenty short ones that wait for it to end.
fn queue(lab: &Lab) -> Vec<RunRef> {
    let spec = || RunSpec::agent("queued").lane("one at a time", OnBusy::Enqueue).label("q", "yes");
    let naive = async |_| std::future::pending::<Result<(), Failure>>().await;
    let first = lab.submit(spec(), naive).unwrap();
    let next = (0..20).map(|_| lab.submit(spec(), async |_| Ok(())).unwrap());
    std::iter::once(first).chain(next).map(RunHandle::into_ref).collect()
}

async fn assert_only_the_first_one_started(queue: Vec<RunRef>) {
    for (place, run) in queue.into_iter().enumerate() {
        let report = within("it ends", run.ended()).await;
        let row = report.own_row();
        assert_eq!(row.status, RunStatus::Cancelled);
        assert!(place == 0 || row.started_at.is_none(), "number {place} has started");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i8_a_cancel_of_all_starts_nobody_who_waits_for_one_of_them() {
    let lab = Lab::real();
    for (_seed, _) in seeds(300) {
        let queue = queue(&lab);
        let all = RunFilter::new().label("q", "yes").live();
        assert_eq!(lab.cancel_where(&all, CancelRequest::because("all")).len(), 21);
        assert_only_the_first_one_started(queue).await;
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i38_a_shutdown_starts_nobody_who_waits_for_a_run_that_it_stops() {
    for (_seed, _) in seeds(100) {
        let lab = Lab::real();
        let queue = queue(&lab);
        lab.shutdown(secs(1)).await;
        assert_only_the_first_one_started(queue).await;
        lab.finish().await;
    }
}
