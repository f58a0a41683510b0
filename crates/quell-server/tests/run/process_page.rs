//! The page of `quell help process` says what is so.

use std::collections::BTreeSet;
use std::fs;

use quell::Payload;
use quell_flow::Emit;
use serde_json::{Value, json};

use crate::output::checked_events;
use crate::support::{Scratch, assert_help_is_page, page, repository};

/// Yields the examples of lines that are events.
fn examples(page: &str) -> Vec<&str> {
    page.lines().filter(|line| line.starts_with(r#"{"event""#)).collect()
}

#[test]
fn the_help_is_the_page() {
    assert_help_is_page("process");
}

#[test]
fn the_help_of_plans_ends_with_their_page() {
    let scratch = Scratch::new();
    for args in [&["help", "plan"][..], &["plan", "--help"]] {
        let ended = scratch.run(args);
        ended.assert_code(0);
        let (commands, page) = ended.stdout.split_once("\n# Plans\n").expect("a page");
        assert!(commands.contains("schema"), "{commands}");
        assert!(quell_flow::PLAN_PAGE.trim_end().ends_with(page.trim_end()), "{page}");
    }
}

/// Yields the kinds of events in the arms of a `match`.
fn kinds(source: &str) -> BTreeSet<String> {
    let source = fs::read_to_string(repository().join(source)).expect("the source");
    let arms = source.lines().filter_map(|line| line.trim().split_once(" =>"));
    let names = arms.flat_map(|(kinds, _)| kinds.split(" | "));
    let name = |kind: &str| kind.strip_prefix('"')?.strip_suffix('"').map(str::to_owned);
    names.filter_map(name).collect()
}

#[test]
fn the_page_has_every_kind_of_event_and_no_other() {
    let page = page("process");
    let mut shown = BTreeSet::new();
    let mut of_adapters = BTreeSet::new();
    for line in examples(&page) {
        let payload = Payload::from_json_text(line).expect("JSON");
        let said: Value = payload.parse().expect("JSON");
        let kind = said["event"].as_str().expect("a kind").to_owned();
        if Emit::read(&payload).is_some() {
            of_adapters.insert(kind.clone());
        }
        shown.insert(kind);
    }
    assert_eq!(shown, kinds("crates/quell-process/src/event.rs"));
    assert_eq!(of_adapters, kinds("crates/quell-flow/src/emit.rs"));
    assert!(of_adapters.contains("content") && shown.len() == 13, "{shown:?}");
}

#[test]
fn each_example_of_the_page_is_an_event_and_no_part_of_what_is_printed() {
    let scratch = Scratch::new();
    let page = page("process");
    let lines = examples(&page);
    scratch.write("lines", &(lines.join("\n") + "\n"));
    let ended = scratch.run(&["run", "--json", "--report", "report.json", "--", "cat", "lines"]);
    ended.assert_code(0);
    let events = checked_events(&ended);
    let emitted = events.iter().filter(|event| event["event"] == "emitted");
    let emitted: Vec<_> = emitted.map(|event| event["data"].clone()).collect();
    let said: Vec<Value> = lines.iter().map(|line| line.parse().expect("JSON")).collect();
    let stands = |said: &&Value| {
        let kind = said["event"].as_str().expect("a kind");
        !["progress", "usage", "tool.started", "tool.ended"].contains(&kind)
    };
    assert_eq!(emitted, said.iter().filter(stands).cloned().collect::<Vec<_>>());
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().expect("it")).collect();
    for name in ["progress", "used", "tool-started", "tool-ended"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let output = &scratch.json("report.json")["output"];
    assert_eq!((&output["stdout"], &output["stdout_bytes"]), (&"".into(), &0.into()));
    assert_eq!(output["result"], json!({ "text": "the whole answer" }));
}

#[test]
fn a_line_with_a_fault_is_printed_and_says_what_is_wrong() {
    let scratch = Scratch::new();
    let line = r#"{"event":"usage","tokens":3}"#;
    scratch.write("lines", &format!("{line}\n"));
    let ended = scratch.run(&["run", "--json", "--report", "report.json", "--", "cat", "lines"]);
    ended.assert_code(0);
    let events = checked_events(&ended);
    let emitted = events.iter().find(|event| event["event"] == "emitted").expect("the line");
    let fault = "`usage` has none of `input_tokens`, `output_tokens`, `cost_micros`";
    let expected = json!({ "stream": "stdout", "line": line, "fault": fault });
    assert_eq!(emitted["data"], expected);
    assert_eq!(scratch.json("report.json")["output"]["stdout"], format!("{line}\n"));
}

#[test]
fn the_page_names_every_key_of_an_output() {
    let scratch = Scratch::new();
    scratch.run(&["run", "--report", "report.json", "--", "true"]).assert_code(0);
    let report = scratch.json("report.json");
    let page = page("process");
    assert!(page.contains("and `result` if"), "it is left out here");
    for key in report["output"].as_object().expect("an object").keys() {
        assert!(page.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn the_page_has_the_bounds_that_hold() {
    let scratch = Scratch::new();
    let script = "head -c 4194305 /dev/zero | tr '\\0' x; \
                  seq 1001 >&2; printf '%0501d\\n' 7 >&2; exit 1";
    let ended =
        scratch.run(&["run", "--json", "--report", "report.json", "--", "sh", "-c", script]);
    ended.assert_code(1);
    let page = page("process");
    let (report, events) = (scratch.json("report.json"), checked_events(&ended));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let left = &report["partial"];
    assert_eq!((text(&left["stdout"]).len(), &left["stdout_truncated"]), (4 << 20, &true.into()));
    assert!(page.contains("| stdout that is kept | 4 MiB |"));
    assert_eq!(text(&left["stderr_tail"]).lines().count(), 1_000);
    assert!(page.contains("| stderr that is kept | the last 1,000 lines, "));
    let error = text(&report["error"]);
    let lines: Vec<_> = error.lines().collect();
    assert_eq!((lines.len(), lines[4].chars().count()), (5, 500 + "…".chars().count()), "{error}");
    assert!(page.contains("5 lines at most, 500 characters of each"));
    let split = events.iter().find(|event| event["data"]["split"] == true).expect("a long line");
    assert_eq!(text(&split["data"]["line"]).len(), 64 << 10);
    assert!(page.contains("| a line | 64 KiB |"));
}
