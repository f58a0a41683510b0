//! Clients of web sockets that come back to a run that was continued over one, however it was
//! created.

use quell::{Engine, EngineConfig, Failure, Limits, Payload, RunContext, RunSpec};
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, Component, Part};
use quell_http::Access;
use quell_test_support::{Gate, within};
use serde_json::{Value, json};
use tokio::task::yield_now;

use crate::support::http::names;
use crate::support::ws::{Client, Frame};
use crate::support::{Site, fresh};

/// Asks, does two steps, and as many more when it is let go.
async fn steps(ctx: RunContext, (gate, more): (Gate, usize)) -> Result<Payload, Failure> {
    if ctx.resumed_with().is_none() {
        return Err(ctx.pause("go on?"));
    }
    let step = async |ctx: RunContext| {
        ctx.set_output("ok".into());
        Ok(Payload::from("ok"))
    };
    for nth in 0..2 + more {
        while nth == 2 && !gate.is_open() {
            yield_now().await;
        }
        ctx.spawn(RunSpec::step("step"), step).await?;
    }
    Ok("done".into())
}

/// A site that holds few events of a log, and a workflow that does so many steps more.
fn site(gate: &Gate, more: usize) -> Site {
    let gate = gate.clone();
    let body = move |ctx: RunContext, _: Payload| steps(ctx, (gate.clone(), more));
    let component = Component::workflow("steps", body).steps([Part::function("step")]);
    let catalog = Catalog::new().with(component.resumable());
    let limits = Limits::default().events_per_root_max(64);
    let engine = Engine::with_config(EngineConfig::new().limits(limits));
    Site::made_of(Witness::default(), catalog, engine, Options::default(), Access::open())
}

/// Starts a run over the socket, or in another way of which no client can come back, and waits
/// until it asks.
async fn asks(site: &Site, socket: &mut Client, way: Option<(&str, &str)>) -> String {
    let run = fresh("run");
    let Some((stream, background)) = way else {
        socket.start("steps", "m", &run).await;
        socket.until("WorkflowPaused", false).await;
        return run;
    };
    let form = [("message", "m"), ("stream", stream), ("background", background)];
    let form = form.into_iter().chain([("session_id", "s"), ("run_id", &*run)]);
    site.create("/workflows/steps/runs", &form.collect::<Vec<_>>()).await;
    let id = quell_http::parse_id(&run).unwrap();
    within("it asks", site.service.engine().get(id).unwrap().paused()).await;
    run
}

fn index(event: &Value) -> u64 {
    event["event_index"].as_u64().unwrap()
}

/// The ways to create a run: over the socket, and those over HTTP.
const WAYS: [Option<(&str, &str)>; 4] =
    [None, Some(("true", "false")), Some(("false", "false")), Some(("false", "true"))];

#[tokio::test]
async fn i30_who_continues_a_workflow_over_a_socket_can_come_back_over_another() {
    for (way, more) in WAYS.into_iter().flat_map(|way| [(way, 2), (way, 200)]) {
        let gate = Gate::new();
        let (site, _open) = (site(&gate, more), gate.at_end());
        let served = site.served();
        let mut socket = served.open().await;
        let run = asks(&site, &mut socket, way).await;
        let asked = json!({
            "action": "continue-workflow", "workflow_id": "steps", "run_id": run,
            "session_id": "s", "step_requirements": [],
        });
        socket.say(&asked).await;
        let mut told = Vec::new();
        while names(&told).iter().filter(|name| **name == "StepCompleted").count() < 2 {
            let Frame::Event(event) = socket.frame().await else { panic!("{told:?}") };
            told.push(event);
        }
        // The pause is the last one before, as every reader numbers it.
        let last = index(told.last().unwrap());
        let expected = (last + 1 - u64::try_from(told.len()).unwrap())..=last;
        assert_eq!(told.iter().map(index).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        drop(socket);
        let had = index(&told[1]);
        let mut socket = served.open().await;
        let asked =
            |last| json!({ "action": "reconnect", "run_id": run, "last_event_index": last });
        let said = socket.asked(&asked(had)).await;
        assert_eq!(said["event"], "catch_up", "{way:?} {said}");
        assert_eq!(said["missed_events"], last - had, "{way:?} {said}");
        let mut rest = socket.until("subscribed", true).await;
        assert_eq!(rest.pop().unwrap()["current_event_count"], last + 1, "{way:?}");
        assert_eq!(rest, told[2..], "{way:?}");
        gate.open();
        let rest = socket.until("WorkflowCompleted", true).await;
        let lines = 3 * u64::try_from(more).unwrap() + 1;
        let end = rest.last().unwrap();
        assert_eq!((index(&rest[0]), index(end)), (last + 1, last + lines), "{way:?} {more}");
        // Also where the log has dropped most of them the numbers are those that were told.
        let said = socket.asked(&asked(last)).await;
        assert_eq!(said["event"], "replay", "{way:?} {said}");
        assert_eq!(said["total_buffered"], index(end) + 1, "{way:?} {said}");
        let again = socket.until("WorkflowCompleted", true).await;
        assert_eq!(again.last(), Some(end), "{way:?}");
        if more == 2 {
            assert_eq!((again, said["total_events"].clone()), (rest, json!(lines)), "{way:?}");
        }
    }
}
