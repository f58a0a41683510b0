//! One key, and two threads that submit with it, or forget its run.

use loom::thread;
use quell_core::lifecycle::{BodyEnd, Input};

use super::{Arc, EVERY, end_body, engine, explore};
use crate::engine::Engine;
use crate::failure::SubmitError;
use crate::idempotency::IdempotencyKey;
use crate::node::Node;
use crate::spec::RunSpec;
use crate::step::StopOrigin;
use crate::testing;

fn submit(engine: &Engine) -> Result<Arc<Node>, SubmitError> {
    let key = IdempotencyKey::new("key", ["payload"]);
    let accepted = engine.shared().accept_root(RunSpec::agent("keyed").idempotency_key(key));
    accepted.map(|(node, _)| node)
}

#[test]
fn i37_of_two_submits_with_one_key_one_starts_and_the_other_learns_its_id() {
    explore("submit against submit with one key", EVERY, 2, |seen| {
        let engine = engine();
        let other = thread::spawn({
            let engine = engine.clone();
            move || submit(&engine)
        });
        let (own, other) = (submit(&engine), other.join().unwrap());
        seen.note(usize::from(own.is_ok()));
        let (run, refused) = match (own, other) {
            (Ok(run), Err(refused)) | (Err(refused), Ok(run)) => (run, refused),
            both => panic!("{both:?}"),
        };
        assert_eq!(refused, SubmitError::AlreadySubmitted(run.id));
        assert_eq!(testing::held(&engine).keys, 1);
    });
}

#[test]
fn i37_a_submit_against_the_end_of_a_run_that_is_not_kept_starts_nothing() {
    explore("submit with a key against forget", EVERY, 2, |seen| {
        let engine = engine();
        let run = submit(&engine).expect("the key is free");
        run.apply(Input::Started, StopOrigin::default(), |_, _| {});
        let ender = thread::spawn({
            let run = Arc::clone(&run);
            move || end_body(&run, BodyEnd::Ok)
        });
        let again = submit(&engine).expect_err("it was submitted before");
        ender.join().unwrap();
        seen.note(match again {
            SubmitError::AlreadySubmitted(id) if id == run.id => 0,
            SubmitError::KeyForgotten(id) if id == run.id => 1,
            other => panic!("{other:?}"),
        });
        assert_eq!(submit(&engine).unwrap_err(), SubmitError::KeyForgotten(run.id));
        let held = testing::held(&engine);
        assert_eq!((held.entries, held.live, held.keys), (0, 0, 1));
    });
}
