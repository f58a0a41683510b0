//! What is lost of what a run said is marked, and what it answers is whole.

use quell::{Payload, RunContext, limits};
use quell_flow::{Component, Emit};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::lab::Lab;
use quell_demo::playbook3d::ALPHA;

/// Says as many words as its inputs ask for, without letting anybody read them meanwhile.
fn talker() -> Component {
    Component::workflow("talker", async |ctx: RunContext, input: Payload| {
        let words = input.parse::<Value>()?["words"].as_u64().unwrap_or_default();
        for _ in 0..words {
            Emit::content("x").send(&ctx);
        }
        Ok(Payload::from("x".repeat(usize::try_from(words)?)))
    })
}

#[tokio::test]
async fn a_client_sees_that_not_all_was_kept_of_what_a_run_said_and_its_result_is_whole() {
    let lab = Lab::of(talker());
    let alice = lab.alice().await;
    let workflows = alice.get("/workflows").await.body;
    let talker = workflows.as_array().unwrap().iter().find(|each| each["name"] == "talker");
    let talker: Uuid = talker.unwrap()["id"].as_str().unwrap().parse().unwrap();
    let too_many = limits::EVENTS_PER_ROOT_MAX + 100;
    for (words, truncated) in [(10, None), (too_many, Some(&json!(true)))] {
        let run = alice.start(ALPHA, talker, json!({ "words": words })).await;
        lab.run(&run).ended().await;
        let result = alice.result(&run).await;
        assert_eq!(result["result"].as_str().map(str::len), Some(words));
        assert_eq!(result["quell"].get("truncated"), truncated);
        assert_eq!(alice.listed(&run).await["quell"], result["quell"]);
    }
}
