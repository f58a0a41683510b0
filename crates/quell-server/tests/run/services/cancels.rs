//! A service is told to stop, and its answer is what confirms it.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::peer::Peer;
use super::{assert_in_doubt, begin, cancelled, end_of, named};
use crate::site::Site;
use crate::support::{Running, Scratch, wait_until};

const BEGUN: &str = "{\"event\":\"tool.started\",\"id\":\"1\",\"name\":\"slow\"}\n\
                     {\"event\":\"content\",\"text\":\"begun\"}\n";

/// A service that is stopped at `/stop`; the status of its answers is decided by whether it is to
/// confirm, and by how many requests there were.
fn peer(confirms: impl Fn(usize) -> bool + Send + Sync + 'static) -> Peer {
    Peer::start(move |to| {
        if to.asked.path == "/stop" {
            to.note("told");
            let status = if confirms(to.asked.nth) { "202 Accepted" } else { "500 No" };
            return to.answer(status, "text/plain", "");
        }
        to.begin("200 OK", "application/x-ndjson");
        to.write(BEGUN);
        to.note_end();
    })
}

/// Serves the service with its cancel, and starts a run of it.
fn begun(peer: &Peer, options: &str) -> Site {
    let scratch = Scratch::new();
    let (url, cancel) = (peer.url("/run"), peer.url("/stop"));
    let file = format!("[agents.it]\nurl = \"{url}\"\ncancel = \"{cancel}\"\n{options}\n");
    scratch.write("quell.toml", &file);
    let site = Site::with(scratch, &["--config", "quell.toml"]);
    begin(&site, "one", &Value::Null);
    wait_until("it is heard", || site.get("/v1/runs/one").1["text"] == "begun");
    site
}

#[test]
fn a_cancel_is_posted_once_the_socket_is_closed_and_2xx_confirms_it() {
    let peer = peer(|_| true);
    let site = begun(&peer, "headers = { X-Tenant = \"t1\" }\ntimeout = \"1h\"");
    let run = cancelled(&site, "one");
    let row = &run["rows"][0];
    assert_eq!((&run["status"], &row["quiescent"]), (&"cancelled".into(), &true.into()), "{run}");
    assert_eq!(row["abandoned"], json!([]), "{run}");
    let mut notes = [peer.next_note(), peer.next_note()];
    notes.sort();
    assert_eq!(notes, ["closed", "told"]);
    let all = peer.seen();
    assert_eq!((all.len(), &*all[1].path), (2, "/stop"));
    let said = all[1].json();
    assert_eq!((&said["run_id"], &said["attempt"]), (&json!("one"), &json!("1")), "{said}");
    for name in ["quell-run-id", "x-tenant", "quell-deadline-ms"] {
        assert_eq!(all[1].header(name), all[0].header(name), "{name}");
        assert!(all[1].header(name).is_some(), "{name}");
    }
    let outcome = json!({ "call": "1", "outcome": "cancelled" });
    assert_eq!(named(&site.log("one"), "tool-ended"), [&outcome]);
}

#[test]
fn a_cancel_that_is_refused_is_posted_again() {
    let peer = peer(|nth| nth == 3);
    let site = begun(&peer, "grace = \"1h\"");
    let run = cancelled(&site, "one");
    assert_eq!(run["rows"][0]["quiescent"], true, "{run}");
    let paths: Vec<_> = peer.seen().into_iter().map(|asked| asked.path).collect();
    assert_eq!(paths, ["/run", "/stop", "/stop", "/stop"]);
}

#[test]
fn a_service_that_confirms_late_was_named_and_the_run_is_quiescent_then() {
    let confirms = Arc::new(AtomicBool::new(false));
    let is_ready = Arc::clone(&confirms);
    let peer = peer(move |_| is_ready.load(Ordering::SeqCst));
    // Without a grace there is no time for an answer.
    for grace in ["0s", "300ms"] {
        confirms.store(false, Ordering::SeqCst);
        let site = begun(&peer, &format!("grace = \"{grace}\"\nconfirm = \"1h\""));
        let run = cancelled(&site, "one");
        assert_eq!(run["status"], "cancelled", "{run}");
        assert_in_doubt(&run, &peer);
        confirms.store(true, Ordering::SeqCst);
        wait_until("it is confirmed", || {
            site.get("/v1/runs/one").1["rows"][0]["quiescent"] == true
        });
    }
}

/// A service that answers a cancel once it is to, and notes who closes the connection before.
fn slow_peer(is_ready: &Arc<AtomicBool>) -> Peer {
    let is_ready = Arc::clone(is_ready);
    Peer::start(move |to| {
        if to.asked.path == "/stop" {
            to.note("told");
            to.wait_for(&is_ready);
            return to.answer("200 OK", "text/plain", "");
        }
        to.begin("200 OK", "application/x-ndjson");
        to.write(BEGUN);
        to.note_end();
    })
}

// It may stop what it does for the cancel when the connection of that is closed.
#[test]
fn a_service_that_answers_once_it_has_stopped_is_told_once_although_the_grace_is_over() {
    let has_stopped = Arc::new(AtomicBool::new(false));
    let peer = slow_peer(&has_stopped);
    let site = begun(&peer, "grace = \"300ms\"\ncancel_timeout = \"1h\"\nconfirm = \"1h\"");
    let run = cancelled(&site, "one");
    assert_in_doubt(&run, &peer);
    has_stopped.store(true, Ordering::SeqCst);
    wait_until("it is confirmed", || site.get("/v1/runs/one").1["rows"][0]["quiescent"] == true);
    let paths: Vec<_> = peer.seen().into_iter().map(|asked| asked.path).collect();
    assert_eq!(paths, ["/run", "/stop"]);
}

#[test]
fn a_cancel_without_an_answer_is_posted_again_after_its_time() {
    let has_stopped = Arc::new(AtomicBool::new(false));
    let peer = slow_peer(&has_stopped);
    let site = begun(&peer, "grace = \"1h\"\ncancel_timeout = \"100ms\"");
    assert_eq!(site.post("/v1/runs/one/cancel", &json!({})).0, 200);
    wait_until("it is told again", || peer.seen().len() > 2);
    has_stopped.store(true, Ordering::SeqCst);
    assert_eq!(end_of(&site, "one")["rows"][0]["quiescent"], true);
}

#[test]
fn a_cancel_that_is_answered_with_endless_informational_answers_is_posted_again() {
    let peer = Peer::start(|to| match to.asked.nth {
        0 => {
            to.begin("200 OK", "application/x-ndjson");
            to.write(BEGUN);
            to.note_end();
        }
        1 => to.flood("HTTP/1.1 102 Processing\r\n\r\n"),
        _ => to.answer("200 OK", "text/plain", ""),
    });
    let site = begun(&peer, "grace = \"1h\"\ncancel_timeout = \"1h\"");
    let run = cancelled(&site, "one");
    assert_eq!((peer.seen().len(), &run["rows"][0]["quiescent"]), (3, &true.into()), "{run}");
}

#[test]
fn quell_run_tells_a_service_to_stop_before_it_exits() {
    for (options, signal, code) in [("grace = \"0s\"", "INT", 130), ("", "QUIT", 130)] {
        let is_heard = Arc::new(AtomicBool::new(false));
        let is_ready = Arc::clone(&is_heard);
        let peer = Peer::start(move |to| {
            if to.asked.path != "/stop" {
                return to.note_end();
            }
            to.wait_for(&is_ready);
            to.answer("200 OK", "text/plain", "");
        });
        let scratch = Scratch::new();
        let (url, cancel) = (peer.url("/run"), peer.url("/stop"));
        let file = format!("[agents.it]\nurl = \"{url}\"\ncancel = \"{cancel}\"\n{options}\n");
        scratch.write("quell.toml", &file);
        let mut command = scratch.quell(&["run", "agent/it"]);
        command.stderr(File::create(scratch.path("stderr")).expect("a file can be made"));
        let running = Running::start(command);
        wait_until("it is asked", || peer.seen().len() == 1);
        running.signal(signal);
        wait_until("it says that it waits", || {
            let said = String::from_utf8_lossy(&scratch.read("stderr")).into_owned();
            said.contains("services are told to stop, for 5.00 s at most")
        });
        is_heard.store(true, Ordering::SeqCst);
        running.ended().assert_code(code);
        wait_until("it is told", || peer.seen().iter().any(|asked| asked.path == "/stop"));
    }
}

#[test]
fn quell_serve_tells_a_service_to_stop_before_it_exits() {
    let has_stopped = Arc::new(AtomicBool::new(false));
    let peer = slow_peer(&has_stopped);
    let scratch = Scratch::new();
    let (url, cancel) = (peer.url("/run"), peer.url("/stop"));
    let file = format!("[agents.it]\nurl = \"{url}\"\ncancel = \"{cancel}\"\ngrace = \"0s\"\n");
    scratch.write("quell.toml", &file);
    let log = File::create(scratch.path("log")).expect("a file can be made");
    let site = Site::heard(scratch, &["--config", "quell.toml"], log.into());
    begin(&site, "one", &Value::Null);
    wait_until("it is asked", || peer.seen().len() == 1);
    site.signal("TERM");
    wait_until("it says that it waits", || {
        let said = String::from_utf8_lossy(&site.scratch.read("log")).into_owned();
        said.contains("services are told to stop, for 5.00 s at most")
    });
    has_stopped.store(true, Ordering::SeqCst);
    let (ended, _scratch) = site.ended();
    ended.assert_code(0);
    wait_until("it is told", || peer.seen().iter().any(|asked| asked.path == "/stop"));
}

#[test]
fn a_service_that_has_answered_is_told_nothing() {
    let peer = Peer::start(|to| to.answer("200 OK", "text/plain", "hello"));
    let scratch = Scratch::new();
    let (url, cancel) = (peer.url("/run"), peer.url("/stop"));
    scratch.write("quell.toml", &format!("[agents.it]\nurl = \"{url}\"\ncancel = \"{cancel}\"\n"));
    scratch.run(&["run", "agent/it"]).assert_code(0);
    assert_eq!(peer.seen().len(), 1);
}
