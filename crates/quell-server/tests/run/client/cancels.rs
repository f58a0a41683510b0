//! `quell cancel`: the witness of the demo tells what still executes.

use serde_json::json;

use super::{ask, lines, start};
use crate::site::Site;
use crate::support::wait_until;

#[test]
fn a_run_that_is_named_is_quiescent_when_that_is_waited_for() {
    let site = Site::demo(&[]);
    start(&site, "workflow/slow", "a", &json!({ "tag": "a" }));
    start(&site, "workflow/slow", "b", &json!({ "tag": "b" }));
    site.wait_for("a", 1);
    let stop = ["cancel", "a", "--reason", "wrong input", "--wait", "quiescent"];
    let stopped = ask(&site, &stop);
    let line = stopped.assert_code(0).stdout.trim_end();
    assert_eq!(line, "a  accepted  cancelled  workflow/slow  quiescent");
    let ticks = site.ticks("a");
    let (_, run) = site.get("/v1/runs/a");
    assert_eq!(run["cause"]["message"], "wrong input");
    assert_eq!(site.get("/v1/runs/b").1["status"], "running");
    let again = ask(&site, &["cancel", "a"]);
    assert!(again.assert_code(0).stdout.contains("already-terminal"), "{again:?}");
    let none = ask(&site, &["cancel", "nobody", "b"]);
    none.assert_code(1);
    assert!(none.stdout.starts_with("b  accepted") && none.stderr.contains("nobody: there is no"));
    assert_eq!(site.ticks("a"), ticks, "nothing of it has executed since");
}

#[test]
fn a_wait_that_is_over_before_a_body_that_ignores_its_stop_is_told() {
    let site = Site::demo(&[]);
    start(&site, "agent/spinner", "s", &json!({ "tag": "s", "ms": 600_000 }));
    site.wait_for("s", 1);
    let late =
        ask(&site, &["cancel", "s", "--grace", "0s", "--wait", "quiescent", "--wait-max", "0s"]);
    late.assert_code(1);
    assert!(late.stderr.contains("of 1 of 1 runs something executes after"), "{late:?}");
    let ticks = site.ticks("s");
    wait_until("it executes still", || site.ticks("s") > ticks);
    let missed = ask(&site, &["cancel", "s", "--abort", "--wait", "terminal"]);
    assert!(missed.assert_code(0).stdout.contains("cancelled"), "{missed:?}");
}

#[test]
fn a_filter_stops_what_its_preview_has_shown_and_nothing_else() {
    let site = Site::demo(&[]);
    for id in ["a", "b"] {
        start(&site, "workflow/slow", id, &json!({ "tag": id }));
    }
    start(&site, "workflow/nested", "other", &json!({}));
    let filter =
        ["cancel", "--where", "status=running,queued", "--where", "component=workflow/slow"];
    let preview = ask(&site, &[&filter[..], &["--dry-run"]].concat());
    let told = &preview.assert_code(0).stdout;
    assert!(told.ends_with("2 runs would be stopped\n") && told.lines().count() == 3, "{told}");
    for id in ["a", "b", "other"] {
        assert!(site.get(&format!("/v1/runs/{id}")).1["cause"].is_null(), "{id} was stopped");
    }
    let stopped = ask(&site, &[&filter[..], &["--json", "--wait", "terminal"]].concat());
    let mut all: Vec<_> = lines(stopped.assert_code(0))
        .iter()
        .map(|run| (run["id"].to_string(), run["disposition"].to_string()))
        .collect();
    all.sort();
    let accepted = |id: &str| (format!("\"{id}\""), "\"accepted\"".to_owned());
    assert_eq!(all, [accepted("a"), accepted("b")]);
    assert_eq!(site.get("/v1/runs/other").1["cause"], json!(null));
    for wrong in [&["cancel"][..], &["cancel", "a", "--all"], &["cancel", "--where", "state=x"]] {
        ask(&site, wrong).assert_code(2);
    }
    let all = ask(&site, &["cancel", "--all", "--wait", "quiescent"]);
    assert!(all.assert_code(0).stdout.ends_with("1 run was told to stop\n"), "{all:?}");
}
