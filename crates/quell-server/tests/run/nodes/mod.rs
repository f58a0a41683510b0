//! Servers on one database: real `quell`s, real programs, a real PostgreSQL.

mod away;
mod between;
mod commands;
mod drained;
mod forgotten;
mod lost;
mod metrics;
mod pooled;
mod refused;
mod returned;
mod strip;
mod upgraded;

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use quell_test_support::PostgresServer;
use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{Scratch, wait_until};

/// A database for servers, and a folder for what their programs write.
struct Cluster<'a> {
    server: &'a PostgresServer,
    database: String,
    /// The way to it.
    url: String,
    witness: Scratch,
}

impl Cluster<'static> {
    /// Makes one on the server that all tests share.
    fn shared() -> Self {
        Self::on(PostgresServer::shared())
    }
}

impl<'a> Cluster<'a> {
    fn on(server: &'a PostgresServer) -> Self {
        let database = server.database();
        Self { server, url: server.url(&database), database, witness: Scratch::new() }
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    /// Runs a statement in the schema of the store.
    fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.database, &format!("set search_path = quell; {sql}"))
    }

    /// Makes the folder of a server with the lease of its options.
    fn scratch(&self, lease: &str) -> Scratch {
        let scratch = Scratch::new();
        let folder = self.witness.path("");
        let folder = folder.display();
        let lives = "echo $$ > pid-$QUELL_RUN_ID; while :; do echo >> beats; sleep 0.05; done";
        let step = json!({ "name": "step", "run": ["sh", "-c", format!("cd {folder}; {ALONE}")] });
        let after = json!({ "name": "after", "run": ["sh", "-c", format!(
            "cd {folder}; echo after $QUELL_ATTEMPT >> asked"
        )] });
        let before = json!({ "name": "before", "run": ["sh", "-c", format!(
            "cd {folder}; echo before $QUELL_ATTEMPT >> asked"
        )] });
        let asks = json!({ "name": "ok", "wait": { "ask": "on?", "approve": true } });
        let asking = json!({ "name": "asks", "steps": [before, asks, after] });
        scratch.write("asks.json", &asking.to_string());
        scratch.write("plan.json", &json!({ "name": "it", "steps": [step] }).to_string());
        scratch.write(
            "quell.toml",
            &format!(
                "[store]\nlease = '{lease}'\n[server]\ngrace = '500ms'\nabort_wait = '500ms'\n\
                 [agents.slow]\nrun = ['sh', '-c', 'cd {folder}; {lives}']\n\
                 [agents.brief]\nrun = ['sh', '-c', 'echo ${{RUNS-none}}']\n\
                 [agents.loud]\nrun = ['sh', '-c', 'while echo loud; do sleep 0.02; done']\n\
                 [agents.single]\nrun = ['sh', '-c', 'cd {folder}; {SINGLE}']\nrunning = 1\n\
                 [workflows.asks]\nplan = 'asks.json'\n\
                 [workflows.it]\nplan = 'plan.json'\non_worker_lost = 'continue'\n"
            ),
        );
        scratch
    }

    /// Starts a server under a name, in a folder of its own.
    fn join(&self, name: &str, lease: &str) -> Site {
        self.join_in(self.scratch(lease), name)
    }

    /// Starts a server under a name. Its folder has what its guardians hold as well.
    fn join_in(&self, scratch: Scratch, name: &str) -> Site {
        let (url, folder) = (self.url(), scratch.path("").display().to_string());
        let args = ["--store-env", "RUNS", "--node", name, "--log-format", "human"];
        Site::with_env(scratch, &args, &[("RUNS", &url), ("TMPDIR", &folder)])
    }

    /// Waits until so many programs of `agents.slow` work.
    fn work(&self, count: usize) {
        wait_until("the programs work", || self.witness.pids().len() == count);
    }

    /// Counts what the programs of `agents.slow` have written.
    fn beats(&self) -> usize {
        fs::read(self.witness.path("beats")).map_or(0, |beats| beats.len())
    }

    /// Asserts that no program writes any more.
    #[track_caller]
    fn assert_silent(&self) {
        let before = self.beats();
        thread::sleep(Duration::from_millis(500));
        assert_eq!(self.beats(), before, "a program writes on");
    }

    /// Yields what programs of `workflows.it` wrote.
    fn ran(&self) -> String {
        String::from_utf8_lossy(&self.witness.read("ran")).into_owned()
    }
}

/// A program that must be alone, and writes whether it is. The first one is deaf to SIGTERM, so
/// that it lives until its guardian kills it.
const ALONE: &str = "exec 9>> one; flock -n 9 && echo alone $QUELL_ATTEMPT >> ran || echo beside \
                     another >> ran; test -e go && exit; echo $$ > pid-it; trap '' TERM; \
                     while :; do sleep 0.1 9>&-; done";

/// A program of which one runs at once. The first one is deaf to SIGTERM, and lives until it is
/// killed.
const SINGLE: &str = "echo $QUELL_RUN_ID $QUELL_ATTEMPT >> single; test -e second && exit; \
                      touch second; trap \"\" TERM; while :; do sleep 0.1; done";

/// Starts a run of a component.
#[track_caller]
fn start(site: &Site, component: &str, id: &str) {
    let body = json!({ "component": component, "input": null, "id": id });
    let (status, answer) = site.post("/v1/runs", &body);
    assert_eq!(status, 201, "{answer}");
}

/// Waits until a server shows a run like that, and yields it.
#[track_caller]
fn shown(site: &Site, id: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let mut run = Value::Null;
    wait_until(what, || {
        run = site.get(&format!("/v1/runs/{id}")).1;
        is_it(&run)
    });
    run
}

fn has_ended(run: &Value) -> bool {
    run["ended_at"].is_string()
}

/// Yields the ids of the runs that a server lists.
fn listed(site: &Site) -> BTreeSet<String> {
    let (status, all) = site.get("/v1/runs");
    assert_eq!(status, 200, "{all}");
    let runs = all["runs"].as_array().expect("a list").iter();
    runs.map(|run| run["id"].as_str().expect("an id").to_owned()).collect()
}

/// Ends a server, and asserts that it ended well.
#[track_caller]
fn end(site: Site) -> String {
    site.signal("TERM");
    let (ended, _scratch) = site.ended();
    ended.assert_code(0);
    ended.stderr
}
