//! A stop drops the request at once, and a service that has not confirmed is named.

use std::fs::File;
use std::process::Stdio;

use serde_json::{Value, json};

use super::peer::Peer;
use super::{assert_in_doubt, begin, cancelled, end_of, named, run_of, site};
use crate::site::Site;
use crate::support::{Scratch, wait_until};

/// A service that takes a request and says no more than this.
pub(super) fn silent(said: &'static str) -> Peer {
    Peer::start(move |to| {
        to.write(said);
        to.note("asked");
        to.note_end();
    })
}

const BEGUN: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n\r\n\
                     {\"event\":\"tool.started\",\"id\":\"1\",\"name\":\"slow\"}\n\
                     {\"event\":\"content\",\"text\":\"begun\"}\n";

#[test]
fn a_stop_closes_the_socket_and_the_run_is_not_called_quiescent() {
    for said in ["", BEGUN] {
        let peer = silent(said);
        let site = site(&peer, "grace = \"1h\"\nconfirm = \"1h\"");
        begin(&site, "one", &Value::Null);
        assert_eq!(peer.next_note(), "asked");
        if !said.is_empty() {
            wait_until("it is heard", || site.get("/v1/runs/one").1["text"] == "begun");
        }
        // Nothing confirms it, so nobody waits for the grace.
        let run = cancelled(&site, "one");
        assert_eq!(peer.next_note(), "closed");
        assert_eq!(run["status"], "cancelled", "{run}");
        assert_in_doubt(&run, &peer);
        let outcomes: Vec<_> = named(&site.log("one"), "tool-ended").into_iter().cloned().collect();
        let unknown = json!({ "call": "1", "outcome": "unknown" });
        assert_eq!(outcomes, if said.is_empty() { vec![] } else { vec![unknown] });
        assert_eq!(peer.seen().len(), 1, "it was asked once");
    }
}

#[test]
fn the_doubt_ends_after_its_time_and_the_service_stays_named() {
    let peer = silent("");
    let site = site(&peer, "confirm = \"0s\"");
    begin(&site, "one", &Value::Null);
    peer.next_note();
    cancelled(&site, "one");
    wait_until("nobody waits any longer", || {
        site.get("/v1/runs/one").1["rows"][0]["quiescent"] == true
    });
    let run = site.get("/v1/runs/one").1;
    assert_eq!(run["rows"][0]["abandoned"][0]["what"], "remote", "{run}");
    let log = site.log("one");
    let ends: Vec<_> = log.iter().map(|(name, _)| name.as_str()).rev().take(2).collect();
    assert_eq!(ends, ["quiesced", "ended"], "{log:?}");
}

#[test]
fn a_silent_service_is_stopped_at_its_idle_limit_and_one_that_breaks_off_fails() {
    let peer = Peer::start(|to| match to.asked.json().as_str() {
        Some("breaks") => {
            to.begin_of(1_000, "application/json");
            to.write("{\"half\":");
        }
        _ => to.note_end(),
    });
    let site = site(&peer, "idle = \"500ms\"\nconfirm = \"1h\"");
    let run = run_of(&site, "silent", &Value::Null);
    assert_eq!(peer.next_note(), "closed");
    assert_eq!(
        (&run["status"], &run["cause"]["kind"]),
        (&"timed-out".into(), &"idle-timeout".into())
    );
    assert_in_doubt(&run, &peer);
    let run = run_of(&site, "breaks", &"breaks".into());
    assert_eq!(run["status"], "failed", "{run}");
    let error = run["rows"][0]["error"].to_string();
    assert!(error.contains(": its answer breaks off: "), "{error}");
    // Nobody knows what it does now.
    assert_in_doubt(&run, &peer);
}

#[test]
fn a_stop_before_there_is_a_connection_leaves_nothing_in_doubt() {
    // A service that asks to come again: between two requests it does nothing.
    let peer = Peer::start(|to| {
        to.write(
            "HTTP/1.1 503 No\r\nretry-after: 50\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        );
    });
    let scratch = Scratch::new();
    scratch.write("quell.toml", &format!("[agents.it]\nurl = \"{}\"\n", peer.url("/run")));
    let log = File::create(scratch.path("log")).expect("a file can be made");
    let args = ["--config", "quell.toml", "--log", "info"];
    let site = Site::heard(scratch, &args, Stdio::from(log));
    begin(&site, "one", &Value::Null);
    wait_until("it has read that", || {
        String::from_utf8_lossy(&site.scratch.read("log")).contains("request is sent again")
    });
    let run = cancelled(&site, "one");
    assert_eq!((&run["status"], &run["rows"][0]["quiescent"]), (&"cancelled".into(), &true.into()));
    assert_eq!(end_of(&site, "one")["rows"][0]["abandoned"], json!([]), "{run}");
    assert_eq!(peer.seen().len(), 1);
}

#[test]
fn a_request_that_was_lost_is_in_doubt_although_a_later_one_was_refused() {
    // The first one is read, and its connection closed.
    let peer = Peer::start(|to| {
        if to.asked.nth > 0 {
            to.answer("400 No", "text/plain", "no");
        }
    });
    let site = site(&peer, "confirm = \"1h\"");
    let run = run_of(&site, "one", &Value::Null);
    assert_eq!((&run["status"], peer.seen().len()), (&"failed".into(), 2), "{run}");
    assert_in_doubt(&run, &peer);
}

#[test]
fn what_a_service_said_is_its_result_is_kept_when_it_is_stopped() {
    let peer = silent(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n\
         data: {\"event\":\"result\",\"output\":7}\n\n\
         data: {\"event\":\"content\",\"text\":\"begun\"}\n\n",
    );
    let site = site(&peer, "");
    begin(&site, "one", &Value::Null);
    wait_until("it is heard", || site.get("/v1/runs/one").1["text"] == "begun");
    let run = cancelled(&site, "one");
    assert_eq!((&run["status"], &run["partial"]), (&"cancelled".into(), &json!(7)), "{run}");
}
