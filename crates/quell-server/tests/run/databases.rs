//! `quell runs`, `show`, `events RUN`, `nodes` and `store` on a database, whoever has it.

use std::sync::Arc;
use std::time::Duration;

use quell::store::{Store, StoreError};
use quell::{Engine, EngineConfig, RunId, RunStatus, Shutdown};
use quell_postgres::{PostgresNode, PostgresOptions, PostgresStore};
use quell_test_support::PostgresServer;
use quell_test_support::records::{accept, end, epoch, event};
use serde_json::Value;

use crate::support::{Ended, Scratch};

/// A database of a server, which wants no password and is given one, that is told to nobody.
struct Database {
    url: String,
    name: String,
}

impl Database {
    fn new() -> Self {
        let server = PostgresServer::shared();
        let name = server.database();
        let url = server.url(&name).replacen("quell@", "quell:S3CRETpass@", 1);
        Self { url, name }
    }

    fn sql(&self, sql: &str) -> String {
        PostgresServer::shared().sql(&self.name, &format!("set search_path = quell; {sql}"))
    }

    async fn node(&self, name: &str) -> Arc<PostgresNode> {
        let mut options = PostgresOptions::new(&*self.url);
        (options.node, options.lease) = (Some(name.into()), Duration::from_mins(10));
        Arc::new(PostgresNode::open(options).await.expect("a node"))
    }

    /// Runs `quell` on it, and yields what it prints.
    #[track_caller]
    fn read(&self, scratch: &Scratch, args: &[&str]) -> String {
        let ended = self.run(scratch, args);
        ended.assert_code(0);
        assert_eq!(ended.stderr, "");
        ended.stdout
    }

    #[track_caller]
    fn run(&self, scratch: &Scratch, args: &[&str]) -> Ended {
        let ended = scratch.run(&[args, &["--store", &self.url]].concat());
        assert_untold(&ended);
        ended
    }
}

#[track_caller]
fn assert_untold(ended: &Ended) {
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert!(!told.contains("S3CRET"), "a password is told: {told}");
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn run(name: &str) -> RunId {
    RunId::from_text(name)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    threads.expect("a runtime").block_on(future)
}

/// Stores a run that ended with two events, and one that is live.
async fn fill(store: &impl Store) -> Result<(), StoreError> {
    let (over, epoch) = (run("over"), epoch(store));
    store.append(vec![accept(over, epoch), event(over, epoch, 1), event(over, epoch, 2)]).await?;
    store.append(vec![end(over, epoch, RunStatus::Failed), accept(run("live"), epoch)]).await
}

#[test]
fn runs_of_a_database_are_listed_shown_and_told_while_a_node_has_them() {
    let (database, scratch) = (Database::new(), Scratch::new());
    block_on(async {
        let node = database.node("a").await;
        fill(&*node).await.expect("stored");
        let ids = |more: &[&str]| {
            let listed = lines(&database.read(&scratch, &[&["runs", "--json"], more].concat()));
            let id = |run: &Value| run["run"].as_str().expect("an id").to_owned();
            listed.iter().map(id).collect::<Vec<_>>()
        };
        let (over, live) = (run("over").to_string(), run("live").to_string());
        assert_eq!(ids(&[]), [&*live, &over]);
        assert_eq!(ids(&["--limit", "1"]), [&*live]);
        assert_eq!(ids(&["--status", "failed"]), [&*over]);
        let text = database.read(&scratch, &["show", &over]);
        assert!(text.contains("failed"), "{text}");
        let report: Value =
            serde_json::from_str(&database.read(&scratch, &["show", &over, "--json"])).unwrap();
        assert_eq!((&report["run"], &report["status"]), (&over.clone().into(), &"failed".into()));
        // What its UUID alone begins with is enough.
        assert_eq!(database.read(&scratch, &["show", &over[..8]]), text);
        assert!(database.read(&scratch, &["show", &live]).contains("queued"));
        let events = lines(&database.read(&scratch, &["events", &over, "--json"]));
        let seqs: Vec<_> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
        assert_eq!(seqs[..2], [1, 2]);
        let ended = database.run(&scratch, &["show", "no-such-run"]);
        ended.assert_code(2);
        assert!(ended.stderr.contains("no run `no-such-run` is in postgres://"), "{ended:?}");
        assert!(ended.stderr.contains("`quell runs` of the same store lists"), "{ended:?}");
        // The same by a variable.
        let mut listed = scratch.quell(&["runs", "--store-env", "RUNS_URL", "--json"]);
        let listed = listed.env("RUNS_URL", &database.url).output().expect("it ends");
        assert_eq!(listed.status.code(), Some(0), "{listed:?}");
        assert_eq!(lines(&String::from_utf8_lossy(&listed.stdout)).len(), 2);
        node.close().await.expect("closed");
    });
}

#[test]
fn nodes_of_a_database_are_listed_as_text_and_as_json() {
    let (database, scratch) = (Database::new(), Scratch::new());
    block_on(async {
        let (a, b) = (database.node("a").await, database.node("b\u{7}").await);
        fill(&*a).await.expect("stored");
        b.close().await.expect("closed");
        database.sql("update node set lease_until = now() - interval '90 s' where name <> 'a'");
        // As an earlier process has left it, and nobody knows of.
        database.sql(
            "insert into hold (run, nr, what, name, member, boot, fate)
            select ord, 99, 'process', 'make', 'a', 0, 2 from run where status >= 3 limit 1",
        );
        let listed = lines(&database.read(&scratch, &["nodes", "--json"]));
        let [of_a, of_b]: [Value; 2] = listed.try_into().expect("two nodes");
        assert_eq!((&of_a["name"], &of_a["connected"]), (&"a".into(), &true.into()));
        assert_eq!((&of_a["live"], &of_a["queued"]), (&1.into(), &1.into()));
        assert!(of_a["lease_left_ms"].as_u64().is_some_and(|left| left <= 600_000), "{of_a}");
        assert_eq!((&of_a["lease_over_ms"], &of_a["stops_waiting"]), (&Value::Null, &0.into()));
        let process = of_a["process"].as_str().expect("a process");
        assert!(process.contains(&format!("quell, process {}", std::process::id())), "{process}");
        let in_doubt = [&of_a, &of_b].map(|node| node["runs_in_doubt"].as_u64());
        assert_eq!(in_doubt, [Some(1), Some(0)]);
        assert_eq!((&of_b["connected"], &of_b["process"]), (&false.into(), &Value::Null));
        assert!(of_b["lease_over_ms"].as_u64().is_some_and(|over| over >= 90_000), "{of_b}");
        let text = database.read(&scratch, &["nodes"]);
        let listed: Vec<_> = text.lines().collect();
        let [of_a, of_b]: [&str; 2] = listed.try_into().expect("two nodes");
        assert!(of_a.starts_with("a  ") && of_a.contains("  connected "), "{text}");
        let says = "1 live, 1 queued  1 run in doubt  quell, process ";
        assert!(of_a.contains("lease for ") && of_a.contains(says), "{text}");
        assert!(of_b.starts_with("b\\u{7} ") && of_b.contains("  not connected "), "{text}");
        assert!(of_b.contains("lease over since ") && of_b.contains("0 live"), "{text}");
        a.close().await.expect("closed");
    });
    let ended = scratch.run(&["nodes", "--store", "runs.db"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("nodes share a database"), "{ended:?}");
}

#[test]
fn a_node_that_was_drained_is_listed_otherwise_than_one_that_is_gone() {
    let (database, scratch) = (Database::new(), Scratch::new());
    block_on(async {
        for (name, is_drained) in [("drained", true), ("gone", false)] {
            let node = database.node(name).await;
            if is_drained {
                let engine = Engine::with_config(EngineConfig::new().node(Arc::clone(&node)));
                engine.shutdown(Shutdown::default()).await;
            }
            node.close().await.expect("closed");
        }
        database.sql("update node set lease_until = now() - interval '9 s' where not drained");
        let listed = lines(&database.read(&scratch, &["nodes", "--json"]));
        let drained: Vec<_> = listed.iter().map(|node| (&node["name"], &node["drained"])).collect();
        let (yes, no) = (true.into(), false.into());
        assert_eq!(drained, [(&"drained".into(), &yes), (&"gone".into(), &no)]);
        assert!(listed.iter().all(|node| node["lease_over_ms"].is_u64()), "{listed:?}");
        let text = database.read(&scratch, &["nodes"]);
        let [drained, gone]: [&str; 2] = text.lines().collect::<Vec<_>>().try_into().expect("two");
        assert!(drained.contains("  drained since ") && !drained.contains("lease"), "{text}");
        assert!(gone.contains("  lease over since 9"), "{text}");
    });
}

#[test]
fn a_database_is_checked_with_its_settings_and_counts_and_copied_by_its_own_programs() {
    let (database, scratch) = (Database::new(), Scratch::new());
    block_on(async {
        let store = PostgresStore::open(PostgresOptions::new(&*database.url)).await;
        let store = store.expect("a store");
        fill(&store).await.expect("stored");
        let check = || {
            let ended = scratch.run(&["store", "check", &database.url]);
            assert_untold(&ended);
            ended
        };
        let ended = check();
        ended.assert_code(0);
        for says in [
            format!("/{}: fine\n", database.name).as_str(),
            "PostgreSQL ",
            "fsync    on",
            "synchronous_commit on; no commit waits for a standby",
            "schema   ",
            "roots    2, 1 of them live",
            "events   2",
        ] {
            assert!(ended.stdout.contains(says), "{says}: {ended:?}");
        }
        let mut by_name = scratch.quell(&["store", "check", "--store-env", "RUNS_URL"]);
        let by_name = by_name.env("RUNS_URL", &database.url).output().expect("it ends");
        assert_eq!(by_name.status.code(), Some(0), "{by_name:?}");
        database.sql(&format!("update run set kind = 'swarm' where id = '{}'", run("live")));
        let ended = check();
        ended.assert_code(2);
        assert!(ended.stderr.contains("runs that cannot be read: 1"), "{ended:?}");
        let listed = database.run(&scratch, &["runs"]);
        listed.assert_code(1);
        assert_eq!(listed.stdout.lines().count(), 1, "{listed:?}");
        database.sql("update run set kind = 'agent'");
        let off = "alter database {} set synchronous_commit = off";
        database.sql(&off.replace("{}", &database.name));
        let ended = check();
        ended.assert_code(2);
        let says = "the setting synchronous_commit of the store is off, and must be on";
        assert!(ended.stderr.contains(says), "{ended:?}");
        assert!(ended.stderr.contains("roots    2, 1 of them live"), "{ended:?}");
        let ended = scratch.run(&["store", "backup", &database.url, "copy"]);
        ended.assert_code(2);
        assert_untold(&ended);
        assert!(
            ended.stderr.contains("`pg_dump --schema=quell --file=copy DATABASE`"),
            "{ended:?}"
        );
        store.close().await.expect("closed");
    });
}

#[test]
fn what_is_no_store_is_told_with_what_to_do_and_no_password_is() {
    let (database, scratch) = (Database::new(), Scratch::new());
    let url = &*database.url;
    let unreadable = url.replace("/test_", "/test_?sslmode=never&x=");
    for (args, says) in [
        (&["runs", "--store", url][..], "there is no such store"),
        (&["show", "x", "--store", url], "has no schema \"quell\"; who opens it to write makes it"),
        (&["events", "x", "--store", url], "there is no such store"),
        (&["nodes", "--store", url], "there is no such store"),
        (&["store", "check", url], "there is no such store"),
        (&["runs", "--store", &unreadable], "the address cannot be read"),
        (&["nodes", "--store", "postgres://u:S3CRET@127.0.0.1:1/d"], "cannot be reached"),
        (&["runs", url], "unrecognized subcommand"),
        (&["nodes", "--store-env", url], "is no name of an environment variable"),
        (&["nodes", "--store-env", "NO_SUCH_URL"], "NO_SUCH_URL is not set"),
        (&["runs", "--store", url, "--store-env", "A"], "cannot be used with"),
        (&["runs"], "--store <FILE | URL>"),
        (&["store", "check"], "<FILE | URL>"),
        (&["events", "x"], "--store <FILE | URL>"),
        (&["events", "--store", url], "<RUN>"),
    ] {
        let ended = scratch.run(args);
        ended.assert_code(2);
        assert_untold(&ended);
        assert_eq!(ended.stdout, "", "{args:?}");
        assert!(ended.stderr.contains(says), "{args:?}: {ended:?}");
    }
    // Nothing was made.
    let schemas = "select count(*) from pg_namespace where nspname = 'quell'";
    assert_eq!(PostgresServer::shared().sql(&database.name, schemas), "0");
    block_on(async {
        PostgresStore::open(PostgresOptions::new(url)).await.unwrap().close().await.unwrap();
    });
    database.sql("update meta set schema = 99");
    let ended = database.run(&scratch, &["runs"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("the store has schema 99, this release knows"), "{ended:?}");
}
