//! A graph without nodes has a state before the input of each run, and one behind it: whoever goes
//! back to the first one runs it again, or with other input.

use std::sync::Arc;

use axum::http::Method;
use quell::store::MemoryStore;
use quell::{Payload, RunContext, Shutdown};
use quell_flow::Component;
use serde_json::{Value, json};

use crate::nodes::two;
use crate::restart::nth;
use crate::steps::{history, state};
use crate::talk::Server;
use crate::threads::echo;

async fn waited(server: &Server, thread: &str, graph: &str, more: Value) -> Value {
    let mut body = json!({ "assistant_id": graph });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.post(&format!("/threads/{thread}/runs/wait"), &body).await.json()
}

#[tokio::test]
async fn what_an_answer_was_given_to_is_asked_again_or_in_other_words_on_every_store() {
    let plain = Server::new();
    let store = Arc::new(MemoryStore::new());
    let (kept, _) = nth(1, &store).await;
    let (a, b) = two();
    for (writer, other) in [(&plain, &plain), (&kept, &kept), (&a, &b)] {
        let thread = writer.thread().await;
        echo(writer, &thread, "one").await;
        echo(writer, &thread, "two").await;
        let [last, before_two, first, before_one] = &history(other, &thread).await[..] else {
            panic!("two states of each run")
        };
        assert_eq!(last["parent_checkpoint"], before_two["checkpoint"]);
        assert_eq!(
            (&first["values"], &before_one["parent_checkpoint"]),
            (&before_two["values"], &Value::Null)
        );
        assert_eq!(before_two["next"], json!(["__start__"]));
        assert_eq!(before_two["metadata"]["source"], "input");
        assert_eq!(before_two["metadata"]["run_id"], last["metadata"]["run_id"]);
        // Again: another run, on the same.
        let again = json!({ "input": null, "checkpoint": before_two["checkpoint"] });
        let values = waited(other, &thread, "echo", again).await;
        assert_eq!(values["log"], json!(["echo:one", "echo:two"]));
        let now = history(writer, &thread).await;
        assert_eq!(now.len(), 6, "nothing of what was before is gone");
        assert_eq!(now[1]["parent_checkpoint"], before_two["checkpoint"]);
        assert_ne!(now[0]["metadata"]["run_id"], last["metadata"]["run_id"]);
        // In other words, from the first one on.
        let edited = json!({ "input": { "text": "ONE" }, "checkpoint": before_one["checkpoint"] });
        let values = waited(writer, &thread, "echo", edited).await;
        assert_eq!(values["log"], json!(["echo:ONE"]));
        assert_eq!(state(other, &thread).await["values"], values);
    }
    let thread = kept.thread().await;
    echo(&kept, &thread, "one").await;
    let states = history(&kept, &thread).await;
    kept.service.engine().shutdown(Shutdown::default()).await;
    let (kept, _) = nth(2, &store).await;
    assert_eq!(history(&kept, &thread).await, states);
    let again = json!({ "input": null, "checkpoint": states[1]["checkpoint"] });
    assert_eq!(waited(&kept, &thread, "echo", again).await["log"], json!(["echo:one"]));
}

#[tokio::test]
async fn what_was_said_to_a_model_is_taken_back_with_its_answer() {
    let count = async |_ctx: RunContext, input: Payload| {
        let input: Value = input.parse().unwrap();
        Ok(json!(format!("you have said {}", input["messages"].as_array().unwrap().len())).into())
    };
    let server = Server::serving([Component::agent("count", count)]);
    let thread = server.thread().await;
    let says = |text: &str| json!({ "messages": [{ "role": "user", "content": text }] });
    for text in ["first", "second"] {
        waited(&server, &thread, "count", json!({ "input": says(text) })).await;
    }
    let states = history(&server, &thread).await;
    let again = json!({ "input": null, "checkpoint": states[1]["checkpoint"] });
    let again = waited(&server, &thread, "count", again).await;
    let asked = |values: &Value| values["messages"][2]["id"].clone();
    assert_eq!(asked(&again), asked(&states[0]["values"]), "it is the same message");
    let edited = json!({ "input": says("edited"), "checkpoint": states[1]["checkpoint"] });
    let values = waited(&server, &thread, "count", edited).await;
    let talk = values["messages"].as_array().unwrap().iter().map(|said| &said["content"]);
    let talk: Vec<_> = talk.map(|said| said.as_str().unwrap()).collect();
    assert_eq!(talk, ["first", "you have said 1", "edited", "you have said 3"]);
}

/// A list leaves out what runs were given.
#[tokio::test]
async fn what_could_not_go_on_leaves_the_thread_as_it_was_on_every_store() {
    let store = Arc::new(MemoryStore::new());
    let (kept, _) = nth(1, &store).await;
    let (a, b) = two();
    let seen = async |server: &Server| {
        let thread = server.thread().await;
        for (graph, more) in [
            ("failing", json!({ "input": { "a": 1 } })),
            ("echo", json!({ "command": { "update": { "b": 2 } } })),
            ("echo", json!({ "command": { "update": {}, "goto": [], "resume": null } })),
            ("echo", json!({ "input": null })),
            ("echo", json!({ "input": { "text": "c" } })),
        ] {
            waited(server, &thread, graph, more).await;
        }
        let states = history(server, &thread).await;
        let sources: Vec<_> = states.iter().map(|it| it["metadata"]["source"].clone()).collect();
        assert_eq!(sources, ["loop", "input", "loop", "loop", "loop", "loop", "input"]);
        let failed = &states[5];
        assert_eq!(failed["next"], json!(["failing"]));
        for state in &states[2..5] {
            assert_eq!((&state["values"], &state["next"]), (&failed["values"], &failed["next"]));
            assert_ne!(state["tasks"][0]["error"], Value::Null);
        }
        (thread, states)
    };
    let (thread, states) = seen(&a).await;
    assert_eq!(history(&b, &thread).await, states);
    let (thread, states) = seen(&kept).await;
    kept.service.engine().shutdown(Shutdown::default()).await;
    let (kept, _) = nth(2, &store).await;
    assert_eq!(history(&kept, &thread).await, states);
}

#[tokio::test]
async fn a_cron_whose_every_run_would_be_refused_is_refused() {
    let server = Server::new();
    let cron = |more: Value| {
        let mut cron = json!({ "assistant_id": "echo", "schedule": "0 0 * * *" });
        cron.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        cron
    };
    let made = server.post("/runs/crons", &cron(json!({ "input": {} }))).await;
    assert_eq!(made.status, 200, "{made:?}");
    let made = format!("/runs/crons/{}", made.json()["cron_id"].as_str().unwrap());
    for bad in
        [json!({ "input": {}, "interrupt_before": "*" }), json!({ "input": { "messages": [5] } })]
    {
        assert_eq!(server.post("/runs/crons", &cron(bad.clone())).await.status, 422, "{bad}");
        let told = server.send(Method::PATCH, &made, &bad.to_string()).await;
        assert_eq!(told.status, 422, "{bad} {told:?}");
    }
}
