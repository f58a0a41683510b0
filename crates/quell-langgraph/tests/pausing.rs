//! Runs that wait for an answer (contract, section 7).

use std::sync::Arc;

use quell::store::MemoryStore;
use quell::testing::cluster::Nodes;
use quell::{EngineConfig, Failure, Payload, RunContext};
use quell_flow::{Component, Emit};
use quell_test_support::{secs, within};
use serde_json::{Value, json};

use crate::talk::{Says as _, Server, id_of};

/// Asks, twice where its input says so, and answers with what it was told.
async fn ask(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    let twice = input.parse::<Value>()?["twice"] == true;
    match (ctx.attempt(), ctx.resumed_with()) {
        (2, Some(_)) if twice => Err(ctx.pause("really?")),
        (_, Some(answer)) => Ok(json!({ "told": answer }).into()),
        (_, None) => Err(ctx.pause(Payload::from(json!({ "question": "go on?" })))),
    }
}

fn server() -> Server {
    Server::serving([Component::workflow("ask", ask).resumable()])
}

#[tokio::test]
async fn who_joins_the_stream_of_a_run_that_asks_finds_nothing_new_with_a_store_and_without() {
    let stored = EngineConfig::new().store(Arc::new(MemoryStore::new()));
    for config in [EngineConfig::new(), stored] {
        let ask = Component::workflow("ask", ask).resumable();
        let server = Server::serving_with(config, [ask]);
        let thread = server.thread().await;
        let wait = format!("/threads/{thread}/runs/wait");
        let asked = server.post(&wait, &asking(&json!({ "n": 1 }))).await;
        let stream = format!("{}/stream", asked.header("content-location"));
        assert_eq!(within("it ends", server.get(&stream)).await.text, "");
    }
}

fn asking(input: &Value) -> Value {
    json!({ "assistant_id": "ask", "input": input, "stream_mode": ["values", "updates"] })
}

fn answer(with: &Value) -> Value {
    json!({ "assistant_id": "ask", "command": { "resume": with } })
}

#[tokio::test]
async fn a_wait_for_a_paused_run_yields_what_it_asks_and_the_resumed_one_its_values() {
    let server = server();
    let thread = server.thread().await;
    let wait = format!("/threads/{thread}/runs/wait");
    let asked = server.post(&wait, &asking(&json!({ "n": 1 }))).await;
    let run = asked.header("content-location").to_owned();
    let body = asked.json();
    assert_eq!(body["n"], 1);
    let interrupt = &body["__interrupt__"][0];
    assert_eq!(interrupt["value"], json!({ "question": "go on?" }));
    assert_eq!(interrupt.get("response_schema"), Some(&Value::Null));
    let told = server.get(&run).await.json();
    let said = (&told["status"], &told["quell"]["status"], &told["quell"]["quiescent"]);
    assert_eq!(said, (&json!("success"), &json!("paused"), &json!(true)));
    assert_eq!(server.get(&format!("{run}/join")).await.json(), body);
    let row = server.get(&format!("/threads/{thread}")).await.json();
    assert_eq!((&row["status"], &row["values"]["n"]), (&json!("interrupted"), &json!(1)));
    let interrupts = row["interrupts"].as_object().unwrap().values().collect::<Vec<_>>();
    let shown = json!({ "id": interrupt["id"], "value": { "question": "go on?" } });
    assert_eq!(interrupts, [&json!([shown])]);

    let done = server.post(&wait, &answer(&json!("yes"))).await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert_eq!(done.header("content-location"), run, "the run goes on under its id");
    assert_eq!(done.json(), json!({ "n": 1, "told": "yes" }));
    let row = server.get(&format!("/threads/{thread}")).await.json();
    assert_eq!((&row["status"], &row["interrupts"]), (&json!("idle"), &json!({})));
    assert_eq!(server.status(&run).await, "success");
}

#[tokio::test]
async fn a_stream_ends_with_what_is_asked_and_the_resumed_one_goes_on_behind_it() {
    let server = server();
    let thread = server.thread().await;
    let stream = format!("/threads/{thread}/runs/stream");
    let mut asks = asking(&json!({ "twice": true }));
    asks["stream_resumable"] = true.into();
    let asked = server.post(&stream, &asks).await;
    let path = format!("{}/stream", asked.header("content-location"));
    let (first, asked) = (asked.text.clone(), asked.events());
    let names = |events: &[(String, Value)]| -> Vec<String> {
        events.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&asked), ["metadata", "values", "updates", "values"]);
    let question = json!({ "question": "go on?" });
    assert_eq!(asked[2].1["__interrupt__"][0]["value"], question);
    assert_eq!(asked[3].1["__interrupt__"], asked[2].1["__interrupt__"]);
    assert_eq!(asked[3].1["twice"], true);
    let answering = |with: &str| {
        let mut answers = answer(&json!(with));
        answers["stream_mode"] = asks["stream_mode"].clone();
        answers
    };
    let again = server.post(&stream, &answering("yes")).await;
    let (second, again) = (again.text.clone(), again.events());
    let next = &again.last().unwrap().1["__interrupt__"][0];
    assert_eq!(next["value"], "really?");
    assert_ne!(next["id"], asked[2].1["__interrupt__"][0]["id"], "another question");
    let rest = server.post(&stream, &answering("yes!")).await;
    let (third, rest) = (rest.text.clone(), rest.events());
    assert!(rest.iter().all(|(_, data)| data.get("__interrupt__").is_none()), "{rest:?}");
    assert_eq!(rest.last().unwrap().1["told"], "yes!");
    // Who reads it all later reads what was asked, with the ids that it had.
    let all = server.saying("last-event-id", "-1").get(&path).await;
    assert_eq!(all.text, first + &second + &third);
}

#[tokio::test]
async fn the_stream_of_an_answer_shows_what_that_asks_for() {
    let server = server();
    let thread = server.thread().await;
    let of = |last: &str| format!("/threads/{thread}/runs/{last}");
    for (first, then) in [("values", "updates"), ("updates", "values"), ("custom", "debug")] {
        let mut asks = asking(&json!({ "twice": false }));
        asks["stream_mode"] = json!([first]);
        server.post(&of("wait"), &asks).await;
        let mut answers = answer(&json!("yes"));
        answers["stream_mode"] = json!(then);
        let told = server.post(&of("stream"), &answers).await.events();
        let shown: Vec<_> = told.iter().filter(|(name, _)| name != "metadata").collect();
        assert!(!shown.is_empty() && shown.iter().all(|it| it.0 == then), "{then}: {told:?}");
    }
}

#[tokio::test]
async fn an_answer_changes_nothing_else() {
    let server = server();
    let thread = server.thread().await;
    let wait = format!("/threads/{thread}/runs/wait");
    server.post(&wait, &asking(&json!({ "twice": false }))).await;
    for more in [json!({ "update": { "a": 1 } }), json!({ "goto": "ask" })] {
        let mut body = answer(&json!("yes"));
        body["command"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, words) = server.post(&wait, &body).await.detail();
        assert!(status == 422 && words.starts_with("command: `resume` goes without"), "{words}");
    }
    assert_eq!(server.post(&wait, &answer(&json!("yes"))).await.json()["told"], "yes");
}

#[tokio::test]
async fn an_answer_by_the_id_of_an_interrupt_answers_no_other_one() {
    let server = server();
    let thread = server.thread().await;
    let wait = format!("/threads/{thread}/runs/wait");
    let asked = server.post(&wait, &asking(&json!({ "twice": true }))).await.json();
    let id = |values: &Value| values["__interrupt__"][0]["id"].as_str().unwrap().to_owned();
    let first = answer(&json!({ id(&asked): "yes" }));
    let again = server.post(&wait, &first).await.json();
    assert_eq!(again["__interrupt__"][0]["value"], "really?");
    let words = format!("The thread waits for an answer to interrupt {}", id(&again));
    assert_eq!(server.post(&wait, &first).await.detail(), (409, words));
    let second = answer(&json!({ id(&asked): "yes", id(&again): { "sure": 1.50 } }));
    assert_eq!(server.post(&wait, &second).await.json()["told"], json!({ "sure": 1.50 }));

    // An object that is an answer as it is.
    server.post(&wait, &asking(&json!({ "twice": false }))).await;
    for plain in [json!({ "confirmed": true }), json!({})] {
        assert_eq!(server.post(&wait, &answer(&plain)).await.json()["told"], plain);
        server.post(&wait, &asking(&json!({ "twice": false }))).await;
    }
}

#[tokio::test]
async fn new_input_gives_up_what_is_asked_and_none_is_refused() {
    let server = server();
    let thread = server.thread().await;
    let wait = format!("/threads/{thread}/runs/wait");
    let first = server.post(&wait, &asking(&json!({ "n": 1 }))).await;
    let first = first.header("content-location").to_owned();
    let none = server.post(&wait, &asking(&Value::Null)).await;
    let text = "Thread is interrupted. Answer with command.resume, or give it new input.";
    assert_eq!(none.detail(), (409, text.to_owned()));
    let other = json!({ "assistant_id": "echo", "command": { "resume": 1 } });
    let other = server.post(&wait, &other).await.detail();
    assert_eq!(other, (422, "assistant_id: the interrupted run is of ask".to_owned()));

    let second = server.post(&wait, &asking(&json!({ "n": 2 }))).await;
    assert_eq!(second.json()["__interrupt__"][0]["value"], json!({ "question": "go on?" }));
    let told = server.get(&first).await.json();
    assert_eq!(
        (&told["status"], &told["quell"]["cause"]["kind"]),
        (&json!("interrupted"), &json!("superseded"))
    );
    let second = second.header("content-location").to_owned();
    assert_eq!(told["quell"]["cause"]["by"], id_of(&second));
}

#[tokio::test]
async fn an_answer_is_for_the_run_that_asks_also_while_others_wait_behind_it() {
    let server = Server::new();
    let thread = server.thread().await;
    let runs = format!("/threads/{thread}/runs");
    let mut made = Vec::new();
    for graph in ["slow", "interrupting", "echo"] {
        let body = json!({
            "assistant_id": graph, "input": { "ms": 50 }, "multitask_strategy": "enqueue",
        });
        let run = server.post(&runs, &body).await.json()["run_id"].as_str().unwrap().to_owned();
        made.push(format!("{runs}/{run}"));
    }
    let [_, asks, behind] = &*made else { panic!("{made:?}") };
    while server.status(asks).await != "success" {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.status(behind).await, "pending");
    let answer = json!({ "assistant_id": "interrupting", "command": { "resume": "yes" } });
    let done = server.post(&format!("{runs}/wait"), &answer).await;
    assert_eq!(done.header("content-location"), asks, "no run is made");
    while server.status(behind).await != "success" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_paused_run_is_cancelled_by_its_id_and_not_by_status() {
    let server = server();
    let thread = server.thread().await;
    let asked = server.post(&format!("/threads/{thread}/runs/wait"), &asking(&json!({}))).await;
    let run = asked.header("content-location").to_owned();
    let all = server.post("/runs/cancel", &json!({ "status": "all" })).await;
    assert_eq!(all.detail(), (404, "No runs found to cancel.".to_owned()));
    assert_eq!(server.post(&format!("{run}/cancel"), &json!({})).await.status, 202);
    assert_eq!(server.status(&run).await, "interrupted");
    let row = server.get(&format!("/threads/{thread}")).await.json();
    assert_eq!(row["interrupts"], json!({}));
    let late = server.post(&format!("/threads/{thread}/runs/wait"), &answer(&json!(1))).await;
    assert_ne!(late.header("content-location"), run, "it is answered as without a paused run");
}

#[tokio::test]
async fn the_demo_graph_asks_and_says_what_it_was_told() {
    let server = Server::new();
    for (with, line) in [(json!("yes"), "answer:yes"), (json!({ "n": 1 }), r#"answer:{"n":1}"#)] {
        let thread = server.thread().await;
        let wait = format!("/threads/{thread}/runs/wait");
        let graph = "interrupting";
        let asked = server.post(&wait, &json!({ "assistant_id": graph, "input": {} })).await;
        let question = json!({ "question": "go on?" });
        assert_eq!(asked.json()["__interrupt__"][0]["value"], question);
        let command = json!({ "assistant_id": graph, "command": { "resume": with } });
        assert_eq!(server.post(&wait, &command).await.json()["log"], json!([line]));
    }
}

#[tokio::test]
async fn a_message_is_shown_with_all_that_was_said_before_the_run_asks_and_goes_on_behind_it() {
    let says = |ctx: RunContext, _input: Payload| async move {
        if ctx.resumed_with().is_some() {
            Emit::content("z".repeat(300)).send(&ctx);
            return Ok(Payload::from(Value::Null));
        }
        Emit::content("x".repeat(5_000)).send(&ctx);
        // Too little to be shown at once.
        Emit::content("y").send(&ctx);
        Err(ctx.pause("go on?"))
    };
    let server = Server::serving([Component::workflow("ask", says).resumable()]);
    let stream = format!("/threads/{}/runs/stream", server.thread().await);
    let streamed = async |mut body: Value| {
        body["stream_mode"] = json!(["messages"]);
        let events = server.post(&stream, &body).await.events();
        let said = |(name, data): &(String, Value)| {
            let text = data[0]["content"].as_str().unwrap_or_default();
            (name.clone(), text.len())
        };
        events.iter().map(said).collect::<Vec<_>>()
    };
    let event = |name: &str, bytes: usize| (name.to_owned(), bytes);
    let (meta, partial) = ("messages/metadata", "messages/partial");
    let asked = streamed(asking(&json!({}))).await;
    let shown = [event(meta, 0), event(partial, 5_000), event(partial, 5_001)];
    assert_eq!(asked[1..], shown);
    let told = streamed(answer(&json!("yes"))).await;
    assert_eq!(told[1..], [event(partial, 5_301), event("messages/complete", 5_301)]);
}

/// A client that shows branches names the state that asked with each answer, and may send it twice.
#[tokio::test]
async fn an_answer_for_a_state_answers_no_later_question_and_moves_nothing_when_it_comes_again() {
    let nodes = Nodes::new(secs(30));
    let [a, b] = ["a", "b"].map(|name| {
        let config = EngineConfig::new().node(nodes.join(name));
        Server::serving_with(config, [Component::workflow("ask", ask).resumable()])
    });
    let alone = server();
    for [first, second] in [[&alone, &alone], [&a, &a], [&a, &b]] {
        let thread = first.thread().await;
        let (wait, state) =
            (format!("/threads/{thread}/runs/wait"), format!("/threads/{thread}/state"));
        first.post(&wait, &asking(&json!({ "twice": true }))).await;
        let for_state = |of: &Value, with: &str| {
            let mut body = answer(&json!(with));
            body["checkpoint"] = of["checkpoint"].clone();
            body
        };
        let asked = second.get(&state).await.json();
        let one = for_state(&asked, "yes");
        let again = first.post(&wait, &one).await.json();
        assert_eq!(again["__interrupt__"][0]["value"], "really?", "{again}");
        for server in [first, second] {
            let refused = server.post(&wait, &one).await;
            assert_eq!(refused.status, 409, "{refused:?}");
        }
        let other = for_state(&second.get(&state).await.json(), "sure");
        let told = json!({ "told": "sure", "twice": true });
        assert_eq!(second.post(&wait, &other).await.json(), told);
        for late in [&one, &other] {
            let late = first.post(&wait, late).await;
            assert_eq!((late.status.as_u16(), late.json()), (200, told.clone()));
            assert_eq!(first.get(&state).await.json()["values"], told);
        }
    }
}
