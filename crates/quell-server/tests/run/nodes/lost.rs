//! Servers that are gone: killed, started again, or frozen.

use serde_json::{Value, json};

use super::forgotten::listed_nodes;
use super::{Cluster, end, has_ended, shown, start};
use crate::site::Site;
use crate::support::{is_alive, send, wait_until};

#[test]
fn what_a_killed_server_had_another_one_has_at_the_end_of_its_lease() {
    let cluster = Cluster::shared();
    let (a, b) = (cluster.join("a", "8s"), cluster.join("b", "8s"));
    start(&a, "agent/slow", "lost");
    start(&a, "workflow/it", "kept");
    start(&b, "agent/slow", "own");
    cluster.work(3);
    cluster.witness.write("go", "");
    a.signal("KILL");
    let kept = shown(&b, "kept", "it has gone on", has_ended);
    assert_eq!(kept["status"], "completed", "{kept}");
    assert_eq!(cluster.ran(), "alone 1\nalone 2\n", "the guardian was before the lease");
    let lost = shown(&b, "lost", "it is decided", has_ended);
    assert_eq!((&lost["status"], &lost["quiescent"]), (&json!("failed"), &json!(false)), "{lost}");
    // It names the server that is gone, and its own run is none of that.
    assert!(lost["abandoned"].to_string().contains('a'), "{lost}");
    shown(&b, "own", "it runs", |run| run["status"] == "running");
    let said = end(b);
    let failed = "that node a, which is gone, had left behind has failed: slow lost";
    let goes_on = "1 run that node a, which is gone, had left behind goes on";
    assert!(said.contains(failed) && said.contains(goes_on), "{said}");
    cluster.assert_silent();
    drop(a.ended());
}

#[test]
fn i19_a_server_that_comes_back_under_its_name_goes_on_at_once_behind_its_guardian() {
    let cluster = Cluster::shared();
    // Nobody waits for that lease.
    let (a, b) = (cluster.join("a", "1h"), cluster.join("b", "1h"));
    start(&a, "workflow/it", "kept");
    cluster.work(1);
    cluster.witness.write("go", "");
    a.signal("KILL");
    let a = cluster.join_in(a.ended().1, "a");
    let kept = shown(&b, "kept", "it has gone on", has_ended);
    assert_eq!(kept["status"], "completed", "{kept}");
    assert_eq!(cluster.ran(), "alone 1\nalone 2\n");
    assert!(end(a).contains("1 run that an earlier process had left behind goes on"));
    end(b);
}

#[test]
fn a_server_that_was_frozen_past_its_lease_ends_what_it_runs_and_itself() {
    let cluster = Cluster::shared();
    let (a, b) = (cluster.join("a", "8s"), cluster.join("b", "8s"));
    start(&a, "agent/slow", "r");
    cluster.work(1);
    freeze(&cluster, &a);
    let taken = shown(&b, "r", "it is taken over", has_ended);
    assert_eq!((&taken["status"], &taken["quiescent"]), (&json!("failed"), &json!(false)));
    let still = cluster.beats();
    wait_until("the program of a frozen server writes on", || cluster.beats() > still);
    let process = format!("quell, process {} ", a.pid());
    let says = format!(" still; and {process}");
    let listed = listed_nodes(&cluster, &[]);
    assert!(
        listed.contains(&says) && listed.contains(" has its name still, end that;"),
        "{listed}"
    );
    let json = listed_nodes(&cluster, &["--json"]);
    let row: Value = serde_json::from_str(json.lines().last().expect("a line")).expect("JSON");
    assert!(row["process"].as_str().expect("text").starts_with(&process), "{row}");
    send("CONT", a.pid());
    let (ended, _scratch) = a.ended();
    ended.assert_code(1);
    let words = "error: the lease of this server was lost";
    assert!(ended.stderr.contains(words) && ended.stderr.contains("start it again"), "{ended:?}");
    assert!(!ended.stderr.contains("was not stored"), "not a line for each run: {ended:?}");
    assert!(!cluster.witness.pids().into_iter().any(is_alive), "its program has ended");
    cluster.assert_silent();
    assert_eq!(shown(&b, "r", "it is there", has_ended), taken, "nothing is written any more");
    end(b);
}

/// Freezes a server that writes nothing in this moment. The database ends a session in which a
/// transaction is left open, and this one has the name.
fn freeze(cluster: &Cluster<'_>, server: &Site) {
    let pid = server.pid();
    let writes = format!(
        "select exists (select 1 from pg_stat_activity
        where application_name = 'quell, process {pid}' and state <> 'idle')"
    );
    wait_until("it is frozen between two transactions", || {
        send("STOP", pid);
        let is_idle = cluster.sql(&writes) == "f";
        if !is_idle {
            send("CONT", pid);
        }
        is_idle
    });
}

#[test]
fn the_place_of_a_server_that_ends_is_free_at_once() {
    let cluster = Cluster::shared();
    let (a, b) = (cluster.join("a", "1h"), cluster.join("b", "1h"));
    start(&a, "workflow/it", "r");
    cluster.work(1);
    end(a);
    let run = shown(&b, "r", "it has ended", has_ended);
    assert_eq!((&run["status"], &run["quiescent"]), (&json!("cancelled"), &json!(true)), "{run}");
    wait_until("its place is free", || cluster.sql("select count(*) from node") == "1");
    end(b);
}
