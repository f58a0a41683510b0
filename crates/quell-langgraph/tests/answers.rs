//! What a component answers that knows nothing of states.

use std::time::Duration;

use axum::http::Method;
use quell::{Payload, RunContext};
use quell_flow::{Component, Emit, Reducer};
use serde_json::{Value, json};

use crate::talk::{Answer, Says, Server};

fn text() -> Component {
    Component::agent("text", async |_ctx, _input| Ok(Payload::from("hello")))
}

fn same(id: &str) -> Component {
    Component::workflow(id, async |_ctx, input: Payload| Ok(input))
}

/// Says lines as a program does, and answers with all of them.
fn program() -> Component {
    Component::agent("program", async |ctx: RunContext, _input| {
        for line in ["one", "two"] {
            ctx.emit(json!({ "stream": "stdout", "line": line }));
        }
        Ok(Payload::from("one\ntwo"))
    })
}

/// Yields values, or an update, without its messages.
fn but_messages(values: &Value) -> Value {
    let mut values = values.clone();
    values.as_object_mut().unwrap().remove("messages");
    values
}

async fn streamed(server: &Server, graph: &str, mode: &str) -> Answer {
    let body = json!({ "assistant_id": graph, "input": {"a": 1}, "stream_mode": [mode] });
    server.post("/runs/stream", &body).await
}

fn last(answer: &Answer) -> (String, Value) {
    answer.events().pop().unwrap()
}

#[tokio::test]
async fn an_answer_that_is_no_object_is_the_key_output_of_wait_join_and_thread() {
    let server = Server::serving([text(), same("same")]);
    let table = [
        ("text", json!({"a": 1}), json!({"a": 1, "output": "hello"})),
        ("same", json!([1, 2]), json!({"output": [1, 2]})),
        ("same", json!(7.5), json!({"output": 7.5})),
        ("same", json!("hi"), json!({"output": "hi"})),
        ("same", json!({"a": 1}), json!({"a": 1})),
    ];
    for (graph, input, values) in table {
        let thread = server.thread().await;
        let run = server.start(&thread, graph, input.clone()).await;
        let joined = server.get(&format!("{run}/join")).await.json();
        assert_eq!(but_messages(&joined), values, "{graph} {input}");
        assert_eq!(server.get(&format!("/threads/{thread}")).await.json()["values"], joined);
        let body = json!({ "assistant_id": graph, "input": input });
        assert_eq!(but_messages(&server.post("/runs/wait", &body).await.json()), values);
    }
}

#[tokio::test]
async fn a_component_that_answers_text_answers_in_every_stream_mode() {
    let server = Server::serving([text()]);
    let answer = json!({"output": "hello"});
    let of = async |mode| last(&streamed(&server, "text", mode).await);
    let (event, values) = of("values").await;
    assert_eq!(event, "values");
    assert_eq!(but_messages(&values), json!({"a": 1, "output": "hello"}));
    let (event, update) = of("updates").await;
    assert_eq!((&*event, but_messages(&update["text"])), ("updates", answer.clone()));
    let (event, data) = of("messages-tuple").await;
    assert_eq!(
        (&*event, &data[0]["content"], &data[0]["type"]),
        ("messages", &json!("hello"), &json!("ai"))
    );
    assert_eq!(
        (&data[1]["langgraph_node"], &data[1]["graph_id"]),
        (&json!("text"), &json!("text"))
    );
    let (event, data) = of("messages").await;
    assert_eq!((&*event, &data[0]["content"]), ("messages/complete", &json!("hello")));
    assert_eq!(but_messages(&of("tasks").await.1["result"]), answer);
    assert_eq!(but_messages(&of("debug").await.1["payload"]["result"]), answer);
    assert_eq!(but_messages(&of("events").await.1["data"]["output"]), answer);
    let values = &of("checkpoints").await.1["values"];
    assert_eq!(but_messages(values), json!({"a": 1, "output": "hello"}));
    // It is the body that says anything else, and this one does not.
    assert_eq!(of("custom").await.0, "metadata");
}

#[tokio::test]
async fn what_a_program_prints_is_its_output_and_its_message() {
    let server = Server::serving([program()]);
    let body = json!({ "assistant_id": "program", "input": {} });
    let values = server.post("/runs/wait", &body).await.json();
    assert_eq!(but_messages(&values), json!({ "output": "one\ntwo" }));
    let messages = values["messages"].as_array().unwrap();
    let shown = messages.iter().map(|message| (&message["type"], &message["content"]));
    assert_eq!(shown.collect::<Vec<_>>(), [(&json!("ai"), &json!("one\ntwo"))]);
}

#[tokio::test]
async fn the_lines_of_a_program_are_messages_and_custom_events() {
    let server = Server::serving([program()]);
    let custom = streamed(&server, "program", "custom").await.events();
    let line = |line: &str| ("custom".to_owned(), json!({"stream": "stdout", "line": line}));
    assert_eq!(custom[1..], [line("one"), line("two")]);
    let pieces = streamed(&server, "program", "messages-tuple").await.events();
    let said: Vec<_> = pieces[1..].iter().map(|(_, data)| data[0]["content"].clone()).collect();
    assert_eq!(said, ["one\n", "two\n"], "and not once more at the end");
    let whole = streamed(&server, "program", "messages").await.events();
    let names: Vec<_> = whole.iter().map(|(name, _)| name.as_str()).collect();
    let (meta, partial) = ("messages/metadata", "messages/partial");
    assert_eq!(names, ["metadata", meta, partial, partial, "messages/complete"]);
    assert_eq!(whole[3].1[0]["content"], "one\ntwo\n");
    assert_eq!(whole[4].1[0]["content"], "one\ntwo", "as it answers, not as it is printed");
    let values = last(&streamed(&server, "program", "values").await).1;
    assert_eq!(but_messages(&values), json!({"a": 1, "output": "one\ntwo"}));
}

#[tokio::test]
async fn what_a_body_says_of_its_state_is_no_object_either_and_is_not_lost() {
    let states = Component::workflow("states", async |ctx: RunContext, _input| {
        Emit::Values { values: "half".into() }.send(&ctx);
        ctx.emit(json!({"mine": 1}));
        ctx.emit(json!({"event": "nobody knows"}));
        Ok(Payload::from("done"))
    });
    let server = Server::serving([states]);
    let said = streamed(&server, "states", "values").await;
    assert_eq!(last(&said).1, json!({"output": "half"}), "as it said itself");
    let custom = streamed(&server, "states", "custom").await.events();
    let custom: Vec<_> = custom[1..].iter().map(|(_, data)| data.clone()).collect();
    assert_eq!(custom, [json!({"mine": 1}), json!({"event": "nobody knows"})]);
}

#[tokio::test]
async fn a_key_is_overwritten_unless_the_graph_declares_a_reducer() {
    let declared = same("declared").reducer("items", Reducer::Append);
    let server = Server::serving([same("plain"), declared]);
    let thread = server.thread().await;
    let run = async |graph: &str, input: Value| {
        let body = json!({ "assistant_id": graph, "input": input });
        server.post(&format!("/threads/{thread}/runs/wait"), &body).await.json()
    };
    assert_eq!(run("plain", json!({"log": "hello"})).await, json!({"log": "hello"}));
    assert_eq!(run("plain", json!({"log": [1]})).await, json!({"log": [1]}));
    assert_eq!(run("plain", json!({"log": [2], "b": 1})).await, json!({"log": [2], "b": 1}));
    let first = run("declared", json!({})).await;
    assert_eq!(first, json!({"log": [2], "b": 1, "items": []}));
}

/// More digits than any machine number has, spelt as few would, and nearer to zero than any.
const EXACT: &str =
    r#"{"n":123456789012345678901234567890,"x":[0.1000,-18446744073709551617,1e-400,-1E+308]}"#;

/// Says what it was given as its state, as a change of a node, and in words of its own.
fn teller() -> Component {
    Component::workflow("teller", async |ctx: RunContext, _input: Payload| {
        let emits = [
            format!(r#"{{"event":"values","values":{{"exact":{EXACT}}}}}"#),
            format!(r#"{{"event":"updates","node":"n","values":{EXACT}}}"#),
            format!(r#"{{"event":"custom","data":{EXACT}}}"#),
            format!(r#"{{"mine":{EXACT}}}"#),
        ];
        for emit in emits {
            ctx.emit(Payload::from_json_text(&emit)?);
        }
        Ok(Payload::from(Value::Null))
    })
}

#[tokio::test]
async fn no_digit_of_a_number_is_lost() {
    let server = Server::serving([same("same").reducer("log", Reducer::Append), teller()]);
    let input = format!(r#"{{"exact":{EXACT},"log":{EXACT}}}"#);
    // Once as the input, once as the output.
    let values = format!(r#"{{"exact":{EXACT},"log":[{EXACT},{EXACT}]}}"#);
    let body = format!(r#"{{"assistant_id":"same","input":{input}}}"#);
    let waited = server.send(Method::POST, "/runs/wait", &body).await;
    assert!(waited.text.ends_with(&values), "{}", waited.text);
    let stream = server.send(Method::POST, "/runs/stream", &body).await;
    assert!(stream.text.contains(&format!("event: values\ndata: {values}\n")), "{stream:?}");

    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs");
    let run = server.send(Method::POST, &path, &body).await.header("content-location").to_owned();
    assert_eq!(server.get(&format!("{run}/join")).await.text, values);
    for path in [run, path] {
        let shown = server.get(&path).await.text;
        assert!(shown.contains(&format!(r#""input":{input}"#)), "{path}: {shown}");
    }
    let shown = server.get(&format!("/threads/{thread}")).await.text;
    assert!(shown.contains(&format!(r#""values":{values}"#)), "{shown}");
    // What the thread has is given to the next body too.
    let body = r#"{"assistant_id":"same","input":{"log":1}}"#;
    let next = server.send(Method::POST, &format!("/threads/{thread}/runs/wait"), body).await;
    let values = format!(r#"{{"exact":{EXACT},"log":[{EXACT},{EXACT},1,1]}}"#);
    assert_eq!(next.text, values);

    for (mode, frame) in [
        ("values", format!(r#"{{"exact":{EXACT}}}"#)),
        ("updates", format!(r#"{{"n":{EXACT}}}"#)),
        ("custom", EXACT.to_owned()),
        ("custom", format!(r#"{{"mine":{EXACT}}}"#)),
    ] {
        let text = streamed(&server, "teller", mode).await.text;
        assert!(text.contains(&format!("data: {frame}\n")), "{mode}: {text}");
    }
    let modes = r#"["debug","events","checkpoints","tasks","messages-tuple"]"#;
    let body = format!(r#"{{"assistant_id":"same","input":[{EXACT}],"stream_mode":{modes}}}"#);
    let text = server.send(Method::POST, "/runs/stream", &body).await.text;
    assert_eq!(text.matches("123456789012345678901234567890").count(), 4, "{text}");
}

#[tokio::test]
async fn no_digit_of_metadata_or_of_a_config_is_lost() {
    let server = Server::serving([same("same")]);
    let id = uuid::Uuid::now_v7();
    let body = format!(r#"{{"thread_id":"{id}","metadata":{{"of":{EXACT},"quell":1}}}}"#);
    let made = server.send(Method::POST, "/threads", &body).await.text;
    assert!(made.contains(&format!(r#""metadata":{{"of":{EXACT},"quell":1}}"#)), "{made}");
    let given = format!(
        r#""command":{{"update":{EXACT}}},"config":{{"tags":{EXACT}}},"context":{{"c":{EXACT}}}"#
    );
    let body = format!(r#"{{"assistant_id":"same","input":{{}},"metadata":{EXACT},{given}}}"#);
    let path = format!("/threads/{id}/runs");
    let run = server.send(Method::POST, &path, &body).await;
    let place = run.header("content-location").to_owned();
    server.get(&format!("{place}/join")).await;
    let numbers = EXACT.trim_matches(['{', '}']);
    for text in [run.text, server.get(&place).await.text, server.get(&path).await.text] {
        for part in given.split_inclusive("}},").map(|part| part.trim_end_matches(',')) {
            assert!(text.contains(part), "{part}: {text}");
        }
        // With the keys of the server, in the order of their names.
        // And of the thread.
        let (n, x) = numbers.split_once(",\"x\"").unwrap();
        let all = format!(r#""graph_id":"same",{n},"of":{EXACT},"quell":1,"x"{x}}}"#);
        assert!(text.contains(&all), "{all}: {text}");
    }
    // The row of the thread shows the graph of its last run too.
    let row = server.get(&format!("/threads/{id}")).await.text;
    assert!(row.contains(&format!(r#""graph_id":"same","of":{EXACT},"quell":1}}"#)), "{row}");
    let filter = r#"{"graph_id":"same","metadata":{"created_by":"system"}}"#;
    let found = server.send(Method::POST, "/assistants/search", filter).await.json();
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    for filter in [EXACT, r#"{"created_by":1e-400}"#] {
        let filter = format!(r#"{{"metadata":{filter}}}"#);
        let found = server.send(Method::POST, "/assistants/search", &filter).await;
        assert_eq!(found.text, "[]");
    }
}

#[tokio::test]
async fn a_number_of_any_length_is_kept_as_it_was_spelt_if_it_is_finite_as_a_double() {
    let server = Server::serving([same("same")]);
    let long = "1234567890".repeat(40);
    let numbers = format!(r"[{0},-{0},0.{long},{long}e-200,0e99999,1e-999]", &long[..308]);
    let body = format!(r#"{{"assistant_id":"same","input":{{"n":{numbers}}}}}"#);
    let waited = server.send(Method::POST, "/runs/wait", &body).await.text;
    assert_eq!(waited.trim(), format!(r#"{{"n":{numbers}}}"#));
}

/// What orjson refuses, with which the Python SDK reads answers and upstream reads requests.
const INFINITE: [&str; 5] =
    ["1e400", "-1E+999", "1.7976931348623159e308", "[[7, 1e309 ]]", "1e99999"];

#[tokio::test]
async fn a_number_that_is_not_finite_as_a_double_is_refused_by_name_wherever_it_stands() {
    let server = Server::serving([same("same")]);
    let refused = async |path: &str, body: String| {
        let (status, words) = server.send(Method::POST, path, &body).await.detail();
        assert_eq!(status, 422, "{path} {body}: {words}");
        words
    };
    let named =
        |number: &str| format!("Invalid JSON in request body: {number} is not finite as a double");
    for number in INFINITE {
        let name = number.trim_matches(['[', ']', '7', ',', ' ']);
        let body = format!(r#"{{"assistant_id":"same","input":{{"a":"\"1e400","n":{number}}}}}"#);
        assert_eq!(refused("/runs/wait", body).await, named(name));
    }
    let long = "1234567890".repeat(40);
    let body = format!(r#"{{"metadata":{{"n":-{long}.5}}}}"#);
    let name = format!("-{}…", &long[..31]);
    for path in ["/threads", "/assistants/search", "/runs/cancel"] {
        assert_eq!(refused(path, body.clone()).await, named(&name));
    }
    assert_eq!(refused("/runs", "1e400".into()).await, named("1e400"));
}

#[tokio::test]
async fn a_number_that_a_body_says_and_that_is_not_finite_as_a_double_is_null() {
    let said = |number: &str| {
        format!(r#"{{"a":[0.10,{number},{{"n":{number}}},"{}"],"z":1e-400}}"#, "\\\"1e400")
    };
    let teller =
        Component::workflow("teller", move |ctx: RunContext, _input: Payload| async move {
            for number in INFINITE.into_iter().filter(|number| !number.starts_with('[')) {
                ctx.emit(Payload::from_json_text(&said(number))?);
                let update =
                    format!(r#"{{"event":"updates","node":"n","values":{}}}"#, said(number));
                ctx.emit(Payload::from_json_text(&update)?);
                let values = format!(r#"{{"event":"values","values":{}}}"#, said(number));
                ctx.emit(Payload::from_json_text(&values)?);
            }
            Ok(Payload::from(Value::Null))
        });
    let returns =
        Component::workflow("returns", move |_ctx: RunContext, _input: Payload| async move {
            Ok(Payload::from_json_text(&said("1e400"))?)
        });
    let server = Server::serving([teller, returns, same("same")]);
    for mode in ["custom", "updates", "values"] {
        let text = streamed(&server, "teller", mode).await.text;
        assert_eq!(text.matches(&said("null")).count(), 4, "{mode}: {text}");
    }
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs");
    let run = r#"{"assistant_id":"returns","input":{}}"#;
    let run = server.send(Method::POST, &path, run).await.header("content-location").to_owned();
    assert_eq!(server.get(&format!("{run}/join")).await.text, said("null"));
    let row = server.get(&format!("/threads/{thread}")).await.text;
    assert!(row.contains(&format!(r#""values":{}"#, said("null"))), "{row}");
    let body = r#"{"assistant_id":"same","input":{"next":1}}"#;
    let next = server.send(Method::POST, &format!("{path}/wait"), body).await.text;
    assert!(
        next.contains(r#""next":1"#) && !next.replace("\"1e400", "").contains("1e400"),
        "{next}"
    );
    let stream = r#"["tasks","debug","events","checkpoints","messages-tuple"]"#;
    let body = format!(r#"{{"assistant_id":"returns","input":{{}},"stream_mode":{stream}}}"#);
    let text = server.send(Method::POST, "/runs/stream", &body).await.text;
    assert!(!text.contains("1e400,"), "{text}");
}

#[tokio::test]
async fn of_an_object_that_is_returned_streams_have_the_last_message_of_a_model() {
    let returns = |name: &'static str, output: Value| {
        Component::workflow(name, move |_ctx: RunContext, _input: Payload| {
            let output = output.clone();
            async move { Ok(Payload::from(output)) }
        })
    };
    let ai = |id: &str| json!({ "type": "ai", "id": id, "content": "hello" });
    let messages =
        json!({ "messages": [ai("a-1"), ai("a-2"), { "type": "tool", "content": "t" }] });
    let server = Server::serving([
        returns("speaks", messages),
        returns("state", json!({ "answer": "svc" })),
        returns("list", json!(["a"])),
    ]);
    for mode in ["messages", "messages-tuple"] {
        let told = streamed(&server, "speaks", mode).await.text;
        assert!(told.contains(r#""id":"a-2""#) && !told.contains("a-1"), "{told}");
        assert!(mode != "messages" || told.contains(r#"{"a-2":{"metadata""#), "{told}");
        for silent in ["state", "list"] {
            let told = streamed(&server, silent, mode).await.text;
            assert!(!told.contains("event: messages"), "{silent}: {told}");
        }
    }
}

#[tokio::test]
async fn what_a_search_wants_is_read_once_however_many_assistants_there_are() {
    let wanted = format!(r#"{{"metadata":{{"created_by":[{}1]}}}}"#, "1,".repeat(200_000));
    let server = Server::serving((0..2_000).map(|graph| same(&format!("g{graph}"))));
    // Read once per assistant it takes minutes: the time only says that it would not end.
    let found = server.send(Method::POST, "/assistants/search", &wanted);
    let found = tokio::time::timeout(Duration::from_mins(1), found).await;
    assert_eq!(found.expect("it is answered").text, "[]");
}
