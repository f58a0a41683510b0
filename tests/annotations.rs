//! Annotations: what front ends keep with a run, within its bounds.

use quell::{CancelRequest, Outcome, Payload, RunError, RunSpec, SubmitError, limits};

use crate::support::{Lab, bounded, naive};

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
        sized(limits::PAYLOAD_BYTES_MAX),
    ];
    for spec in good {
        lab.submit(spec, async |_| Ok(())).unwrap().await.unwrap();
    }
    let (keys, bytes) = (limits::KEY_BYTES_MAX, limits::PAYLOAD_BYTES_MAX);
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
