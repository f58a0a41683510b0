//! `quell watch` and `quell top`, in a terminal and elsewhere.

use std::io::{self, Write as _};

use serde_json::json;

use super::{ask, lines, start};
use crate::live_tree::Screen;
use crate::site::Site;
use crate::support::{Running, wait_until};

/// Starts a command in a terminal, which is written to a file, with what types.
fn in_terminal(site: &Site, line: &str) -> (Running, io::PipeWriter) {
    let line = line.replace("quell", env!("CARGO_BIN_EXE_quell"));
    let (reader, keys) = io::pipe().expect("a pipe can be made");
    let mut command = site.scratch.program("script");
    command.args(["-qefc", &line, "typescript"]).env("TERM", "xterm").stdin(reader);
    command.env("QUELL_SERVER", format!("http://{}", site.address()));
    (Running::start(command), keys)
}

fn shows(site: &Site, what: &str) -> bool {
    let screen = Screen::of(&String::from_utf8_lossy(&site.scratch.read("typescript")));
    !screen.from(what).is_empty()
}

#[test]
fn a_body_that_ignores_its_stop_is_shown_by_name_with_the_time_of_its_end() {
    let site = Site::demo(&[]);
    start(&site, "agent/spinner", "deaf", &json!({ "tag": "d", "ms": 600_000 }));
    site.wait_for("d", 1);
    let (watch, keys) = in_terminal(&site, "quell watch deaf");
    wait_until("the tree", || shows(&site, "▶ spinner"));
    let stop = ["cancel", "deaf", "--reason", "enough", "--grace", "10m"];
    ask(&site, &stop).assert_code(0);
    for part in [
        "stop of deaf (spinner)",
        "  accepted           user-request: enough, ",
        "  signalled          1 of 1 runs",
        "  still cleaning up  spinner (body) for ",
        "  hard deadline      in 9 min ",
        "  given up           in ",
    ] {
        wait_until(part, || shows(&site, part));
    }
    ask(&site, &["cancel", "deaf", "--abort"]).assert_code(0);
    wait_until("it is given up", || {
        shows(&site, "  abandoned          spinner (body): nobody waits")
    });
    let ticks = site.ticks("d");
    wait_until("it executes still", || site.ticks("d") > ticks);
    // Something of the run executes: the watch goes on until the user leaves.
    drop(keys);
    let (_, run) = site.get("/v1/runs/deaf");
    assert_eq!((&run["status"], &run["quiescent"]), (&json!("cancelled"), &json!(false)));
    drop(site);
    drop(watch);
}

#[test]
fn a_watch_ends_with_the_run_and_its_exit_code_says_how_that_ended() {
    let site = Site::demo(&[]);
    start(&site, "agent/spinner", "deaf", &json!({ "tag": "d", "ms": 1_500 }));
    start(&site, "workflow/failing", "bad", &json!({ "ms": 0 }));
    let server = format!("http://{}", site.address());
    let watch = Running::start(site.scratch.quell(&["watch", "deaf", "--server", &server]));
    ask(&site, &["cancel", "deaf", "--grace", "0s"]).assert_code(0);
    let watched = watch.ended();
    let shown = &watched.assert_code(130).stdout;
    for part in ["spinner  stopping: user-request", "abandoned: body spinner", "cancelled after"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.ends_with("nothing of it executes any more\n"), "{shown}");
    let ticks = site.ticks("d");
    assert_eq!(site.get("/v1/runs/deaf").1["quiescent"], true);
    let failed = ask(&site, &["watch", "bad", "--json"]);
    let last = failed.assert_code(1).stdout.lines().last().expect("events");
    let event: serde_json::Value = serde_json::from_str(last).expect("an event");
    assert_eq!((&event["event"], &event["data"]), (&json!("ended"), &json!("failed")), "{last}");
    assert_eq!(site.ticks("d"), ticks, "it was over before");
    ask(&site, &["watch", "nobody"]).assert_code(2);
}

#[test]
fn who_leaves_a_watch_stops_nothing() {
    let site = Site::demo(&[]);
    start(&site, "workflow/slow", "r", &json!({ "tag": "r" }));
    let server = format!("http://{}", site.address());
    let mut command = site.scratch.quell(&["watch", "r", "-v", "--server", &server]);
    let out = std::fs::File::create(site.scratch.path("shown")).expect("a file");
    command.stdout(out);
    let watch = Running::start(command);
    wait_until("it shows what happens", || site.scratch.read("shown").len() > 100);
    watch.signal("INT");
    let left = watch.ended();
    assert!(left.assert_code(130).stderr.contains("the run goes on; `quell cancel r` stops it"));
    let ticks = site.ticks("r");
    wait_until("it goes on", || site.ticks("r") > ticks);
}

#[test]
fn what_is_executed_is_printed_once_without_a_terminal_and_drawn_until_q_in_one() {
    let site = Site::demo(&[]);
    start(&site, "agent/spinner", "deaf", &json!({ "tag": "d", "ms": 600_000 }));
    start(&site, "workflow/slow", "other", &json!({}));
    site.wait_for("d", 1);
    ask(&site, &["cancel", "deaf", "--grace", "10m"]).assert_code(0);
    let printed = ask(&site, &["top"]);
    let shown: Vec<_> = printed.assert_code(0).stdout.lines().map(str::to_owned).collect();
    assert!(shown[0].ends_with("2 runs have not ended, 1 stop is under way"), "{shown:?}");
    assert!(shown[1].starts_with("stop of deaf (spinner) │ accepted: user-request, "), "{shown:?}");
    assert!(shown[1].contains(" │ still cleaning up: spinner (body) for "), "{shown:?}");
    assert!(shown[3].starts_with("other") && shown[4].starts_with("deaf "), "{shown:?}");
    let told = lines(&ask(&site, &["top", "--json"])).remove(0);
    assert_eq!(told["stops"][0]["standing"]["cleaning_up"][0]["name"], "spinner", "{told}");
    assert_eq!((&told["runs"][0]["id"], &told["runs"][1]["id"]), (&json!("other"), &json!("deaf")));
    let (top, mut keys) = in_terminal(&site, "quell top --every 100ms; stty -a");
    wait_until("it is drawn", || shows(&site, "2 runs have not ended"));
    ask(&site, &["cancel", "other", "--wait", "quiescent"]).assert_code(0);
    wait_until("it is drawn again", || shows(&site, "1 run has not ended"));
    keys.write_all(b"q").expect("the pipe has room");
    top.ended().assert_code(0);
    let text = String::from_utf8_lossy(&site.scratch.read("typescript")).into_owned();
    assert!(text.contains(" icanon") && !text.contains("-icanon"), "the terminal is as it was");
    assert!(!text.contains("-echo "), "{text}");
}
