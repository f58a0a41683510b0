//! A service answers with JSON, with events on lines, or with server-sent events.

use serde_json::json;

use super::peer::Peer;
use super::{named, run_of, site};
use crate::support::Scratch;

/// Every kind of event that quell does something with, and the answer.
const EVENTS: [&str; 9] = [
    r#"{"event":"progress","fraction":0.5}"#,
    r#"{"event":"reasoning","text":"hm"}"#,
    r#"{"event":"tool.started","id":"1","name":"search","input":{"q":"tea"}}"#,
    r#"{"event":"tool.ended","id":"1","output":"green"}"#,
    r#"{"event":"content","text":"All "}"#,
    r#"{"event":"usage","input_tokens":12,"output_tokens":3,"cost_micros":40}"#,
    r#"{"event":"updates","node":"n","values":{"a":1}}"#,
    r#"{"event":"content"}"#,
    r#"{"event":"result","output":{"text":"All about tea"}}"#,
];

#[test]
fn the_input_is_posted_as_json_and_json_is_the_output() {
    let peer = Peer::start(|to| {
        let body = json!({ "asked": to.asked.json(), "big": [1.5, null] }).to_string();
        to.answer("200 OK", "application/json; charset=utf-8", &body);
    });
    let site = site(&peer, "headers = { X-Tenant = \"t1\" }");
    let run = run_of(&site, "one", &json!({ "topic": "tea" }));
    let right = json!({ "asked": { "topic": "tea" }, "big": [1.5, null] });
    assert_eq!((&run["status"], &run["output"]), (&"completed".into(), &right), "{run}");
    assert_eq!(run["rows"][0]["quiescent"], true, "{run}");
    let asked = &peer.seen()[0];
    assert!(asked.head.starts_with("post /run http/1.1\r\n"), "{}", asked.head);
    for (name, value) in [
        ("content-type", Some("application/json")),
        ("quell-run-id", Some("one")),
        ("quell-attempt", Some("1")),
        ("quell-session", None),
        ("x-tenant", Some("t1")),
    ] {
        assert_eq!(asked.header(name), value, "{name}");
    }
}

#[test]
fn events_are_heard_on_lines_and_as_server_sent_events_as_those_of_programs() {
    let peer = Peer::start(|to| {
        let lines = EVENTS.join("\n");
        if to.asked.json() == "lines" {
            return to.answer("200 OK", "application/x-ndjson", &lines);
        }
        let events = EVENTS.map(|line| format!("data: {line}\n\n")).concat();
        let events = events.replacen(
            "data: {\"event\":\"content\",",
            ": hi\nid: 1\nevent: content\r\ndata: {",
            1,
        );
        // Many services end with words that are not theirs.
        to.answer("200 OK", "text/event-stream", &format!("{events}data: [DONE]\n\n"));
    });
    let site = site(&peer, "");
    for form in ["lines", "sse"] {
        let run = run_of(&site, form, &form.into());
        let right = json!({ "text": "All about tea" });
        assert_eq!((&run["status"], &run["output"]), (&"completed".into(), &right), "{run}");
        let usage = json!({ "input_tokens": 12, "output_tokens": 3, "cost_micros": 40 });
        assert_eq!(run["rows"][0]["usage"], usage, "{run}");
        let log = site.log(form);
        assert_eq!(named(&log, "progress"), [&json!(0.5)]);
        let outcome = json!({ "call": "1", "outcome": { "result": "green" } });
        assert_eq!(named(&log, "tool-ended"), [&outcome]);
        let said = named(&log, "emitted");
        let kinds: Vec<_> = said.iter().map(|said| said["event"].as_str()).collect();
        let right = [Some("reasoning"), Some("content"), Some("updates"), None, Some("result")];
        assert_eq!(kinds, right, "{form}");
        let fault = json!({
            "stream": "answer",
            "line": r#"{"event":"content"}"#,
            "fault": "`content` has no `text`",
        });
        assert_eq!(said[3], &fault);
    }
}

#[test]
fn what_is_no_event_is_the_output_of_a_service_that_says_no_result() {
    let peer = Peer::start(|to| {
        let event = r#"{"event":"content","text":"a"}"#;
        let (kind, body) = match to.asked.json().as_str() {
            Some("text") => ("text/plain", "a line \n\n".to_owned()),
            Some("json in text") => ("", "{\"n\":1}".to_owned()),
            Some("lines") => ("application/jsonl", format!("{{\"n\":\n{event}\n2}}\n")),
            Some("content") => ("application/x-ndjson", format!("{event}\n \n{event}")),
            Some("nothing") => ("text/event-stream", String::new()),
            _ => ("text/event-stream", format!("data: a\ndata: b\n\ndata: {event}\n\n")),
        };
        to.answer("200 OK", kind, &body);
    });
    let site = site(&peer, "");
    for (input, output) in [
        ("text", json!("a line")),
        ("json in text", json!({ "n": 1 })),
        ("lines", json!({ "n": 2 })),
        ("sse", json!("a\nb")),
        ("content", json!("aa")),
        ("nothing", json!("")),
    ] {
        let run = run_of(&site, &input.replace(' ', "-"), &input.into());
        assert_eq!((&run["status"], &run["output"]), (&"completed".into(), &output), "{run}");
    }
}

#[test]
fn quell_run_shows_the_answer_of_a_service_and_asks_nobody_before() {
    let peer = Peer::start(|to| to.answer("200 OK", "text/plain", "hello"));
    let scratch = Scratch::new();
    scratch.write("quell.toml", &format!("[workflows.it]\nurl = \"{}\"\n", peer.url("/run")));
    scratch.run(&["check"]).assert_code(0);
    scratch.run(&["list"]).assert_code(0);
    assert!(peer.seen().is_empty(), "nobody asked for a run");
    let ended = scratch.run(&["run", "workflow/it", "--input", "[1]"]);
    ended.assert_code(0);
    assert!(ended.stdout.ends_with("\n\nhello\n"), "{ended:?}");
    assert_eq!(peer.seen()[0].json(), json!([1]));
}

// A service that dies closes its connection as one that is through.
#[test]
fn events_that_end_with_the_connection_say_that_they_are_complete() {
    const CONTENT: &str = "data: {\"event\":\"content\",\"text\":\"a\"}\n\n";
    const RESULT: &str = "data: {\"event\":\"result\",\"output\":\"b\"}\n\n";
    let peer = Peer::start(|to| {
        let asked = to.asked.json().as_str().unwrap_or_default().to_owned();
        let is_chunked = asked.starts_with("chunked");
        let kind =
            if asked.ends_with("lines") { "application/x-ndjson" } else { "text/event-stream" };
        let body = match &*asked {
            "done" => format!("{CONTENT}data: [DONE]\n\n"),
            "result" => format!("{CONTENT}{RESULT}"),
            "lines" => CONTENT.replace("data: ", "").replace("\n\n", "\n"),
            _ => CONTENT.to_owned(),
        };
        if !is_chunked {
            let coding = if asked == "coded" { "transfer-encoding: identity\r\n" } else { "" };
            to.write(&format!("HTTP/1.1 200 OK\r\n{coding}content-type: {kind}\r\n"));
            return to.write(&format!("connection: close\r\n\r\n{body}"));
        }
        let end = if asked == "chunked" { "0\r\n\r\n" } else { "" };
        let chunk = format!("{:x}\r\n{body}\r\n{end}", body.len());
        to.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n");
        to.write(&format!("content-type: {kind}\r\nconnection: close\r\n\r\n{chunk}"));
    });
    let site = site(&peer, "confirm = \"0s\"");
    let cut = "its answer may be cut: it ends with the connection";
    for (input, output, says) in [
        ("done", "a", ""),
        ("result", "b", ""),
        ("sse", "", cut),
        ("coded", "", cut),
        ("lines", "", cut),
        ("chunked", "a", ""),
        ("chunked-cut", "", "its answer breaks off"),
    ] {
        let run = run_of(&site, input, &input.into());
        assert_eq!(run["status"] == "failed", !says.is_empty(), "{run}");
        assert!(run["output"] == output || !says.is_empty(), "{run}");
        let row = &run["rows"][0];
        assert!(row["error"].as_str().unwrap_or_default().contains(says), "{run}");
        // What may be cut may go on.
        assert_eq!(row["abandoned"].as_array().map(Vec::len), Some(usize::from(!says.is_empty())));
    }
}

#[test]
fn json_that_ends_with_the_connection_has_to_be_whole_and_a_text_is_taken_as_it_is() {
    let peer = Peer::start(|to| {
        let asked = to.asked.json();
        to.begin("200 OK", asked["kind"].as_str().unwrap_or("application/json"));
        to.write(asked["body"].as_str().unwrap_or_default());
    });
    let site = site(&peer, "confirm = \"0s\"");
    let cut = "its answer may be cut: it ends with the connection, and is not JSON: ";
    let long = format!("{{\"event\":\"result\",\"output\":\"{}", "x".repeat(300 << 10));
    for (id, kind, body, says) in [
        ("whole", "application/json", "{\"a\":[1]}", ""),
        ("cut", "application/json", "{\"a\":[1]", cut),
        ("nothing", "application/problem+json", "", cut),
        ("text", "text/plain", "{\"a\":[1]", ""),
        ("long", "application/jsonl", &long, "its `result` is cut"),
        // Nobody knows what it would have been.
        ("coded", "text/plain\r\ncontent-encoding: gzip", "x", "its answer is encoded as `gzip`"),
    ] {
        let run = run_of(&site, id, &json!({ "kind": kind, "body": body }));
        assert_eq!(run["status"] == "completed", says.is_empty(), "{id}: {run}");
        let row = &run["rows"][0];
        assert!(row["error"].as_str().unwrap_or_default().contains(says), "{id}: {run}");
        let left = usize::from(!says.is_empty());
        assert_eq!(row["abandoned"].as_array().map(Vec::len), Some(left), "{id}: {run}");
    }
}

#[test]
fn an_answer_that_has_no_body_by_its_status_is_not_cut() {
    let peer = Peer::start(|to| to.begin("204 No Content", "application/json"));
    let site = site(&peer, "confirm = \"0s\"");
    let run = run_of(&site, "none", &json!({}));
    let row = &run["rows"][0];
    assert!(!row["error"].as_str().unwrap_or_default().contains("may be cut"), "{run}");
    assert_eq!((&row["abandoned"], &row["quiescent"]), (&json!([]), &json!(true)), "{run}");
}

// What a service writes beyond its answer would be the answer to the next run on the connection.
#[test]
fn a_connection_is_that_of_one_run() {
    let peer = Peer::start(|to| {
        to.begin_of(1, "application/json");
        to.write("7");
        to.note_end();
    });
    let site = site(&peer, "");
    for id in ["one", "two"] {
        assert_eq!(run_of(&site, id, &json!(null))["output"], 7);
        assert_eq!(peer.next_note(), "closed");
    }
}
