//! Servers that are gone for good, and an operator who says so.

use std::process::Stdio;

use serde_json::{Value, json};

use super::{Cluster, end, has_ended, shown, start};
use crate::support::{Ended, Scratch, is_alive, wait_until};

/// Runs `quell nodes forget` on a database.
fn forget(cluster: &Cluster<'_>, args: &[&str]) -> Ended {
    let scratch = Scratch::new();
    scratch.run(&[&["nodes", "forget"], args, &["--store", &cluster.url()]].concat())
}

/// Lists the nodes of a database.
#[track_caller]
pub(super) fn listed_nodes(cluster: &Cluster<'_>, args: &[&str]) -> String {
    let url = cluster.url();
    let args = [&["nodes", "--store", &url], args].concat();
    Scratch::new().run(&args).assert_code(0).stdout.clone()
}

/// Draws the report of a run.
#[track_caller]
fn report(cluster: &Cluster<'_>, run: &str) -> String {
    let url = cluster.url();
    let args = ["show", run, "--store", &url];
    Scratch::new().run(&args).assert_code(0).stdout.clone()
}

#[track_caller]
fn assert_refused(ended: &Ended, says: &[&str]) {
    ended.assert_code(2);
    for words in says {
        assert!(ended.stderr.contains(words), "{words}: {ended:?}");
    }
}

#[test]
fn i4_a_run_of_a_killed_server_is_quiescent_once_somebody_has_said_that_the_server_is_gone() {
    let cluster = Cluster::shared();
    let (a, b) = (cluster.join("a", "8s"), cluster.join("b", "8s"));
    start(&a, "agent/slow", "lost");
    start(&b, "agent/slow", "own");
    cluster.work(2);
    assert_refused(&forget(&cluster, &["b", "--yes"]), &["node b is live", "Stop it first"]);
    a.signal("KILL");
    wait_until("its process is gone", || {
        let said = forget(&cluster, &["a", "--yes"]);
        said.code == Some(2)
            && said.stderr.contains("node a has no process, but its lease runs for")
    });
    let lost = shown(&b, "lost", "it is decided", has_ended);
    assert_eq!((&lost["status"], &lost["quiescent"]), (&json!("failed"), &json!(false)), "{lost}");
    let listed = listed_nodes(&cluster, &[]);
    let says = "something of 1 run may execute there still; once you know that nothing does: quell \
                nodes forget a\n";
    assert!(listed.contains("\na ") && listed.contains(" lost "), "{listed}");
    assert!(listed.contains(says), "{listed}");
    let json = listed_nodes(&cluster, &["--json"]);
    let row: Value = serde_json::from_str(json.lines().last().expect("a line")).expect("JSON");
    assert_eq!(row, json!({ "name": "a", "lost": true, "runs_in_doubt": 1, "process": null }));
    let text = report(&cluster, "lost");
    assert!(text.contains("node a was lost and may still execute\n"), "{text}");
    assert!(text.contains("`quell nodes forget NAME`"), "{text}");
    assert_refused(&forget(&cluster, &["c", "--yes"]), &["no node c is known", "`quell nodes`"]);
    assert_refused(&forget(&cluster, &["a"]), &["something of 1 run still", "`--yes`"]);
    assert_eq!(cluster.sql("select count(*) from forgotten"), "0");
    let said = forget(&cluster, &["a", "--yes"]);
    said.assert_code(0);
    assert!(said.stdout.contains("node a is forgotten: the nodes that have 1 run"), "{said:?}");
    let after = shown(&b, "lost", "it is quiescent", |run| run["quiescent"] == true);
    assert_eq!(after["status"], "failed", "{after}");
    let text = report(&cluster, "lost");
    assert!(text.contains("node a was lost and executes nothing of it any more\n"), "{text}");
    assert!(text.ends_with("nothing of it executes any more\n"), "{text}");
    assert!(!listed_nodes(&cluster, &[]).contains(" lost "));
    wait_until("nothing is left", || {
        forget(&cluster, &["a", "--yes"]).stdout.contains("there is nothing to release")
    });
    shown(&b, "own", "it runs", |run| run["status"] == "running");
    end(b);
    drop(a.ended());
    assert!(!cluster.witness.pids().into_iter().any(is_alive), "its guardian has ended it");
}

#[test]
fn whoever_is_asked_at_a_terminal_may_decline() {
    let cluster = Cluster::shared();
    let a = cluster.join("a", "8s");
    start(&a, "agent/slow", "lost");
    cluster.work(1);
    a.signal("KILL");
    drop(a.ended());
    cluster.sql("update node set lease_until = now()");
    let at_terminal = |typed: &str| {
        let scratch = Scratch::new();
        let line = format!("{} nodes forget a --store-env RUNS", env!("CARGO_BIN_EXE_quell"));
        let mut command = scratch.program("script");
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        command.args(["-qefc", &line, "typescript"]).env("RUNS", cluster.url());
        command.stdin(reader).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("script starts");
        std::io::Write::write_all(&mut writer, typed.as_bytes()).expect("it reads");
        let code = child.wait().expect("it ends").code();
        (code, String::from_utf8_lossy(&scratch.read("typescript")).into_owned())
    };
    let (code, shown) = at_terminal("\n");
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("[y/N]") && shown.contains("nothing was changed"), "{shown}");
    assert_eq!(cluster.sql("select count(*) from forgotten"), "0");
    let (code, shown) = at_terminal("y\n");
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(cluster.sql("select name from forgotten"), "a");
}

#[test]
fn a_file_has_no_nodes_to_forget() {
    let scratch = Scratch::new();
    let ended = scratch.run(&["nodes", "forget", "a", "--yes", "--store", "runs.db"]);
    assert_refused(&ended, &["runs.db is a file", "nodes share a database"]);
    assert!(scratch.names().is_empty());
}
