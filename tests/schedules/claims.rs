//! What a submit claims in one step: a key, an id, a lane, and the stop that was remembered.

use std::sync::Arc;

use quell::testing;
use quell::{
    Disposition, Engine, ForgetError, IdempotencyKey, Limits, OnBusy, Outcome, RunContext,
    RunHandle, RunId, RunSpec, StopScope, SubmitError,
};
use shuttle::future::block_on;
use shuttle::thread;

use crate::play::{
    NEVER, accept_shutdown, because, checked_log, config, is_stopped, pause, play, submit_listening,
};
use crate::witness::Witness;

/// An engine that keeps so many trees, has room for one run, and forgets no key.
fn engine(ended_trees_max: usize) -> Engine {
    let limits = Limits::default().ended_trees_max(ended_trees_max).runs_max(1);
    Engine::with_config(config().grace(NEVER).abort_wait(NEVER).limits(limits))
}

fn keyed(payload: &str) -> RunSpec {
    RunSpec::agent("keyed").idempotency_key(IdempotencyKey::new("key", [payload]))
}

#[test]
fn i37_of_submits_with_one_key_one_starts_and_the_others_learn_its_id() {
    play("submit against submit with one key", 3, |seen| {
        let (engine, tree) = (engine(1), Witness::new());
        let submitters: Vec<_> = (0..3)
            .map(|number| {
                let (engine, tree) = (engine.clone(), Arc::clone(&tree));
                thread::spawn(move || {
                    let spec = keyed("a").lane("lane", OnBusy::Reject);
                    let spec = if number == 0 { spec.id(RunId::from_text("own")) } else { spec };
                    engine.submit(spec, async move |ctx: RunContext| {
                        let _here = tree.enter(&ctx);
                        Ok(())
                    })
                })
            })
            .collect();
        pause(30);
        let mut answers: Vec<_> =
            submitters.into_iter().map(|submitter| submitter.join().unwrap()).collect();
        let first = answers.iter().position(Result::is_ok).expect("one of them starts it");
        let run = answers.swap_remove(first).unwrap();
        let root = run.run().clone();
        for answer in answers {
            let refused = answer.map(|run| run.id()).unwrap_err();
            assert_eq!(refused, SubmitError::AlreadySubmitted(root.id()));
        }
        seen.note(first);
        assert!(matches!(block_on(run.outcome()), Outcome::Completed(())));
        let log = checked_log(&root);
        accept_shutdown(&engine, || {});
        assert_eq!((tree.entered().len(), testing::held(&engine).keys), (1, 1));
        tree.agree_with([&*log]);
    });
}

#[test]
fn i37_a_submit_against_a_forget_starts_nothing() {
    play("submit with a key against forget", 2, |seen| {
        let engine = engine(1);
        let run = engine.submit(keyed("a"), async |_| Ok(())).unwrap().into_ref();
        block_on(run.quiescent());
        let forgetters = [(); 2].map(|()| {
            let run = run.clone();
            thread::spawn(move || run.forget())
        });
        pause(30);
        let again = engine.submit(keyed("a"), async |_| Ok(())).map(RunHandle::into_ref);
        let again = again.unwrap_err();
        let found = engine.submitted_with(None, &IdempotencyKey::new("key", ["a"])).unwrap();
        assert_eq!(found.0, run.id());
        for forgetter in forgetters {
            let forgotten = forgetter.join().unwrap();
            assert!(matches!(forgotten, Ok(()) | Err(ForgetError::Unknown)), "{forgotten:?}");
        }
        seen.note(match again {
            SubmitError::AlreadySubmitted(id) if id == run.id() => 0,
            SubmitError::KeyForgotten(id) if id == run.id() => 1,
            other => panic!("{other:?}"),
        });
        // Whatever it read first: once forgotten, it stays so.
        let last = engine.submit(keyed("a"), async |_| Ok(())).map(|run| run.id());
        assert_eq!(last, Err(SubmitError::KeyForgotten(run.id())));
        accept_shutdown(&engine, || {});
        let held = testing::held(&engine);
        assert_eq!((held.entries, held.keys), (0, 1));
    });
}

#[test]
fn i6_i21_i22_a_stop_in_a_scope_meets_its_run_or_finds_it() {
    play("remembered stops in scopes against submit", 3, |seen| {
        let limits = Limits::default().ended_trees_max(1);
        let engine = Engine::with_config(config().grace(NEVER).abort_wait(NEVER).limits(limits));
        let (tree, id) = (Witness::new(), RunId::from_text("later"));
        let [mine, foreign] = ["mine", "foreign"].map(|name| StopScope::new([name]));
        let stoppers = [mine, mine, foreign].map(|scope| {
            let engine = engine.clone();
            thread::spawn(move || {
                let stop = because("early").remember_for(NEVER / 4);
                match engine.remember_stop(id, scope, stop) {
                    Ok(Disposition::Reserved) => false,
                    Err(run) => {
                        run.cancel(because("found"));
                        true
                    }
                    other => panic!("{other:?}"),
                }
            })
        });
        pause(30);
        let spec = RunSpec::agent("later").id(id).stop_scope(mine);
        let run = submit_listening(&engine, spec, &tree);
        let root = run.run().clone();
        let [a, b, of_foreign] = stoppers.map(|stopper| stopper.join().unwrap());
        assert!(!of_foreign, "a run of another scope is not told of");
        assert!(is_stopped(root.status()), "{}: {a} {b}", root.status());
        let Outcome::Stopped { cause, .. } = block_on(run.outcome()) else { panic!("{root:?}") };
        let waited = !(a && b);
        assert_eq!(cause.message.as_deref(), Some(if waited { "early" } else { "found" }));
        if waited {
            assert!(tree.entered().is_empty(), "it was to be stopped before its start");
        }
        seen.note(usize::from(a) + usize::from(b));
        let log = checked_log(&root);
        accept_shutdown(&engine, || {});
        assert_eq!(testing::held(&engine).entries, 2, "the run, and the stop of another scope");
        tree.agree_with([&*log]);
    });
}
