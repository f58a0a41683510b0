//! I24, T5 to T7: how runs are paused, what is while they are, and how that ends.

use std::sync::{Arc, Mutex};

use quell::{
    CauseKind, Disposition, EventKind, Failure, OnBusy, Pause, PauseError, Payload, ResumeError,
    RunContext, RunError, RunSpec, RunStatus, Scope, Work,
};

use crate::support::{
    Captured, Lab, Witness, clerk, config, listener, ms, paused, secs, soon, stop, submit_asking,
    within,
};

#[tokio::test(start_paused = true)]
async fn i24_a_paused_run_goes_on_with_its_answer_as_the_next_attempt_of_the_same_run() {
    let lab = Lab::paused();
    let (witness, seen) = (Witness::new(), Arc::new(Mutex::new(Vec::new())));
    let of_body = witness.clone();
    let run = lab.submit_resumable(clerk().input("a file".into()), move |ctx: RunContext| {
        let (seen, inside) = (Arc::clone(&seen), of_body.enter());
        async move {
            let _inside = inside;
            seen.lock().unwrap().push((ctx.attempt(), ctx.resumed_with()));
            assert_eq!(ctx.input(), Some(&"a file".into()));
            match ctx.attempt() {
                3 => Ok(seen.lock().unwrap().clone()),
                attempt => Err(ctx.pause(format!("question {attempt}"))),
            }
        }
    });
    let run = run.unwrap();
    for attempt in 1..=2 {
        assert_eq!(run.run().paused().await, Some(format!("question {attempt}").into()));
        assert_eq!(run.run().status(), RunStatus::Paused);
        assert_eq!((witness.entered(), witness.inside()), (attempt, 0), "nothing of it executes");
        assert_eq!(lab.resume(run.id(), format!("answer {attempt}")), Ok(run.run().clone()));
        assert_eq!(run.run().pause_request(), None);
    }
    let reference = run.run().clone();
    let expected = [(1, None), (2, Some("answer 1".into())), (3, Some("answer 2".into()))];
    assert_eq!(run.await.unwrap(), expected);
    let mut kinds = Vec::new();
    let mut events = reference.events();
    while let Some(event) = events.next().await {
        kinds.push(event.kind);
    }
    let asked = |n: u32| EventKind::Paused { request: format!("question {n}").into() };
    let again = |attempt| EventKind::Resumed { attempt };
    let (started, ended) = (EventKind::Started, EventKind::Ended(RunStatus::Completed));
    let told = [&asked(1), &again(2), &started, &asked(2), &again(3), &started, &ended];
    assert_eq!(kinds[2..].iter().collect::<Vec<_>>(), told);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i24_a_run_is_paused_when_its_children_its_hooks_and_what_was_abandoned_have_ended() {
    let lab = Lab::paused();
    let witness = Witness::new();
    let kept: Arc<Mutex<Option<quell::Hold>>> = Arc::default();
    let (inside, keeps) = (witness.clone(), Arc::clone(&kept));
    let run = lab.submit_resumable(clerk(), move |ctx: RunContext| {
        let (witness, keeps) = (inside.clone(), Arc::clone(&keeps));
        async move {
            if ctx.attempt() > 1 {
                return Ok(());
            }
            let _body = witness.enter();
            let stuck = ctx.spawn(RunSpec::step("stuck").timeout(ms(10)), async move |ctx| {
                *keeps.lock().unwrap() = Some(ctx.hold(Work::Process, "a program")?);
                std::future::pending::<()>().await;
                Ok(())
            });
            let late = witness.clone();
            drop(ctx.spawn(RunSpec::step("late"), async move |_| {
                let _inside = late.enter();
                tokio::time::sleep(secs(60)).await;
                Ok(())
            }));
            let hook = witness.clone();
            ctx.on_end(async move |_| {
                let _inside = hook.enter();
                tokio::time::sleep(secs(1)).await;
            });
            ctx.on_stop(async |_| panic!("it was not stopped"));
            assert!(matches!(stuck.await, Err(RunError::Stopped(_))));
            Err(ctx.pause("?"))
        }
    });
    let run = run.unwrap();
    tokio::time::sleep(secs(30)).await;
    assert_eq!((run.run().status(), witness.inside()), (RunStatus::Running, 1), "a child is live");
    tokio::time::sleep(secs(60)).await;
    let told = (run.run().status(), witness.inside(), witness.entered());
    assert_eq!(told, (RunStatus::Running, 0, 3), "the hook has run, a program executes");
    drop(kept.lock().unwrap().take());
    within("it is paused", run.run().paused()).await.unwrap();
    run.run().resume(1).unwrap();
    run.await.unwrap();
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i24_a_cancel_of_a_paused_run_ends_it_at_once_without_a_body_or_a_hook_of_it() {
    let lab = Lab::paused();
    for request in [stop(), stop().abort(), stop().after_step(None)] {
        let (bodies, dropped) = (Witness::new(), Witness::new());
        let (inside, captured) = (bodies.clone(), Captured(dropped.clone()));
        let run = lab.submit_resumable(clerk(), move |ctx: RunContext| {
            let (_, inside) = (&captured, inside.enter());
            async move {
                let _inside = inside;
                ctx.on_stop(async |_| panic!("it ended with its attempt"));
                Err::<(), _>(ctx.pause("?"))
            }
        });
        let run = run.unwrap().into_ref();
        run.paused().await.unwrap();
        assert_eq!(dropped.entered(), 0, "there may be a next attempt");
        assert!(matches!(run.cancel(request), Disposition::Accepted { .. }));
        assert_eq!(run.status(), RunStatus::Cancelled, "when the cancel returns");
        assert_eq!((bodies.entered(), dropped.entered()), (1, 1), "what it had captured is gone");
        let report = run.ended().await;
        assert!(report.quiescent && report.cause.as_ref().unwrap().kind == CauseKind::UserRequest);
        assert_eq!(report.own_row().hooks_skipped, 0, "its hooks have ended with their attempt");
        assert_eq!(run.resume("late"), Err(ResumeError::NotPaused(RunStatus::Cancelled)));
        let again = run.cancel(stop());
        assert_eq!(again, Disposition::AlreadyTerminal { status: RunStatus::Cancelled });
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i24_only_a_paused_run_is_resumed_and_only_once() {
    let lab = Lab::with(config().control_on_runtime().running_max(1));
    let run = paused(&lab, clerk()).await;
    let holder = lab.submit(RunSpec::agent("holder"), listener).unwrap().into_ref();
    soon("it starts", || holder.status() == RunStatus::Running).await;
    let waits = submit_asking(&lab, clerk()).into_ref();
    assert_eq!(waits.resume("early"), Err(ResumeError::NotPaused(RunStatus::Queued)));
    assert_eq!(run.resume("first"), Ok(()));
    assert_eq!(run.resume("second"), Err(ResumeError::NotPaused(RunStatus::Queued)));
    assert_eq!(lab.resume(quell::RunId::from_text("none"), "?"), Err(ResumeError::Unknown));
    let large = Payload::from("x".repeat(quell::limits::PAYLOAD_BYTES_MAX));
    let refused = waits.resume(large).unwrap_err();
    assert!(matches!(refused, ResumeError::TooLarge { .. }), "{refused}");
    // One that is stopped before its next attempt starts has no such attempt (I21).
    run.cancel(stop());
    within("it ends", run.ended()).await;
    assert_eq!(run.resume("third"), Err(ResumeError::NotPaused(RunStatus::Cancelled)));
    holder.cancel(stop());
    within("it asks", waits.paused()).await.unwrap();
    waits.resume("yes").unwrap();
    assert_eq!(within("it ends", waits.ended()).await.status, RunStatus::Completed);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i24_an_answer_to_an_attempt_is_taken_only_if_that_one_asks() {
    let lab = Lab::paused();
    let run = lab.submit_resumable(clerk(), async |ctx: RunContext| match ctx.attempt() {
        attempt @ 1..=2 => Err(ctx.pause(format!("question {attempt}"))),
        _ => Ok(ctx.resumed_with()),
    });
    let run = run.unwrap();
    let asks = async || {
        within("it asks", run.run().paused()).await.unwrap();
        run.run().pause_state().unwrap().attempt
    };
    assert_eq!(asks().await, 1);
    let early = Err(ResumeError::OtherAttempt { answered: 2, asks: 1 });
    assert_eq!(run.run().resume_attempt(2, "early"), early);
    assert_eq!(run.run().resume_attempt(1, "yes"), Ok(()));
    let twice = run.run().resume_attempt(1, "yes");
    assert!(matches!(twice, Err(ResumeError::NotPaused(_))), "{twice:?}");
    assert_eq!(asks().await, 2);
    let twice = run.run().resume_attempt_durably(1, "yes").await;
    assert_eq!(twice, Err(ResumeError::OtherAttempt { answered: 1, asks: 2 }));
    assert_eq!(run.run().pause_request(), Some("question 2".into()), "nothing has changed");
    run.run().resume_attempt_durably(2, "no").await.unwrap();
    assert_eq!(run.await.unwrap(), Some("no".into()));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn t7_a_pause_expires_and_a_timeout_goes_on_or_stands_still() {
    let lab = Lab::paused();
    let expires = lab.submit_resumable(clerk(), async |ctx| {
        Err::<(), _>(ctx.pause(Pause::new("?").expires_in(secs(60))))
    });
    let expires = expires.unwrap().into_ref();
    let goes_on = paused(&lab, clerk().timeout(secs(100))).await;
    let stands = paused(&lab, clerk().timeout(secs(100)).timeout_stands_in_pauses()).await;
    let idle = paused(&lab, clerk().idle(secs(10)).start_within(secs(10))).await;
    tokio::time::sleep(secs(59)).await;
    assert_eq!(expires.status(), RunStatus::Paused);
    tokio::time::sleep(secs(2)).await;
    let report = expires.ended().await;
    assert_eq!((report.status, report.quiescent), (RunStatus::TimedOut, true));
    let cause = report.cause.clone().unwrap();
    assert_eq!((cause.kind, cause.origin), (CauseKind::Deadline, expires.id()));
    assert_eq!(goes_on.status(), RunStatus::Paused);
    tokio::time::sleep(secs(40)).await;
    assert_eq!(goes_on.ended().await.status, RunStatus::TimedOut, "from its first start");
    tokio::time::sleep(secs(1_000)).await;
    for run in [stands, idle] {
        assert_eq!(run.status(), RunStatus::Paused);
        run.resume("yes").unwrap();
        assert_eq!(run.ended().await.status, RunStatus::Completed);
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn t6_a_timeout_that_stood_still_goes_on_with_what_is_left() {
    let lab = Lab::paused();
    let spec = clerk().timeout(secs(100)).timeout_stands_in_pauses();
    let run = lab.submit_resumable(spec, async |ctx: RunContext| {
        if ctx.attempt() == 1 {
            tokio::time::sleep(secs(60)).await;
            return Err(ctx.pause("?"));
        }
        tokio::time::sleep(secs(50)).await;
        Ok(())
    });
    let run = run.unwrap().into_ref();
    run.paused().await.unwrap();
    tokio::time::sleep(secs(1_000)).await;
    run.resume("!").unwrap();
    tokio::time::sleep(secs(39)).await;
    assert_eq!(run.status(), RunStatus::Running);
    tokio::time::sleep(secs(2)).await;
    assert_eq!(run.ended().await.status, RunStatus::TimedOut);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn t5_a_paused_run_gives_its_slots_back_and_keeps_its_lane() {
    let each = quell::RunLimits::new().running_max(1).queued_max(1);
    let config = config().control_on_runtime().running_max(1).limit(Scope::EachOwner, each);
    let lab = Lab::with(config);
    let in_lane = |priority| {
        RunSpec::agent("next").owner("ben").lane("L", OnBusy::Enqueue).priority(priority)
    };
    let order = Arc::new(Mutex::new(Vec::new()));
    let says = |name: &'static str| {
        let order = Arc::clone(&order);
        async move |_: RunContext| {
            order.lock().unwrap().push(name);
            Ok(())
        }
    };
    let turns = Arc::clone(&order);
    let run = lab.submit_resumable(
        clerk().owner("ada").lane("L", OnBusy::Enqueue),
        move |ctx: RunContext| {
            let turns = Arc::clone(&turns);
            async move {
                ctx.resumed_with().ok_or_else(|| ctx.pause("?"))?;
                turns.lock().unwrap().push("run");
                Ok(())
            }
        },
    );
    let run = run.unwrap().into_ref();
    within("it asks", run.paused()).await.unwrap();
    let next = lab.submit(in_lane(9), says("next")).unwrap().into_ref();
    let other = lab.submit(RunSpec::agent("other").owner("ada"), listener);
    let other = other.unwrap().into_ref();
    soon("its slots are free", || other.status() == RunStatus::Running).await;
    assert_eq!(next.status(), RunStatus::Queued, "the lane is not");
    assert_eq!(lab.lane("L"), [next.clone(), run.clone()]);

    let queued = lab.submit(RunSpec::agent("queued").owner("ada"), async |_| Ok(())).unwrap();
    let full = run.resume("yes").unwrap_err();
    assert_eq!(full, ResumeError::QueueFull { scope: Scope::EachOwner, max: 1 });
    assert_eq!((run.status(), run.pause_request().is_some()), (RunStatus::Paused, true));
    queued.cancel(stop());
    queued.ended().await;
    run.resume("yes").unwrap();
    assert_eq!((run.status(), next.status()), (RunStatus::Queued, RunStatus::Queued));
    // It waits for a slot, and has its lane: whoever is more urgent comes after it.
    let late = lab.submit(in_lane(9).owner("eve"), says("late")).unwrap().into_ref();
    other.cancel(stop());
    for run in [run, next, late] {
        within("it has its turn", run.ended()).await;
    }
    assert_eq!(*order.lock().unwrap(), ["run", "next", "late"], "nobody between two attempts");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn t5_a_limit_that_comes_while_a_run_is_paused_counts_it_when_it_goes_on() {
    let lab = Lab::paused();
    let run = paused(&lab, clerk()).await;
    lab.set_limit(Scope::All, quell::RunLimits::new().running_max(1));
    let holder = lab.submit(RunSpec::agent("holder"), listener).unwrap();
    soon("it has the slot", || holder.run().status() == RunStatus::Running).await;
    run.resume("yes").unwrap();
    assert!(run.queue_position().is_some(), "there is one slot");
    holder.cancel(stop());
    assert_eq!(run.ended().await.status, RunStatus::Completed);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i24_a_pause_of_a_child_reaches_its_parent_and_only_the_root_is_paused() {
    let lab = Lab::paused();
    let run = lab.submit_resumable(RunSpec::workflow("w"), async |ctx: RunContext| {
        let answer = ctx.resumed_with();
        let middle = ctx.spawn(RunSpec::step("middle"), async move |ctx: RunContext| {
            let asks = ctx.spawn(RunSpec::step("asks"), async move |ctx: RunContext| {
                answer.ok_or_else(|| ctx.pause("to whom?"))
            });
            Ok(asks.await?)
        });
        Ok(middle.await?)
    });
    let run = run.unwrap();
    assert_eq!(run.run().paused().await, Some("to whom?".into()));
    let statuses: Vec<_> = run.run().report().rows.iter().map(|row| row.status).collect();
    assert_eq!(statuses, [RunStatus::Paused, RunStatus::Failed, RunStatus::Failed]);
    run.run().resume("ada").unwrap();
    assert_eq!(run.await.unwrap(), "ada".into());

    let copes = lab.submit(RunSpec::workflow("copes"), async |ctx: RunContext| {
        let asks = ctx.spawn(RunSpec::step("asks"), async |ctx: RunContext| {
            Err::<(), _>(ctx.pause("to whom?"))
        });
        match asks.await {
            Err(RunError::Paused(asked)) => Ok(asked.request),
            other => Err(Failure::new(format!("{other:?}"))),
        }
    });
    assert_eq!(copes.unwrap().await.unwrap(), "to whom?".into());

    let unseen = lab.submit_resumable(RunSpec::workflow("unseen"), async |ctx: RunContext| {
        drop(ctx.spawn(RunSpec::step("fails"), async |_| Err::<(), _>(Failure::new("oh"))));
        Err::<(), _>(ctx.pause("?"))
    });
    let failed = unseen.unwrap().await.unwrap_err();
    assert!(failed.to_string().contains("oh"), "{failed}");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn t5_a_client_pauses_a_run_at_its_next_checkpoint() {
    let lab = Lab::paused();
    let run = lab.submit_resumable(clerk(), async |ctx: RunContext| {
        while ctx.attempt() == 1 {
            tokio::time::sleep(secs(1)).await;
            ctx.checkpoint()?;
        }
        ctx.checkpoint()?;
        Ok(ctx.resumed_with())
    });
    let run = run.unwrap();
    soon("it starts", || run.run().status() == RunStatus::Running).await;
    assert_eq!(run.run().pause(Pause::new("look at this").expires_in(secs(60))), Ok(()));
    assert_eq!(run.run().pause("once more"), Ok(()), "what was asked first stands");
    assert_eq!(run.run().status(), RunStatus::Running);
    assert_eq!(within("a checkpoint", run.run().paused()).await, Some("look at this".into()));
    run.run().resume("seen").unwrap();
    assert_eq!(run.await.unwrap(), Some("seen".into()));

    let deaf = lab.submit_resumable(clerk(), async |_| {
        tokio::time::sleep(secs(1)).await;
        Ok(())
    });
    let deaf = deaf.unwrap();
    deaf.run().pause("?").unwrap();
    deaf.run().ended().await;
    assert_eq!(deaf.run().pause("?"), Err(PauseError::Over(RunStatus::Completed)));
    deaf.await.unwrap();

    let plain = lab.submit(clerk(), async |ctx: RunContext| {
        let child = ctx.spawn(RunSpec::step("child"), listener);
        assert_eq!(child.run().pause("?"), Err(PauseError::NotRoot));
        assert_eq!(ctx.run().pause("?"), Err(PauseError::NotResumable));
        child.cancel(stop());
        child.ended().await;
        Ok(())
    });
    plain.unwrap().await.unwrap();
    lab.finish().await;
}
