//! A server whose database another one of a newer release has brought forward.

use serde_json::json;

use super::refused::refused;
use super::{Cluster, end, has_ended, shown, start};
use crate::support::{Scratch, wait_until};

/// Brings the tables forward as a newer release would: these have what the older one knows.
const FORWARD: &str = "begin; alter table run add column of_later bigint; alter table node add \
     column of_later text not null default ''; create table later (at bigint); \
     update meta set schema = schema + 1; commit";

#[test]
fn a_server_that_was_there_before_the_tables_went_forward_goes_on_and_does_not_start_again() {
    let cluster = Cluster::shared();
    let (a, b) = (cluster.join("a", "30s"), cluster.join("b", "30s"));
    start(&a, "agent/slow", "before");
    cluster.work(1);
    cluster.sql(FORWARD);
    let next = cluster.sql("select schema from meta");
    // Both do what they did, with sessions from before and with new ones.
    for nth in 0..2 {
        let id = format!("run-{nth}");
        start(&a, "agent/brief", &id);
        assert_eq!(shown(&b, &id, "it has ended", has_ended)["status"], "completed");
        cluster.sql(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity
            where datname = current_database() and pid != pg_backend_pid()",
        );
        wait_until("they are ready", || [&a, &b].iter().all(|it| it.get("/readyz").0 == 200));
    }
    let (status, answer) = b.post("/v1/runs/before/cancel", &json!({ "wait": "quiescent" }));
    assert_eq!((status, &answer["disposition"]), (200, &json!("accepted")), "{answer}");
    assert_eq!(shown(&b, "before", "it has ended", has_ended)["status"], "cancelled");
    // Whoever comes is told, whether it writes or reads, and changes nothing.
    let says = [&*format!("has schema {next}"), "this release knows"];
    refused(&cluster.url(), &["--node", "c"], &says);
    let ended = Scratch::new().run(&["runs", "--store", &cluster.url()]);
    ended.assert_code(2);
    assert!(says.iter().all(|it| ended.stderr.contains(it)), "{ended:?}");
    // What it leaves is of others, and it has ended well.
    start(&a, "workflow/asks", "left");
    shown(&a, "left", "it is paused", |run| run["status"] == "paused");
    end(a);
    shown(&b, "left", "it is paused there", |run| run["status"] == "paused");
    refused(&cluster.url(), &["--node", "a"], &says);
    assert_eq!(cluster.sql("select schema from meta"), next);
    // The row of one that has left goes after a while.
    let nodes = "select string_agg(name, ',' order by name) from node where name in ('b', 'c')";
    assert_eq!(cluster.sql(nodes), "b");
    assert_eq!(b.get("/readyz").0, 200);
    end(b);
}
