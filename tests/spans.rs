//! Spans of `tracing`: what is inside that of a run, and what it says of the run.

use std::sync::Arc;

use quell::{CancelRequest, Failure, OnBusy, Payload, RunContext, RunRef, RunSpec, RunStatus};
use tokio::sync::Notify;
use tracing::{info, info_span};

use crate::foreign::subscriber::{Seen, heed, spans_of};
use crate::support::{
    Gate, Lab, asks, body_runtime, config, ignorant, listener, ms, naive, secs, soon, stop, within,
};

/// Waits until the last span of a run has closed, and yields it.
async fn closed(name: &'static str) -> Seen {
    let is_closed = || spans_of(name).last().is_some_and(|seen| seen.is_closed);
    soon(&format!("the span of {name} closes"), is_closed).await;
    spans_of(name).pop().unwrap()
}

/// Yields what was told inside a span, in an order of its own.
fn places(seen: &Seen) -> Vec<&'static str> {
    let is_told = |place: &str| {
        let message = format!("message={place} ");
        seen.inside.iter().any(|told| told.contains(&message))
    };
    PLACES.into_iter().filter(|place| is_told(place)).collect()
}

/// What this file tells.
const PLACES: [&str; 9] = [
    "made",
    "in body",
    "child",
    "blocking",
    "dropped",
    "hook made",
    "stop hook",
    "end hook",
    "captured",
];

/// Tells where its destructor runs.
struct Tells(&'static str);

impl Drop for Tells {
    fn drop(&mut self) {
        info!("{}", self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_run_executes_is_in_its_span() {
    let names = ["spans: all", "spans: child", "spans: of a task", "spans: in a span"];
    for name in names {
        heed(name);
    }
    let lab = Lab::real();
    let (up, ready) = (Arc::new(Notify::new()), Gate::new());
    let (is_up, opens) = (Arc::clone(&up), ready.clone());
    let run = lab.submit(RunSpec::agent("spans: all"), move |ctx: RunContext| {
        info!("made");
        async move {
            let _dropped = Tells("dropped");
            info!("in body");
            let captured = Tells("captured");
            ctx.on_end(async move |_| {
                tokio::task::yield_now().await;
                info!("end hook");
                drop(captured);
            });
            ctx.on_stop(|_| {
                info!("hook made");
                async { info!("stop hook") }
            });
            let child = ctx.spawn(RunSpec::step("spans: child"), async |_| {
                info!("child");
                Ok(())
            });
            let spawns = ctx.clone();
            // Outside of any span.
            let of_task = tokio::spawn(async move {
                spawns.spawn(RunSpec::step("spans: of a task"), async |_| Ok(())).ended().await
            });
            let around = info_span!("around", run.name = %"spans: around");
            let in_a_span =
                around.in_scope(|| ctx.spawn(RunSpec::step("spans: in a span"), async |_| Ok(())));
            child.ended().await;
            in_a_span.ended().await;
            of_task.await.unwrap();
            ctx.spawn_blocking(move |_| {
                info!("blocking");
                opens.open();
            })
            .await?;
            is_up.notify_one();
            listener(ctx).await
        }
    });
    let run = run.unwrap().into_ref();
    within("the body is through", up.notified()).await;
    assert!(ready.is_open());
    run.cancel(CancelRequest::because("enough"));
    within("it ends", run.ended()).await;
    let all = closed("spans: all").await;
    let expected = PLACES.iter().filter(|place| **place != "child");
    assert_eq!(places(&all), expected.copied().collect::<Vec<_>>(), "{all:?}");
    let child = closed("spans: child").await;
    assert_eq!(places(&child), ["child"], "{child:?}");
    let parents = names.map(|name| spans_of(name)[0].parent.clone());
    let above = |name: &str| Some(name.to_owned());
    let (own, around) = (above("spans: all"), above("spans: around"));
    assert_eq!(parents, [None, own.clone(), own, around]);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_inside_a_span_is_that_of_the_code() {
    heed("spans: panics");
    let lab = Lab::real();
    let run = lab.submit(RunSpec::agent("spans: panics"), async |ctx: RunContext| {
        ctx.on_end(async |_| panic!("of the hook"));
        ctx.spawn_blocking(|_| panic!("of the closure")).await?;
        Ok::<(), Failure>(())
    });
    let report = within("it ends", run.unwrap().into_ref().ended()).await;
    let row = report.own_row();
    assert!(row.error.as_deref().is_some_and(|it| it.contains("of the closure")), "{row:?}");
    assert!(row.cleanup_errors.iter().any(|it| it.contains("of the hook")), "{row:?}");
    let seen = closed("spans: panics").await;
    assert_said(&seen, "failed", None);
    lab.finish().await;
}

/// Fails unless a span says how its run has ended.
fn assert_said(seen: &Seen, status: &str, cause: Option<&str>) {
    let said = |key: &str| {
        let (_, rest) = seen.fields.split_once(&format!("{key}="))?;
        rest.split_whitespace().next().map(str::to_owned)
    };
    let expected = (Some(format!("{status:?}")), cause.map(|cause| format!("{cause:?}")));
    assert_eq!((said("run.status"), said("run.cause")), expected, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn the_span_of_a_run_says_whose_it_is_how_it_has_ended_and_why() {
    let lab = Lab::paused();
    let spec = |name: &'static str| {
        heed(name);
        RunSpec::agent(name).grace(secs(1))
    };
    let fails = async |_: RunContext| Err::<(), _>(Failure::new("planned"));
    let first = spec("spans: first").lane("spans", OnBusy::Enqueue).owner("ada");
    let first = lab.submit(first, listener).unwrap().into_ref();
    let waits = spec("spans: waits").lane("spans", OnBusy::Enqueue);
    let waits = lab.submit(waits, naive).unwrap().into_ref();
    tokio::task::yield_now().await;
    waits.cancel(stop());
    let done = lab.submit(spec("spans: done"), async |_| Ok(())).unwrap().into_ref();
    let failed = lab.submit(spec("spans: failed"), fails).unwrap().into_ref();
    let late = lab.submit(spec("spans: late").timeout(secs(1)), naive).unwrap().into_ref();
    let above = spec("spans: above");
    heed("spans: below");
    let above = lab.submit(above, async |ctx: RunContext| {
        ctx.spawn(RunSpec::step("spans: below"), ignorant).await?;
        Ok(())
    });
    let above = above.unwrap().into_ref();
    soon("it waits", || !spans_of("spans: below").is_empty()).await;
    for run in [&first, &above] {
        run.cancel(stop());
    }
    for run in [first, waits, done, failed, late, above] {
        within("it ends", run.ended()).await;
    }
    for (name, status, cause) in [
        ("spans: first", "cancelled", Some("user-request")),
        ("spans: waits", "cancelled", Some("user-request")),
        ("spans: done", "completed", None),
        ("spans: failed", "failed", None),
        ("spans: late", "timed-out", Some("deadline")),
        ("spans: above", "cancelled", Some("user-request")),
        ("spans: below", "cancelled", Some("parent-stopped")),
    ] {
        assert_said(&closed(name).await, status, cause);
    }
    assert!(spans_of("spans: first")[0].fields.contains("run.owner=\"ada\""));
    assert!(!spans_of("spans: waits")[0].fields.contains("run.owner"));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn each_attempt_of_a_run_has_a_span_and_a_pause_is_the_end_of_one() {
    const NAME: &str = "spans: asks";
    heed(NAME);
    let lab = Lab::paused();
    let run: RunRef = lab.submit_resumable(RunSpec::agent(NAME), asks).unwrap().into_ref();
    within("it asks", run.paused()).await;
    assert_said(&closed(NAME).await, "paused", None);
    lab.resume(run.id(), Payload::from("yes")).unwrap();
    assert_eq!(within("it ends", run.ended()).await.status, RunStatus::Completed);
    assert_said(&closed(NAME).await, "completed", None);
    assert_eq!(spans_of(NAME).len(), 2);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_span_of_an_abandoned_run_says_how_it_ended_and_closes_when_nothing_executes() {
    const NAME: &str = "spans: stuck";
    heed(NAME);
    let bodies = body_runtime(2);
    let times = config().grace(ms(30)).abort_wait(ms(30));
    let lab = Lab::with(times.runtime(bodies.handle().clone()));
    let gate = Gate::new();
    let _open = gate.at_end();
    let (stuck, up) = (gate.clone(), Gate::new());
    let ready = up.clone();
    let run = lab.submit(RunSpec::agent(NAME), async move |ctx: RunContext| {
        ctx.spawn_blocking(move |_| {
            ready.open();
            stuck.spin();
            info!("blocking");
        })
        .await?;
        Ok::<(), Failure>(())
    });
    let run = run.unwrap().into_ref();
    soon("the closure blocks its thread", || up.is_open()).await;
    run.cancel(stop());
    within("it ends", run.ended()).await;
    let is_said = || spans_of(NAME)[0].fields.contains("run.status");
    soon("its span says so", is_said).await;
    let seen = spans_of(NAME).pop().unwrap();
    assert_said(&seen, "cancelled", Some("user-request"));
    assert!(!seen.is_closed, "the closure is still in it");
    gate.open();
    within("it is quiescent", run.quiescent()).await;
    assert_eq!(places(&closed(NAME).await), ["blocking"]);
    lab.finish().await;
    bodies.shutdown_background();
}
