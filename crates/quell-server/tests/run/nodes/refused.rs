//! Databases that no server can have: each is told with what to do, and nothing is served.

use std::time::Duration;

use quell_postgres::{PostgresNode, PostgresOptions, PostgresStore};
use quell_test_support::PostgresServer;

use super::{Cluster, end};
use crate::support::{Ended, Running, Scratch};

fn served(url: &str, more: &[&str]) -> Ended {
    let scratch = Scratch::new();
    let args = [&["serve", "--demo", "--listen", "127.0.0.1:0", "--store-env", "RUNS"], more];
    let mut command = scratch.quell(&args.concat());
    command.env("RUNS", url).env("TMPDIR", scratch.path(""));
    Running::start(command).ended()
}

/// Serves, which is refused.
#[track_caller]
pub(super) fn refused(url: &str, more: &[&str], says: &[&str]) {
    assert_refused(&served(url, more), says);
}

#[track_caller]
fn assert_refused(ended: &Ended, says: &[&str]) {
    ended.assert_code(2);
    assert_told(ended, says);
}

/// The database is away: started again, it may go well.
#[track_caller]
fn assert_away(ended: &Ended, says: &[&str]) {
    ended.assert_code(1);
    assert_told(ended, says);
}

#[track_caller]
fn assert_told(ended: &Ended, says: &[&str]) {
    assert!(ended.stdout.is_empty() && ended.stderr.contains("error: "), "{ended:?}");
    assert!(!ended.stderr.contains("sesame"), "the password is told: {ended:?}");
    for words in says {
        assert!(ended.stderr.contains(words), "{words}: {ended:?}");
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn an_address_that_is_none_or_where_nobody_is_or_lets_nobody_in_is_told_without_its_password() {
    let server = PostgresServer::shared();
    let locked = server.url("locked");
    let locked = |who: &str| locked.replace("quell@", who);
    refused(
        "postgres://u:sesame@h:port/d",
        &[],
        &["the address cannot be read", "postgres://USER@"],
    );
    refused(
        "postgres://u:sesame@h/d?sslmode=maybe",
        &[],
        &["the address cannot be read: set sslmode to one of disable"],
    );
    refused("mysql://u:sesame@h/d", &[], &["--store-env: ", "RUNS is no address of a database"]);
    refused("", &[], &["RUNS is empty"]);
    let nowhere = "postgres://u:sesame@no.such.host.invalid/d";
    assert_away(&served(nowhere, &[]), &["cannot be reached", "no.such.host.invalid:5432"]);
    let closed = served("postgres://u:sesame@127.0.0.1:1/d", &[]);
    assert_away(&closed, &["cannot be reached", "127.0.0.1:1"]);
    refused(&locked("ada:wrong sesame@"), &[], &["in like that: see user and password"]);
    let missing = server.url("missing").replace("quell@", "quell:sesame@");
    let says = "in like that: make the database, or name one that is there";
    refused(&missing, &[], &[says, "\"missing\" does not exist"]);
    let scratch = Scratch::new();
    let unset =
        ["serve", "--demo", "--listen", "127.0.0.1:0", "--store-env", "QUELL_TEST_NO_STORE"];
    assert_refused(&scratch.run(&unset), &["QUELL_TEST_NO_STORE is not set; expected one such as"]);
}

#[test]
fn a_database_without_a_connection_left_says_so_and_how_many_a_server_needs() {
    let cluster = Cluster::shared();
    let role = format!("few_{}", cluster.database);
    cluster.server.sql("postgres", &format!("create role {role} login connection limit 0"));
    let url = cluster.url().replace("quell@", &format!("{role}@"));
    let ended = served(&url, &[]);
    assert_away(&ended, &["has no connection left", "max_connections", "has up to 12)"]);
    assert!(!ended.stderr.contains("cannot be reached"), "{ended:?}");
}

#[test]
fn an_address_on_the_command_line_or_in_the_file_is_taken_and_its_password_is_not_told() {
    let server = PostgresServer::shared();
    let url = server.url("locked").replace("quell@", "ada:wrong%20sesame@");
    let scratch = Scratch::new();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--store", &url];
    scratch.write("quell.toml", "[agents.a]\nrun = ['true']\n");
    assert_refused(&scratch.run(&serve), &["see user and password"]);
    let file = format!("[agents.a]\nrun = ['true']\n[store]\nurl = '{url}'\n");
    scratch.write("quell.toml", &file);
    let own = &serve[..3];
    assert_refused(&scratch.run(own), &["see user and password"]);
    // A fault of the file is shown with its line.
    scratch.write("quell.toml", &format!("{file}url_env = 'RUNS'\n"));
    assert_refused(&scratch.run(own), &["does not go with another place"]);
    scratch.write("quell.toml", &file.replace("url = 'postgres", "url = 'my"));
    assert_refused(&scratch.run(own), &["is no address of a database"]);
    scratch.write("quell.toml", &file.replace("url = ", "path = "));
    assert_refused(&scratch.run(own), &["the address of a database is `url`"]);
}

#[test]
fn a_database_that_loses_what_it_has_acknowledged_or_is_of_a_newer_release_is_refused() {
    let server = PostgresServer::start(&["fsync=off"]);
    refused(&Cluster::on(&server).url(), &[], &["fsync", "off", "on, for the whole server"]);
    let cluster = Cluster::shared();
    let set = format!("alter database {} set synchronous_commit = off", cluster.database);
    cluster.server.sql("postgres", &set);
    refused(&cluster.url(), &[], &["synchronous_commit", "is off"]);
    let cluster = Cluster::shared();
    end(cluster.join("a", "30s"));
    cluster.sql("update meta set schema = 99");
    refused(&cluster.url(), &[], &["has schema 99", "use the release that wrote it"]);
    assert_eq!(cluster.sql("select schema from meta"), "99");
}

#[test]
fn a_database_that_takes_no_writes_is_told_and_does_as_soon_as_it_takes_some() {
    let cluster = Cluster::shared();
    end(cluster.join("a", "30s"));
    let sql = |words: &str| {
        cluster.server.sql("postgres", &format!("alter database {} {words}", cluster.database));
    };
    sql("set default_transaction_read_only = on");
    let ended = served(&cluster.url(), &["--node", "a"]);
    assert_away(&ended, &["takes no writes: name the server that does if this one is a standby"]);
    assert!(!ended.stderr.contains("right"), "{ended:?}");
    sql("reset default_transaction_read_only");
    end(cluster.join("a", "30s"));
}

#[test]
fn a_name_has_one_server_at_a_time_and_a_database_one_that_is_alone_or_several() {
    let cluster = Cluster::shared();
    let a = cluster.join("a", "30s");
    refused(
        &cluster.url(),
        &["--node", "a"],
        &["is in use by quell, process", "`a`", "`--node NAME`"],
    );
    // It goes on, and so does another one.
    end(cluster.join("b", "30s"));
    assert_eq!(a.get("/readyz").0, 200);
    end(a);
    let store = block_on(PostgresStore::open(PostgresOptions::new(cluster.url())));
    let store = store.expect("all nodes have left");
    refused(&cluster.url(), &["--node", "a"], &["is in use by quell, process"]);
    drop(store);
    // Without a name two servers that are to take any port have one.
    let mut options = PostgresOptions::new(cluster.url());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    options.node = Some(format!("{}:0", host.trim()));
    let node = block_on(async {
        loop {
            match PostgresNode::open(options.clone()).await {
                Ok(node) => break node,
                // The store closes.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    let any = "as is each server of this host that takes any port";
    refused(&cluster.url(), &[], &["is in use by", any, "name this one with `--node NAME`"]);
    drop(node);
}

#[test]
fn a_server_whose_address_somebody_has_takes_no_lease() {
    let cluster = Cluster::shared();
    end(cluster.join("a", "30s"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it listens").to_string();
    let scratch = Scratch::new();
    let mut command = scratch.quell(&["serve", "--demo", "--node", "a", "--listen", &address]);
    command.args(["--store-env", "RUNS"]).env("RUNS", cluster.url());
    assert_refused(&Running::start(command).ended(), &["cannot listen on", "--listen"]);
    assert_eq!(cluster.sql("select count(*) from node where lease_until > now()"), "0");
}

#[test]
fn what_is_said_of_a_node_fits_its_store_and_its_times() {
    let scratch = Scratch::new();
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let refused = |store: &str, more: &[&str], says: &[&str]| {
        scratch.write("quell.toml", &format!("[agents.a]\nrun = ['true']\n[store]\n{store}\n"));
        assert_refused(&scratch.run(&[&serve, more].concat()), says);
    };
    let url = "url = 'postgres://u@127.0.0.1:1/d'";
    refused("path = 'runs.db'", &["--node", "a"], &["--node: is for servers on a database"]);
    refused("path = 'runs.db'\nnode = 'a'", &[], &["`node`: is for servers on a database"]);
    let expected = ["`lease`: is for servers on a database; expected `url_env` in `[store]`"];
    refused("path = 'runs.db'\nlease = '1m'", &[], &expected);
    refused(url, &["--node", ""], &["--node: expected a name"]);
    refused(url, &["--node", "a\nb"], &["--node: expected a name without control characters"]);
    refused(&format!("{url}\nnode = 'a\u{202e}b'"), &[], &["`node`: expected a name without"]);
    refused(url, &["--node", "a (drained)"], &["--node: ends with ` (drained)`", "another name"]);
    refused(&format!("{url}\nlease = '8750ms'"), &[], &["`lease`: ", "expected more than 8.75 s"]);
    refused(&format!("{url}\nlease = '3601s'"), &[], &["`lease`: ", "expected at most 1 h"]);
    let file = format!("[agents.a]\nrun = ['true']\n[store]\n{url}\nlease = '8751ms'\n");
    scratch.write("quell.toml", &file);
    assert_away(&scratch.run(&serve), &["cannot be reached"]);
    let slow = format!("{url}\n[server]\ngrace = '30s'");
    refused(&slow, &[], &["`lease`: ", "expected more than 40"]);
    assert!(!scratch.path("runs.db").exists(), "nothing was made");
}

#[test]
fn a_configuration_of_a_server_whose_command_line_has_the_address_is_fine() {
    let scratch = Scratch::new();
    let check = |store: &str| {
        scratch.write("quell.toml", &format!("[agents.a]\nrun = ['true']\n[store]\n{store}\n"));
        scratch.run(&["check"])
    };
    let no_place = ": is for servers on a database; expected `url_env` in `[store]`, or `quell";
    for (key, line) in [("lease", "lease = '20s'\nkeep = '1d'"), ("node", "node = 'a'")] {
        let ended = check(line);
        assert!(ended.assert_code(0).stderr.starts_with("warning: quell.toml:4:"), "{ended:?}");
        assert!(ended.stderr.contains(&format!("`{key}`{no_place}")), "{ended:?}");
    }
    assert_refused(&check("lease = '8750ms'"), &["error: ", "expected more than 8.75 s"]);
    assert_refused(&check("node = ''"), &["error: ", "expected a name of 1 to 255 bytes"]);
    assert_refused(&check("path = 'runs.db'\nlease = '20s'"), &["error: ", no_place]);
    check("lease = '20s'\nkeep = '1d'");
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let mut command = scratch.quell(&[&serve[..], &["--store-env", "RUNS"]].concat());
    command.env("RUNS", "postgres://u@127.0.0.1:1/d");
    assert_away(&Running::start(command).ended(), &["cannot be reached"]);
    assert_refused(&scratch.run(&serve), &["error: ", no_place]);
}

#[test]
fn a_run_of_the_command_line_is_kept_in_a_file_alone() {
    let scratch = Scratch::new();
    let url = "postgres://u:sesame@h/d";
    let ended = scratch.run(&["run", "--store", url, "--", "touch", "ran"]);
    assert_refused(&ended, &["a database is for servers", "quell serve --store URL"]);
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}
