//! Annotations: what front ends keep with a run, within its bounds.

use std::sync::Arc;

use quell::store::{MemoryStore, Store as _};
use quell::{
    AnnotateError, Annotations, CancelRequest, Outcome, Payload, Recovery, RunContext, RunError,
    RunSpec, SubmitError, limits,
};

use crate::support::{Lab, Valve, bounded, durable, naive, within};

fn text(bytes: usize) -> Payload {
    Payload::from("x".repeat(bytes - 2))
}

#[tokio::test(start_paused = true)]
async fn i22_annotations_are_bounded_in_number_keys_and_bytes_and_stay_with_their_run() {
    let lab = Lab::paused();
    let many = |count: usize| {
        (0..count).fold(RunSpec::agent("many"), |spec, n| spec.annotation(n.to_string(), text(9)))
    };
    let sized = |bytes: usize| {
        RunSpec::agent("sized").annotation("a", text(9)).annotation("b", text(bytes - 9))
    };
    let key = "k".repeat(limits::KEY_BYTES_MAX);
    let good = [
        many(limits::ANNOTATIONS_MAX),
        RunSpec::agent("key").annotation(&*key, text(9)),
        sized(limits::ANNOTATIONS_BYTES_MAX),
    ];
    for spec in good {
        lab.submit(spec, async |_| Ok(())).unwrap().await.unwrap();
    }
    let (keys, bytes) = (limits::KEY_BYTES_MAX, limits::ANNOTATIONS_BYTES_MAX);
    let too_large = |what, max| SubmitError::TooLarge { what, bytes: max + 1, max };
    let bad = [
        (RunSpec::agent("k").annotation(format!("{key}k"), text(9)), ("annotation key", keys)),
        (sized(bytes + 1), ("annotations", bytes)),
    ];
    for (spec, (what, max)) in bad {
        assert_eq!(lab.submit(spec, async |_| Ok(())).unwrap_err(), too_large(what, max));
    }
    let max = limits::ANNOTATIONS_MAX;
    let refused = lab.submit(many(max + 1), async |_| Ok(())).unwrap_err();
    assert_eq!(refused, SubmitError::LimitReached { what: "annotations", max });
    let again = many(2).annotation("1", text(20));
    let run = lab.submit(again, async |_| Ok(())).unwrap().into_ref();
    run.quiescent().await;
    let found = lab.get(run.id()).unwrap();
    assert_eq!(found.annotation("1").unwrap().len(), 20, "the last one of a key counts");
    assert_eq!((found.annotations().unwrap().len(), found.annotation("2")), (2, None));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i22_annotations_count_as_bytes_of_their_owner_as_long_as_the_run_lives() {
    let lab = Lab::paused_with(bounded(|limits| limits.live_bytes_max = 400_000));
    let spec = || RunSpec::agent("a").owner("ada").annotation("front-end", text(60_000));
    let first = lab.submit(spec(), naive).unwrap();
    let refused = lab.submit(spec(), naive).unwrap_err();
    assert!(matches!(refused, SubmitError::ShareUsedUp { max: 100_000, .. }), "{refused:?}");
    let parent = RunSpec::team("t").owner("ada");
    let parent = lab.submit(parent, async move |ctx| {
        let spec = RunSpec::step("s").annotation("front-end", text(60_000));
        let refused = ctx.spawn(spec, naive).outcome().await;
        assert!(matches!(refused, Outcome::Failed(RunError::Refused(_))), "{refused:?}");
        Ok(())
    });
    parent.unwrap().await.unwrap();
    first.cancel(CancelRequest::because("over"));
    first.run().quiescent().await;
    lab.submit(spec(), async |_| Ok(())).unwrap().await.unwrap();
    lab.finish().await;
}

fn one(key: &str, value: Payload) -> Annotations {
    Annotations::from([(key.to_owned(), value)])
}

#[tokio::test(start_paused = true)]
async fn a_body_adds_annotations_beside_those_that_its_run_has_and_none_is_lost() {
    let lab = Lab::paused();
    let body = async |ctx: RunContext| {
        let before = ctx.run().annotation("a").map(Payload::as_json);
        let (key, many) = ("k".repeat(limits::KEY_BYTES_MAX + 1), limits::ANNOTATIONS_MAX);
        let many = (0..many).map(|nth| (nth.to_string(), text(9))).collect();
        let has = || ctx.run().annotations().map_or(0, Annotations::len);
        let had = has();
        for (bad, what) in [
            (one(&key, text(9)), "annotation key"),
            (one("b", text(limits::ANNOTATIONS_BYTES_MAX + 1)), "annotations"),
        ] {
            let refused = ctx.annotate(&bad).unwrap_err();
            let AnnotateError::Bound(SubmitError::TooLarge { what: of, .. }) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!((of, has()), (what, had));
        }
        if had > 0 {
            let refused = ctx.annotate(&many).unwrap_err();
            assert!(matches!(refused, AnnotateError::Bound(SubmitError::LimitReached { .. })));
            let taken = ctx.annotate(&one("a", text(9))).unwrap_err();
            assert_eq!(taken, AnnotateError::Taken("a".into()));
        }
        ctx.annotate(&one("b", text(20))).unwrap();
        let first = ctx.run().annotations();
        assert_eq!((ctx.run().annotation("b").unwrap().len(), has()), (20, had + 1));
        let again = ctx.annotate(&one("b", text(9)));
        assert_eq!(again, Err(AnnotateError::Taken("b".into())));
        // Of several at once none is lost.
        let at_once = ["c", "d", "e"].map(|key| {
            let ctx = ctx.clone();
            tokio::task::spawn_blocking(move || ctx.annotate(&one(key, text(9))))
        });
        for added in at_once {
            added.await.unwrap().unwrap();
        }
        assert_eq!((first.map_or(0, Annotations::len), has()), (had + 1, had + 4));
        assert_eq!(before, ctx.run().annotation("a").map(Payload::as_json));
        Ok(ctx)
    };
    for spec in [RunSpec::agent("has").annotation("a", text(9)), RunSpec::agent("none")] {
        let late = lab.submit(spec, body).unwrap().await.unwrap();
        assert_eq!(late.annotate(&one("f", text(9))), Err(AnnotateError::Ended));
        assert_eq!(lab.get(late.id()).unwrap().annotation("b").unwrap().len(), 20);
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn annotations_that_a_body_adds_count_as_bytes_of_the_owner_until_its_tree_has_ended() {
    let lab = Lab::paused_with(bounded(|limits| limits.live_bytes_max = 400_000));
    // The second one finds as much as the first one.
    for _ in 0..2 {
        let parent = lab.submit(RunSpec::team("t").owner("ada"), async |ctx| {
            let adds = async |ctx: RunContext| Ok(ctx.annotate(&one("a", text(60_000))));
            ctx.spawn(RunSpec::step("s"), adds).await?.unwrap();
            // That of the step stays with its row, as what it was given does.
            let refused = adds(ctx.clone()).await?.unwrap_err();
            let AnnotateError::Bound(SubmitError::ShareUsedUp { max: 100_000, .. }) = refused
            else {
                panic!("{refused:?}");
            };
            Ok(())
        });
        within("it has ended", parent.unwrap()).await.unwrap();
    }
    lab.finish().await;
}

#[tokio::test]
async fn annotations_that_a_body_adds_are_stored_before_what_it_says_and_a_later_attempt_has_them()
{
    let store = Arc::new(MemoryStore::new());
    let before = durable(&Valve::reopened(&store, 1));
    let body = async |ctx: RunContext| {
        ctx.annotate(&one("late", "one".into())).unwrap();
        let _ = ctx.emit("said");
        ctx.stopped().await;
        Ok(())
    };
    let spec = RunSpec::agent("r").annotation("early", 0.into());
    let run = before.submit_durably(spec, body).await.unwrap().into_ref();
    within("it has said it", async {
        while store.events(run.id(), 2, 9).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let stored = async || store.get(run.id()).await.unwrap().unwrap().accepted.annotations;
    assert_eq!(stored().await.get("late"), Some(&"one".into()));
    let after = durable(&Valve::reopened(&store, 2));
    let again = after.recover(|_| {
        Recovery::resume(RunSpec::agent("r"), async |ctx| {
            let known = ctx.run().annotation("late").cloned();
            assert_eq!(known, Some("one".into()));
            ctx.annotate(&one("later", "two".into())).unwrap();
            Ok(())
        })
    });
    let resumed = again.await.unwrap().resumed.remove(0);
    within("it ends", resumed.ended()).await;
    resumed.stored().await.unwrap();
    let keys: Vec<_> = stored().await.keys().map(str::to_owned).collect();
    assert_eq!(keys, ["early", "late", "later"]);
}
