//! Requests and runs in the log have the ids of the trace that their caller named.

use std::fs::File;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{Scratch, wait_until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[test]
fn the_begin_and_the_end_of_a_run_are_logged_in_the_trace_of_their_caller() {
    let scratch = Scratch::new();
    let log = File::create(scratch.path("log")).expect("a file");
    let args = ["--demo", "--log", "info", "--log-format", "json"];
    let site = Site::heard(scratch, &args, Stdio::from(log));
    let url = format!("http://{}/v1/runs", site.address());
    let good = format!("00-{TRACE}-{PARENT}-01");
    let bad = format!("00-{}-{PARENT}-01", "0".repeat(32));
    for (id, header) in [("one", &good), ("two", &bad)] {
        let body = json!({ "component": "agent/short-agent", "input": "hi", "id": id }).to_string();
        let post = ureq::post(&url).content_type("application/json").header("traceparent", header);
        assert_eq!(post.send(&body).expect("it starts").status(), 201);
        let path = format!("/v1/runs/{id}");
        wait_until("it has ended", || site.get(&path).1["status"] == "completed");
    }
    site.signal("TERM");
    let (ended, scratch) = site.ended();
    ended.assert_code(0);
    let text = String::from_utf8(scratch.read("log")).expect("text");
    let lines: Vec<Value> = text.lines().map(|line| line.parse().expect("an object")).collect();
    let of = |id: &str, message: &str| {
        let is_it = |line: &&Value| line["run.id"] == id && line["message"] == message;
        lines.iter().find(is_it).ok_or_else(|| format!("{id}: {message}: {text}")).expect("a line")
    };
    for message in ["run accepted", "run ended"] {
        let span = &of("one", message)["span"];
        assert_eq!((&span["trace.id"], &span["trace.parent"]), (&TRACE.into(), &PARENT.into()));
        assert_eq!(of("two", message)["span"]["trace.id"], Value::Null);
        assert!(of("two", message)["span"]["request.id"].is_string());
    }
    assert_eq!(of("one", "run ended")["status"], "completed");
}

#[cfg(not(feature = "otel"))]
#[test]
fn a_binary_without_opentelemetry_says_so_where_a_collector_is_named() {
    for (variables, count) in [
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")][..], 1),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], 0),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x"), ("OTEL_SDK_DISABLED", "true")], 0),
    ] {
        let site = Site::with_env(Scratch::new(), &["--demo"], variables);
        site.signal("TERM");
        let (ended, _scratch) = site.ended();
        ended.assert_code(0);
        let warned = ended.stderr.matches("built without OpenTelemetry").count();
        assert_eq!(warned, count, "{variables:?}: {}", ended.stderr);
    }
}
