//! Who is let in, while the server goes on: keys that are exchanged, and keys that issuers publish.

mod keys;
mod published;
mod tls;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use crate::site::Site;
use crate::support::{Scratch, wait_until};

/// Components, whom everything below may read.
const AGENT: &str = "[agents.writer]\nrun = [\"cat\"]\n";

/// Serves the file `quell.toml`, and writes its log to the file `log`.
fn site(scratch: Scratch, env: &[(&str, &str)]) -> Site {
    let log = File::create(scratch.path("log")).expect("a file");
    let args = ["--config", "quell.toml", "--log", "info", "--log-format", "json"];
    Site::heard_with(scratch, &args, env, Stdio::from(log))
}

fn log(site: &Site) -> String {
    String::from_utf8(site.scratch.read("log")).expect("text")
}

/// Sends SIGHUP, and waits until the log says so much about it for so many times.
fn renewed(site: &Site, times: usize, says: &str) {
    site.signal("HUP");
    wait_until(says, || log(site).matches(says).count() == times);
}

/// Reads the list of runs as the caller with a bearer token, and yields the status.
fn told(site: &Site, bearer: &str) -> u16 {
    let mut client = TcpStream::connect(site.address()).expect("it listens");
    let head = "GET /v1/runs HTTP/1.1\r\nhost: a\r\nconnection: close";
    write!(client, "{head}\r\nauthorization: Bearer {bearer}\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers");
    answer.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status")
}
