//! What is lost of what a run said is marked, in its stream and in its object.

use quell::{Engine, Payload, RunContext, limits};
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, Component, Emit};
use quell_http::Access;
use serde_json::{Value, json};

use crate::support::http::{Events, names, read};
use crate::support::{Site, fresh};

/// Says as many words as its message asks for, without letting anybody read them meanwhile.
fn talker() -> Component {
    Component::agent("talker", async |ctx: RunContext, input: Payload| {
        let words: usize = input.parse::<String>()?.parse()?;
        for word in 0..words {
            Emit::content(format!("{word} ")).send(&ctx);
        }
        Ok(Payload::from(Value::Null))
    })
}

#[tokio::test]
async fn a_client_sees_where_events_are_missing_and_that_the_text_is_not_whole() {
    let catalog = Catalog::new().with(talker());
    let (options, access) = (Options::default(), Access::open());
    let site = Site::made_of(Witness::default(), catalog, Engine::new(), options, access);
    let said = async |words: usize, background: &str| {
        let (run, words) = (fresh("said"), words.to_string());
        let fields = [
            ("message", words.as_str()),
            ("session_id", "s"),
            ("run_id", &run),
            ("background", background),
        ];
        let events = site.create("/agents/talker/runs", &fields).await.events();
        (events, read(&site, "/agents/talker", &run, "s").await)
    };
    let (events, run) = said(10, "false").await;
    assert!(!names(&events).contains(&"lagged"));
    assert_eq!(
        (run["quell"].get("truncated"), &events.last().unwrap()["quell"]),
        (None, &run["quell"])
    );

    let too_many = limits::EVENTS_PER_ROOT_MAX + 100;
    for background in ["false", "true"] {
        let (events, run) = said(too_many, background).await;
        let names = names(&events);
        assert_eq!(names[..3], ["RunStarted", "lagged", "RunContent"]);
        assert_eq!(names.last(), Some(&"RunCompleted"));
        let told = names.iter().filter(|name| **name == "RunContent").count();
        let missed = usize::try_from(events[1]["missed_events"].as_u64().unwrap()).unwrap();
        assert!(told < too_many && told + missed >= too_many, "{told} and {missed}");
        assert_eq!(events[1]["run_id"], run["run_id"]);
        if background == "true" {
            let indices = events.iter().filter_map(|event| event["event_index"].as_u64());
            let indices: Vec<_> = indices.collect();
            assert_eq!((indices.len(), indices[0]), (events.len() - 1, 0));
            let behind = indices[1]..indices[1] + indices.len() as u64 - 1;
            assert!(indices[1..].iter().copied().eq(behind), "no index is given twice or left out");
            // The first event has no line, and the second one has that of the start.
            assert_eq!(indices[1], missed as u64 + 1);
        }
        assert_eq!(events.last().unwrap()["quell"]["truncated"], true);
        assert_eq!(run["quell"]["truncated"], json!(true), "{}", run["quell"]);
    }
}
