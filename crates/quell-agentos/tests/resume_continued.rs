//! Clients that come back to a run that was continued in the background, however it was created.

use quell::{Engine, EngineConfig, Failure, Limits, Payload, RunContext};
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, Component, Emit};
use quell_http::Access;
use quell_test_support::{Gate, within};
use serde_json::{Value, json};
use tokio::task::yield_now;

use crate::support::http::{Events as _, post_form};
use crate::support::{Site, fresh};

/// Asks, says two words, and many more when it is let go.
async fn says(ctx: RunContext, gate: Gate) -> Result<Payload, Failure> {
    if ctx.resumed_with().is_none() {
        return Err(ctx.pause("go on?"));
    }
    Emit::content("one ").send(&ctx);
    Emit::content("two ").send(&ctx);
    while !gate.is_open() {
        yield_now().await;
    }
    for nth in (0..300_u16).map(f32::from) {
        // Which makes no line.
        let _ = ctx.progress(0.001 * nth);
        Emit::content("three ").send(&ctx);
        yield_now().await;
    }
    Ok("done".into())
}

/// A site that holds few events of a log, with an agent that says so much.
fn site(gate: &Gate) -> Site {
    let body = |gate: &Gate| {
        let gate = gate.clone();
        move |ctx: RunContext, _: Payload| says(ctx, gate.clone())
    };
    let catalog = Catalog::new().with(Component::agent("says", body(gate)).resumable());
    let limits = Limits::default().events_per_root_max(64);
    let engine = Engine::with_config(EngineConfig::new().limits(limits));
    Site::made_of(Witness::default(), catalog, engine, Options::default(), Access::open())
}

/// Starts a run in one of the ways of which a client cannot come back, and waits until it asks.
async fn asks(site: &Site, path: &str, (stream, background): (&str, &str)) -> String {
    let run = fresh("run");
    let form = [("message", "m"), ("stream", stream), ("background", background)];
    let form = form.into_iter().chain([("session_id", "s"), ("run_id", &*run)]);
    site.create(&format!("{path}/runs"), &form.collect::<Vec<_>>()).await;
    let id = quell_http::parse_id(&run).unwrap();
    within("it asks", site.service.engine().get(id).unwrap().paused()).await;
    run
}

fn index(event: &Value) -> u64 {
    event["event_index"].as_u64().unwrap()
}

#[tokio::test]
async fn i30_who_continues_a_run_and_follows_it_can_come_back() {
    for way in [("true", "false"), ("false", "false"), ("false", "true")] {
        let gate = Gate::new();
        let (site, _open) = (site(&gate), gate.at_end());
        let run = asks(&site, "/agents/says", way).await;
        let form = [("tools", "[]"), ("stream", "true"), ("background", "true")];
        let request = post_form(&format!("/agents/says/runs/{run}/continue"), &form);
        let mut cut = site.follow(request).await;
        let last = index(cut.until("two ").await.last().unwrap());
        drop(cut);
        let form = [("last_event_index", &*last.to_string()), ("session_id", "s")];
        let request = post_form(&format!("/agents/says/runs/{run}/resume"), &form);
        let mut follower = site.follow(request).await;
        let said = follower.until("subscribed").await;
        assert_eq!(said[0]["event"], "subscribed", "{way:?} {said:?}");
        assert_eq!(said[0]["current_event_count"], last + 1, "{way:?}");
        gate.open();
        let rest = follower.until_its_end().await;
        let end = rest.last().unwrap();
        assert_eq!((&rest[1]["content"], index(&rest[1])), (&json!("three "), last + 1), "{way:?}");
        assert_eq!((&end["event"], index(end)), (&json!("RunCompleted"), last + 302), "{way:?}");
        // The log has dropped most of them, and the numbers are those that were told.
        let form = [("last_event_index", &*last.to_string()), ("session_id", "s")];
        let told = site.create(&format!("/agents/says/runs/{run}/resume"), &form).await.events();
        assert_eq!(told[0]["total_buffered"], index(end) + 1, "{way:?} {:?}", told[0]);
        assert_eq!(told.last(), Some(end), "{way:?}");
    }
}

#[tokio::test]
async fn a_run_that_nobody_has_continued_has_no_stream_to_come_back_to() {
    let gate = Gate::new();
    let (site, _open) = (site(&gate), gate.at_end());
    let run = asks(&site, "/agents/says", ("false", "false")).await;
    let told = site.post(&format!("/agents/says/runs/{run}/resume")).await.events();
    assert_eq!((told.len(), &told[0]["total_events"]), (1, &json!(0)), "{told:?}");
}
