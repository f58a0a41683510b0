//! The commands of a running server, of which there are three on one database.

use super::{Cluster, end, shown, start};
use crate::site::Site;
use crate::support::{Ended, Running};

fn ask(site: &Site, args: &[&str]) -> Ended {
    let mut command = site.scratch.quell(args);
    command.env("QUELL_SERVER", format!("http://{}", site.address()));
    Running::start(command).ended()
}

#[test]
fn any_server_lists_and_stops_the_runs_of_all() {
    let cluster = Cluster::shared();
    let sites = ["a", "b", "c"].map(|name| cluster.join(name, "10min"));
    for (site, id) in sites.iter().zip(["of-a", "of-b", "of-c"]) {
        start(site, "agent/slow", id);
    }
    cluster.work(3);
    let [a, b, c] = &sites;
    shown(c, "of-a", "it is known everywhere", |run| run["status"] == "running");
    let listed = ask(c, &["ps", "--component", "agent/slow"]);
    let mut ids: Vec<_> = listed.assert_code(0).stdout.split_whitespace().collect();
    ids.retain(|word| word.starts_with("of-"));
    ids.sort_unstable();
    assert_eq!(ids, ["of-a", "of-b", "of-c"]);
    let nodes = ask(b, &["nodes"]);
    let names = nodes.assert_code(0).stdout.lines();
    let names: Vec<_> = names.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["a", "b", "c"], "{nodes:?}");
    let watch = ["watch", "of-a", "--server", &format!("http://{}", c.address())];
    let watch = Running::start(c.scratch.quell(&watch));
    let stop = ["cancel", "of-a", "of-b", "--reason", "enough", "--wait", "quiescent"];
    let stopped = ask(c, &stop);
    stopped.assert_code(0);
    for id in ["of-a", "of-b"] {
        let line = stopped.stdout.lines().find(|line| line.starts_with(id)).expect(id);
        assert!(line.contains("cancelled") && line.ends_with("quiescent"), "{line}");
    }
    assert_eq!(shown(a, "of-a", "it is over", super::has_ended)["cause"]["message"], "enough");
    let watched = watch.ended();
    assert!(watched.assert_code(130).stdout.contains("cancelled after"), "{watched:?}");
    let beats = cluster.witness.pids();
    let alive = beats.into_iter().filter(|pid| crate::support::is_alive(*pid)).count();
    assert_eq!(alive, 1, "the one that nobody has stopped");
    ask(a, &["cancel", "--all", "--wait", "quiescent"]).assert_code(0);
    cluster.assert_silent();
    for site in sites {
        end(site);
    }
}
