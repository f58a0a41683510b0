use quell::testing::held;
use quell::{
    CancelRequest, EventKind, Failure, ForgetError, Limits, Payload, RunContext, RunError,
    RunFilter, RunId, RunSpec, RunStatus, SubmitError, Work, Written, limits, testing,
};

use crate::support::{Lab, bounded, config, listener, naive, secs, soon, within};

fn text(bytes: usize) -> Payload {
    Payload::from("x".repeat(bytes - 2))
}

#[tokio::test(start_paused = true)]
async fn i29_a_log_is_bounded_in_bytes_and_says_what_is_gone() {
    let lab = Lab::paused_with(bounded(|limits| limits.events_per_root_bytes_max = 100_000));
    let run = lab
        .submit(RunSpec::agent("chatty"), async |ctx| {
            for n in 0..1_000 {
                ctx.emit(format!("{n} {}", "x".repeat(1_000)));
            }
            Ok(())
        })
        .unwrap();
    run.ended().await;
    let mut events = run.events();
    let lagged = events.next().await.unwrap();
    let EventKind::Lagged { from: 1, to } = lagged.kind else { panic!("{lagged:?}") };
    let mut bytes = 0;
    let mut next = to + 1;
    while let Some(event) = events.next().await {
        assert_eq!(event.seq, next, "what is held is whole");
        next += 1;
        if let EventKind::Emitted(payload) = event.kind {
            bytes += payload.len();
        }
    }
    assert!((50_000..=100_000).contains(&bytes), "{bytes}");
    lab.finish_unchecked("the log is not whole on purpose").await;
}

#[tokio::test(start_paused = true)]
async fn i39_ended_trees_are_bounded_in_bytes_and_the_oldest_leave_first() {
    let lab = Lab::paused_with(bounded(|limits| limits.ended_bytes_max = 1_000_000));
    let mut ids = Vec::new();
    for _ in 0..100 {
        let run = lab
            .submit(RunSpec::agent("large"), async |ctx| {
                ctx.set_output(text(50_000));
                Ok(())
            })
            .unwrap();
        ids.push(run.id());
        run.ended().await;
    }
    tokio::task::yield_now().await;
    let kept = held(&lab).entries;
    assert!((15..=20).contains(&kept), "{kept} of 51 KB each in 1 MB");
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(lab.get(*id).is_some(), n >= 100 - kept, "run {n}");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i39_one_owner_evicts_no_ended_tree_of_another() {
    let lab = Lab::paused_with(bounded(|limits| {
        limits.ended_trees_max = 40;
        limits.ended_bytes_max = 4_000_000;
    }));
    let brief = async |owner: &'static str, bytes: usize| {
        let spec = RunSpec::agent("brief").owner(owner).input(text(bytes));
        let run = lab.submit(spec, async |_| Ok(())).unwrap();
        run.ended().await;
        run.id()
    };
    let quiet = brief("quiet", 1_000).await;
    for _ in 0..200 {
        brief("loud", 10).await;
    }
    let of = |owner: &str| lab.runs(&RunFilter::new().owner(owner)).len();
    assert_eq!((of("quiet"), of("loud")), (1, 10), "a quarter of the number");
    for _ in 0..20 {
        brief("large", 300_000).await;
    }
    assert_eq!((of("quiet"), of("large")), (1, 3), "a quarter of the bytes");
    assert!(lab.get(quiet).is_some());
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i22_one_actor_evicts_no_remembered_stop_of_another() {
    let lab = Lab::paused_with(bounded(|limits| limits.reservations_max = 40));
    let remember = |by: &str, id: &str| {
        let request = CancelRequest::because("early").by(by).remember_for(secs(3600));
        lab.cancel(RunId::from_text(id), request);
    };
    remember("quiet", "quiet");
    for n in 0..200 {
        remember("loud", &format!("loud {n}"));
    }
    assert_eq!(held(&lab).entries, 11, "a quarter, and the one of another");
    let run = lab.submit(RunSpec::agent("late").id(RunId::from_text("quiet")), naive).unwrap();
    let cause = run.ended().await.cause.clone().unwrap();
    assert_eq!(cause.by.as_deref(), Some("quiet"), "it was remembered all the while");
    let newest = lab.submit(RunSpec::agent("l").id(RunId::from_text("loud 199")), naive).unwrap();
    assert!(newest.ended().await.cause.is_some(), "of one actor the oldest leave first");
    let oldest = lab.submit(RunSpec::agent("l").id(RunId::from_text("loud 0")), async |_| Ok(()));
    assert!(oldest.unwrap().ended().await.cause.is_none());
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i29_what_live_runs_bring_is_bounded_in_bytes_in_all_and_by_owner() {
    let lab = Lab::paused_with(bounded(|limits| limits.live_bytes_max = 1_000_000));
    let submit = |owner: &'static str, bytes: usize| {
        let spec = RunSpec::agent("large").owner(owner).input(text(bytes));
        lab.submit(spec, listener).map(quell::RunHandle::into_ref)
    };
    let first = submit("ada", 240_000).unwrap();
    let refused = submit("ada", 20_000).unwrap_err();
    let max = 250_000;
    let what = "bytes of live runs";
    assert_eq!(refused, SubmitError::ShareUsedUp { what, owner: "ada".into(), max });
    let refused = refused.to_string();
    assert_eq!(refused, "bytes of live runs of owner `ada` would exceed the share of 250000");
    for owner in ["ben", "cid", "dan"] {
        submit(owner, 240_000).unwrap();
    }
    let refused = submit("eve", 240_000).unwrap_err();
    assert_eq!(refused, SubmitError::LimitReached { what, max: 1_000_000 });
    assert_eq!(held(&lab).live, 4, "a refused run is none");
    submit("eve", 200).unwrap();
    first.cancel(CancelRequest::because("enough"));
    first.quiescent().await;
    submit("ada", 240_000).unwrap();
    lab.cancel_where(&RunFilter::new(), CancelRequest::because("enough"));
    for run in lab.runs(&RunFilter::new()) {
        run.quiescent().await;
    }
    assert_eq!(held(&lab).bytes, 0, "all was given back");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i29_outputs_and_logs_count_and_are_given_back_with_their_tree() {
    let lab = Lab::paused_with(bounded(|limits| limits.live_bytes_max = 1_000_000));
    let run = lab
        .submit(RunSpec::team("tree"), async |ctx| {
            assert_eq!(ctx.set_output(text(400_000)), Written::Recorded);
            assert_eq!(ctx.set_output(text(300_000)), Written::Recorded, "it takes the place");
            assert_eq!(ctx.set_output(text(800_000)), Written::TooLarge, "there is no room");
            let child = ctx.spawn(RunSpec::step("child"), async |ctx| {
                assert_eq!(ctx.set_output(text(300_000)), Written::Recorded);
                assert_eq!(ctx.set_output(text(800_000)), Written::TooLarge);
                Ok(())
            });
            child.await?;
            let spec = RunSpec::step("too large").input(text(500_000));
            let refused = ctx.spawn(spec, async |_| Ok(())).await.unwrap_err();
            assert_eq!(refused.to_string(), "run was refused");
            // The log takes what is left, and then gives up its oldest events.
            for _ in 0..100 {
                assert_eq!(ctx.emit(text(20_000)), Written::Recorded);
            }
            Ok(())
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!(report.output.as_ref().map(Payload::len), Some(300_000));
    let first = run.events().next().await.unwrap();
    assert!(matches!(first.kind, EventKind::Lagged { .. }), "{first:?}");
    tokio::task::yield_now().await;
    assert_eq!(held(&lab).bytes, 0);
    lab.finish_unchecked("the log is not whole on purpose").await;
}

#[tokio::test(start_paused = true)]
async fn i39_a_tree_can_be_forgotten_once_it_is_quiescent_and_its_id_is_free_again() {
    let lab = Lab::paused();
    let id = RunId::from_text("again");
    for round in 0..3 {
        let run = lab
            .submit(RunSpec::team("tree").id(id), async move |ctx| {
                let child = ctx.spawn(RunSpec::step("child").id(RunId::from_text("below")), naive);
                tokio::time::sleep(secs(1)).await;
                child.cancel(CancelRequest::because("enough"));
                child.ended().await;
                drop(child.into_ref());
                Ok(round)
            })
            .unwrap();
        tokio::task::yield_now().await;
        let below = RunId::from_text("below");
        assert_eq!(lab.forget(id), Err(ForgetError::NotQuiescent));
        assert_eq!(lab.forget(below), Err(ForgetError::NotRoot));
        run.run().quiescent().await;
        assert_eq!(lab.forget(id), Ok(()));
        assert_eq!(lab.forget(id), Err(ForgetError::Unknown));
        assert_eq!((lab.get(id), lab.get(below)), (None, None));
        assert_eq!(run.run().report().rows.len(), 2, "who holds it still reads it");
        assert_eq!(held(&lab).entries, 0);
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i39_forgetting_a_tree_never_takes_the_run_that_has_its_id_now() {
    let lab = Lab::paused_with(Limits::default());
    let id = RunId::from_text("reused");
    // An old root is forgotten by time while its id, which was free, is in use again.
    let old = lab.submit(RunSpec::agent("old").id(id), async |_| Ok(())).unwrap().into_ref();
    old.quiescent().await;
    lab.forget(id).unwrap();
    let new = lab.submit(RunSpec::agent("new").id(id), listener).unwrap();
    tokio::time::sleep(secs(7200)).await;
    lab.submit(RunSpec::agent("other"), async |_| Ok(())).unwrap().ended().await;
    assert_eq!(lab.get(id).as_ref().map(quell::RunRef::name), Some("new"));
    new.cancel(CancelRequest::because("enough"));
    lab.finish().await;
}

/// One owner's runs, in one tree or in many, leave room for another's.
#[tokio::test(start_paused = true)]
async fn i39_one_owner_has_a_share_of_the_live_runs() {
    let lab = Lab::paused_with(bounded(|limits| limits.runs_max = 40));
    let full = |error: SubmitError| {
        matches!(error, SubmitError::ShareUsedUp { what: "live runs", max: 10, .. })
    };
    let spec = || RunSpec::team("crowd").owner("loud");
    let crowd = lab
        .submit(spec(), async |ctx| {
            let children: Vec<_> =
                (0..12).map(|_| ctx.spawn(RunSpec::agent("member"), listener)).collect();
            ctx.stopped().await;
            let mut refused = 0;
            for child in children {
                refused += usize::from(matches!(child.await, Err(RunError::Refused(_))));
            }
            ctx.set_output(Payload::json(&refused).unwrap());
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    assert!(full(lab.submit(spec(), listener).unwrap_err()));
    lab.submit(RunSpec::agent("quiet").owner("quiet"), listener)
        .unwrap()
        .cancel(CancelRequest::because("done"));
    crowd.cancel(CancelRequest::because("done"));
    let report = crowd.ended().await;
    assert_eq!(report.partial.as_ref().map(Payload::as_json), Some("3"), "{report:?}");
    lab.submit(spec(), listener).unwrap().cancel(CancelRequest::because("done"));
    lab.finish().await;
}

#[tokio::test]
async fn i39_an_input_that_is_written_later_gives_back_what_it_was_charged() {
    // The child has no row, so that it leaves its tree before the root has ended.
    let lab = Lab::with(config().limits(bounded(|limits| limits.report_rows_max = 0)));
    let later = || Payload::json_later(7, 1 << 20);
    let other = lab.submit(RunSpec::agent("other").owner("ada"), naive).unwrap().into_ref();
    let before = held(&lab).bytes;
    let spec = RunSpec::agent("root").owner("ada").input(later());
    let run = lab.submit(spec, async move |ctx| {
        Ok(ctx.spawn(RunSpec::step("child").input(later()), async |_| Ok(())).await?)
    });
    let run = run.unwrap().into_ref();
    within("the tree ends", run.quiescent()).await;
    soon("nothing is charged", || held(&lab).bytes == before).await;
    let more = RunSpec::agent("more").owner("ada").input(text(10_000));
    let more = lab.submit(more, async |_| Ok(())).unwrap().into_ref();
    within("it ends", more.quiescent()).await;
    assert!(lab.get(run.id()).is_some(), "the tree is kept");
    other.cancel(CancelRequest::because("done"));
    lab.finish_unchecked("a child without a row is not in the log's report").await;
}

/// What a tree of an owner holds besides what it was charged for while it was live.
#[derive(Clone, Copy, Debug)]
enum Besides {
    CleanupErrors,
    AbandonedNames,
    Causes,
    /// Of stops that never came.
    Scheduled,
}

impl Besides {
    const ALL: [Self; 4] =
        [Self::CleanupErrors, Self::AbandonedNames, Self::Causes, Self::Scheduled];
}

async fn leave(ctx: RunContext, besides: Besides) -> Result<(), Failure> {
    match besides {
        Besides::CleanupErrors => {
            for _ in 0..20 {
                ctx.on_stop(async |_| panic!("{}", "x".repeat(20_000)));
            }
        }
        Besides::AbandonedNames => {
            let hold = || ctx.hold(Work::Process, "x".repeat(1_000));
            let holds = (0..250).map(|_| hold()).collect::<Result<Vec<_>, _>>()?;
            tokio::spawn(async move {
                tokio::time::sleep(secs(60)).await;
                drop(holds);
            });
        }
        Besides::Scheduled => {
            let body = async |_| {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                Ok(())
            };
            let children = (0..60).map(|_| ctx.spawn(RunSpec::step("ends"), body));
            let children: Vec<_> = children.map(quell::RunHandle::into_ref).collect();
            for child in &children {
                while child.status() == RunStatus::Queued {
                    tokio::task::yield_now().await;
                }
                let request = CancelRequest::because("x".repeat(4_000));
                child.cancel(request.after_step(Some(secs(60))));
            }
        }
        Besides::Causes => {
            let children = (0..60).map(|_| ctx.spawn(RunSpec::step("stopped"), naive));
            let children: Vec<_> = children.map(quell::RunHandle::into_ref).collect();
            tokio::task::yield_now().await;
            for child in &children {
                child.cancel(CancelRequest::because("x".repeat(4_000)));
            }
        }
    }
    naive(ctx).await
}

#[tokio::test(start_paused = true)]
async fn i39_errors_names_and_causes_count_in_the_bytes_of_ended_trees() {
    for besides in Besides::ALL {
        for is_below in [false, true] {
            let lab = Lab::paused_with(bounded(|limits| {
                limits.events_per_root_max = 16;
                limits.ended_bytes_max = 4_000_000;
            }));
            for _ in 0..12 {
                let spec = RunSpec::agent("large").owner("loud").grace(secs(1));
                let run = lab.submit(spec, async move |ctx| {
                    if is_below {
                        let body = async move |ctx| leave(ctx, besides).await;
                        return Ok(ctx.spawn(RunSpec::step("below"), body).await?);
                    }
                    leave(ctx, besides).await
                });
                let run = run.unwrap().into_ref();
                for _ in 0..40 {
                    tokio::task::yield_now().await;
                }
                run.cancel(CancelRequest::because("enough"));
                within("it comes to rest", run.quiescent()).await;
            }
            tokio::task::yield_now().await;
            let kept = lab.runs(&RunFilter::new().owner("loud").roots()).len();
            assert!((3..=4).contains(&kept), "{besides:?}, {is_below}: {kept} of 250 KB in 1 MB");
            assert_eq!(held(&lab).bytes, 0);
            lab.finish_unchecked("the logs are not whole on purpose").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn i39_what_is_implied_of_an_ended_run_is_read_without_a_charge() {
    let lab = Lab::paused();
    let long = "x".repeat(limits::REASON_BYTES_MAX);
    for _ in 0..3 {
        // Nobody has looked at it before it is over: its log is made for the reader.
        let run = lab.submit(RunSpec::agent("silent"), listener).unwrap();
        tokio::task::yield_now().await;
        run.cancel(CancelRequest::because(long.clone()).by(long.clone()));
        run.run().quiescent().await;
        assert_eq!(testing::trace(run.run()).await.len(), 4, "all of it is there");
    }
    assert_eq!(held(&lab).bytes, 0, "nobody is left who would give it back");
    lab.finish().await;
}
