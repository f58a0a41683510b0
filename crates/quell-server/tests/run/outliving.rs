//! What outlives a `quell` that was killed: the next one names it, and calls nothing quiescent of
//! which it does not know that, from the guardian of the one before.

use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::guard::guardian_of;
use crate::services::silent_peer;
use crate::site::{Site, begin};
use crate::support::{Scratch, is_alive, send, wait_until};

/// A program that ends when it is told to, and leaves a witness of that.
const PROGRAM: &str = "[agents.it]\n\
    run = ['sh', '-c', 'echo $$ > pid; until [ -e end ]; do sleep 0.01; done; echo > witness']\n";

const ARGS: [&str; 4] = ["--config", "quell.toml", "--store", "runs.db"];

/// Asserts that a run has failed and names this as what may still execute, wherever it is read.
#[track_caller]
fn assert_named(site: &Site, (what, name): (&str, &str)) -> Value {
    let (status, run) = site.get("/v1/runs/one");
    assert_eq!((status, &run["status"]), (200, &json!("failed")), "{run}");
    let row = &run["rows"][0];
    let left = json!([{ "run": row["run"], "name": name, "what": what }]);
    assert_eq!((&row["quiescent"], &row["abandoned"]), (&json!(false), &left), "{run}");
    assert_eq!(row["quiesced_at"], Value::Null, "{run}");
    assert_eq!(run["abandoned"], json!([name]), "{run}");
    let log = site.log("one");
    let named: Vec<_> = log.iter().filter(|(event, _)| event == "abandoned").collect();
    assert_eq!(named.len(), 1, "{log:?}");
    let listed = site.scratch.run(&["runs", "--store", "runs.db", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).expect("a line of JSON");
    assert_eq!(listed["quiescent"], false, "{listed}");
    // Whether it is in memory or only in the store.
    let cancel = json!({ "wait": "quiescent", "wait_ms": 100 });
    let (_, told) = site.post("/v1/runs/one/cancel", &cancel);
    assert_eq!((&told["quiescent"], &told["reached"]), (&json!(false), &json!(false)), "{told}");
    run
}

fn works(scratch: Scratch) -> (Site, u32) {
    scratch.write("quell.toml", PROGRAM);
    let site = Site::with(scratch, &ARGS);
    begin(&site, "one", &json!({}));
    wait_until("its program works", || site.scratch.pids().len() == 1);
    let pid = site.scratch.pids()[0];
    (site, pid)
}

#[test]
fn a_program_that_outlives_its_server_and_the_guardian_is_named() {
    let (site, pid) = works(Scratch::new());
    // A server that stands still starts no other guardian.
    send("STOP", site.pid());
    let guardian = guardian_of(site.pid());
    send("KILL", guardian);
    wait_until("it is dead", || !is_alive(guardian));
    site.signal("KILL");
    let site = Site::with(site.ended().1, &ARGS);
    assert!(is_alive(pid), "it is the case that is meant");
    assert_named(&site, ("process", "sh"));
    site.scratch.write("end", "");
    wait_until("it goes on", || site.scratch.path("witness").exists());
    // Nothing tells of its end, also not to the next one.
    site.signal("TERM");
    let site = Site::with(site.ended().1, &ARGS);
    assert_named(&site, ("process", "sh"));
}

#[test]
fn a_program_that_the_guardian_has_ended_is_known_to_have_ended() {
    let (site, pid) = works(Scratch::new());
    site.signal("KILL");
    wait_until("it is dead", || !is_alive(pid));
    let site = Site::with(site.ended().1, &ARGS);
    let (status, run) = site.get("/v1/runs/one");
    assert_eq!((status, &run["status"]), (200, &json!("failed")), "{run}");
    let row = &run["rows"][0];
    assert_eq!((&row["quiescent"], &row["abandoned"]), (&json!(true), &json!([])), "{run}");
    assert!(site.log("one").iter().all(|(event, _)| event != "abandoned"), "{run}");
    assert!(!site.scratch.path("witness").exists());
}

#[test]
fn a_guardian_that_stood_still_before_it_kills_kills_all_the_same() {
    let scratch = Scratch::new();
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.02; done";
    scratch.write("quell.toml", &format!("[agents.it]\nrun = ['sh', '-c', \"{script}\"]\n"));
    let site = Site::with(scratch, &ARGS);
    begin(&site, "one", &json!({}));
    wait_until("its program works", || site.scratch.pids().len() == 1);
    let program = site.scratch.pids()[0];
    let guardian = guardian_of(site.pid());
    site.signal("KILL");
    // It has asked by now, and has yet to kill.
    sleep(Duration::from_millis(200));
    send("STOP", guardian);
    // For longer than it kills.
    sleep(Duration::from_secs(11));
    send("CONT", guardian);
    wait_until("it is dead", || !is_alive(program));
    drop(site.ended());
}

#[test]
fn what_no_guardian_has_ended_is_in_doubt_for_as_long_as_its_run_goes_on() {
    let scratch = Scratch::new();
    let script = "echo $$ > pid-$QUELL_ATTEMPT; until [ -e end ]; do sleep 0.01; done";
    let step = json!({ "name": "step", "run": ["sh", "-c", script] });
    scratch.write("plan.json", &json!({ "name": "it", "steps": [step] }).to_string());
    let served = "[workflows.it]\nplan = 'plan.json'\non_worker_lost = 'continue'\n";
    scratch.write("quell.toml", served);
    let mut site = Site::with(scratch, &ARGS);
    let body = json!({ "component": "workflow/it", "input": null, "id": "one" });
    assert_eq!(site.post("/v1/runs", &body).0, 201);
    // The first one dies with its guardian, the others alone.
    for nth in 1..=3 {
        wait_until("its program works", || site.scratch.pids().len() == nth);
        if nth == 1 {
            send("STOP", site.pid());
            let guardian = guardian_of(site.pid());
            send("KILL", guardian);
            wait_until("it is dead", || !is_alive(guardian));
        }
        site.signal("KILL");
        let scratch = site.ended().1;
        let last = scratch.pids()[nth - 1];
        wait_until("it is as is meant", || nth == 1 || !is_alive(last));
        site = Site::with(scratch, &ARGS);
    }
    wait_until("its program works", || site.scratch.pids().len() == 4);
    site.scratch.write("end", "");
    wait_until("it has ended", || site.get("/v1/runs/one").1["ended_at"].is_string());
    // All of them are named, as nobody can tell the first one from the others.
    let (_, run) = site.get("/v1/runs/one");
    assert_eq!(
        (&run["status"], &run["rows"][0]["quiescent"]),
        (&json!("completed"), &json!(false))
    );
    site.signal("TERM");
    let site = Site::with(site.ended().1, &ARGS);
    assert_eq!(site.post("/v1/runs", &json!({ "component": "workflow/it", "id": "two" })).0, 201);
    wait_until("it has ended", || site.get("/v1/runs/two").1["ended_at"].is_string());
    assert_eq!(site.get("/v1/runs/two").1["rows"][0]["quiescent"], true);
}

#[test]
fn a_service_whose_caller_was_killed_is_named() {
    let peer = silent_peer();
    let scratch = Scratch::new();
    scratch.write("quell.toml", &format!("[agents.it]\nurl = \"{}\"\n", peer.url("/run")));
    let site = Site::with(scratch, &ARGS);
    begin(&site, "one", &Value::Null);
    assert_eq!(peer.next_note(), "asked");
    site.signal("KILL");
    let site = Site::with(site.ended().1, &ARGS);
    assert_named(&site, ("remote", &peer.url("")));
    assert_eq!(peer.seen().len(), 1, "it was asked once");
}

#[test]
fn what_has_ended_with_its_run_is_not_named_after_a_kill() {
    let (site, _) = works(Scratch::new());
    site.scratch.write("end", "");
    let completed = ["runs", "--store", "runs.db", "--status", "completed"];
    wait_until("it is stored", || site.scratch.run(&completed).stdout.lines().count() == 1);
    site.signal("KILL");
    let site = Site::with(site.ended().1, &ARGS);
    let (_, run) = site.get("/v1/runs/one");
    let facts = (&run["status"], &run["rows"][0]["quiescent"], &run["abandoned"]);
    assert_eq!(facts, (&json!("completed"), &json!(true), &json!([])), "{run}");
}
