//! A component is a model: any endpoint that speaks the chats of `OpenAI`.

use serde_json::{Value, json};

use super::peer::{Answers, Peer};
use super::{assert_in_doubt_of, begin, cancelled, named, run_of};
use crate::site::Site;
use crate::support::{Scratch, wait_until};

/// Serves one component, `agents.it`, which is a model with these further options.
fn site(peer: &Peer, options: &str) -> Site {
    let scratch = Scratch::new();
    let url = peer.url("/v1");
    let file = format!("[agents.it]\nmodel = {{ url = \"{url}\", name = \"m-1\"{options} }}\n");
    scratch.write("quell.toml", &file);
    let env = [("QUELL_TEST_KEY", "hush-1")];
    Site::with_env(scratch, &["--config", "quell.toml"], &env)
}

/// Makes a stream of chunks.
fn stream(chunks: &[Value], end: &str) -> String {
    let events: Vec<String> = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    events.concat() + end
}

fn delta(delta: &Value) -> Value {
    let object = "chat.completion.chunk";
    json!({ "id": "c-1", "object": object, "choices": [{ "index": 0, "delta": delta }] })
}

/// An answer as endpoints give it: a role, thoughts, text, a reason to stop, what was used.
fn whole() -> String {
    let chunks = [
        delta(&json!({ "role": "assistant", "content": "" })),
        delta(&json!({ "reasoning_content": "hm" })),
        delta(&json!({ "content": "All " })),
        delta(&json!({ "content": "about tea" })),
        json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] }),
        json!({ "choices": [], "usage": { "prompt_tokens": 12, "completion_tokens": 3 } }),
    ];
    stream(&chunks, "data: [DONE]\n\n")
}

/// Answers as a strict endpoint does: a message with a key that is not of its role is refused.
fn answer(to: &mut Answers<'_>) {
    let body = to.asked.json();
    let messages = body["messages"].as_array().expect("a list of messages");
    match messages.iter().find_map(unknown_key) {
        Some(key) => {
            let words = format!("Additional properties are not allowed ('{key}')");
            let error = json!({ "error": { "message": words } }).to_string();
            to.answer("400 Bad Request", "application/json", &error);
        }
        None => to.answer("200 OK", "text/event-stream", &whole()),
    }
}

fn unknown_key(message: &Value) -> Option<&str> {
    let of_role: &[&str] = match message["role"].as_str() {
        Some("assistant") => &["name", "tool_calls"],
        Some("tool") => &["tool_call_id"],
        _ => &["name"],
    };
    let keys = message.as_object().expect("a message is an object").keys().map(String::as_str);
    keys.into_iter().find(|key| !["role", "content"].contains(key) && !of_role.contains(key))
}

#[test]
fn a_model_streams_its_text_and_thoughts_and_what_it_uses_counts() {
    let peer = Peer::start(answer);
    let options = ", key_env = \"QUELL_TEST_KEY\", system = \"be brief\", temperature = 0, \
                   max_tokens = 9";
    let site = site(&peer, options);
    let run = run_of(&site, "one", &json!({ "message": "tea?" }));
    assert_eq!((&run["status"], &run["output"]), (&"completed".into(), &"All about tea".into()));
    let usage = json!({ "input_tokens": 12, "output_tokens": 3, "cost_micros": 0 });
    assert_eq!(run["rows"][0]["usage"], usage, "{run}");
    assert_eq!(run["rows"][0]["quiescent"], true, "{run}");
    let log = site.log("one");
    let content = |text: &str| json!({ "event": "content", "text": text });
    let thought = json!({ "event": "reasoning", "text": "hm" });
    assert_eq!(named(&log, "emitted"), [&thought, &content("All "), &content("about tea")]);
    assert_eq!(named(&log, "used").len(), 1);
    let asked = &peer.seen()[0];
    assert_eq!(asked.path, "/v1/chat/completions");
    assert_eq!(asked.header("authorization"), Some("bearer hush-1"));
    let body = asked.json();
    assert_eq!((&body["model"], &body["stream"]), (&"m-1".into(), &true.into()), "{body}");
    assert_eq!(body["stream_options"], json!({ "include_usage": true }));
    assert_eq!((&body["temperature"], &body["max_tokens"]), (&json!(0.0), &json!(9)));
    let messages = json!([
        { "role": "system", "content": "be brief" },
        { "role": "user", "content": "tea?" },
    ]);
    assert_eq!(body["messages"], messages);
}

#[test]
fn every_contract_reaches_a_model_with_its_own_input() {
    let peer = Peer::start(answer);
    let site = site(&peer, "");
    let (status, run) = site.form("/agents/it/runs", &[("message", "one"), ("stream", "false")]);
    assert_eq!((status, &run["content"]), (200, &"All about tea".into()), "{run}");
    for message in [
        json!({ "type": "human", "content": "two" }),
        json!({ "role": "user", "content": "two" }),
        json!({ "role": "ai", "content": "two", "tool_calls": [], "response_metadata": {} }),
    ] {
        let body = json!({ "assistant_id": "it", "input": { "messages": [message] } });
        let (status, answer) = site.post("/runs/wait", &body);
        assert_eq!((status, answer.get("__error__")), (200, None), "{answer}");
    }
    run_of(&site, "three", &"three".into());
    let said: Vec<Value> =
        peer.seen().iter().map(|asked| asked.json()["messages"][0]["content"].clone()).collect();
    assert_eq!(said, ["one", "two", "two", "two", "three"]);
    let run = run_of(&site, "four", &Value::Null);
    assert!(run["rows"][0]["error"].to_string().contains("the input has no message"), "{run}");
    assert_eq!(peer.seen().len(), 5);
}

#[test]
fn a_stop_drops_the_request_of_a_silent_model_and_of_one_that_speaks() {
    for text in ["", "begun"] {
        let peer = Peer::start(move |to| {
            if !text.is_empty() {
                to.begin("200 OK", "text/event-stream");
                to.write(&stream(&[delta(&json!({ "content": text }))], ""));
            }
            to.note("asked");
            to.note_end();
        });
        let site = site(&peer, ", confirm = \"1h\"");
        begin(&site, "one", &"hi".into());
        assert_eq!(peer.next_note(), "asked");
        if !text.is_empty() {
            wait_until("it is heard", || site.get("/v1/runs/one").1["text"] == text);
        }
        let run = cancelled(&site, "one");
        assert_eq!(peer.next_note(), "closed");
        assert_eq!(run["status"], "cancelled", "{run}");
        assert_in_doubt_of(&run, &peer.url(""));
    }
}

#[test]
fn a_model_that_is_busy_or_broken_is_asked_again_before_it_has_said_anything() {
    let peer = Peer::start(|to| match to.asked.nth {
        0 => to.write("HTTP/1.1 429 No\r\nretry-after: 0\r\nconnection: close\r\n\r\n"),
        1 => to.answer("500 No", "application/json", "{}"),
        2 => to.write(""),
        3 => to.answer("408 No", "text/plain", ""),
        4 => to.write("HTTP/1.1 429 No\r\nconnection: close\r\n\r\n"),
        _ => answer(to),
    });
    let site = site(&peer, ", retries = 5");
    let run = run_of(&site, "one", &"hi".into());
    assert_eq!((&run["status"], peer.seen().len()), (&"completed".into(), 6), "{run}");
}

#[test]
fn an_answer_that_is_wrong_fails_the_run_and_is_not_asked_for_again() {
    let peer = Peer::start(|to| {
        let text = delta(&json!({ "content": "half" }));
        let kind = "text/event-stream";
        match to.asked.json()["messages"][0]["content"].as_str() {
            Some("cut") => {
                to.begin_of(1_000, kind);
                to.write(&stream(&[text], ""));
            }
            Some("short") => to.answer("200 OK", kind, &stream(&[text], "")),
            Some("blank") => {
                let choice = json!({ "delta": { "content": "half" }, "finish_reason": "" });
                to.answer("200 OK", kind, &stream(&[json!({ "choices": [choice] })], ""));
            }
            Some("whole") => {
                to.answer("200 OK", "application/json", "{\"error\":{\"message\":\"no\"}}");
            }
            Some("else") => to.answer("200 OK", "application/json", "{\"status\":\"ok\"}"),
            Some("open") => {
                to.begin("200 OK", kind);
                to.write(&stream(&[json!({ "error": "no" })], ""));
                to.note_end();
            }
            Some("malformed") => to.answer("200 OK", kind, &stream(&[text], "data: {\"ch\n\n")),
            Some("error") => {
                let error = json!({ "error": { "message": "overloaded, key hush-1" } });
                to.answer("200 OK", kind, &stream(&[text, error], ""));
            }
            Some("long") => {
                let long = delta(&json!({ "content": "x".repeat(300 << 10) }));
                to.answer("200 OK", kind, &stream(&[long], "data: [DONE]\n\n"));
            }
            Some("much") => {
                let much = vec![delta(&json!({ "content": "x".repeat(128 << 10) })); 33];
                to.answer("200 OK", kind, &stream(&much, "data: [DONE]\n\n"));
            }
            Some("later") => to.write(
                "HTTP/1.1 429 No\r\nretry-after: 3600\r\nconnection: close\r\n\r\nslow down",
            ),
            _ => to.answer("400 No", "application/json", "{\"error\":\"no such model\"}"),
        }
    });
    let site = site(&peer, ", key_env = \"QUELL_TEST_KEY\", confirm = \"0s\"");
    // Whether the model may go on: not if its answer was read to its end.
    let all = [
        ("cut", true, "its answer breaks off: "),
        ("short", false, "its answer ends before it is complete"),
        ("blank", false, "its answer ends before it is complete"),
        ("whole", false, "it says: no"),
        ("else", false, "its answer is not that of a model: no choice has a message"),
        ("open", true, "it says: \"no\""),
        ("malformed", false, "its answer is not that of a model: "),
        ("error", false, "it says: overloaded, key …"),
        ("long", false, "an event of its answer is too long"),
        ("much", false, "its answer is longer than 4194304 bytes"),
        ("later", false, "429 Too Many Requests, and asks to wait 3600 s: slow down"),
        ("other", false, "400 Bad Request: {\"error\":\"no such model\"}"),
    ];
    for (input, is_in_doubt, says) in all {
        let run = run_of(&site, input, &input.into());
        assert_eq!(run["status"], "failed", "{input}: {run}");
        let error = run["rows"][0]["error"].as_str().unwrap_or_default();
        assert!(error.contains(says) && !error.contains("hush"), "{input}: {error}");
        let left = run["rows"][0]["abandoned"].as_array().map(Vec::len);
        assert_eq!(left, Some(usize::from(is_in_doubt)), "{input}: {run}");
    }
    assert_eq!(peer.seen().len(), all.len());
}

// A model whose endpoint dies, or closes the connection and works on, is not known to have ended.
#[test]
fn an_answer_that_ends_with_its_connection_is_complete_only_if_it_says_so() {
    let text = || delta(&json!({ "content": "half" }));
    let end = json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] });
    let message = json!({ "choices": [{ "message": { "content": "half" } }] }).to_string();
    let (sse, all) = ("text/event-stream", message.len());
    let bodies = [
        ("done", sse, stream(&[text()], "data: [DONE]\n\n"), ""),
        ("reason", sse, stream(&[text(), end.clone()], ""), ""),
        ("json", "application/json", message.clone(), ""),
        ("nothing", sse, String::new(), "its answer may be cut: it ends with the connection"),
        ("text", sse, stream(&[text()], ""), "its answer may be cut: it ends with the connection"),
        ("line", sse, stream(&[text()], "data: {\"choices\":[{"), "is not that of a model"),
        ("word", sse, stream(&[text()], "data: [DON"), "is not that of a model"),
        ("usage", sse, stream(&[text(), end], "data: {\"usage"), "is not that of a model"),
        ("error", sse, stream(&[text(), json!({ "error": "no" })], ""), "it says: \"no\""),
        ("half", "application/json", message[..all - 1].to_owned(), "its answer may be cut"),
        ("page", "text/html", "<html>".to_owned(), "its answer is `text/html`"),
    ];
    let answers = bodies.clone();
    let peer = Peer::start(move |to| {
        let asked = to.asked.json()["messages"][0]["content"].clone();
        let (_, kind, body, _) = answers.iter().find(|it| asked == it.0).expect("it is known");
        to.begin("200 OK", kind);
        to.write(body);
    });
    let site = site(&peer, ", confirm = \"0s\"");
    for (input, _, _, says) in bodies {
        let run = run_of(&site, input, &input.into());
        assert_eq!(run["status"] == "completed", says.is_empty(), "{input}: {run}");
        assert!(run["rows"][0]["error"].as_str().unwrap_or_default().contains(says), "{run}");
        if says.is_empty() {
            assert_eq!((&run["output"], &run["abandoned"]), (&"half".into(), &json!([])), "{run}");
        } else {
            assert_eq!(run["abandoned"], json!([peer.url("")]), "{input}: {run}");
        }
    }
}

#[test]
fn an_answer_that_says_nothing_to_take_for_the_output_fails_the_run() {
    let peer = Peer::start(|to| {
        let kind = "text/event-stream";
        match to.asked.json()["messages"][0]["content"].as_str() {
            Some("html") => to.answer("200 OK", "text/html; charset=utf-8", "<html>log in</html>"),
            Some("done") => to.answer("200 OK", kind, "data: [DONE]\n\n"),
            Some("filtered") => {
                let end =
                    json!({ "choices": [{ "delta": {}, "finish_reason": "content_filter" }] });
                to.answer("200 OK", kind, &stream(&[end], "data: [DONE]\n\n"));
            }
            _ => {
                let call =
                    json!([{ "index": 0, "function": { "name": "search", "arguments": "" } }]);
                let end = json!({ "choices": [{ "delta": {}, "finish_reason": "tool_calls" }] });
                let said = [
                    delta(&json!({ "content": "half" })),
                    delta(&json!({ "tool_calls": call })),
                    end,
                ];
                to.answer("200 OK", kind, &stream(&said, "data: [DONE]\n\n"));
            }
        }
    });
    let site = site(&peer, "");
    for (input, says) in [
        ("html", "its answer is `text/html`; expected `text/event-stream` or `application/json`"),
        ("done", "it says no text"),
        ("filtered", "it says no text: it stopped with `content_filter`"),
        ("calls", "it calls a tool `search`, and quell runs none for a model"),
    ] {
        let run = run_of(&site, input, &input.into());
        assert_eq!(run["status"], "failed", "{input}: {run}");
        let error = run["rows"][0]["error"].as_str().unwrap_or_default();
        assert!(error.contains(says), "{input}: {error}");
        assert_eq!(run["rows"][0]["abandoned"], json!([]), "{input}: {run}");
    }
}

#[test]
fn an_endpoint_that_does_not_stream_answers_all_at_once() {
    let peer = Peer::start(|to| {
        let body = json!({
            "choices": [{ "message": { "content": "hello" }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 1, "completion_tokens": 2 },
        });
        to.answer("200 OK", "application/json", &body.to_string());
    });
    let site = site(&peer, "");
    let run = run_of(&site, "one", &"hi".into());
    assert_eq!((&run["status"], &run["output"]), (&"completed".into(), &"hello".into()), "{run}");
    assert_eq!(run["rows"][0]["usage"]["output_tokens"], 2, "{run}");
}

#[test]
fn a_text_of_parts_and_a_long_one_are_events_of_text() {
    let long = "\u{1}é\u{1F600}".repeat(100 << 10);
    let said = long.clone();
    let peer = Peer::start(move |to| {
        let parts = json!([
            { "type": "thinking", "thinking": [{ "type": "text", "text": "hm" }] },
            { "type": "text", "text": "hello " },
            { "type": "text", "text": "you" },
        ]);
        let is_long = to.asked.json()["messages"][0]["content"] == "long";
        let content = if is_long { said.as_str().into() } else { parts };
        let body = json!({ "choices": [{ "message": { "content": content } }] });
        to.answer("200 OK", "application/json", &body.to_string());
    });
    let site = site(&peer, "");
    for (input, text) in [("parts", "hello you"), ("long", &*long)] {
        let run = run_of(&site, input, &input.into());
        assert_eq!((&run["status"], run["output"] == text), (&"completed".into(), true), "{input}");
        let events = site.log(input);
        let said = named(&events, "emitted");
        assert!(said.iter().all(|said| said["event"] == "content"), "{input}");
        let all: String = said.iter().filter_map(|said| said["text"].as_str()).collect();
        assert!(all == text, "{input}");
    }
}

#[test]
fn quell_run_shows_the_answer_of_a_model() {
    let scratch = Scratch::new();
    let peer = Peer::start(answer);
    let url = peer.url("/v1");
    scratch.write(
        "quell.toml",
        &format!("[agents.it]\nmodel = {{ url = \"{url}\", name = \"m-1\", provider = \"p\" }}\n"),
    );
    let ended = scratch.run(&["run", "agent/it", "--input", "\"hi\"", "--report", "r.json"]);
    ended.assert_code(0);
    assert!(ended.stdout.ends_with("\n\nAll about tea\n"), "{ended:?}");
    assert_eq!(scratch.json("r.json")["rows"][0]["usage"]["input_tokens"], 12);
}
