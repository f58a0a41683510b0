//! Runs that go on in a process that is started as soon as the one before it was killed.

use std::io::Read as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{Running, Scratch, wait_until};

/// A program that must be alone, and writes whether it is. The first one is deaf to SIGTERM, so
/// that it lives until its guardian kills it.
const ALONE: &str = "exec 9>> one; flock -n 9 && echo alone $QUELL_ATTEMPT >> ran || echo beside \
                     another >> ran; test -e go && exit; echo $$ > pid; trap '' TERM; \
                     while :; do sleep 0.1 9>&-; done";

fn plan(script: &str) -> Scratch {
    let scratch = Scratch::new();
    let step = json!({ "name": "step", "run": ["sh", "-c", script] });
    scratch.write("plan.json", &json!({ "name": "it", "steps": [step] }).to_string());
    scratch.write(
        "quell.toml",
        "[store]\npath = 'runs.db'\n[workflows.it]\nplan = 'plan.json'\n\
         on_worker_lost = 'continue'\n",
    );
    scratch
}

/// Says whether its server has told where it listens.
const LISTENS: &str = "grep -q listening stdout && echo after >> ran || echo before >> ran; \
                       test -e go || { echo $$ > pid; exec sleep 300; }";

fn ran(scratch: &Scratch) -> String {
    String::from_utf8_lossy(&scratch.read("ran")).into_owned()
}

/// Has a run whose program works, and yields its server.
fn at_work(script: &str) -> Site {
    let site = Site::with(plan(script), &[]);
    let body = json!({ "component": "workflow/it", "input": null, "id": "r" });
    assert_eq!(site.post("/v1/runs", &body).0, 201);
    wait_until("its program works", || site.scratch.pids().len() == 1);
    site
}

#[test]
fn i19_the_next_attempt_starts_when_the_guardian_of_a_killed_server_has_ended_the_one_before() {
    let site = at_work(ALONE);
    site.scratch.write("go", "");
    site.signal("KILL");
    let site = Site::with(site.ended().1, &[]);
    wait_until("it has ended", || site.get("/v1/runs/r").1["ended_at"].is_string());
    assert_eq!(ran(&site.scratch), "alone 1\nalone 2\n");
}

#[test]
fn i19_a_run_that_is_resumed_waits_for_the_guardian_of_its_killed_process() {
    let scratch = plan(ALONE);
    let args = ["run", "plan.json", "--store", "runs.db"];
    let running = Running::start(scratch.quell(&args));
    wait_until("its program works", || scratch.pids().len() == 1);
    let listed = scratch.run(&["runs", "--store", "runs.db", "--json"]);
    let run: Value = serde_json::from_str(&listed.stdout).expect("one run");
    scratch.write("go", "");
    running.signal("KILL");
    running.ended();
    let id = run["id"].as_str().expect("an id");
    scratch.run(&["run", "--resume", id, "--store", "runs.db"]).assert_code(0);
    assert_eq!(ran(&scratch), "alone 1\nalone 2\n");
}

#[test]
fn a_run_goes_on_when_its_server_listens() {
    let site = at_work(LISTENS);
    site.scratch.write("go", "");
    site.signal("KILL");
    let site = Site::with(site.ended().1, &[]);
    wait_until("it has ended", || site.get("/v1/runs/r").1["ended_at"].is_string());
    assert_eq!(ran(&site.scratch), "after\nafter\n");
}

#[test]
fn a_run_that_has_ended_and_is_still_read_holds_up_nobody() {
    let scratch = plan("seq 40000");
    let mut first = scratch.quell(&["run", "plan.json", "--store", "runs.db", "--json"]);
    // Nobody reads yet: it prints on when its store is closed.
    let mut first = first.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let completed = ["runs", "--store", "runs.db", "--status", "completed"];
    wait_until("it is stored", || scratch.run(&completed).stdout.lines().count() == 1);
    let second = ["run", "--store", "runs.db", "--", "true"];
    let mut ended = scratch.run(&second);
    wait_until("the store is free", || {
        if ended.stderr.contains("in use") {
            ended = scratch.run(&second);
        }
        !ended.stderr.contains("in use")
    });
    ended.assert_code(0);
    assert!(!ended.stderr.contains("programs of the process before"), "{}", ended.stderr);
    assert_eq!(first.try_wait().expect("ours"), None, "it is the case that is meant");
    let mut printed = Vec::new();
    first.stdout.take().expect("a pipe").read_to_end(&mut printed).expect("it is read");
    assert!(first.wait().expect("ours").success());
}
