//! `quell runs cancel` and `quell runs prune`: the end of runs of a file that no process has.

use serde_json::Value;

use crate::support::{Running, Scratch, wait_until};
use crate::waits;

/// Leaves a run of a plan paused, and yields its id.
fn paused(scratch: &Scratch) -> String {
    let ended = scratch.run(&["run", "plan.yaml", "--store", "runs.db"]);
    ended.assert_code(3);
    let listed = scratch.run(&["runs", "--store", "runs.db", "--json", "--status", "paused"]);
    let first = listed.stdout.lines().next().expect("it is paused");
    let run: Value = serde_json::from_str(first).expect("JSON");
    run["run"].as_str().expect("an id").to_owned()
}

fn shown(scratch: &Scratch, run: &str) -> Value {
    let ended = scratch.run(&["show", run, "--store", "runs.db", "--json"]);
    serde_json::from_str(&ended.assert_code(0).stdout).expect("JSON")
}

#[test]
fn a_run_that_is_left_paused_is_cancelled_and_says_why_and_others_stay() {
    let scratch = waits::scratch();
    let (other, run) = (paused(&scratch), paused(&scratch));
    let args = ["runs", "cancel", &run, "--store", "runs.db", "--reason", "too late"];
    let ended = scratch.run(&args);
    ended.assert_code(0);
    assert_eq!(ended.stdout, format!("{run}: cancelled (user-request: too late)\n"));
    assert!(ended.stderr.contains("1 run is paused"), "{ended:?}");
    let report = shown(&scratch, &run);
    assert_eq!((&report["status"], &report["quiescent"]), (&"cancelled".into(), &true.into()));
    let cause = &report["rows"][0]["cause"];
    assert_eq!((&cause["kind"], &cause["message"]), (&"user-request".into(), &"too late".into()));
    let events = scratch.run(&["events", &run, "--store", "runs.db", "--json"]);
    let last = events.stdout.lines().last().expect("events");
    assert!(last.contains("\"ended\"") && last.contains("cancelled"), "{last}");
    assert_eq!(shown(&scratch, &other)["status"], "paused");

    // It is over, and says so: a second cancel, an answer.
    let again = scratch.run(&args);
    again.assert_code(1);
    let words = format!("quell: run `{run}` had ended before, cancelled\n");
    assert_eq!((&*again.stdout, again.stderr), ("", words));
    let answers = ["--resume", &*run, "--store", "runs.db", "--answer", "ok=yes"];
    scratch.run(&[&["run"][..], &answers].concat()).assert_code(2);
    assert_eq!(waits::text(&scratch, "built"), "run\nrun\n", "nothing of it runs");

    let unknown = scratch.run(&["runs", "cancel", "none", "--store", "runs.db"]);
    unknown.assert_code(2);
    assert!(unknown.stderr.contains("no run `none` is in runs.db"), "{unknown:?}");
    let place = ["runs", "cancel", "none", "--store", "postgres://h/d"];
    let database = scratch.run(&place);
    database.assert_code(2);
    assert!(database.stderr.contains("is a database, which servers have"), "{database:?}");
}

#[test]
fn a_file_that_a_process_has_is_refused_with_what_to_do() {
    let scratch = waits::scratch();
    let run = paused(&scratch);
    let mut busy = scratch.quell(&["run", "--store", "runs.db", "--", "sh", "-c"]);
    busy.arg("touch here; exec sleep 600");
    let busy = Running::start(busy);
    wait_until("it has the file", || scratch.names().contains(&"here".to_owned()));
    for (args, words) in [
        (
            &["cancel", &*run][..],
            "it: `curl -X POST http://ADDRESS/v1/runs/ID/cancel`, where ADDRESS is",
        ),
        (&["prune", "--older-than", "0s"], "`quell serve --keep 30d`"),
    ] {
        let ended = scratch.run(&[&["runs"], args, &["--store", "runs.db"]].concat());
        ended.assert_code(2);
        assert!(ended.stderr.contains(words) && ended.stdout.is_empty(), "{ended:?}");
    }
    let listed = ["runs", "prune", "--older-than", "0s", "--dry-run", "--store", "runs.db"];
    scratch.run(&listed).assert_code(0);
    busy.signal("QUIT");
    busy.ended();
    assert_eq!(shown(&scratch, &run)["status"], "paused");
}

#[test]
fn runs_that_ended_long_ago_are_deleted_and_listed_before_if_that_is_asked() {
    let scratch = waits::scratch();
    let left = paused(&scratch);
    for script in ["exit 0", "exit 1"] {
        scratch.run(&["run", "--store", "runs.db", "--", "sh", "-c", script]);
    }
    let prune = |older: &str, more: &[&str]| {
        let args = ["runs", "prune", "--store", "runs.db", "--older-than", older];
        let ended = scratch.run(&[&args, more].concat());
        ended.assert_code(0);
        ended.stdout
    };
    let kept = || scratch.run(&["runs", "--store", "runs.db"]).stdout.lines().count();
    assert_eq!(
        (prune("1h", &["--dry-run"]), prune("1h", &[]), kept()),
        (String::new(), "0 runs deleted\n".into(), 3)
    );
    let listed = prune("0s", &["--dry-run"]);
    assert_eq!((listed.lines().count(), kept()), (2, 3), "{listed}");
    assert_eq!((prune("0s", &[]), kept()), ("2 runs deleted\n".into(), 1));
    assert_eq!(shown(&scratch, &left)["status"], "paused");
    scratch.run(&["runs", "cancel", &left, "--store", "runs.db"]).assert_code(0);
    assert_eq!((prune("0s", &[]), kept()), ("1 run deleted\n".into(), 0));

    let none = scratch.run(&["runs", "prune", "--store", "none.db", "--older-than", "1d"]);
    none.assert_code(2);
    assert!(!scratch.names().contains(&"none.db".to_owned()), "it is not made");
    scratch.run(&["runs", "prune", "--store", "runs.db"]).assert_code(2);
}

#[test]
fn what_a_live_run_below_keeps_is_neither_listed_to_be_deleted_nor_deleted() {
    let scratch = waits::scratch();
    scratch.run(&["run", "--store", "runs.db", "--", "true"]);
    let prune = |more: &[&str]| {
        let args = ["runs", "prune", "--store", "runs.db", "--older-than", "0s"];
        scratch.run(&[&args, more].concat()).assert_code(0).stdout.clone()
    };
    let sql = |text: &str| {
        let file = rusqlite::Connection::open(scratch.path("runs.db")).expect("it opens");
        file.execute_batch(text).expect("it is changed");
    };
    assert_eq!(prune(&["--dry-run"]).lines().count(), 1);
    let _ = paused(&scratch);
    // It has a lane, and so has the run that ended before it.
    sql("update run set lane = 'a' where parent is null");
    assert_eq!((prune(&["--dry-run"]), prune(&[])), (String::new(), "0 runs deleted\n".to_owned()));
    sql("update run set lane = null");
    assert_eq!(prune(&["--dry-run"]).lines().count(), 1);
    assert_eq!(prune(&[]), "1 run deleted\n");
}

#[test]
fn the_help_of_what_ends_runs_offers_files_alone() {
    for command in ["cancel", "prune"] {
        let help = Scratch::new().run(&["help", "runs", command]);
        let help = &help.assert_code(0).stdout;
        assert!(help.contains("--store <FILE>"), "{help}");
        assert!(!help.contains("URL") && !help.contains("--store-env"), "{help}");
        assert!(!help.contains("postgres://"), "{help}");
    }
}
