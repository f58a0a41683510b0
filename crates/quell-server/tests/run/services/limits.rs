//! What a service answers is bounded as what a program writes.

use serde_json::{Value, json};

use super::peer::Peer;
use super::{named, run_of, site};

#[test]
fn an_answer_that_is_too_long_or_not_what_it_says_fails_the_run() {
    let peer = Peer::start(|to| {
        let long = "x".repeat(5 << 20);
        match to.asked.json().as_str() {
            Some("json") => to.answer("200 OK", "application/json", &format!("\"{long}\"")),
            Some("text") => to.answer("200 OK", "text/plain", &long),
            Some("lines") => to.answer("200 OK", "application/x-ndjson", &long),
            Some("result") => {
                let line = format!("data: {{\"event\":\"result\",\"output\":\"{long}\"}}\n\n");
                to.answer("200 OK", "text/event-stream", &line);
            }
            Some("no json") => to.answer("200 OK", "application/json", "hello"),
            Some("head") => to.write(&format!("HTTP/1.1 200 OK\r\nx: {long}\r\n\r\n")),
            Some("plain") => to.write(
                "HTTP/1.1 200 OK\r\ncontent-encoding: Identity\r\ncontent-length: 1\r\n\r\n1",
            ),
            _ => {
                to.write("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\n1");
            }
        }
    });
    let site = site(&peer, "retries = 0\nconfirm = \"0s\"");
    for (input, says) in [
        ("json", "its answer is longer than 4194304 bytes"),
        ("text", "its answer is longer than 4194304 bytes"),
        ("lines", "its answer without events has 5242880 bytes, and 4194304 of them are kept"),
        ("result", "its `result` is cut: an event has at most 262144 bytes"),
        ("no json", "its answer is not JSON: "),
        ("head", "message head is too large"),
        ("gzip", "its answer is encoded as `gzip`, which was not asked for"),
    ] {
        let run = run_of(&site, &input.replace(' ', "-"), &input.into());
        assert_eq!(run["status"], "failed", "{run}");
        let error = run["rows"][0]["error"].as_str().unwrap_or_default();
        assert!(error.contains(says) && error.len() < 1_000, "{input}: {error}");
        // What was answered to the end is in no doubt.
        let is_whole = ["lines", "result", "no json", "gzip"].contains(&input);
        assert!(!is_whole || run["rows"][0]["abandoned"] == json!([]), "{run}");
    }
    assert_eq!(run_of(&site, "plain", &"plain".into())["output"], 1);
}

// The lists of runs and the reports have it, and are read by parsers that go 127 levels deep.
#[test]
fn json_that_could_not_be_read_again_is_refused() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let peer = Peer::start(move |to| {
        let asked = to.asked.json();
        let said = asked["levels"]
            .as_u64()
            .map_or("\"\\ud800\"".to_owned(), |levels| deep(usize::try_from(levels).expect("few")));
        match asked["as"].as_str() {
            Some("json") => to.answer("200 OK", "application/json", &said),
            Some("text") => to.answer("200 OK", "text/plain", &said),
            _ => {
                let line = format!("{{\"event\":\"result\",\"output\":{said}}}\n");
                to.answer("200 OK", "application/x-ndjson", &line);
            }
        }
    });
    let site = site(&peer, "");
    let deeper = "nested deeper than 100 levels";
    for (id, form, levels, says) in [
        ("json-100", "json", Some(100), ""),
        ("json-101", "json", Some(101), &*format!("its answer is refused: {deeper}")),
        ("json-10000", "json", Some(10_000), &*format!("its answer is refused: {deeper}")),
        ("json-half", "json", None, "its answer is refused: a text has half of a character"),
        ("text-10000", "text", Some(10_000), ""),
        ("line-99", "line", Some(99), ""),
        ("line-100", "line", Some(100), &*format!("its `result` is refused: {deeper}")),
        ("line-10000", "line", Some(10_000), &*format!("its `result` is refused: {deeper}")),
    ] {
        let run = run_of(&site, id, &json!({ "as": form, "levels": levels }));
        let error = run["rows"][0]["error"].as_str().unwrap_or_default();
        assert_eq!(run["status"] == "failed", !says.is_empty(), "{id}: {run}");
        assert!(error.contains(says), "{id}: {error}");
    }
    let (status, listed) = site.get("/v1/runs");
    assert_eq!((status, listed["runs"].as_array().map(Vec::len)), (200, Some(8)), "{listed}");
}

#[test]
fn lines_that_are_too_long_are_split_and_one_open_call_too_many_is_a_fault() {
    let peer = Peer::start(|to| {
        let call =
            |nth| format!("{{\"event\":\"tool.started\",\"id\":\"{nth}\",\"name\":\"n\"}}\n");
        let calls: String = (0..257).map(call).collect();
        let long = "y".repeat(300 << 10);
        let event = format!("{{\"event\":\"content\",\"text\":\"{long}\"}}\n");
        let result = "{\"event\":\"result\",\"output\":1}\n";
        to.answer("200 OK", "application/x-ndjson", &[&*calls, &event, result].concat());
    });
    let site = site(&peer, "");
    let run = run_of(&site, "one", &Value::Null);
    assert_eq!((&run["status"], &run["output"]), (&"completed".into(), &json!(1)), "{run}");
    let log = site.log("one");
    assert_eq!(named(&log, "tool-started").len(), 256);
    let cancelled: Vec<_> = named(&log, "tool-ended");
    assert!(cancelled.iter().all(|end| end["outcome"] == "cancelled") && cancelled.len() == 256);
    let said = named(&log, "emitted");
    assert!(said.iter().any(|said| said["fault"] == "256 calls are open already"));
    assert_eq!(said.iter().filter(|said| said["split"] == true).count(), 4);
    assert!(!said.iter().any(|said| said["event"] == "content"));
}

// A client reads any number of them before the answer.
#[test]
fn informational_answers_are_read_up_to_a_bound() {
    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let peer = Peer::start(|to| {
        let Some(count) = to.asked.json().as_u64() else { return to.flood(HINT) };
        to.write(&HINT.repeat(usize::try_from(count).expect("few")));
        to.answer("200 OK", "text/plain", "hello");
    });
    let site = site(&peer, "confirm = \"0s\"");
    assert_eq!(run_of(&site, "few", &json!(64))["output"], "hello");
    for (id, input) in [("many", json!(65)), ("endless", Value::Null)] {
        let run = run_of(&site, id, &input);
        let error = run["rows"][0]["error"].as_str().unwrap_or_default();
        assert!(error.ends_with(": it says more than 64 informational answers (1xx)"), "{run}");
    }
    assert_eq!(peer.next_note(), "closed");
    assert_eq!(peer.seen().len(), 3, "none of them is asked again");
}
