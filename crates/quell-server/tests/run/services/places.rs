//! Requests and cancels keep to the places that there are for descriptors, and give them back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::Value;

use super::peer::Peer;
use super::{begin, cancelled, end_of, run_of};
use crate::site::Site;
use crate::support::{Scratch, wait_until};

/// Serves components with so many descriptors, which have a place for every 16.
fn site(descriptors: u32, components: &str) -> Site {
    let scratch = Scratch::new();
    scratch.write("quell.toml", &format!("[server]\nrunning_max = 100\n{components}"));
    Site::under(&format!("ulimit -n {descriptors}"), scratch, &["--config", "quell.toml"])
}

#[test]
fn a_wait_between_two_tries_holds_up_nobody() {
    let peer = Peer::start(|to| {
        if to.asked.json() == "go" {
            return to.answer("200 OK", "text/plain", "gone");
        }
        to.write("HTTP/1.1 503 No\r\nretry-after: 50\r\nconnection: close\r\n\r\n");
        to.note("come again");
    });
    let site = site(64, &format!("[agents.it]\nurl = \"{}\"\nretries = 10\n", peer.url("/run")));
    for id in ["one", "two", "three", "four"] {
        begin(&site, id, &Value::Null);
        peer.next_note();
    }
    assert_eq!(run_of(&site, "five", &"go".into())["output"], "gone");
}

#[test]
fn cancels_that_are_posted_again_are_as_many_as_the_places_of_their_service() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let confirms = Arc::new(AtomicBool::new(false));
    let (is_ready, noted) = (Arc::clone(&confirms), Arc::clone(&most));
    // The first cancel of a run is refused, the others wait for the test.
    let told = Mutex::new(Vec::new());
    let peer = Peer::start(move |to| {
        if to.asked.path != "/stop" {
            to.begin("200 OK", "application/x-ndjson");
            to.write("{\"event\":\"content\",\"text\":\"begun\"}\n");
            return to.note_end();
        }
        let run = to.asked.json()["run_id"].clone();
        if !told.lock().contains(&run) {
            told.lock().push(run);
            return to.answer("500 No", "text/plain", "");
        }
        noted.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        to.wait_for(&is_ready);
        open.fetch_sub(1, Ordering::SeqCst);
        to.answer("200 OK", "text/plain", "");
    });
    let other = Peer::start(|to| {
        to.note("asked");
        if to.asked.path != "/stop" {
            return to.note_end();
        }
        to.answer(if to.asked.nth > 1 { "200 OK" } else { "500 No" }, "text/plain", "");
    });
    let file = |name: &str, peer: &Peer| {
        let (url, cancel) = (peer.url("/run"), peer.url("/stop"));
        format!(
            "[agents.{name}]\nurl = \"{url}\"\ncancel = \"{cancel}\"\ngrace = \"0s\"\n\
             confirm = \"1h\"\n"
        )
    };
    let site = site(256, &(file("it", &peer) + &file("other", &other)));
    let runs: Vec<String> = (0..8).map(|nth| format!("run-{nth}")).collect();
    for id in &runs {
        begin(&site, id, &Value::Null);
        wait_until("it is heard", || site.get(&format!("/v1/runs/{id}")).1["text"] == "begun");
        cancelled(&site, id);
    }
    // While one service holds its turn, another one is told again.
    let body = serde_json::json!({ "component": "agent/other", "id": "other" });
    assert_eq!(site.post("/v1/runs", &body).0, 201);
    assert_eq!(other.next_note(), "asked");
    cancelled(&site, "other");
    // Its request is dropped first; who sees that, and who sees the first cancel, are two threads.
    let mut heard: Vec<String> = (0..3).map(|_| other.next_note()).collect();
    heard.sort();
    assert_eq!(heard, ["asked", "asked", "closed"]);
    confirms.store(true, Ordering::SeqCst);
    for id in runs.iter().map(String::as_str).chain(["other"]) {
        wait_until("it is confirmed", || end_of(&site, id)["rows"][0]["quiescent"] == true);
    }
    // One has its turn. What it gave up may be open for a moment more.
    let most = most.load(Ordering::SeqCst);
    assert!((1..=3).contains(&most), "{most} at once");
}
