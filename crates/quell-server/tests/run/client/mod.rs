//! The commands of a running server, against real servers.

mod answers;
mod cancels;
mod follows;
mod lists;
mod one_run;
mod places;
mod watches;

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{Ended, Running};

/// Runs a command about a server, to its end.
fn ask(site: &Site, args: &[&str]) -> Ended {
    let mut command = site.scratch.quell(args);
    command.env("QUELL_SERVER", format!("http://{}", site.address()));
    Running::start(command).ended()
}

/// Starts a run of the demo. What ticks does so until it is stopped, unless the input says how
/// long.
#[track_caller]
fn start(site: &Site, component: &str, id: &str, input: &Value) {
    let mut input = input.clone();
    if let Some(keys) = input.as_object_mut() {
        keys.entry("ms").or_insert_with(|| json!(600_000));
    }
    let body = json!({ "component": component, "id": id, "input": input });
    let (status, answer) = site.post("/v1/runs", &body);
    assert_eq!(status, 201, "{answer}");
}

/// Yields the words of each line.
fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// Reads lines of JSON.
#[track_caller]
fn lines(ended: &Ended) -> Vec<Value> {
    let read = |line| serde_json::from_str(line).expect("a line of JSON");
    ended.stdout.lines().map(read).collect()
}
