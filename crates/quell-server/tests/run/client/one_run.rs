//! What is told of a run that others would go on with: more events, or a later run of its id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::{Value, json};

use crate::services::{Answers, Peer};
use crate::support::{Ended, Scratch};

/// The run, and when it and a later one of its id were accepted.
const UUID: &str = "01a229f0-e432-77ce-a4f3-09ef7d0288e8";
const FIRST: &str = "2026-01-01T00:00:00.000Z";
const LATER: &str = "2026-01-01T00:00:00.001Z";

/// How far a test is: the run was found, its events were asked for, or it was deleted.
const FOUND: u8 = 0;
const READ: u8 = 1;
const DELETED: u8 = 2;

fn event(seq: u64, at: &str) -> Value {
    json!({ "seq": seq, "root": UUID, "run": UUID, "at": at, "event": "started" })
}

/// Answers how a run stands that was accepted at this time.
fn tree(at: &str) -> Value {
    json!({
        "rows": [{
            "uuid": UUID, "parent": null, "kind": "agent", "name": "it", "status": "running",
            "cause": null, "quiescent": false, "abandoned": [], "aborted": false, "queued_at": at,
            "started_at": at, "ended_at": null, "error": null,
        }],
        "next": null,
        "omitted": { "live": 0, "completed": 0, "failed": 0, "cancelled": 0, "timed_out": 0 },
    })
}

fn ask(peer: &Peer, args: &[&str]) -> Ended {
    Scratch::new().run(&[args, &["--json", "--server", &peer.url("")]].concat())
}

#[test]
fn the_events_so_far_are_those_that_there_are_at_the_first_look() {
    let peer = Peer::start(|answers: &mut Answers<'_>| {
        let path = answers.asked.path.clone();
        let Some((_, query)) = path.split_once("/log?") else {
            return answers.answer("200 OK", "application/json", &tree(FIRST).to_string());
        };
        let mut parts = query.split('&').filter_map(|part| part.split_once('='));
        let after = parts.find(|(name, _)| *name == "after").expect("a number").1;
        let seq = 1 + after.parse::<u64>().expect("a number");
        // Each time there is one more. There is an end if nobody looks for one.
        let events: Vec<_> = (seq..seq + 2).map(|seq| event(seq, FIRST)).collect();
        let (after, has_more) = (seq + 1, seq < 100);
        let mut page = json!({
            "events": events, "after": after, "has_more": has_more, "queued_at": FIRST,
        });
        if query.contains("last=true") {
            page["last"] = (seq + 4).into();
        }
        answers.answer("200 OK", "application/json", &page.to_string());
    });
    let told = ask(&peer, &["logs", "r"]);
    let numbers: Vec<_> = super::lines(&told).iter().map(|event| event["seq"].clone()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5], "{told:?}");
    told.assert_code(0);
}

#[test]
fn nothing_is_told_of_a_later_run_that_has_the_id() {
    for command in [&["logs", "r"][..], &["logs", "-f", "r"], &["watch", "r"]] {
        let phase = Arc::new(AtomicU8::new(FOUND));
        let peer = Peer::start(move |answers: &mut Answers<'_>| {
            let (path, was) = (answers.asked.path.clone(), phase.load(Ordering::SeqCst));
            let now = if was == DELETED { LATER } else { FIRST };
            let event = event(u64::from(was) + 1, now);
            if path.contains("/events?") {
                phase.store(was.max(READ), Ordering::SeqCst);
                // It breaks off.
                let text = format!("data: {event}\n\n");
                return answers.answer("200 OK", "text/event-stream", &text);
            }
            let body = if path.contains("/log?") {
                phase.store(DELETED, Ordering::SeqCst);
                let has_more = was == FOUND;
                json!({ "events": [event], "after": 1, "has_more": has_more, "queued_at": now })
            } else if path.contains("/stops") {
                json!({ "at": now, "stops": [] })
            } else {
                if was == READ {
                    phase.store(DELETED, Ordering::SeqCst);
                }
                tree(now)
            };
            answers.answer("200 OK", "application/json", &body.to_string());
        });
        let told = ask(&peer, command);
        assert!(!told.stdout.contains(LATER), "{told:?}");
        // Who watches asks for several things at a time.
        assert!(told.stdout.contains(FIRST) || command[0] == "watch", "{told:?}");
        assert!(told.stderr.contains("a later one has its id"), "{told:?}");
        told.assert_code(1);
    }
}
