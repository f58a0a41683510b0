use quell::testing::held;
use quell::{
    CancelRequest, Disposition, Limits, RunContext, RunHandle, RunId, RunRef, RunSpec, RunStatus,
    StopScope, limits,
};

use crate::support::{Gate, Lab, Servo, Witness, bounded, listener, secs, seeds, spin_for, within};

fn stop(words: &str) -> CancelRequest {
    CancelRequest::because(words).remember_for(secs(600))
}

fn scope(name: &str) -> StopScope {
    StopScope::new([name])
}

/// Submits a run with this id into these scopes.
fn submit(lab: &Lab, id: RunId, scopes: &[&str]) -> RunRef {
    let mut spec = RunSpec::agent("scoped").id(id);
    for name in scopes {
        spec = spec.stop_scope(scope(name));
    }
    lab.submit(spec, listener).map(RunHandle::into_ref).unwrap()
}

/// Ends a run, and yields the reason for which it was stopped before.
async fn reason(run: &RunRef) -> Option<String> {
    run.cancel(CancelRequest::because("by the test"));
    let cause = run.ended().await.cause.clone().unwrap();
    cause.message.as_deref().map(str::to_owned).filter(|words| words != "by the test")
}

#[tokio::test(start_paused = true)]
async fn i22_a_stop_that_is_remembered_in_a_scope_is_for_runs_of_that_scope_alone() {
    let lab = Lab::paused();
    let cases: [(&str, &[&str], bool); 5] = [
        ("none", &[], false),
        ("another", &["ben"], false),
        ("the same", &["ada"], true),
        ("one of several", &["ben", "ada"], true),
        ("its own twice", &["ada", "ada"], true),
    ];
    for (what, scopes, is_stopped) in cases {
        let id = RunId::from_text(what);
        let answer = lab.remember_stop(id, scope("ada"), stop("early"));
        assert_eq!(answer, Ok(Disposition::Reserved), "{what}");
        let run = submit(&lab, id, scopes);
        tokio::time::sleep(secs(1)).await;
        assert_eq!(run.row().started_at.is_none(), is_stopped, "{what}");
        assert_eq!(reason(&run).await.is_some(), is_stopped, "{what}");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i6_of_stops_in_several_scopes_the_first_is_the_cause_and_all_are_used_up() {
    let lab = Lab::paused_with(bounded(|limits| limits.ended_trees_max = 0));
    let id = RunId::from_text("later");
    lab.remember_stop(id, scope("b"), stop("first")).unwrap();
    lab.remember_stop(id, scope("a"), stop("second")).unwrap();
    assert_eq!(lab.cancel(id, stop("third")), Disposition::Reserved);
    lab.remember_stop(id, scope("b"), stop("again")).unwrap();
    assert_eq!(held(&lab).entries, 3);
    let run = submit(&lab, id, &["a", "b"]);
    assert_eq!(reason(&run).await.as_deref(), Some("first"));
    run.quiescent().await;
    assert_eq!(held(&lab).entries, 0);
    let run = submit(&lab, id, &["a", "b"]);
    assert_eq!(reason(&run).await, None);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i7_a_rollback_that_is_remembered_behind_another_stop_counts() {
    let lab = Lab::paused();
    for (name, later) in [("same", "a"), ("other", "b")] {
        let id = RunId::from_text(name);
        lab.remember_stop(id, scope("a"), stop("first")).unwrap();
        lab.remember_stop(id, scope(later), stop("second").rollback()).unwrap();
        let run = submit(&lab, id, &["a", "b"]);
        assert_eq!(reason(&run).await.as_deref(), Some("first"), "{name}");
        assert!(run.is_rolled_back(), "{name}");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i22_a_stop_for_a_run_that_is_there_yields_the_run_and_is_not_remembered() {
    let lab = Lab::paused();
    let id = RunId::from_text("there");
    let run = submit(&lab, id, &["ada"]);
    assert_eq!(lab.remember_stop(id, scope("ada"), stop("late")), Err(run.clone()));
    assert_eq!(run.status(), RunStatus::Queued, "nothing is changed");
    assert!(run.is_in_stop_scope(scope("ada")) && !run.is_in_stop_scope(scope("ben")));
    assert_eq!(held(&lab).entries, 1);
    // Of another's run nothing is told, and it is left alone.
    let answer = lab.remember_stop(id, scope("ben"), stop("foreign"));
    assert_eq!(answer, Ok(Disposition::Reserved));
    assert_eq!(reason(&run).await, None);
    run.quiescent().await;
    assert_eq!(lab.forget(id), Ok(()));
    let run = submit(&lab, id, &["ben"]);
    assert_eq!(reason(&run).await.as_deref(), Some("foreign"), "it waited for its run");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i22_nothing_is_remembered_without_a_time_or_beyond_it_or_by_an_engine_that_keeps_none() {
    let lab = Lab::paused();
    let id = RunId::from_text("later");
    let nothing = lab.remember_stop(id, scope("ada"), CancelRequest::because("no time"));
    assert_eq!((nothing, held(&lab).entries), (Ok(Disposition::Unknown), 0));
    let week = CancelRequest::because("a week").remember_for(secs(7 * 24 * 3_600));
    assert_eq!(lab.remember_stop(id, scope("ada"), week), Ok(Disposition::Reserved));
    tokio::time::sleep(limits::RESERVATIONS_TTL).await;
    assert_eq!(reason(&submit(&lab, id, &["ada"])).await, None);
    lab.finish().await;
    let lab = Lab::paused_with(bounded(|limits: &mut Limits| limits.reservations_max = 0));
    let answer = lab.remember_stop(id, scope("ada"), stop("early"));
    assert_eq!(answer, Ok(Disposition::Unknown));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i22_a_child_uses_the_stop_of_its_scope_too() {
    let lab = Lab::paused();
    let (id, witness) = (RunId::from_text("child"), Witness::new());
    lab.remember_stop(id, scope("ada"), stop("early")).unwrap();
    let seen = witness.clone();
    let root = lab.submit(RunSpec::agent("root"), async move |ctx: RunContext| {
        let spec = RunSpec::step("child").id(id).stop_scope(scope("ada"));
        let child = ctx.spawn(spec, async move |_| {
            drop(seen.enter());
            Ok(())
        });
        Ok(child.ended().await.status)
    });
    assert_eq!(root.unwrap().await.unwrap(), RunStatus::Cancelled);
    assert_eq!(witness.entered(), 0);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i22_a_stop_that_races_the_submit_of_its_scope_finds_the_run_or_waits_for_it() {
    let lab = Lab::real();
    let mut servo = Servo::new(100);
    for (seed, mut rng) in seeds(2_000) {
        let (for_submit, for_stop) = servo.handicaps(&mut rng);
        let id = RunId::from_text(&format!("scoped-{}", seed.0));
        let (engine, go, witness) = ((*lab).clone(), Gate::new(), Witness::new());
        let (start, seen) = (go.clone(), witness.clone());
        let stopper = std::thread::spawn(move || {
            start.spin();
            spin_for(for_stop);
            engine.remember_stop(id, scope("ada"), stop("race"))
        });
        go.open();
        spin_for(for_submit);
        let spec = RunSpec::agent("racer").id(id).stop_scope(scope("ben"));
        let run = lab.submit(spec.stop_scope(scope("ada")), async move |ctx: RunContext| {
            let _inside = seen.enter();
            ctx.stopped().await;
            Ok(())
        });
        let run = run.unwrap().into_ref();
        let was_found = match stopper.join().unwrap() {
            Ok(Disposition::Reserved) => false,
            Err(found) => {
                found.cancel(CancelRequest::because("found"));
                true
            }
            other => panic!("{other:?}"),
        };
        let report = within("the run is stopped either way", run.ended()).await;
        assert_eq!(report.status, RunStatus::Cancelled);
        if !was_found {
            assert_eq!((witness.entered(), report.own_row().started_at), (0, None));
        }
        // The submit was first if the run was there.
        servo.first_won(was_found);
    }
    servo.assert_raced("a stop in a scope against submit");
    lab.finish().await;
}
