//! What a component says in words is a message, the same in the values and in every mode.

use quell::{Failure, Payload, RunContext, RunSpec, ToolCall, Usage};
use quell_flow::{Component, Emit, Reducer, Team};
use serde_json::{Value, json};

use crate::talk::{Says, Server};

/// Says a text in two pieces, calls a tool, counts tokens, and returns what it is to.
fn writer(id: &str, output: Value) -> Component {
    Component::agent(id, move |ctx: RunContext, _input| {
        let output = output.clone();
        async move {
            Emit::content("one ").send(&ctx);
            let call = ToolCall::new("c-1", "search", json!({ "q": "tea" }).into());
            ctx.tool(call, async { Ok(Payload::from("green")) }).await?;
            Emit::content("two").send(&ctx);
            ctx.usage(Usage { input_tokens: 12, output_tokens: 3, cost_micros: 0 });
            Ok(Payload::from(output))
        }
    })
}

async fn streamed(server: &Server, graph: &str, mode: &str) -> Vec<(String, Value)> {
    let input = json!({ "messages": [{ "role": "user", "content": "hi" }] });
    let body = json!({ "assistant_id": graph, "input": input, "stream_mode": [mode] });
    server.post("/runs/stream", &body).await.events().split_off(1)
}

async fn waited(server: &Server, thread: &str, graph: &str, input: Value) -> Value {
    let body = json!({ "assistant_id": graph, "input": input });
    server.post(&format!("/threads/{thread}/runs/wait"), &body).await.json()
}

/// Yields types and contents of messages.
fn talk(messages: &Value) -> Vec<(&str, &str)> {
    let all = messages.as_array().unwrap().iter();
    all.map(|one| (one["type"].as_str().unwrap(), one["content"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn the_message_of_a_run_is_the_same_in_values_updates_and_every_mode_that_shows_it() {
    let server = Server::serving([writer("writer", Value::Null)]);
    let values = streamed(&server, "writer", "values").await;
    assert_eq!(talk(&values[0].1["messages"]), [("human", "hi")], "at the start");
    let messages = &values.last().unwrap().1["messages"];
    let all = [("human", "hi"), ("ai", ""), ("tool", "green"), ("ai", "one two")];
    assert_eq!(talk(messages), all);
    let id = messages[3]["id"].as_str().unwrap();
    assert!(id.starts_with("run--") && messages[0]["id"].is_string(), "{messages}");
    let call = json!([{ "id": "c-1", "name": "search", "args": { "q": "tea" },
        "type": "tool_call" }]);
    let usage = json!({ "input_tokens": 12, "output_tokens": 3, "total_tokens": 15 });
    let are_whole = |messages: &[Value]| {
        let [calls, result, message] = messages else { panic!("{messages:?}") };
        assert_eq!((&calls["tool_calls"], &message["tool_calls"]), (&call, &json!([])));
        assert_eq!((&message["content"], &message["usage_metadata"]), (&json!("one two"), &usage));
        let of_call = (&result["tool_call_id"], &result["name"], &result["status"]);
        assert_eq!(of_call, (&json!("c-1"), &json!("search"), &json!("success")));
    };
    let last = async |mode| streamed(&server, "writer", mode).await.pop().unwrap();
    let of = |messages: &Value| messages.as_array().unwrap().clone();
    are_whole(&of(messages)[1..]);
    are_whole(&of(&last("updates").await.1["writer"]["messages"]));
    are_whole(&of(&last("tasks").await.1["result"]["messages"]));
    are_whole(&of(&last("debug").await.1["payload"]["result"]["messages"]));
    are_whole(&of(&last("events").await.1["data"]["output"]["messages"]));
    are_whole(&of(&last("checkpoints").await.1["values"]["messages"])[1..]);
    let (event, whole) = last("messages").await;
    assert_eq!((&*event, of(&whole).len()), ("messages/complete", 1));
    assert_eq!((&whole[0]["content"], &whole[0]["usage_metadata"]), (&json!("one two"), &usage));
}

#[tokio::test]
async fn pieces_of_a_message_are_texts_begins_of_calls_and_what_was_used_under_one_id() {
    let server = Server::serving([writer("writer", Value::Null)]);
    let thread = server.thread().await;
    let body = json!({ "assistant_id": "writer", "input": {}, "stream_mode": ["messages-tuple"] });
    let path = format!("/threads/{thread}/runs/stream");
    let pieces = server.post(&path, &body).await.events().split_off(1);
    let said: Vec<_> = pieces.iter().map(|(_, data)| data[0]["content"].clone()).collect();
    assert_eq!(said, ["one ", "", "green", "two", ""]);
    let call = &pieces[1].1[0]["tool_call_chunks"][0];
    assert_eq!((&call["name"], &call["args"]), (&json!("search"), &json!(r#"{"q":"tea"}"#)));
    assert_eq!(pieces[4].1[0]["usage_metadata"]["total_tokens"], 15);
    let values = server.get(&format!("/threads/{thread}")).await.json()["values"].clone();
    let id = |nth: usize| &values["messages"][nth]["id"];
    for ((_, piece), nth) in pieces.iter().zip([2, 0, 1, 2, 2]) {
        assert!(id(nth).is_string() && piece[0]["id"] == *id(nth), "{pieces:?}");
    }
    assert_eq!(pieces[2].1[0], values["messages"][1], "how the call ended, as a whole");
}

#[tokio::test]
async fn a_message_is_shown_as_it_grows_and_then_whole_under_one_id() {
    let server = Server::serving([writer("writer", Value::Null)]);
    let events = streamed(&server, "writer", "messages").await;
    let names: Vec<_> = events.iter().map(|(name, _)| name.strip_prefix("messages/")).collect();
    assert_eq!(names, ["metadata", "partial", "partial", "complete"].map(Some));
    let messages: Vec<_> = events[1..].iter().map(|(_, data)| data).collect();
    let said: Vec<_> = messages.iter().flat_map(|messages| talk(messages)).collect();
    assert_eq!(said, [("ai", "one "), ("ai", "one two"), ("ai", "one two")]);
    let id = messages[0][0]["id"].as_str().unwrap();
    assert!(messages.iter().all(|messages| messages[0]["id"] == id), "{messages:?}");
    assert!(events[0].1[id]["metadata"]["langgraph_node"] == "writer", "{events:?}");
}

#[tokio::test]
async fn what_a_body_returns_or_says_of_its_messages_comes_before_what_it_said() {
    let own = json!([{ "type": "ai", "content": "mine", "id": "m" }]);
    let explicit = own.clone();
    let states = Component::agent("states", move |ctx: RunContext, _input| {
        let own = explicit.clone();
        async move {
            Emit::content("said").send(&ctx);
            Emit::Values { values: json!({ "a": 1, "messages": own }).into() }.send(&ctx);
            Ok(Payload::from(Value::Null))
        }
    });
    let drafts = Component::agent("drafts", async |ctx: RunContext, _input| {
        Emit::content("said").send(&ctx);
        Emit::Values { values: json!({ "draft": 1 }).into() }.send(&ctx);
        Ok(Payload::from("not shown"))
    });
    let server = Server::serving([
        writer("text", json!("the answer")),
        writer("state", json!({ "a": 1 })),
        writer("own", json!({ "messages": own })),
        states,
        drafts,
    ]);
    let input = json!({ "messages": [{ "type": "human", "content": "hi", "id": "h" }] });
    let of = async |graph| {
        let thread = server.thread().await;
        waited(&server, &thread, graph, input.clone()).await
    };
    let text = of("text").await;
    assert_eq!(text["output"], "the answer");
    let calls = [("human", "hi"), ("ai", ""), ("tool", "green")];
    assert_eq!(talk(&text["messages"]), [&calls[..], &[("ai", "the answer")]].concat());
    assert_eq!(text["messages"][0], input["messages"][0], "an id and a type stay");
    let state = of("state").await;
    assert_eq!(state["a"], 1);
    assert_eq!(talk(&state["messages"]), [&calls[..], &[("ai", "one two")]].concat());
    assert_eq!(of("own").await["messages"], own);
    assert_eq!(of("states").await, json!({ "a": 1, "messages": own }));
    let drafts = of("drafts").await;
    assert_eq!(drafts["draft"], 1);
    assert_eq!(talk(&drafts["messages"])[0], ("human", "hi"));
}

#[tokio::test]
async fn messages_of_a_thread_grow_from_run_to_run_and_its_next_body_gets_them() {
    let echo = Component::agent("echo", async |_ctx, input: Payload| {
        let input: Value = input.parse()?;
        let count = input["messages"].as_array().map_or(0, Vec::len);
        Ok(Payload::from(format!("{count} messages")))
    });
    let state = Component::workflow("state", async |_ctx, _input| Ok(json!({ "n": 1 }).into()));
    let server = Server::serving([echo, state]);
    let thread = server.thread().await;
    let ask = |text: &str| json!({ "messages": [{ "role": "user", "content": text }] });
    waited(&server, &thread, "echo", ask("a")).await;
    let values = waited(&server, &thread, "echo", ask("b")).await;
    let talked = [("human", "a"), ("ai", "1 messages"), ("human", "b"), ("ai", "3 messages")];
    assert_eq!(talk(&values["messages"]), talked);
    let values = waited(&server, &thread, "state", json!({})).await;
    assert_eq!((&values["n"], talk(&values["messages"])), (&json!(1), talked.to_vec()));
    // A text, or `message`, is what the caller says where there is no list of messages.
    let other = server.thread().await;
    for input in [json!("x"), json!({ "message": "x" })] {
        let values = waited(&server, &other, "echo", input).await;
        let all = talk(&values["messages"]);
        assert_eq!(all[all.len() - 2], ("human", "x"), "{values}");
    }
}

#[tokio::test]
async fn nodes_that_speak_have_a_message_each_and_members_where_nobody_else_speaks() {
    let nodes = Component::workflow("nodes", async |ctx: RunContext, _input| {
        for name in ["first", "second"] {
            let step = ctx.spawn(RunSpec::step(name), async move |ctx: RunContext| {
                Emit::content(name).send(&ctx);
                Ok(())
            });
            step.await?;
        }
        Ok(Payload::from(json!({ "done": true })))
    });
    let member = |name: &'static str| {
        move |ctx: RunContext, _input: Payload| async move {
            Emit::content(name).send(&ctx);
            Ok(Payload::from(Value::Null))
        }
    };
    let team = Team::broadcast("team").member("ann", member("ann")).member("bob", member("bob"));
    let team = team.combine(async |_, _| Ok(json!({ "members": 2 }).into())).into_component();
    let server = Server::serving([nodes, team]);
    let updates = streamed(&server, "nodes", "updates").await;
    let of = |at: usize, node: &str| updates[at].1[node]["messages"][0]["content"].clone();
    assert_eq!((of(0, "first"), of(1, "second")), (json!("first"), json!("second")));
    let thread = server.thread().await;
    let values = waited(&server, &thread, "nodes", json!({})).await;
    assert_eq!(values["done"], true);
    assert_eq!(talk(&values["messages"]), [("ai", "first"), ("ai", "second")]);
    let thread = server.thread().await;
    let values = waited(&server, &thread, "team", json!({})).await;
    let mut said = talk(&values["messages"]);
    said.sort_unstable();
    assert_eq!((&values["members"], said), (&json!(2), vec![("ai", "ann"), ("ai", "bob")]));
}

#[tokio::test]
async fn an_object_is_a_state_and_no_message_also_where_a_program_printed_it() {
    let prints = Component::agent("prints", async |ctx: RunContext, _input| {
        ctx.emit(json!({ "stream": "stdout", "line": "{\"a\": [1, 2]}" }));
        Ok(Payload::from(json!({ "a": [1, 2] })))
    });
    let appends = Component::agent("appends", async |_ctx, _input| Ok(Payload::from("said")))
        .reducer("messages", Reducer::Append);
    let server = Server::serving([prints, appends]);
    let thread = server.thread().await;
    assert_eq!(waited(&server, &thread, "prints", json!({})).await, json!({ "a": [1, 2] }));
    // With a reducer of its own, messages of callers stay as they were given.
    let input = json!({ "messages": ["x"] });
    let values = waited(&server, &thread, "appends", input).await;
    let all = values["messages"].as_array().unwrap();
    assert_eq!((&all[0], &all[1]["content"], all.len()), (&json!("x"), &json!("said"), 2));
}

/// A message of a model, in a list, as a program says it.
fn ai(text: &str) -> Value {
    json!([{ "role": "assistant", "content": text }])
}

#[tokio::test]
async fn messages_that_a_graph_declares_are_added_to_those_of_its_thread() {
    let new = |id: &str| {
        Component::agent(id, async |ctx: RunContext, input: Payload| {
            let asked: Value = input.parse()?;
            ctx.emit(json!({ "event": "values", "values": { "messages": ai("draft") } }));
            let seen = ai(&format!("of {}", asked["messages"].as_array().map_or(0, Vec::len)));
            let values = json!({ "messages": seen, "talk": seen });
            ctx.emit(json!({ "event": "values", "values": values }));
            Ok(Payload::from(Value::Null))
        })
    };
    let whole = Component::agent("whole", async |_ctx, input: Payload| {
        let mut state: Value = input.parse()?;
        let said = ai("whole")[0].clone();
        let all = state["messages"].as_array_mut();
        all.expect("the messages of the thread").push(said);
        Ok(Payload::from(state))
    });
    let declared = |graph: Component| {
        graph.reducer("messages", Reducer::Messages).reducer("talk", Reducer::Messages)
    };
    let server = Server::serving([declared(new("new")), declared(whole), new("plain")]);
    let thread = server.thread().await;
    let ask =
        |text: &str| json!({ "messages": [{ "role": "user", "content": text }], "talk": "x" });
    let values = waited(&server, &thread, "new", ask("one")).await;
    assert_eq!(talk(&values["messages"]), [("human", "one"), ("ai", "of 1")]);
    assert_eq!(talk(&values["talk"]), [("human", "x"), ("ai", "of 1")]);
    let values = waited(&server, &thread, "whole", ask("two")).await;
    let two = [("human", "one"), ("ai", "of 1"), ("human", "two"), ("ai", "whole")];
    assert_eq!(talk(&values["messages"]), two);
    let state = server.get(&format!("/threads/{thread}/state")).await.json();
    assert_eq!(state["values"], values, "as it is read");
    // One goes by its id, from outside.
    let gone = json!({ "type": "remove", "id": values["messages"][1]["id"] });
    let gone = json!({ "values": { "messages": [gone] } });
    let changed = server.post(&format!("/threads/{thread}/state"), &gone).await;
    assert_eq!(changed.status, 200);
    let values = waited(&server, &thread, "new", ask("three")).await;
    let three =
        [("human", "one"), ("human", "two"), ("ai", "whole"), ("human", "three"), ("ai", "of 4")];
    assert_eq!(talk(&values["messages"]), three);
    // What is none is refused under each of the keys.
    let bad = json!({ "assistant_id": "new", "input": { "talk": [5] } });
    let refused = server.post(&format!("/threads/{thread}/runs/wait"), &bad).await;
    assert!(refused.json()["detail"].as_str().unwrap().starts_with("input.talk.0: must be"));
    // Undeclared, what the body says takes the place of all.
    let thread = server.thread().await;
    let values = waited(&server, &thread, "plain", ask("one")).await;
    assert_eq!((talk(&values["messages"]), &values["talk"]), (vec![("ai", "of 1")], &ai("of 1")));
}

#[tokio::test]
async fn a_run_that_did_not_complete_leaves_no_message() {
    let fails = Component::agent("fails", async |ctx: RunContext, _input| {
        Emit::content("half").send(&ctx);
        Err::<Payload, _>(Failure::new("ValueError: no more"))
    });
    let server = Server::serving([fails]);
    let thread = server.thread().await;
    waited(&server, &thread, "fails", json!({ "a": 1 })).await;
    let row = server.get(&format!("/threads/{thread}")).await.json();
    assert_eq!(row["values"], json!({ "a": 1 }), "{row}");
}

#[tokio::test]
async fn messages_that_a_body_returns_get_types_and_ids_and_streams_have_the_new_one() {
    let turns = Component::agent("turns", async |_ctx, input: Payload| {
        let input: Value = input.parse()?;
        let mut messages = input["messages"].as_array().cloned().unwrap_or_default();
        if messages.len() % 2 == 1 {
            messages.push(json!({ "role": "assistant", "content": "hello" }));
        }
        Ok(json!({ "messages": messages }).into())
    });
    let odd = json!({ "messages": ["a", { "content": "b" }, 5] });
    let returned = odd.clone();
    let other = Component::agent("other", move |_ctx, _input: Payload| {
        let odd = returned.clone();
        async move { Ok(odd.into()) }
    });
    let server = Server::serving([turns, other]);
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs/stream");
    let mode = json!(["messages", "values"]);
    let asks = json!({ "assistant_id": "turns", "stream_mode": mode,
        "input": { "messages": [{ "role": "user", "content": "hi" }] } });
    let told = server.post(&path, &asks).await.events();
    let values = &told.last().unwrap().1["messages"];
    assert_eq!(talk(values), [("human", "hi"), ("ai", "hello")]);
    assert_ne!(values[0]["id"], values[1]["id"]);
    let (_, whole) = told.iter().find(|(name, _)| name == "messages/complete").unwrap();
    assert_eq!(whole[0], values[1], "as it stands in the values");
    // A turn that adds nothing says nothing.
    let nothing = json!({ "assistant_id": "turns", "stream_mode": mode, "input": {} });
    let told = server.post(&path, &nothing).await.events();
    assert!(told.iter().all(|(name, _)| name == "values" || name == "metadata"), "{told:?}");
    // What is no list of messages stays as it is.
    let thread = server.thread().await;
    assert_eq!(waited(&server, &thread, "other", json!({})).await, odd);
}

#[tokio::test]
async fn a_state_that_was_said_in_words_is_no_whole_message() {
    let prints = Component::agent("prints", async |ctx: RunContext, _input| {
        Emit::content(r#"{"a": 1}"#).send(&ctx);
        Ok(json!({ "a": 1 }).into())
    });
    let server = Server::serving([prints]);
    let told = streamed(&server, "prints", "messages").await;
    assert!(told.iter().all(|(name, _)| name != "messages/complete"), "{told:?}");
}

/// Clients merge messages by their ids: what a node says of one, and a state that has others before
/// it, mean the same.
#[tokio::test]
async fn a_message_that_a_body_says_without_an_id_has_one_in_changes_and_in_states() {
    let said = |text: &str| json!({ "role": "assistant", "content": text });
    let [change, state] = [vec![said("b")], ["a", "b", "b"].map(said).to_vec()]
        .map(|messages| json!({ "messages": messages }));
    let returned = state.clone();
    let says = Component::agent("says", move |ctx: RunContext, _input| {
        let (values, state) = (change.clone().into(), state.clone().into());
        async move {
            Emit::Updates { node: "says".into(), values }.send(&ctx);
            Emit::Values { values: state }.send(&ctx);
            Ok(Payload::from(Value::Null))
        }
    });
    let appends = Component::agent("appends", move |_ctx, _input| {
        let returned = returned.clone();
        async move { Ok(Payload::from(returned)) }
    });
    let appends = appends.reducer("messages", Reducer::Append);
    let server = Server::serving([says, appends]);
    let body = json!({ "assistant_id": "says", "input": {}, "stream_mode": ["updates", "values"] });
    let events = server.post("/runs/stream", &body).await.events();
    let last = |mode: &str| {
        let found = events.iter().rfind(|(event, _)| event == mode);
        found.map(|(_, data)| data.clone()).unwrap()
    };
    let (update, values) = (last("updates"), last("values"));
    let [a, b, again] = &**values["messages"].as_array().unwrap() else { panic!("{values}") };
    assert_eq!(update["says"]["messages"], json!([b]));
    assert!(b["type"] == "ai" && b["id"].is_string(), "{values}");
    assert!(a["id"] != b["id"] && again["id"] != b["id"], "{values}");
    // And one that grows is the same message.
    let grows = Component::agent("grows", async |ctx: RunContext, _input| {
        for text in ["It is a message that ", "It is a message that grows"] {
            let messages = json!([{ "role": "assistant", "content": text }]);
            Emit::Values { values: json!({ "messages": messages }).into() }.send(&ctx);
        }
        Ok(Payload::from(Value::Null))
    });
    let told = streamed(&Server::serving([grows]), "grows", "values").await;
    let ids: Vec<_> = told[1..].iter().map(|(_, values)| &values["messages"][0]["id"]).collect();
    assert!(ids.len() == 2 && ids[0] == ids[1] && ids[0].is_string(), "{told:?}");
    // What a graph has that appends stands as it was said: no stream has it under another id.
    assert_eq!(streamed(&server, "appends", "messages").await, []);
}
