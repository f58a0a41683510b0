//! Servers whose way to the database is a pooler.

use quell_test_support::{Pooler, PostgresServer};

use super::refused::{away, refused};
use super::{Cluster, end, has_ended, shown, start};
use crate::support::Scratch;

#[test]
fn a_pooler_that_shares_sessions_is_refused_with_what_to_do_before_anything_is_made() {
    let server = PostgresServer::start(&[]);
    let cluster = Cluster::on(&server);
    let says = ["pool_mode", "must be session", "the address of the database itself"];
    for mode in ["transaction", "statement"] {
        let pooler = Pooler::start(&server, mode);
        let url = pooler.url(&cluster.database);
        refused(&url, &[], &says);
        let schemas = "select count(*) from pg_namespace where nspname = 'quell'";
        assert_eq!(server.sql(&cluster.database, schemas), "0", "{mode}");
        let locks = "select count(*) from pg_locks where locktype = 'advisory'";
        assert_eq!(server.sql(&cluster.database, locks), "0", "{mode}");
    }
    let pooler = Pooler::start(&server, "transaction");
    let url = pooler.url(&cluster.database);
    let a = cluster.join("a", "30s");
    // A server beside it, and those who only read, are refused as well.
    refused(&url, &["--node", "b"], &says);
    for args in [&["runs"], &["nodes"]] {
        let ended = Scratch::new().run(&[&args[..], &["--store", &url]].concat());
        ended.assert_code(2);
        assert!(says.iter().all(|it| ended.stderr.contains(it)), "{args:?}: {ended:?}");
    }
    assert_eq!(a.get("/readyz").0, 200);
    end(a);
}

#[test]
fn servers_behind_a_pooler_in_session_mode_stop_runs_of_each_other() {
    let server = PostgresServer::start(&[]);
    let pooler = Pooler::start(&server, "session");
    let mut cluster = Cluster::on(&server);
    cluster.url = pooler.url(&cluster.database);
    let (a, b) = (cluster.join("a", "30s"), cluster.join("b", "30s"));
    away(&cluster.url(), &["--node", "a"], &["is in use by quell, process"]);
    start(&a, "agent/slow", "r");
    cluster.work(1);
    let (status, answer) = b.post("/v1/runs/r/cancel", &serde_json::json!({}));
    assert_eq!((status, &answer["disposition"]), (200, &"accepted".into()), "{answer}");
    let run = shown(&b, "r", "it has ended", has_ended);
    assert_eq!(run["status"], "cancelled");
    let said = [end(a), end(b)].concat();
    assert!(!said.contains("notifications of the database do not come"), "{said}");
}
