//! The commands of a running server, of which there are three on one database.

use std::collections::BTreeSet;
use std::fs::File;

use serde_json::{Value, json};

use super::{Cluster, end, shown, start};
use crate::site::Site;
use crate::support::{Ended, Running, wait_until};

fn ask(site: &Site, args: &[&str]) -> Ended {
    let mut command = site.scratch.quell(args);
    command.env("QUELL_SERVER", format!("http://{}", site.address()));
    Running::start(command).ended()
}

/// Reads what a command has printed, a line of JSON each.
#[track_caller]
fn lines(ended: &Ended) -> Vec<Value> {
    let lines = ended.assert_code(0).stdout.lines();
    lines.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Yields the ids of runs.
fn ids(runs: &[Value]) -> BTreeSet<&str> {
    runs.iter().map(|run| run["id"].as_str().expect("an id")).collect()
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

#[test]
fn any_server_draws_the_tree_of_a_run_and_follows_its_events() {
    let cluster = Cluster::shared();
    let [a, b, c] = ["a", "b", "c"].map(|name| cluster.join(name, "10min"));
    start(&a, "workflow/it", "r");
    let rows = |site: &Site| lines(&ask(site, &["tree", "r", "--json"]));
    let known = |rows: &[Value]| -> Vec<_> {
        let keys = ["uuid", "parent", "depth", "name", "status"];
        rows.iter().map(|row| keys.map(|key| row[key].clone())).collect()
    };
    wait_until("its program works", || cluster.ran() == "alone 1\n");
    let own = known(&rows(&a));
    assert!(own.len() > 1 && own.iter().all(|row| row[4] == "running"), "{own:?}");
    for site in [&b, &c] {
        shown(site, "r", "it is known", |run| run["status"] == "running");
        wait_until("its tree is known", || known(&rows(site)) == own);
        let drawn = ask(site, &["tree", "r"]);
        let names: Vec<_> = drawn.assert_code(0).stdout.lines().map(str::trim_start).collect();
        assert!(names[0].starts_with("▶ it") && names.len() == own.len(), "{drawn:?}");
    }
    let server = format!("http://{}", c.address());
    let mut command = c.scratch.quell(&["logs", "-f", "r", "--json", "--server", &server]);
    command.stdout(File::create(c.scratch.path("events")).expect("a file"));
    let follows = Running::start(command);
    let printed = || String::from_utf8(c.scratch.read("events")).expect("text");
    wait_until("it follows", || printed().lines().count() >= own.len());
    assert!(!printed().contains("stopping"), "nobody stops it");
    let stopped = ask(&b, &["cancel", "r", "--reason", "enough", "--wait", "quiescent"]);
    stopped.assert_code(0);
    follows.ended().assert_code(0);
    let events: Vec<Value> =
        printed().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let right: Vec<_> = a.log("r").into_iter().map(|(_, event)| event).collect();
    // Where its program outlives its stop, the rest of the log tells of that.
    assert_eq!(events, right[..events.len()], "each once, in their order");
    let ends = |event: &Value| event["event"] == "ended" && event["run"] == event["root"];
    assert!(events.iter().any(ends), "{events:?}");
    let told = ask(&b, &["logs", "r"]);
    assert!(told.assert_code(0).stdout.contains("  it  stopping: user-request: enough\n"));
    for site in [a, b, c] {
        end(site);
    }
}

#[test]
fn any_server_has_a_run_of_another_one_pause_and_go_on() {
    let cluster = Cluster::shared();
    let folder = cluster.witness.path("");
    let folder = folder.display();
    let step = |name: &str, what: &str| {
        let run = ["sh".to_owned(), "-c".to_owned(), format!("cd {folder}; {what}")];
        json!({ "name": name, "run": run })
    };
    let first = step("first", "echo first >> asked; until test -e go; do sleep 0.02; done");
    // Of a plan that asks for nothing no run may be paused.
    let asks = json!({ "name": "ok", "wait": { "ask": "sure?", "approve": true } });
    let steps = [first, step("then", "echo then >> asked"), asks];
    let plan = json!({ "name": "two", "steps": steps });
    let [a, b, c] = ["a", "b", "c"].map(|name| {
        let scratch = cluster.scratch("10min");
        let options = String::from_utf8(scratch.read("quell.toml")).expect("text");
        scratch.write("quell.toml", &format!("{options}[workflows.two]\nplan = 'two.json'\n"));
        scratch.write("two.json", &plan.to_string());
        cluster.join_in(scratch, name)
    });
    let asked = || String::from_utf8_lossy(&cluster.witness.read("asked")).into_owned();
    start(&a, "workflow/two", "r");
    wait_until("its first step works", || asked() == "first\n");
    let pause = ask(&c, &["pause", "r", "--request", "on?"]);
    let line = &pause.assert_code(0).stdout;
    assert_eq!(line, "r  running: it pauses at its next checkpoint (attempt 1)\n");
    cluster.witness.write("go", "");
    for site in [&a, &b, &c] {
        let run = shown(site, "r", "it is paused", |run| run["status"] == "paused");
        assert_eq!(run["pause"]["request"], "on?", "{run}");
    }
    let pause = ask(&b, &["pause", "r"]);
    let line = &pause.assert_code(0).stdout;
    assert_eq!(line, "r  paused: it waits for an answer (attempt 1)\n");
    assert_eq!(asked(), "first\n", "its second step waits");
    ask(&c, &["resume", "r", "yes", "--attempt", "7"]).assert_code(2);
    let resumed = ask(&b, &["resume", "r", "yes", "--json"]);
    assert_eq!(lines(&resumed)[0]["attempt"], 2, "{resumed:?}");
    let asks = |run: &Value| run["status"] == "paused" && run["pause"]["attempt"] == 2;
    shown(&c, "r", "it asks", asks);
    let resumed = ask(&c, &["resume", "r", "yes"]);
    assert!(resumed.assert_code(0).stdout.ends_with(": attempt 3\n"), "{resumed:?}");
    let run = shown(&c, "r", "it has ended", super::has_ended);
    assert_eq!((&run["status"], &run["node"]), (&json!("completed"), &json!("a")), "{run}");
    assert_eq!(asked(), "first\nthen\n", "each once");
    ask(&c, &["resume", "r", "yes"]).assert_code(2);
    for site in [a, b, c] {
        end(site);
    }
}

#[test]
fn any_server_shows_what_all_execute_and_what_a_filter_means_on_all() {
    let cluster = Cluster::shared();
    let sites = ["a", "b", "c"].map(|name| cluster.join(name, "10min"));
    let [a, b, c] = &sites;
    start(a, "agent/slow", "of-a");
    start(b, "agent/slow", "of-b");
    start(a, "agent/single", "deaf");
    cluster.work(2);
    wait_until("it works", || !cluster.witness.read("single").is_empty());
    for id in ["of-a", "of-b", "deaf"] {
        shown(c, id, "it is known", |run| run["status"] == "running");
    }
    let filter = ["cancel", "--where", "status=running", "--where", "component=agent/slow"];
    let would = |site: &Site| ask(site, &[&filter[..], &["--dry-run"]].concat());
    for site in &sites {
        let told = would(site);
        let told = &told.assert_code(0).stdout;
        assert!(told.ends_with("2 runs would be stopped\n") && told.lines().count() == 3, "{told}");
        assert!(told.contains("of-a") && told.contains("of-b"), "{told}");
    }
    for id in ["of-a", "of-b", "deaf"] {
        let run = shown(c, id, "it is there", |_| true);
        assert_eq!((&run["status"], &run["cause"]), (&json!("running"), &Value::Null), "{id}");
    }
    // A stop that is under way, until it is told to end at once.
    ask(b, &["cancel", "deaf", "--grace", "10m", "--reason", "wrong"]).assert_code(0);
    for site in &sites {
        let mut top = Value::Null;
        wait_until("the stop is known", || {
            top = lines(&ask(site, &["top", "--json"])).remove(0);
            top["stops"].as_array().is_some_and(|stops| !stops.is_empty())
        });
        let [runs, stops] = ["runs", "stops"].map(|key| top[key].as_array().expect("a list"));
        assert_eq!(ids(runs), BTreeSet::from(["deaf", "of-a", "of-b"]), "{top}");
        assert_eq!(ids(stops), BTreeSet::from(["deaf"]), "{top}");
        let told = ask(site, &["top"]);
        for word in ["deaf", "wrong", "of-a", "of-b"] {
            assert!(told.assert_code(0).stdout.contains(word), "{word}: {told:?}");
        }
    }
    let stopped = ask(c, &[&filter[..], &["--wait", "quiescent"]].concat());
    assert!(stopped.assert_code(0).stdout.ends_with("2 runs were told to stop\n"), "{stopped:?}");
    cluster.assert_silent();
    assert!(would(b).assert_code(0).stdout.ends_with("0 runs would be stopped\n"));
    ask(c, &["cancel", "deaf", "--abort", "--wait", "quiescent"]).assert_code(0);
    for site in sites {
        end(site);
    }
}
