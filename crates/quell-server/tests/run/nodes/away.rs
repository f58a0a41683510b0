//! A database that is away while a server serves.

use std::thread::sleep;
use std::time::Duration;

use quell_test_support::PostgresServer;

use super::{Cluster, end, shown, start};
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
