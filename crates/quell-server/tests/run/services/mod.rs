//! Components that are services elsewhere, with real sockets: the service is the witness.

mod answers;
mod cancels;
mod faults;
mod histories;
mod limits;
mod models;
mod peer;
mod places;
mod retries;
mod secrets;
mod stops;
pub(crate) mod tls;

use serde_json::{Value, json};

use crate::site::{Site, begin, end_of, run_of};
use crate::support::Scratch;
pub(crate) use peer::{Answers, Peer};

/// A service that takes a request and says nothing.
pub(crate) fn silent_peer() -> Peer {
    stops::silent("")
}

/// Serves one component, `agents.it`, which is a service with these further options.
fn site(peer: &Peer, options: &str) -> Site {
    let scratch = Scratch::new();
    let url = peer.url("/run");
    scratch.write("quell.toml", &format!("[agents.it]\nurl = \"{url}\"\n{options}\n"));
    Site::with(scratch, &["--config", "quell.toml"])
}

/// Cancels a run, waits for its end, and yields the run.
fn cancelled(site: &Site, id: &str) -> Value {
    let cancel = json!({ "wait": "terminal" });
    assert_eq!(site.post(&format!("/v1/runs/{id}/cancel"), &cancel).0, 200);
    end_of(site, id)
}

/// Yields the data of the events of a name, in order.
fn named<'a>(log: &'a [(String, Value)], name: &str) -> Vec<&'a Value> {
    let of_name = log.iter().filter(|(event, _)| event == name);
    of_name.map(|(_, event)| &event["data"]).collect()
}

/// Asserts that a run ended non-quiescent and names the service.
#[track_caller]
fn assert_in_doubt(run: &Value, peer: &Peer) {
    assert_in_doubt_of(run, &peer.url(""));
}

/// As [`assert_in_doubt`], of a service by its address.
#[track_caller]
fn assert_in_doubt_of(run: &Value, url: &str) {
    let row = &run["rows"][0];
    let left = &row["abandoned"][0];
    let own = json!({ "run": row["run"], "name": url, "what": "remote" });
    assert_eq!((left, &run["abandoned"]), (&own, &json!([url])), "{run}");
    assert_eq!(row["quiescent"], false, "{run}");
}
