use std::future::pending;

use quell::{
    CancelRequest, EventKind, Failure, Outcome, Payload, RunContext, RunError, RunSpec, RunStatus,
    Stopped, Written,
};

use crate::support::{Lab, Witness, listener, ms, now, secs};

#[tokio::test(start_paused = true)]
async fn i15_a_swallowed_stop_is_asserted_again_at_every_checkpoint() {
    let lab = Lab::paused();
    let witness = Witness::new();
    let seen = witness.clone();
    let run = lab
        .submit(RunSpec::agent("swallows").grace(secs(3)), async move |ctx| {
            ctx.stopped().await;
            for _ in 0..100 {
                let Err(Stopped { .. }) = ctx.checkpoint() else {
                    panic!("the stop was forgotten")
                };
                let Err(Stopped { .. }) = ctx.run_until_stopped(async { 1 }).await else {
                    panic!("a stop that is there already wins")
                };
                assert!(ctx.is_stopping());
                ctx.stopped().await;
                drop(seen.enter());
                tokio::time::sleep(ms(100)).await;
            }
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    let began = now();
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert!(report.own_row().cleanup_errors.is_empty(), "{report:#?}");
    assert_eq!(now() - began, secs(3), "it may swallow for as long as its grace");
    assert!(report.own_row().aborted && witness.entered() >= 29);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i15_what_a_body_returns_after_it_swallowed_a_stop_is_partial() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("swallows"), async |ctx| {
            let mut done = 0;
            while done < 10 {
                // An error handler that is too broad.
                let _ = ctx.run_until_stopped(tokio::time::sleep(secs(1))).await;
                done += 1;
            }
            Ok(done)
        })
        .unwrap();
    tokio::time::sleep(ms(2500)).await;
    run.cancel(CancelRequest::because("enough"));
    let outcome = run.outcome().await;
    assert!(matches!(outcome, Outcome::Stopped { partial: Some(10), .. }), "{outcome:?}");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i17_what_was_finished_before_the_stop_is_in_the_report() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::workflow("flow"), async |ctx| {
            let done = ctx.spawn(RunSpec::step("done"), async |ctx| {
                ctx.set_output("draft".into());
                ctx.set_output("done's output".into());
                Ok(1)
            });
            done.await?;
            ctx.set_output("flow's output so far".into());
            let slow = ctx.spawn(RunSpec::step("slow").timeout(secs(5)), async |ctx| {
                for chunk in 0.. {
                    ctx.emit(format!("chunk {chunk}"));
                    ctx.set_output(format!("{} chunks", chunk + 1).into());
                    ctx.run_until_stopped(tokio::time::sleep(ms(700))).await?;
                }
                Ok(())
            });
            slow.await?;
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(secs(2)).await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    let text = |payload: &Option<Payload>| payload.as_ref().map(ToString::to_string);
    let [flow, done, slow] = &report.rows[..] else { panic!("{report:#?}") };
    assert_eq!(
        (done.status, text(&done.output)),
        (RunStatus::Completed, Some(json("done's output")))
    );
    assert_eq!((text(&slow.output), text(&slow.partial)), (None, Some(json("3 chunks"))));
    assert_eq!(
        (text(&flow.output), text(&flow.partial)),
        (None, Some(json("flow's output so far")))
    );
    let trace = quell::testing::trace(run.run()).await;
    let chunks = trace.iter().filter(|event| matches!(event.kind, EventKind::Emitted(_)));
    assert_eq!(chunks.count(), 3, "what was emitted stays readable");
    lab.finish().await;
}

/// Stops a run that has emitted and does this then; yields what its report says that it left.
async fn left_by<T, Fut>(then: impl FnOnce(RunContext) -> Fut + Send + 'static) -> Option<String>
where
    T: Send + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::agent("speaker"), async |ctx| {
        ctx.emit("one");
        ctx.spawn(RunSpec::step("another"), async |ctx| Ok(ctx.emit("not its own"))).await?;
        ctx.emit(Payload::json(&2)?);
        ctx.stopped().await;
        then(ctx).await
    });
    let run = run.unwrap();
    tokio::time::sleep(secs(1)).await;
    let by_ref = run.run().clone();
    assert_eq!(by_ref.row().partial, None, "it may still come to an output");
    run.cancel(CancelRequest::because("enough"));
    drop(run.outcome().await);
    let report = by_ref.report();
    let partial = report.partial.as_ref().map(ToString::to_string);
    assert_eq!(by_ref.row().partial.as_ref().map(ToString::to_string), partial);
    assert_eq!((&report.output, &report.rows[1].partial), (&None, &None));
    lab.finish().await;
    partial
}

#[tokio::test(start_paused = true)]
async fn i17_partial_output_is_what_was_set_else_returned_else_emitted() {
    let both = async |ctx: RunContext| {
        ctx.set_output("set".into());
        Ok(Payload::from("returned"))
    };
    assert_eq!(left_by(both).await, Some(json("set")));
    assert_eq!(left_by(async |_| Ok(Payload::from("returned"))).await, Some(json("returned")));
    let emitted = Some(r#"["one",2]"#.to_owned());
    assert_eq!(left_by(async |_| Err::<(), _>(Failure::new("gave up"))).await, emitted);
    assert_eq!(left_by(async |_| Ok("no payload")).await, emitted);
    // A hook is later than what the body returns.
    let hook = async |ctx: RunContext| {
        let saver = ctx.clone();
        ctx.on_stop(async move |_| {
            saver.set_output("saved".into());
        });
        Ok(Payload::from("returned"))
    };
    assert_eq!(left_by(hook).await, Some(json("saved")));
}

#[test]
fn a_summary_that_threads_update_at_once_loses_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let lab = Lab::real();
        let run = lab.submit(RunSpec::step("counts"), async |ctx| {
            let count = || {
                ctx.update_summary(|before| {
                    let before: u32 = before.map_or(0, |before| before.parse().unwrap());
                    Payload::from(before + 1)
                })
            };
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| (0..2_000).for_each(|_| assert_eq!(count(), Written::Recorded)));
                }
            });
            Ok(())
        });
        assert_eq!(run.unwrap().ended().await.own_row().summary, Some(Payload::from(8_000_u32)));
        lab.finish().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_change_that_sets_the_summary_itself_is_called_once() {
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::step("decides"), async |ctx| {
        for before in [None, Some(Payload::from("changed"))] {
            let mut calls = 0;
            let written = ctx.update_summary(|now| {
                calls += 1;
                assert_eq!((now, calls), (before.as_ref(), 1));
                ctx.set_summary("set".into());
                ctx.update_summary(|now| {
                    assert_eq!(now, Some(&"set".into()));
                    "set again".into()
                });
                "changed".into()
            });
            assert_eq!(written, Written::Recorded);
        }
        Ok(())
    });
    let report = run.unwrap().ended().await;
    let row = report.own_row();
    assert_eq!((&row.error, &row.summary), (&None, &Some("changed".into())));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_sets_the_summary_itself_is_called_again_if_another_thread_sets_one() {
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::step("counts"), async |ctx| {
        let number = |before: Option<&Payload>| before.map_or(0, |it| it.parse::<u32>().unwrap());
        let add = |by: u32| ctx.update_summary(|before| Payload::from(number(before) + by));
        // The own thread has set it before, in between and after the other one.
        add(1);
        let mut calls = 0;
        ctx.update_summary(|before| {
            calls += 1;
            if calls == 1 {
                add(10);
                std::thread::scope(|scope| scope.spawn(|| add(100)).join().unwrap());
                add(1_000);
            }
            Payload::from(number(before) + 10_000)
        });
        assert_eq!(calls, 2);
        Ok(())
    });
    let report = run.unwrap().ended().await;
    let row = report.own_row();
    assert_eq!((&row.error, &row.summary), (&None, &Some(Payload::from(11_111_u32))));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_summary_is_beside_the_output_and_bounded_as_it_is() {
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::step("decides"), async |ctx| {
        ctx.set_summary("first".into());
        ctx.set_summary("all of it".into());
        let long = Payload::from("x".repeat(quell::limits::PAYLOAD_BYTES_MAX));
        assert_eq!(ctx.set_summary(long), Written::TooLarge);
        ctx.set_output("the output".into());
        Ok(())
    });
    let report = run.unwrap().ended().await;
    let row = report.own_row();
    assert_eq!(row.summary, Some("all of it".into()));
    assert_eq!(row.output, Some("the output".into()));
    lab.finish().await;
}

fn json(text: &str) -> String {
    Payload::from(text).to_string()
}

#[tokio::test(start_paused = true)]
async fn i17_a_naive_body_keeps_what_it_emitted() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("naive"), async |ctx| {
            for chunk in 0.. {
                ctx.emit(format!("{chunk}"));
                ctx.set_output(Payload::json(&chunk)?);
                tokio::time::sleep(secs(1)).await;
            }
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(ms(2500)).await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert_eq!(report.partial.as_ref().unwrap().parse::<u32>().unwrap(), 2);
    lab.finish().await;
}

/// Tries three times, as user code does: attempts are children, one after the other.
async fn three_tries(ctx: RunContext) -> Result<u32, Failure> {
    let mut last = None;
    for attempt in 1..=3 {
        let spec = RunSpec::attempt(format!("attempt {attempt}")).timeout(secs(2)).grace(secs(1));
        let body = async move |ctx: RunContext| match attempt {
            1 => Err(Failure::new("first try")),
            2 => {
                ctx.stopped().await;
                pending().await
            }
            _ => Ok(attempt),
        };
        match ctx.spawn(spec, body).await {
            Ok(value) => return Ok(value),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap().into())
}

#[tokio::test(start_paused = true)]
async fn i19_an_attempt_starts_when_the_one_before_is_over() {
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::step("retried"), three_tries).unwrap();
    let report = run.ended().await;
    assert_eq!(run.await.unwrap(), 3);
    let [_, first, second, third] = &report.rows[..] else { panic!("{report:#?}") };
    let ends = [first.status, second.status, third.status];
    assert_eq!(ends, [RunStatus::Failed, RunStatus::TimedOut, RunStatus::Completed]);
    for (before, after) in [(first, second), (second, third)] {
        assert!(before.quiescent && after.started_at >= before.quiesced_at, "attempts overlap");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i20_a_retry_never_outlives_a_stop() {
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::step("retried"), three_tries).unwrap();
    tokio::time::sleep(secs(1)).await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    let names: Vec<_> = report.rows.iter().map(|row| (&*row.name, row.status)).collect();
    let expected = [
        ("retried", RunStatus::Cancelled),
        ("attempt 1", RunStatus::Failed),
        ("attempt 2", RunStatus::Cancelled),
    ];
    assert_eq!(names, expected, "the third try was refused");
    let Outcome::Stopped { partial: None, .. } = run.outcome().await else { panic!() };
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i28_a_failing_sibling_is_named_as_the_decider() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::team("trio"), async |ctx| {
            let kids = ["calm", "hasty", "calm too"].map(|name| {
                ctx.spawn(RunSpec::agent(name), async move |ctx| {
                    if name == "hasty" {
                        tokio::time::sleep(secs(1)).await;
                        return Err(Failure::new("too fast"));
                    }
                    listener(ctx).await
                })
            });
            let error = quell::join::try_all(kids).await.unwrap_err();
            let RunError::Failed(failure) = &error else { panic!("{error:?}") };
            assert_eq!(&*failure.name, "hasty");
            Ok(())
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!(report.status, RunStatus::Completed, "{report:#?}");
    for calm in [&report.rows[1], &report.rows[3]] {
        let cause = calm.cause.as_ref().unwrap();
        assert_eq!(
            (calm.status, cause.kind),
            (RunStatus::Cancelled, quell::CauseKind::SiblingFailed)
        );
        assert!(cause.message.as_deref().unwrap().contains("hasty"), "{cause}");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i28_the_losers_of_a_race_say_who_was_first() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::team("race"), async |ctx| {
            let kids = [9, 1, 5].map(|seconds| {
                ctx.spawn(RunSpec::agent(format!("{seconds} s")), async move |ctx| {
                    ctx.run_until_stopped(tokio::time::sleep(secs(seconds))).await?;
                    Ok(seconds)
                })
            });
            Ok(quell::join::first_ok(kids).await.unwrap())
        })
        .unwrap();
    let began = now();
    let report = run.ended().await;
    assert_eq!(now() - began, secs(1));
    assert_eq!(run.await.unwrap(), 1);
    for loser in [&report.rows[1], &report.rows[3]] {
        let cause = loser.cause.as_ref().unwrap();
        assert_eq!(cause.kind, quell::CauseKind::RaceLost);
        assert!(cause.message.as_deref().unwrap().contains("1 s"), "{cause}");
    }
    lab.finish().await;
}
