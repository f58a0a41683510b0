//! A database that is away while a server serves.

use std::fs::File;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use quell_test_support::PostgresServer;

use super::{Cluster, end, shown, start};
use crate::site::Site;
use crate::support::wait_until;

const LOOKS: Duration = Duration::from_secs(5);

#[test]
fn a_server_is_ready_only_while_its_database_answers() {
    let server = PostgresServer::start(&[]);
    let cluster = Cluster::on(&server);
    let site = cluster.join("a", "10min");
    let ready = || site.get("/readyz");
    assert_eq!(ready().0, 200);
    server.stop_at_once();
    wait_until("it is not ready", || ready().0 == 503);
    assert_eq!(ready().1["status"], "store-in-trouble");
    assert_eq!(site.get("/healthz").0, 200);
    // Who writes the log looks once a second, and waits for the database 2 s at most.
    sleep(LOOKS);
    server.start_again();
    wait_until("it is ready", || ready().0 == 200);
    sleep(LOOKS);
    start(&site, "agent/brief", "r");
    shown(&site, "r", "it has ended", |run| run["status"] == "completed");
    let said = end(site);
    assert!(said.contains("the database does not answer"), "{said}");
    assert!(said.contains("the database answers again"), "{said}");
}

/// Counts the lines of a log of what is not stored.
fn unstored(said: &str) -> usize {
    said.lines().filter(|line| line.contains("not stored ")).count()
}

#[test]
fn a_server_without_its_database_says_once_what_is_not_stored_and_not_of_each_event() {
    let server = PostgresServer::start(&[]);
    let cluster = Cluster::on(&server);
    let (a, b) = (cluster.join("a", "8s"), cluster.join("b", "10min"));
    start(&a, "agent/loud", "a");
    start(&b, "agent/loud", "b");
    let loud = "select count(*) from (select root from event group by root having count(*) > 9) x";
    wait_until("they are heard", || cluster.sql(loud) == "2");
    server.stop_at_once();
    let (ended, _scratch) = a.ended();
    ended.assert_code(1);
    assert!(ended.stderr.contains("the lease of this server was lost"), "{ended:?}");
    assert_eq!(unstored(&ended.stderr), 0, "{ended:?}");
    // It ends with events of some seconds: a line of the run, and one of all of them.
    b.signal("TERM");
    let (ended, _scratch) = b.ended();
    ended.assert_code(1);
    assert!(ended.stderr.contains("facts of runs are not known to be stored"), "{ended:?}");
    assert_eq!(unstored(&ended.stderr), 2, "{ended:?}");
    for said in ["run was not stored", "events were not stored"] {
        assert!(ended.stderr.contains(said), "{said}: {ended:?}");
    }
}

#[test]
fn a_third_signal_ends_a_server_that_waits_for_its_database() {
    let server = PostgresServer::start(&[]);
    let cluster = Cluster::on(&server);
    let site = cluster.join("a", "10min");
    start(&site, "agent/loud", "a");
    shown(&site, "a", "it runs", |run| run["status"] == "running");
    server.stop_at_once();
    // It waits for seconds by itself; what comes behind the third one finds nobody.
    for signal in ["TERM", "INT", "TERM", "INT", "TERM"] {
        site.signal(signal);
        sleep(Duration::from_millis(300));
    }
    let (ended, _scratch) = site.ended();
    ended.assert_code(1);
    assert!(ended.stderr.contains("ended by the third signal"), "{ended:?}");
    assert!(!ended.stderr.contains("stopped 1 live run"), "it has not waited: {ended:?}");
}

#[test]
fn a_third_signal_ends_a_server_that_closes_its_store() {
    let server = PostgresServer::start(&[]);
    let cluster = Cluster::on(&server);
    let scratch = cluster.scratch("10min");
    let said = File::create(scratch.path("said")).expect("a file can be made");
    let (url, folder) = (cluster.url(), scratch.path("").display().to_string());
    let args = ["--store-env", "RUNS", "--node", "a", "--log-format", "human"];
    let env = [("RUNS", &*url), ("TMPDIR", &*folder)];
    let site = Site::heard_with(scratch, &args, &env, said.into());
    let postmaster = server.folder().join("data/postmaster.pid");
    let postmaster = std::fs::read_to_string(postmaster).expect("it is there");
    let backends = cluster.sql("select pid from pg_stat_activity");
    let frozen: Vec<_> = postmaster.lines().take(1).chain(backends.lines()).collect();
    let tell = |signal: &str| {
        // The one that told the others is gone.
        drop(Command::new("kill").arg(signal).args(&frozen).stderr(Stdio::null()).status());
    };
    // It neither leaves nor closes its connections: it waits for both.
    tell("-STOP");
    let says = |words: &str| {
        site.scratch.read("said").windows(words.len()).any(|it| it == words.as_bytes())
    };
    site.signal("TERM");
    wait_until("its runs have ended", || says("stopped 0 live runs"));
    for signal in ["INT", "TERM"] {
        site.signal(signal);
    }
    let (ended, scratch) = site.ended();
    tell("-CONT");
    ended.assert_code(1);
    let said = String::from_utf8(scratch.read("said")).expect("text");
    assert!(said.contains("ended by the third signal"), "{said}");
}
