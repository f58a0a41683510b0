use std::sync::{Arc, Barrier};
use std::thread;

use quell::testing::{Held, held};
use quell::{
    CancelRequest, Engine, IdempotencyKey, Limits, OnBusy, Payload, RunContext, RunHandle, RunId,
    RunRef, RunSpec, RunStatus, SubmitError, limits,
};
use serde::{Serialize, Serializer};

use crate::support::{
    Gate, Lab, Servo, Witness, bounded, config, listener, ms, secs, seeds, soon, spin_for, within,
};

fn key(text: &str, payload: &str) -> IdempotencyKey {
    IdempotencyKey::new(text, [payload])
}

/// A run of Ada's with the key `k`.
fn keyed(payload: &str) -> RunSpec {
    RunSpec::agent("keyed").owner("ada").idempotency_key(key("k", payload))
}

fn submit(lab: &Engine, spec: RunSpec) -> Result<RunRef, SubmitError> {
    lab.submit(spec, listener).map(RunHandle::into_ref)
}

/// What is asked of a key whose run is live or kept.
fn assert_leads_to(lab: &Engine, run: &RunRef, state: &str) {
    let before = held(lab);
    let again = submit(lab, keyed("a")).unwrap_err();
    assert_eq!(again, SubmitError::AlreadySubmitted(run.id()), "{state}");
    let other = submit(lab, keyed("b")).unwrap_err();
    assert_eq!(other, SubmitError::KeyConflict, "{state}");
    let found = lab.submitted_with(Some("ada"), &key("k", "a"));
    assert_eq!(found, Some((run.id(), Some(run.clone()))), "{state}");
    assert_eq!(lab.submitted_with(Some("ada"), &key("k", "b")), None, "{state}");
    assert_eq!(held(lab), before, "{state}: a refused submit leaves nothing behind");
}

#[tokio::test(start_paused = true)]
async fn i37_the_same_key_and_payload_is_the_same_run_in_every_state() {
    for state in ["due", "behind", "ready", "running", "stopping", "ended"] {
        let lab = Lab::with(config().control_on_runtime().running_max(1));
        let entered = Witness::new();
        if state == "ready" || state == "behind" {
            let busy = RunSpec::agent("busy").timeout(secs(60)).lane("L", OnBusy::Enqueue);
            submit(&lab, busy).unwrap();
        }
        let spec = match state {
            "due" => keyed("a").not_before(crate::support::now() + secs(60)),
            "behind" => keyed("a").lane("L", OnBusy::Enqueue),
            _ => keyed("a"),
        };
        let seen = entered.clone();
        let run = lab.submit(spec, async move |ctx: RunContext| {
            drop(seen.enter());
            ctx.stopped().await;
            tokio::time::sleep(secs(1)).await;
            Ok(())
        });
        let run = run.unwrap().into_ref();
        tokio::time::sleep(ms(10)).await;
        if state == "stopping" || state == "ended" {
            run.cancel(CancelRequest::because("enough"));
        }
        if state == "ended" {
            run.ended().await;
        }
        assert_leads_to(&lab, &run, state);
        let others = [
            RunSpec::agent("of nobody").idempotency_key(key("k", "b")),
            RunSpec::agent("of another").owner("ben").idempotency_key(key("k", "b")),
            RunSpec::agent("another key").owner("ada").idempotency_key(key("l", "b")),
        ];
        for other in others {
            let other = submit(&lab, other).unwrap();
            assert_ne!(other.id(), run.id(), "{state}: another owner or key is another run");
            other.cancel(CancelRequest::because("enough"));
        }
        run.cancel(CancelRequest::because("enough"));
        run.quiescent().await;
        let started = !["due", "behind", "ready"].contains(&state);
        assert_eq!(entered.entered(), usize::from(started), "{state}");
        for left in lab.runs(&quell::RunFilter::new().live()) {
            left.cancel(CancelRequest::because("the end"));
        }
        lab.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn i37_a_repeat_is_answered_whatever_else_it_would_be_refused_for() {
    let lab = Lab::paused_with(bounded(|limits| {
        limits.runs_max = 4;
        limits.live_bytes_max = 2_000;
    }));
    let id = RunId::from_text("keyed");
    let run = submit(&lab, keyed("a").id(id).lane("L", OnBusy::Reject)).unwrap();
    let mut labelled = keyed("a");
    for number in 0..=limits::LABELS_MAX {
        labelled = labelled.label(number.to_string(), "x");
    }
    let large = Payload::from("x".repeat(2_000));
    let all = [
        ("share of the runs", keyed("a"), keyed("b")),
        ("id", keyed("a").id(id), keyed("b").id(id)),
        ("lane", keyed("a").lane("L", OnBusy::Reject), keyed("b").lane("L", OnBusy::Reject)),
        ("labels", labelled.clone(), labelled.idempotency_key(key("k", "b"))),
        ("bytes", keyed("a").input(large.clone()), keyed("b").input(large)),
    ];
    for (what, same, other) in all {
        let again = submit(&lab, same).unwrap_err();
        assert_eq!(again, SubmitError::AlreadySubmitted(id), "{what}");
        assert_eq!(submit(&lab, other).unwrap_err(), SubmitError::KeyConflict, "{what}");
    }
    for owner in ["ben", "cid", "dan"] {
        submit(&lab, RunSpec::agent("fills").owner(owner)).unwrap();
    }
    let new = submit(&lab, RunSpec::agent("one more")).unwrap_err();
    assert!(matches!(new, SubmitError::LimitReached { .. }), "{new:?}");
    assert_leads_to(&lab, &run, "full");
    lab.shutdown(secs(1)).await;
    assert_eq!(submit(&lab, RunSpec::agent("late")).unwrap_err(), SubmitError::ShuttingDown);
    assert_leads_to(&lab, &run, "shut down");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i37_a_submit_that_is_refused_claims_neither_key_nor_lane_nor_remembered_stop() {
    let lab = Lab::paused_with(bounded(|limits| limits.runs_max = 5));
    let id = RunId::from_text("later");
    lab.cancel(id, CancelRequest::because("early").remember_for(secs(600)));
    let busy = submit(&lab, RunSpec::agent("busy").lane("L", OnBusy::Enqueue)).unwrap();
    let spec = || keyed("a").id(id).lane("L", OnBusy::Reject);
    let refusal = SubmitError::LaneBusy { lane: "L".into(), run: busy.id() };
    assert_eq!(submit(&lab, spec()).unwrap_err(), refusal);
    let long = spec().label("k", "x".repeat(2_000));
    assert!(matches!(submit(&lab, long).unwrap_err(), SubmitError::TooLarge { .. }));
    assert_eq!((lab.submitted_with(Some("ada"), &key("k", "a")), held(&lab).keys), (None, 0));
    busy.cancel(CancelRequest::because("enough"));
    busy.quiescent().await;
    // With another payload: the key is free. The stop is still there.
    let run = submit(&lab, keyed("b").id(id).lane("L", OnBusy::Reject)).unwrap();
    let report = run.ended().await;
    assert_eq!((report.status, report.own_row().started_at), (RunStatus::Cancelled, None));
    lab.finish().await;
}

#[test]
fn i37_of_submits_with_one_key_at_one_instant_one_starts_and_all_learn_its_id() {
    const THREADS: usize = 6;
    let runtime = crate::support::body_runtime(1);
    // There is room for one run: a repeat must not be told that the engine is full.
    let limits = bounded(|limits| (limits.runs_max, limits.ended_trees_max) = (1, 10_000));
    let engine = Engine::with_config(config().runtime(runtime.handle().clone()).limits(limits));
    let mut firsts = [0; THREADS];
    for (seed, mut rng) in seeds(1_000) {
        let (barrier, entered) = (Arc::new(Barrier::new(THREADS)), Witness::new());
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let (engine, barrier) = (engine.clone(), Arc::clone(&barrier));
                let (entered, spins) = (entered.clone(), rng.u32(..300));
                // The run before may still be about to leave its lane.
                let (name, of_round) = (seed.0.to_string(), key(&seed.0.to_string(), "a"));
                let spec = RunSpec::agent("one").idempotency_key(of_round);
                let spec = if number % 2 == 0 { spec } else { spec.lane(name, OnBusy::Reject) };
                thread::spawn(move || {
                    barrier.wait();
                    spin_for(spins);
                    let body = async move |_| {
                        drop(entered.enter());
                        Ok(())
                    };
                    engine.submit(spec, body).map(RunHandle::into_ref)
                })
            })
            .collect();
        let answers: Vec<_> = threads.into_iter().map(|each| each.join().unwrap()).collect();
        let started: Vec<_> = answers.iter().flatten().collect();
        assert_eq!(started.len(), 1, "{answers:?}");
        let id = started[0].id();
        for (number, answer) in answers.iter().enumerate() {
            match answer {
                Ok(_) => firsts[number] += 1,
                Err(error) => assert_eq!(*error, SubmitError::AlreadySubmitted(id)),
            }
        }
        runtime.block_on(within("the run ends", started[0].quiescent()));
        assert_eq!(entered.entered(), 1);
    }
    assert!(firsts.iter().filter(|count| **count > 0).count() > 1, "no race: {firsts:?}");
    runtime.block_on(engine.shutdown(secs(1)));
}

#[tokio::test(start_paused = true)]
async fn i37_the_key_of_a_run_that_was_forgotten_starts_nothing_for_a_day() {
    for kept in [true, false] {
        let lab = Lab::paused_with(bounded(|limits| limits.ended_trees_max = usize::from(kept)));
        let run = lab.submit(keyed("a"), async |_| Ok(())).unwrap().into_ref();
        run.quiescent().await;
        if kept {
            tokio::time::sleep(limits::KEYS_TTL).await;
            let run = lab.submit(keyed("a"), async |_| Ok(())).unwrap_err();
            assert!(matches!(run, SubmitError::KeyForgotten(_)), "its tree was kept for an hour");
        }
        soon("it is forgotten", || lab.get(run.id()).is_none()).await;
        for _ in 0..2 {
            let again = submit(&lab, keyed("a")).unwrap_err();
            assert_eq!(again, SubmitError::KeyForgotten(run.id()));
            assert_eq!(submit(&lab, keyed("b")).unwrap_err(), SubmitError::KeyConflict);
        }
        let found = lab.submitted_with(Some("ada"), &key("k", "a"));
        assert_eq!(found, Some((run.id(), None)));
        tokio::time::sleep(limits::KEYS_TTL).await;
        let next = submit(&lab, keyed("b")).unwrap();
        assert_ne!(next.id(), run.id(), "the key is free again");
        next.cancel(CancelRequest::because("the end"));
        lab.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn i37_a_key_stays_with_its_run_beyond_every_bound_of_keys() {
    let lab = Lab::paused_with(bounded(|limits| limits.keys_max = 0));
    let run = submit(&lab, keyed("a")).unwrap();
    tokio::time::sleep(3 * limits::KEYS_TTL).await;
    assert_leads_to(&lab, &run, "live for three days");
    run.cancel(CancelRequest::because("enough"));
    run.quiescent().await;
    assert_leads_to(&lab, &run, "kept");
    assert_eq!(lab.forget(run.id()), Ok(()));
    assert_eq!(held(&lab), Held::default(), "zero keeps none beyond its run");
    let next = submit(&lab, keyed("b")).unwrap();
    // A second forget of the first run takes nothing from the next one.
    assert!(run.forget().is_err());
    assert_eq!(submit(&lab, keyed("b")).unwrap_err(), SubmitError::AlreadySubmitted(next.id()));
    next.cancel(CancelRequest::because("the end"));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i39_one_owner_evicts_no_key_of_another_and_all_together_have_a_bound() {
    let lab = Lab::paused_with(bounded(|limits| {
        limits.keys_max = 40;
        limits.ended_trees_max = 0;
    }));
    let run = async |owner: &str, text: String| {
        let spec = RunSpec::agent("brief").owner(owner).idempotency_key(key(&text, ""));
        let run = lab.submit(spec, async |_| Ok(()))?.into_ref();
        run.quiescent().await;
        soon("it is forgotten", || run.is_forgotten()).await;
        Ok::<_, SubmitError>(())
    };
    run("quiet", "mine".into()).await.unwrap();
    for number in 0..200 {
        run("loud", number.to_string()).await.unwrap();
    }
    assert_eq!(held(&lab).keys, 11, "a quarter, and the one of another");
    assert!(run("quiet", "mine".into()).await.is_err(), "it was kept all the while");
    assert!(run("loud", "199".into()).await.is_err());
    run("loud", "1".into()).await.unwrap();
    for number in 0..200 {
        run(&format!("owner {number}"), "k".into()).await.unwrap();
    }
    assert_eq!(held(&lab).keys, 40);
    run("quiet", "mine".into()).await.unwrap();
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i37_a_submit_that_races_a_forget_never_starts_the_run_again() {
    let lab = Lab::real();
    let mut servo = Servo::new(100);
    for (seed, mut rng) in seeds(2_000) {
        let (for_forget, for_submit) = servo.handicaps(&mut rng);
        let spec = RunSpec::agent("once").idempotency_key(key(&seed.0.to_string(), ""));
        let run = lab.submit(spec.clone(), async |_| Ok(())).unwrap().into_ref();
        within("it ends", run.quiescent()).await;
        let (engine, go, id) = ((*lab).clone(), Gate::new(), run.id());
        let start = go.clone();
        let submitter = thread::spawn(move || {
            start.spin();
            spin_for(for_submit);
            let again = engine.submit(spec, async |_| Ok(())).map(RunHandle::into_ref);
            again.expect_err("it was submitted before")
        });
        go.open();
        spin_for(for_forget);
        // It is kept as soon as it is quiescent, or soon after.
        let forgotten = run.forget();
        let answer = submitter.join().unwrap();
        assert_eq!(forgotten, Ok(()));
        match answer {
            SubmitError::AlreadySubmitted(of) | SubmitError::KeyForgotten(of) => {
                assert_eq!(of, id);
            }
            other => panic!("{other:?}"),
        }
        servo.first_won(matches!(answer, SubmitError::KeyForgotten(_)));
    }
    servo.assert_raced("forget against submit");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i37_a_child_has_no_key_also_when_it_has_left_its_parent() {
    let lab = Lab::paused();
    let run = submit(&lab, keyed("a")).unwrap();
    let spec = keyed("a");
    let parent = lab.submit(RunSpec::agent("parent"), async move |ctx: RunContext| {
        let child = ctx.spawn(spec, async |_| Ok(())).into_ref();
        child.detach()?;
        Ok(child)
    });
    let child = parent.unwrap().await.unwrap();
    child.quiescent().await;
    soon("it is kept", || child.forget().is_ok()).await;
    assert_leads_to(&lab, &run, "a run of that name has come and gone");
    run.cancel(CancelRequest::because("the end"));
    lab.finish().await;
}

/// A value of a caller that asks the engine while it is written, and while it is dropped.
struct Nosy(Engine);

impl Serialize for Nosy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.submitted_with(Some("ada"), &key("k", "a"));
        to.serialize_unit()
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        self.0.submitted_with(Some("ada"), &key("k", "a"));
    }
}

#[tokio::test(start_paused = true)]
async fn i26_no_value_of_a_refused_submit_is_written_or_dropped_under_the_lock_of_the_keys() {
    let lab = Lab::paused();
    let run = submit(&lab, keyed("a")).unwrap();
    // A name that is too long keeps the input from being written: it is dropped as it came.
    for name in ["keyed".to_owned(), "x".repeat(2_000)] {
        let input = Payload::json_later(Nosy((*lab).clone()), 100);
        let spec = RunSpec::agent(name).owner("ada").idempotency_key(key("k", "a")).input(input);
        let nosy = Nosy((*lab).clone());
        let refused = lab.submit(spec, async move |_| {
            drop(nosy);
            Ok(())
        });
        assert_eq!(refused.map(|run| run.id()), Err(SubmitError::AlreadySubmitted(run.id())));
    }
    run.cancel(CancelRequest::because("the end"));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i37_keys_and_scopes_have_bounds() {
    let lab = Lab::paused_with(Limits::default());
    let long = RunSpec::agent("long").idempotency_key(key(&"k".repeat(257), ""));
    let what = "idempotency key";
    let refused = SubmitError::TooLarge { what, bytes: 257, max: limits::KEY_BYTES_MAX };
    assert_eq!(submit(&lab, long).unwrap_err(), refused);
    let mut spec = RunSpec::agent("everywhere").timeout(secs(1));
    for number in 0..limits::STOP_SCOPES_MAX {
        spec = spec.stop_scope(quell::StopScope::new([number.to_string()]));
    }
    submit(&lab, spec.clone()).unwrap();
    let max = limits::STOP_SCOPES_MAX;
    let refused = SubmitError::LimitReached { what: "stop scopes", max };
    let more = spec.stop_scope(quell::StopScope::new(["more"]));
    assert_eq!(submit(&lab, more).unwrap_err(), refused);
    lab.finish().await;
}
