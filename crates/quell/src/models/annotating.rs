//! Annotations that are added at once, and against the end of their run.

use loom::thread;
use quell_core::Annotations;
use quell_core::lifecycle::BodyEnd;

use super::{Arc, EVERY, end_body, engine, explore, started_root};
use crate::AnnotateError;
use crate::body::context::RunContext;
use crate::node::Node;
use crate::testing;

/// Adds an annotation that is worth counting.
fn add(node: &Arc<Node>, key: &str) -> Result<(), AnnotateError> {
    let value = "x".repeat(1_000).into();
    RunContext::new(Arc::clone(node)).annotate(&Annotations::from([(key.to_owned(), value)]))
}

#[test]
fn of_two_annotations_that_are_added_at_once_none_is_lost() {
    explore("annotate against annotate", EVERY, 0, |_| {
        let engine = engine();
        let root = started_root(&engine);
        let other = thread::spawn({
            let root = Arc::clone(&root);
            move || add(&root, "a")
        });
        assert_eq!(add(&root, "b"), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
        let keys: Vec<_> = root.about().unwrap().annotations().keys().map(str::to_owned).collect();
        assert_eq!(keys, ["a", "b"]);
        end_body(&root, BodyEnd::Ok);
        assert_eq!(testing::held(&engine).bytes, 0);
    });
}

#[test]
fn what_is_added_when_a_run_ends_is_paid_for_and_given_back_or_refused() {
    explore("annotate against the end", EVERY, 2, |seen| {
        let engine = engine();
        let root = started_root(&engine);
        let ender = thread::spawn({
            let root = Arc::clone(&root);
            move || end_body(&root, BodyEnd::Ok)
        });
        let added = add(&root, "a");
        ender.join().unwrap();
        let has = root.about().is_some_and(|about| about.annotations().len() == 1);
        assert_eq!(added, if has { Ok(()) } else { Err(AnnotateError::Ended) });
        seen.note(usize::from(has));
        assert_eq!(testing::held(&engine).bytes, 0);
    });
}
