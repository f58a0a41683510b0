//! `--store`: runs outlive the process that ran them, and a file that cannot be had is refused
//! before anything starts.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::site::Site;
use crate::support::{Ended, Running, Scratch, wait_until};

/// Runs a program that leaves a mark, in a store.
fn run_in(scratch: &Scratch, store: &str) -> Ended {
    scratch.run(&["run", "--store", store, "--", "touch", "ran"])
}

#[track_caller]
fn assert_refused(scratch: &Scratch, store: &str, words: &str) {
    let ended = run_in(scratch, store);
    ended.assert_code(2);
    assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(words), "{ended:?}");
    assert!(!scratch.path("ran").exists(), "{store}: it was started");
    let ended = scratch.run(&["serve", "--demo", "--listen", "127.0.0.1:0", "--store", store]);
    ended.assert_code(2);
    assert!(ended.stderr.contains(words) && ended.stdout.is_empty(), "{ended:?}");
}

/// Starts a run that does not end by itself, and waits until its program works.
fn long_run(scratch: &Scratch) -> Running {
    let script = "echo $$ > pid; exec sleep 1000";
    let running =
        Running::start(scratch.quell(&["run", "--store", "runs.db", "--", "sh", "-c", script]));
    wait_until("its program works", || scratch.pids().len() == 1);
    running
}

#[test]
fn a_run_is_stored_and_a_later_one_finds_nothing_left_behind() {
    let scratch = Scratch::new();
    for _ in 0..2 {
        let ended = run_in(&scratch, "runs.db");
        ended.assert_code(0);
        assert_eq!(ended.stderr, "");
        assert!(ended.stdout.contains("completed after"), "{ended:?}");
    }
    // Closed: what is in the file is all there is.
    assert_eq!(scratch.names(), ["ran", "runs.db", "runs.db.guard", "runs.db.lock"]);
}

#[test]
fn a_run_whose_process_was_killed_has_failed_when_the_next_one_opens_the_store() {
    let scratch = Scratch::new();
    let running = long_run(&scratch);
    running.signal("KILL");
    wait_until("nothing is left", || scratch.survivors().is_empty());
    running.ended();
    let ended = run_in(&scratch, "runs.db");
    ended.assert_code(0);
    let words = "quell: 1 run that an earlier process had left behind has failed: sh ";
    assert!(ended.stderr.starts_with(words), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert_eq!(run_in(&scratch, "runs.db").stderr, "", "it was decided once");
}

#[test]
fn a_server_decides_what_a_killed_one_left_behind() {
    let args = ["--config", "own.toml", "--log-format", "human", "--store", "runs.db"];
    let scratch = Scratch::new();
    let script = "[agents.slow]\nrun = ['sh', '-c', 'echo $$ > pid; exec sleep 1000']\n";
    scratch.write("own.toml", script);
    let site = Site::with(scratch, &args);
    let slow = json!({ "component": { "kind": "agent", "id": "slow" }, "input": {} });
    let (status, answer) = site.post("/v1/runs", &slow);
    assert!(status < 300, "{status}: {answer}");
    wait_until("its program works", || site.scratch.pids().len() == 1);
    site.signal("KILL");
    wait_until("nothing is left", || site.scratch.survivors().is_empty());
    let (_, scratch) = site.ended();
    let site = Site::with(scratch, &args);
    site.signal("TERM");
    let (ended, _scratch) = site.ended();
    ended.assert_code(0);
    let words = "1 run that an earlier process had left behind has failed: slow ";
    assert!(ended.stderr.starts_with(words), "{ended:?}");
    assert!(!ended.stderr.contains("stored"), "{ended:?}");
}

#[test]
fn a_server_whose_store_was_moved_away_is_not_ready_and_takes_nothing_until_it_is_back() {
    let args = ["--config", "own.toml", "--log-format", "human", "--store", "runs.db"];
    let scratch = Scratch::new();
    scratch.write("own.toml", "[agents.it]\nrun = ['true']\n");
    let site = Site::with(scratch, &args);
    let create = || site.post("/v1/runs", &json!({ "component": "agent/it", "input": null })).0;
    assert_eq!((create(), site.get("/readyz").0), (201, 200));
    let (here, there) = (site.scratch.path("runs.db"), site.scratch.path("moved.db"));
    fs::rename(&here, &there).expect("it is moved");
    wait_until("it is not ready", || site.get("/readyz").0 == 503);
    assert_eq!(site.get("/readyz").1, json!({ "status": "store-in-trouble" }));
    assert_eq!(create(), 503);
    assert!(!here.exists(), "no other one was made");
    fs::rename(&there, &here).expect("it is back");
    wait_until("it is ready", || site.get("/readyz").0 == 200);
    wait_until("it takes runs", || create() == 201);
    site.signal("TERM");
    let (ended, _scratch) = site.ended();
    ended.assert_code(0);
    assert!(ended.stderr.contains("runs.db was moved or removed"), "{ended:?}");
}

#[test]
fn what_a_killed_server_showed_of_its_runs_the_next_one_shows() {
    let args = ["--config", "own.toml", "--store", "runs.db"];
    let scratch = Scratch::new();
    let script = "[agents.brief]\nrun = ['sh', '-c', 'echo said']\n\
        [agents.slow]\nrun = ['sh', '-c', 'echo $$ > pid; exec sleep 1000']\n";
    scratch.write("own.toml", script);
    let site = Site::with(scratch, &args);
    for id in ["one", "two"] {
        let brief = json!({ "component": "agent/brief", "id": id, "input": { "n": 1 } });
        assert_eq!(site.post("/v1/runs", &brief).0, 201);
    }
    let slow = json!({ "component": "agent/slow", "id": "slow", "input": {} });
    assert_eq!(site.post("/v1/runs", &slow).0, 201);
    let completed = ["runs", "--store", "runs.db", "--status", "completed"];
    wait_until("they have ended", || site.scratch.run(&completed).stdout.lines().count() == 2);
    wait_until("its program works", || site.scratch.pids().len() == 1);
    let paths = ["/v1/runs/one", "/v1/runs/two", "/v1/runs?status=completed"];
    let before = paths.map(|path| site.get(path));
    site.signal("KILL");
    wait_until("nothing is left", || site.scratch.survivors().is_empty());
    let (_, scratch) = site.ended();
    let site = Site::with(scratch, &args);
    assert_eq!(paths.map(|path| site.get(path)), before);
    let (status, lost) = site.get("/v1/runs/slow");
    assert_eq!((status, &lost["status"]), (200, &json!("failed")), "{lost}");
    let (status, all) = site.get("/v1/runs");
    assert_eq!((status, &all["total"], &all["runs"][0]["id"]), (200, &json!(3), &json!("slow")));
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn what_asked_in_a_killed_server_has_its_answer_in_the_next_one() {
    let args = ["--demo", "--store", "runs.db"];
    let site = Site::with(Scratch::new(), &args);
    let asks = json!({ "component": "workflow/interrupting", "id": "asks", "input": {} });
    assert_eq!(site.post("/v1/runs", &asks).0, 201);
    let status = |site: &Site| site.get("/v1/runs/asks").1["status"].clone();
    wait_until("it asks", || status(&site) == "paused");
    site.has_stored_paused(1);
    site.signal("KILL");
    let site = Site::with(site.ended().1, &args);
    let (_, asked) = site.get("/v1/runs/asks");
    assert_eq!(asked["pause"]["request"], json!({ "question": "go on?" }), "{asked}");
    let (code, told) = site.post("/v1/runs/asks/resume", &json!({ "answer": "yes" }));
    assert_eq!(code, 200, "{told}");
    wait_until("it goes on", || status(&site) == "completed");
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn a_store_that_another_process_has_is_refused_with_its_number() {
    let scratch = Scratch::new();
    let running = long_run(&scratch);
    let words = format!("runs.db: the store is in use by process {}: end that", running.pid());
    assert_refused(&scratch, "runs.db", &words);
    running.signal("TERM");
    let ended = running.ended();
    ended.assert_code(130);
    assert!(!ended.stderr.contains("not stored"), "{ended:?}");
    run_in(&scratch, "runs.db").assert_code(0);
}

#[test]
fn what_is_no_store_is_refused_with_what_to_do() {
    let scratch = Scratch::new();
    scratch.write("note.txt", &"not a database, but long enough to be one\n".repeat(99));
    assert_refused(&scratch, "note.txt", "note.txt: this is no store of quell: name another");
    assert_refused(&scratch, "no/runs.db", "no/runs.db: there is no such place for a store: make");
    fs::create_dir(scratch.path("folder")).expect("it is made");
    assert_refused(&scratch, "folder", "folder: this is no store of quell: name another");
    run_in(&scratch, "runs.db").assert_code(0);
    fs::remove_file(scratch.path("ran")).expect("it ran");
    let (path, whole) = (scratch.path("runs.db"), scratch.read("runs.db"));
    // The number of the schema is at byte 60 of the header.
    let mut newer = whole.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&path, newer).expect("it is written");
    assert_refused(&scratch, "runs.db", "runs.db: the store has schema 99, this release knows");
    let mut damaged = whole;
    damaged[100..].fill(0xff);
    fs::write(&path, &damaged).expect("it is written");
    let says = "runs.db: the store is damaged: put a backup in its place, and before that remove \
                FILE-wal and FILE-shm";
    assert_refused(&scratch, "runs.db", says);
    assert_eq!(fs::read(&path).expect("it is there"), damaged, "it is as it was");
}

#[test]
fn a_store_that_begins_where_one_was_or_in_an_empty_file_says_so_at_the_start() {
    let scratch = Scratch::new();
    scratch.write("touched.db", "");
    let says = |file: &str, what: &str| format!("quell: {file}: {what}\n");
    let empty = "the file was empty: a new store, without any run, has begun in it";
    assert_eq!(run_in(&scratch, "touched.db").stderr, says("touched.db", empty));
    assert_eq!(run_in(&scratch, "runs.db").stderr, "", "there was nothing");
    let lost = "a store was here before, and its file is gone or empty: this one is new, without \
                the runs of that";
    scratch.write("runs.db", "");
    assert_eq!(run_in(&scratch, "runs.db").stderr, says("runs.db", lost));
    assert_eq!(run_in(&scratch, "runs.db").stderr, "", "it was said once");
    fs::remove_file(scratch.path("runs.db")).expect("it is there");
    let site = Site::with(scratch, &["--demo", "--log-format", "human", "--store", "runs.db"]);
    site.signal("TERM");
    let (ended, _scratch) = site.ended();
    assert!(ended.stderr.contains(lost), "{ended:?}");
}

#[test]
fn a_store_that_may_not_be_written_is_refused() {
    let scratch = Scratch::new();
    // Nobody may write there, whoever this is.
    let words = "this user may not make files in the folder of the store: allow it, or name";
    if Path::new("/proc/self").exists() {
        let ended = run_in(&scratch, "/proc/self/runs.db");
        ended.assert_code(2);
        let is_said = ended.stderr.contains(words) || ended.stderr.contains("no such place");
        assert!(is_said, "{ended:?}");
        let files = "FILE, FILE.lock and FILE.guard, and of FILE-wal and FILE-shm while it is open";
        assert_eq!(ended.stderr.contains(words), ended.stderr.contains(files), "{ended:?}");
    }
    assert!(!scratch.path("ran").exists());
}

#[test]
fn a_report_never_takes_the_place_of_the_store() {
    let scratch = Scratch::new();
    for report in ["runs.db", "./runs.db-wal", "runs.db.lock", "runs.db.guard"] {
        let args = ["run", "--store", "runs.db", "--report", report, "--", "touch", "ran"];
        let ended = scratch.run(&args);
        ended.assert_code(2);
        assert!(ended.stderr.contains("would overwrite the store"), "{ended:?}");
    }
    assert_eq!(scratch.names(), [""; 0]);
}

#[test]
fn a_run_whose_disk_takes_no_more_ends_on_time_and_says_that_it_is_not_stored() {
    let scratch = Scratch::new();
    let mut command = scratch.program("sh");
    // Blocks of 512 bytes.
    command.args(["-c", "ulimit -f 600; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_quell")]);
    let script = "for n in 1 2 3 4 5 6 7 8; do head -c 65536 /dev/zero | tr '\\0' x; echo; done";
    command.args(["run", "--store", "runs.db", "--", "sh", "-c", script]);
    let ended = Running::start(command).ended();
    ended.assert_code(1);
    assert!(ended.stdout.contains("completed after"), "{ended:?}");
    let words = "quell: runs.db: the run is not stored: ";
    assert!(ended.stderr.starts_with(words), "{}", ended.stderr);
    let why =
        "disk I/O error; no file of this process may have more than 307200 bytes (ulimit -f)\n";
    assert!(ended.stderr.ends_with(why), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    let next = run_in(&scratch, "runs.db");
    next.assert_code(0);
    assert!(next.stderr.contains("had left behind has failed: sh "), "{next:?}");
}

#[test]
fn a_file_that_holds_no_store_is_neither_copied_nor_made_one() {
    let scratch = Scratch::new();
    scratch.write("empty.db", "");
    let ended = scratch.run(&["store", "backup", "empty.db", "copy.db"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("this is no store of quell"), "{ended:?}");
    let running = long_run(&scratch);
    running.signal("KILL");
    wait_until("nothing is left", || scratch.survivors().is_empty());
    running.ended();
    // As if it alone had been copied.
    fs::copy(scratch.path("runs.db"), scratch.path("k.db")).expect("the file of the store");
    let words = "this file holds no store. If it was copied from a store in use, its `k.db-wal` \
                 belongs beside it; copy a live store with `quell store backup`";
    for args in [&["store", "check", "k.db"][..], &["store", "backup", "k.db", "copy.db"]] {
        let ended = scratch.run(args);
        ended.assert_code(2);
        assert!(ended.stderr.contains(words), "{ended:?}");
    }
    assert_refused(&scratch, "k.db", words);
    assert!(!scratch.names().iter().any(|name| name.starts_with("copy.db")), "no copy");
    assert!(
        !scratch.names().iter().any(|name| name.starts_with("k.db") && name != "k.db"),
        "none is left"
    );
}

#[test]
fn a_server_keeps_in_its_store_what_it_is_told_to_and_all_unless_it_is() {
    let scratch = Scratch::new();
    let plain = ["run", "--store", "runs.db", "--", "true"];
    for _ in 0..3 {
        scratch.run(&plain).assert_code(0);
    }
    let stored =
        |scratch: &Scratch| scratch.run(&["runs", "--store", "runs.db"]).stdout.lines().count();
    let all = stored(&scratch);
    let serve = ["--demo", "--store", "runs.db"];
    let site = Site::with(scratch, &serve);
    site.signal("TERM");
    let (ended, scratch) = site.ended();
    ended.assert_code(0);
    assert_eq!(stored(&scratch), all);
    let site = Site::with(scratch, &[&serve[..], &["--keep", "30d", "--keep-runs", "1"]].concat());
    wait_until("two have left", || stored(&site.scratch) == all - 2);
    site.signal("TERM");
    let (ended, scratch) = site.ended();
    ended.assert_code(0);
    let ended = scratch.run(&["serve", "--demo", "--keep", "30d"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("--store"), "{ended:?}");
}
