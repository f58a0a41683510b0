use std::future::pending;

use quell::{CancelRequest, Failure, Outcome, RunContext, RunSpec, RunStatus, StopDelivery};

use crate::support::{Lab, Witness, ignorant, listener, ms, naive, now, secs};

/// What a listening body does when it hears the stop: two seconds of cleanup.
async fn tidy(ctx: RunContext) -> Result<(), Failure> {
    ctx.stopped().await;
    tokio::time::sleep(secs(2)).await;
    ctx.set_output("tidied".into());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn i15_grace_is_for_bodies_that_can_hear_unless_the_spec_says_otherwise() {
    let lab = Lab::paused();
    let cases = [
        // How the stop is to reach it, whether it listens, how long the stop takes.
        (StopDelivery::Auto, false, 0),
        (StopDelivery::Auto, true, 2),
        (StopDelivery::Signal, false, 5),
        (StopDelivery::Signal, true, 2),
        (StopDelivery::Drop, false, 0),
        (StopDelivery::Drop, true, 0),
    ];
    for (delivery, listens, seconds) in cases {
        let spec = RunSpec::agent("body").stop_delivery(delivery).grace(secs(5));
        let run = if listens { lab.submit(spec, tidy) } else { lab.submit(spec, naive) };
        let run = run.unwrap();
        tokio::task::yield_now().await;
        let began = now();
        run.cancel(CancelRequest::because("enough"));
        let report = run.ended().await;
        assert_eq!(now() - began, secs(seconds), "{delivery:?}, listens: {listens}");
        assert_eq!(report.status, RunStatus::Cancelled);
        assert_eq!(report.partial.is_some(), seconds == 2);
        assert_eq!(report.own_row().aborted, seconds == 5, "only who had a grace can overrun it");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i15_every_part_of_the_stop_api_makes_a_listener() {
    let lab = Lab::paused();
    let parts = [
        "stopped",
        "checkpoint",
        "is_stopping",
        "run_until_stopped",
        "shield",
        "on_stop",
        "token",
        "spawn_blocking",
        "hold",
        "nothing",
    ];
    for part in parts {
        let run = lab
            .submit(RunSpec::agent(part).grace(secs(3)), async move |ctx| {
                use_part(&ctx, part).await?;
                pending::<()>().await;
                Ok(())
            })
            .unwrap();
        tokio::time::sleep(ms(10)).await;
        let began = now();
        run.cancel(CancelRequest::because("enough"));
        run.ended().await;
        let is_deaf = ["nothing", "on_stop"].contains(&part);
        let grace = if is_deaf { secs(0) } else { secs(3) };
        assert_eq!(now() - began, grace, "{part}");
    }
    lab.finish().await;
}

async fn use_part(ctx: &RunContext, part: &str) -> Result<(), Failure> {
    match part {
        "stopped" => {
            let stopped = ctx.stopped();
            drop(tokio::time::timeout(ms(1), stopped).await);
        }
        "checkpoint" => ctx.checkpoint()?,
        "is_stopping" => assert!(!ctx.is_stopping()),
        "run_until_stopped" => ctx.run_until_stopped(async {}).await?,
        "shield" => ctx.shield(async {}).await?,
        "on_stop" => ctx.on_stop(async |_| {}),
        "token" => drop(ctx.cancellation_token()),
        "spawn_blocking" => ctx.spawn_blocking(|_| {}).await?,
        "hold" => drop(ctx.hold(quell::Work::Process, "brief")?),
        _ => {
            // None of these says anything about stops.
            ctx.emit("word");
            ctx.progress(0.1);
            ctx.set_output("so far".into());
            assert_eq!(ctx.deadline(), None);
            ctx.spawn(RunSpec::step("child"), async |_| Ok(())).await?;
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn i15_listening_that_begins_after_the_stop_comes_too_late() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::team("late listener"), async |ctx| {
            // Its child keeps it alive past the stop, and it is polled meanwhile.
            let child = ctx.spawn(RunSpec::agent("child"), tidy);
            tokio::time::sleep(secs(1)).await;
            assert!(ctx.is_stopping());
            child.ended().await;
            tokio::time::sleep(secs(1)).await;
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(ms(500)).await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert_eq!(report.own_row().stop_took(), Some(secs(2)), "dropped when its child had ended");
    assert!(!report.own_row().aborted && report.own_row().cleanup_errors.is_empty());
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i15_a_naive_parent_is_polled_once_after_its_last_child_ended() {
    let lab = Lab::paused();
    let (polls, inside) = (Witness::new(), Witness::new());
    let (poll, enter) = (polls.clone(), inside.clone());
    let run = lab
        .submit(RunSpec::team("parent"), async move |ctx| {
            let _inside = enter.enter();
            let kids = [1, 2].map(|seconds| {
                ctx.spawn(RunSpec::agent("child"), async move |ctx| {
                    ctx.stopped().await;
                    tokio::time::sleep(secs(seconds)).await;
                    Ok(seconds)
                })
            });
            let [first, second] = kids;
            let (first, second) = tokio::join!(first.outcome(), second.outcome());
            drop(poll.enter());
            Ok((first.into_value(), second.into_value()))
        })
        .unwrap();
    tokio::time::sleep(ms(1)).await;
    let began = now();
    run.cancel(CancelRequest::because("enough"));
    let outcome = run.outcome().await;
    assert_eq!(now() - began, secs(2));
    let Outcome::Stopped { partial, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(partial, Some((Some(1), Some(2))), "a join over handles returns what there is");
    assert_eq!((polls.entered(), inside.inside()), (1, 0));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i15_a_naive_parent_that_waits_for_more_than_its_children_is_dropped_after_that_poll() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::team("parent"), async |ctx| {
            ctx.spawn(RunSpec::agent("child"), tidy).ended().await;
            ctx.set_output("the child has ended".into());
            pending::<()>().await;
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(ms(1)).await;
    let began = now();
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert_eq!(now() - began, secs(2));
    assert!(report.partial.is_some(), "it had its poll");
    assert!(!report.own_row().aborted, "it had no grace to overrun");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i15_at_the_hard_deadline_an_ancestor_that_gives_way_in_one_poll_is_no_offender() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::team("root").grace(secs(2)), async |ctx| {
            let _ = ctx.is_stopping();
            let middle = ctx.spawn(RunSpec::team("middle"), async |ctx| {
                let _ = ctx.is_stopping();
                let guilty = ctx.spawn(RunSpec::agent("guilty"), ignorant);
                let fine = ctx.spawn(RunSpec::agent("fine"), listener);
                tokio::join!(guilty.ended(), fine.ended());
                Ok(())
            });
            middle.ended().await;
            // It waits for more than its children: that is an offence too.
            pending::<()>().await;
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(ms(1)).await;
    let began = now();
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert_eq!(now() - began, secs(2));
    let aborted: Vec<_> =
        report.rows.iter().filter(|row| row.aborted).map(|row| &*row.name).collect();
    assert_eq!(aborted, ["root", "guilty"]);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i12_an_ancestor_that_waits_is_given_half_the_abort_wait_for_its_children() {
    let lab = Lab::paused();
    let (parents, dropped) = (Witness::new(), std::sync::Arc::new(std::sync::Mutex::new(None)));
    let (enter, note) = (parents.clone(), std::sync::Arc::clone(&dropped));
    let run = lab
        .submit(RunSpec::team("parent").grace(secs(2)), async move |ctx| {
            let _inside = enter.enter();
            let _note = AtEnd(note);
            let _ = ctx.is_stopping();
            let child = ctx.spawn(RunSpec::agent("held up"), async |ctx| {
                let hold = ctx.hold(quell::Work::Process, "outside")?;
                tokio::spawn(async move {
                    tokio::time::sleep(secs(60)).await;
                    drop(hold);
                });
                listener(ctx).await
            });
            child.ended().await;
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(ms(1)).await;
    let began = now();
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert_eq!(now() - began, secs(3));
    let dropped = dropped.lock().unwrap().expect("the body is gone");
    assert_eq!(dropped - began, ms(2500), "at the hard deadline and half the abort wait");
    assert!(!report.quiescent && report.abandoned.len() == 1, "{report:#?}");
    assert_eq!(parents.inside(), 0);
    lab.finish().await;
}

/// Notes when it is dropped.
struct AtEnd(std::sync::Arc<std::sync::Mutex<Option<std::time::Instant>>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        *self.0.lock().unwrap() = Some(now());
    }
}
