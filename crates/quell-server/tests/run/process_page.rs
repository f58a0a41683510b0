//! The page of `quell help process` says what is so.

use std::collections::BTreeSet;
use std::fs;

use quell::Payload;
use quell_flow::Emit;
use serde_json::Value;

use crate::output::checked_events;
use crate::support::{Scratch, repository};

fn page() -> String {
    fs::read_to_string(repository().join("crates/quell-server/src/process.md")).expect("the page")
}

/// Yields the examples of lines that are events.
fn examples(page: &str) -> Vec<&str> {
    page.lines().filter(|line| line.starts_with(r#"{"event""#)).collect()
}

#[test]
fn the_help_is_the_page() {
    let scratch = Scratch::new();
    for args in [&["help", "process"][..], &["process", "--help"], &["process"]] {
        let ended = scratch.run(args);
        ended.assert_code(0);
        assert_eq!(ended.stdout.trim_end(), page().trim_end(), "{args:?}");
    }
}

#[test]
fn the_page_has_every_kind_of_event_that_adapters_read_and_no_other() {
    let source = repository().join("crates/quell-flow/src/emit.rs");
    let source = fs::read_to_string(source).expect("the source");
    let arms = source.lines().filter_map(|line| {
        let (kind, rest) = line.trim().strip_prefix('"')?.split_once('"')?;
        rest.starts_with(" =>").then_some(kind)
    });
    let page = page();
    let mut shown = BTreeSet::new();
    for line in examples(&page) {
        let payload = Payload::from_json_text(line).expect("JSON");
        assert!(Emit::read(&payload).is_some(), "{line}");
        let said: Value = payload.parse().expect("JSON");
        shown.insert(said["event"].as_str().expect("a kind").to_owned());
    }
    let kinds: BTreeSet<_> = arms.map(str::to_owned).collect();
    assert!(kinds.contains("content"), "{kinds:?}");
    assert_eq!(shown, kinds);
}

#[test]
fn each_example_of_the_page_is_an_event_as_it_stands_and_a_part_of_the_output() {
    let scratch = Scratch::new();
    let page = page();
    let lines = examples(&page);
    scratch.write("lines", &(lines.join("\n") + "\n"));
    let ended = scratch.run(&["run", "--json", "--report", "report.json", "--", "cat", "lines"]);
    ended.assert_code(0);
    let events = checked_events(&ended);
    let emitted = events.iter().filter(|event| event["event"] == "emitted");
    let emitted: Vec<_> = emitted.map(|event| event["data"].clone()).collect();
    let said: Vec<Value> = lines.iter().map(|line| line.parse().expect("JSON")).collect();
    assert_eq!(emitted, said);
    let report = scratch.json("report.json");
    assert_eq!(report["output"]["stdout"], lines.join("\n") + "\n");
}

#[test]
fn the_page_names_every_key_of_an_output() {
    let scratch = Scratch::new();
    scratch.run(&["run", "--report", "report.json", "--", "true"]).assert_code(0);
    let report = scratch.json("report.json");
    let page = page();
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
    let page = page();
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
