//! A request is sent again if it never got an answer, or if the service asks for that.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::peer::{Answers, Peer};
use super::{run_of, site};
use crate::site::Site;
use crate::support::Scratch;

/// A service whose first answers are these, and then a text.
fn peer(first: &'static [&'static str]) -> Peer {
    Peer::start(move |to: &mut Answers<'_>| match first.get(to.asked.nth) {
        Some(head) => to.write(head),
        None => to.answer("200 OK", "text/plain", "hello"),
    })
}

const COME_AGAIN: &str = "HTTP/1.1 503 No\r\nretry-after: 0\r\nconnection: close\r\n\r\n";
const TOO_MANY: &str = "HTTP/1.1 429 No\r\nretry-after: 0\r\nconnection: close\r\n\r\n";
const LATER: &str = "HTTP/1.1 429 No\r\nretry-after: 61\r\nconnection: close\r\n\r\nbusy";
const BUSY: &str = "HTTP/1.1 503 No\r\nconnection: close\r\n\r\n";
const BROKEN: &str = "HTTP/1.1 500 No\r\nretry-after: 0\r\nconnection: close\r\n\r\nit is broken";
const CUT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
const NONSENSE: &str = "hello?\r\n\r\n";
const HALF_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-";
const INFORMED: &str = "HTTP/1.1 103 Early Hints\r\n\r\n";

#[test]
fn what_never_got_an_answer_or_is_to_come_again_is_sent_again() {
    for first in [&["", ""][..], &[COME_AGAIN], &[TOO_MANY, ""], &[]] {
        let peer = peer(first);
        let site = site(&peer, "");
        let run = run_of(&site, "one", &json!([1]));
        assert_eq!(
            (&run["status"], &run["output"]),
            (&"completed".into(), &"hello".into()),
            "{run}"
        );
        let seen = peer.seen();
        assert_eq!(seen.len(), first.len() + 1, "{first:?}");
        assert!(seen.iter().all(|asked| asked.body == "[1]"));
    }
}

#[test]
fn the_log_says_that_a_request_is_sent_again() {
    let peer = peer(&[COME_AGAIN]);
    let scratch = Scratch::new();
    let url = peer.url("/run");
    scratch.write("quell.toml", &format!("[agents.it]\nurl = \"{url}\"\n"));
    let site = Site::with(scratch, &["--config", "quell.toml", "--log", "info"]);
    assert_eq!(run_of(&site, "one", &Value::Null)["output"], "hello");
    site.signal("TERM");
    let (ended, _scratch) = site.ended();
    let mut lines = ended.stderr.lines();
    let line = lines.find(|line| line.contains("request is sent again")).expect(&ended.stderr);
    for said in ["\"run\":\"one\"", "it answers 503 Service Unavailable", &peer.url("")] {
        assert!(line.contains(said), "{said}: {line}");
    }
}

#[test]
fn everything_else_fails_the_run_and_so_does_one_try_too_many() {
    for (first, options, tries, says) in [
        (&["", "", ""][..], "", 3, "connection closed before message completed"),
        (&[COME_AGAIN], "retries = 0", 1, "it answers 503 Service Unavailable"),
        (&[LATER], "", 1, "it answers 429 Too Many Requests, and asks to wait 61 s: busy"),
        (&[BUSY], "", 1, "it answers 503 Service Unavailable"),
        (&[BROKEN], "", 1, "it answers 500 Internal Server Error: it is broken"),
        (&[CUT], "", 1, "its answer breaks off: "),
        (&[NONSENSE], "", 1, "invalid HTTP version parsed"),
        (&[HALF_HEAD], "", 1, "connection closed before message completed"),
        (&[INFORMED], "", 1, "connection closed before message completed"),
    ] {
        let peer = peer(first);
        let site = site(&peer, options);
        let run = run_of(&site, "one", &Value::Null);
        assert_eq!(run["status"], "failed", "{says}: {run}");
        let error = run["rows"][0]["error"].as_str().unwrap_or_default();
        let begin = format!("service {}: ", peer.url(""));
        assert!(error.starts_with(&begin) && error.contains(says), "{says}: {error}");
        assert_eq!(peer.seen().len(), tries, "{says}");
    }
}

#[test]
fn a_service_that_is_not_there_is_named_and_nothing_is_in_doubt() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it");
    let scratch = Scratch::new();
    let file = format!("[agents.it]\nurl = \"http://{free}/hook/hush?key=hush\"\nretries = 1\n");
    scratch.write("quell.toml", &file);
    let site = Site::with(scratch, &["--config", "quell.toml"]);
    let run = run_of(&site, "one", &Value::Null);
    let error = run["rows"][0]["error"].as_str().unwrap_or_default();
    assert!(error.starts_with(&format!("service http://{free}: ")), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
    assert_eq!(run["rows"][0]["quiescent"], true, "{run}");
}
