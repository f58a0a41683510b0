//! What a stream does besides what clients see.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use quell::{Engine, Payload, RunContext, RunId, RunKind, RunStatus, ToolOutcome, limits};
use quell_flow::{Catalog, Component};
use quell_http::{Principal, Service, ServiceLimits, Start};
use serde::{Serialize, Serializer};
use serde_json::Value;
use tokio::task::yield_now;

use super::*;
use crate::wire::event::Adopted;

/// Says when it is being written, and is when it may.
struct Slow(Mutex<(Sender<()>, Receiver<()>)>);

impl Serialize for Slow {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (begins, goes_on) = &*self.0.lock().unwrap();
        begins.send(()).unwrap();
        goes_on.recv().unwrap();
        to.serialize_unit()
    }
}

#[tokio::test]
async fn events_of_an_end_that_are_made_for_a_client_who_has_left_count_until_they_are_made() {
    let ((begins, begun), (goes_on, waits)) = (channel(), channel());
    let slow = Slow(Mutex::new((begins, waits)));
    let output = Payload::json_later(slow, 800_000);
    let agent = Component::agent("a", move |_ctx: RunContext, _input: Payload| {
        let output = output.clone();
        async move { Ok(output) }
    });
    let mut limits = ServiceLimits::default();
    limits.requests_bytes_max = 1_000_000;
    let service = Service::new(Engine::new(), Catalog::new().with(agent)).limits(limits);
    let view = service.view(crate::options::CONTRACT, Principal::anonymous());
    let start = Start::new(view.find_component("a").unwrap(), Payload::from("hi"));
    let run = view.start(start).await.unwrap().run;
    run.quiescent().await;
    let (from, lines) = (Begin::default(), Lines::new(100));
    let stream = frames(&view, &run, from, Style::default(), &lines).await.unwrap();
    let mut stream = Box::pin(stream.unwrap());
    while begun.try_recv().is_err() {
        drop(futures::poll!(stream.next()));
        yield_now().await;
    }
    drop(stream);
    assert!(view.room_now(300_000).is_err(), "they are being made");
    goes_on.send(()).unwrap();
    drop(view.room_soon(1_000_000).await.unwrap());
}

/// Yields the renderer of a root that is an agent, and its position.
fn of_agent(root: RunId) -> (Renderer, Position) {
    let agent = Arc::new(Component::agent("a", async |_ctx, input: Payload| Ok(input)));
    let position = Position::root(&agent, "r");
    (Renderer::new(root, position.clone(), "s".into(), Style::default()), position)
}

#[test]
fn open_tool_calls_are_bounded_and_each_end_is_told_with_what_is_known() {
    let root = RunId::from_text("r");
    let (mut renderer, _) = of_agent(root);
    let of = |kind| RunEvent::new(1, root, root, SystemTime::UNIX_EPOCH, kind);
    let start = |call: usize| EventKind::ToolStarted {
        call: call.to_string().into(),
        name: "t".into(),
        input: Payload::from("in"),
    };
    let end = |call: usize| EventKind::ToolEnded {
        call: call.to_string().into(),
        outcome: ToolOutcome::Result(None),
    };
    let mut ended = |kind| {
        let (name, data) = renderer.on(&of(kind), None).pop().unwrap();
        let data = serde_json::to_value(&data).unwrap();
        (name, data["tool"]["tool_name"].clone())
    };
    let (known, unknown) =
        (("ToolCallCompleted".into(), "t".into()), ("ToolCallCompleted".into(), Value::Null));
    let calls = limits::EVENTS_PER_ROOT_MAX;
    for call in 0..calls {
        ended(start(call));
    }
    assert_eq!(ended(end(0)), known, "so many are known");
    ended(start(calls));
    assert_eq!(ended(end(1)), known, "one has ended, and made room");
    for call in [calls + 1, calls + 2] {
        assert_eq!(ended(start(call)).0, "ToolCallStarted");
    }
    assert_eq!(ended(end(2)), unknown, "one too many: those of before are given up");
    assert_eq!(ended(end(calls + 2)), known, "the last one is known");
    assert_eq!(ended(end(calls + 9)), unknown, "its start is not there");
}

#[test]
fn a_run_of_which_the_first_events_are_gone_has_a_start_if_that_is_not_among_them() {
    let (root, run) = (RunId::from_text("r"), RunId::from_text("m"));
    let of = |kind| RunEvent::new(1, root, run, SystemTime::UNIX_EPOCH, kind);
    let ended = || EventKind::Ended(RunStatus::Cancelled);
    let table = [
        (EventKind::Started, false, vec!["RunStarted"]),
        (ended(), true, vec![""; 0]),
        (ended(), false, vec!["RunStarted"]),
    ];
    for (kind, is_started, expected) in table {
        let (mut renderer, above) = of_agent(root);
        let begins = RunEvent::new(1, root, root, SystemTime::UNIX_EPOCH, EventKind::Started);
        renderer.on(&begins, None);
        let position = above.child(RunKind::Agent, "m", "m".into(), 0);
        renderer.adopt(run, Adopted { position, has_executor: false, is_started });
        let told = renderer.on(&of(kind.clone()), None);
        let told: Vec<_> = told.iter().map(|(name, _)| name).collect();
        assert_eq!(told, expected, "{kind:?} {is_started}");
    }
}
