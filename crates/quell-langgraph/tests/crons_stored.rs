//! Crons with a store: after a restart, and of several nodes.

use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use futures::poll;
use quell::store::MemoryStore;
use quell::{EngineConfig, Recovery, Shutdown};
use quell_http::Access;
use quell_langgraph::Options;
use quell_postgres::{PostgresNode, PostgresOptions};
use quell_sqlite::SqliteStore;
use quell_test_support::{PostgresServer, ms, within};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::crons::{CRONS, OFTEN, delete, found, made, now, options, patch, runs, times};
use crate::talk::{Says as _, Server};
use crate::webhooks_stored::process;

async fn of_file(file: &Path) -> Server {
    // The process before may have it for a moment.
    let opened = std::iter::repeat_with(|| SqliteStore::open(file));
    let paced = opened.inspect(|_| std::thread::sleep(Duration::from_millis(10)));
    let store = paced.take(500).find_map(Result::ok).unwrap();
    let config = EngineConfig::new().store(Arc::new(store));
    let server = Server::with(config, options(), Access::open());
    server.service.engine().recover(|_| Recovery::Fail).await.unwrap();
    server
}

async fn three() -> Vec<Server> {
    three_with(options()).await
}

pub(crate) async fn three_with(options: Options) -> Vec<Server> {
    let server = PostgresServer::shared();
    let database = server.database();
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        let mut pg = PostgresOptions::new(server.url(&database));
        pg.node = Some(name.to_owned());
        let node = Arc::new(PostgresNode::open(pg).await.unwrap());
        let config = EngineConfig::new().node(node);
        nodes.push(Server::with(config, options.clone(), Access::open()));
    }
    nodes
}

#[test]
fn a_cron_goes_on_after_a_restart_and_makes_one_run_for_the_times_when_nobody_was_there() {
    let folder = env::temp_dir().join(format!("quell-crons-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("runs.db");
    let (thread, cron, next) = process(async {
        let server = of_file(&file).await;
        let thread = server.thread().await;
        let body = json!({"assistant_id": "echo", "schedule": OFTEN, "input": {}});
        let (cron, _) = made(&server, &format!("/threads/{thread}/runs/crons"), body).await;
        runs(&server, &thread, 1).await;
        server.service.engine().shutdown(Shutdown::default()).await;
        let next = server.get(&cron).await.json()["next_run_date"].as_str().unwrap().to_owned();
        (thread, cron, next)
    });
    // Three of its times pass.
    std::thread::sleep(ms(3_100));
    process(async {
        let since = now();
        let server = of_file(&file).await;
        let all = within("it goes on", async {
            loop {
                let all = times(&runs(&server, &thread, 1).await);
                if all.iter().any(|time| *time >= since) {
                    return all;
                }
                sleep(ms(20)).await;
            }
        })
        .await;
        let missed = all.iter().filter(|time| (&next..&since).contains(time));
        assert_eq!(missed.collect::<Vec<_>>(), [&next], "{since} {all:?}");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
        assert_eq!(delete(&server, &cron).await, 204);
        server.service.engine().shutdown(Shutdown::default()).await;
    });
    process(async {
        let server = of_file(&file).await;
        assert_eq!(found(&server, json!({})).await, Vec::<Value>::new());
    });
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_three_nodes_each_time_makes_one_run_until_one_of_them_deletes_the_cron() {
    let nodes = three().await;
    let thread = nodes[0].thread().await;
    let body = json!({"assistant_id": "echo", "schedule": OFTEN, "input": {"tag": "due"}});
    let path = format!("/threads/{thread}/runs/crons");
    let (cron, _) = made(&nodes[0], &path, body).await;
    // All know its times from now on.
    for (nth, node) in nodes.iter().enumerate() {
        patch(node, &cron, json!({"metadata": {"by": nth}})).await;
    }
    runs(&nodes[2], &thread, 4).await;
    // The witness of what was executed has no more than there are.
    let marks = |node: &Server| node.witness.get("due").1;
    let done = || {
        let all = nodes.iter().flat_map(marks);
        all.filter(|mark| mark.ends_with(":start")).count()
    };
    let known = done();
    assert!((3..=runs(&nodes[0], &thread, 4).await.len()).contains(&known), "{known}");
    patch(&nodes[1], &cron, json!({"enabled": false})).await;
    let (other, _) =
        made(&nodes[0], CRONS, json!({"assistant_id": "echo", "schedule": OFTEN})).await;
    assert_eq!(delete(&nodes[2], &other).await, 204);
    let all = runs(&nodes[0], &thread, 4).await;
    let unique: BTreeSet<_> = times(&all).into_iter().collect();
    assert_eq!(unique.len(), all.len(), "{all:?}");
    // Another cron tells that two times have passed.
    let told = nodes[1].thread().await;
    let body = json!({"assistant_id": "echo", "schedule": OFTEN, "input": {}});
    let (telling, _) = made(&nodes[1], &format!("/threads/{told}/runs/crons"), body).await;
    runs(&nodes[1], &told, 2).await;
    assert_eq!(runs(&nodes[0], &thread, 4).await.len(), all.len());
    assert_eq!(nodes[0].send(Method::DELETE, &other, "").await.detail().0, 404);
    assert_eq!(delete(&nodes[0], &cron).await, 204);
    assert_eq!(delete(&nodes[2], &format!("/threads/{told}")).await, 204);
    assert_eq!(nodes[0].get(&telling).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cron_of_a_node_that_has_ended_is_run_by_the_one_that_takes_over() {
    let nodes = three().await;
    let thread = nodes[0].thread().await;
    let body = json!({"assistant_id": "echo", "schedule": OFTEN, "input": {}});
    let (_, row) = made(&nodes[0], &format!("/threads/{thread}/runs/crons"), body).await;
    nodes[0].service.engine().shutdown(Shutdown::default()).await;
    let before = runs(&nodes[1], &thread, 0).await.len();
    within("it is taken over", async {
        while nodes[1].service.engine().take_over(|_| Recovery::Fail).await.unwrap().is_none() {
            sleep(ms(50)).await;
        }
    })
    .await;
    let all = runs(&nodes[2], &thread, before + 2).await;
    let unique: BTreeSet<_> = times(&all).into_iter().collect();
    assert_eq!(unique.len(), all.len(), "{all:?}");
    assert!(all.iter().all(|run| run["metadata"]["cron_id"] == row["cron_id"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cron_that_another_node_has_deleted_takes_no_place() {
    let mut options = options();
    options.crons_owner_max = 1;
    let nodes = three_with(options).await;
    let body = json!({"assistant_id": "echo", "schedule": "@daily", "enabled": false});
    for nth in 0..6 {
        let (cron, _) = made(&nodes[nth % 2], CRONS, body.clone()).await;
        assert_eq!(nodes[1].post(CRONS, &body).await.status, 429);
        assert_eq!(delete(&nodes[2], &cron).await, 204);
    }
}

/// Sends a request whose caller goes away after so many steps.
async fn leave(server: &Server, (method, path, body): (Method, &str, &Value), steps: usize) {
    let body = body.to_string();
    let mut sending = Box::pin(server.send(method, path, &body));
    for _ in 0..steps {
        if poll!(&mut sending).is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

const CALLERS: usize = 24;

#[tokio::test]
async fn a_cron_whose_caller_has_gone_makes_its_runs_or_is_not_there() {
    let mut options = options();
    options.crons_owner_max = CALLERS;
    let config = EngineConfig::new().store(Arc::new(MemoryStore::new()));
    let server = Server::with(config, options, Access::open());
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs/crons");
    let body = json!({"assistant_id": "echo", "schedule": OFTEN, "input": {}});
    for steps in 0..CALLERS {
        leave(&server, (Method::POST, &path, &body), steps).await;
    }
    let ids = async || -> Vec<String> {
        let rows = found(&server, json!({"limit": 100})).await;
        rows.iter().map(|row| row["cron_id"].as_str().unwrap().to_owned()).collect()
    };
    within("each that is there makes a run", async {
        loop {
            let runs = runs(&server, &thread, 1).await;
            let ran: BTreeSet<_> =
                runs.iter().filter_map(|run| run["metadata"]["cron_id"].as_str()).collect();
            if ids().await.iter().all(|id| ran.contains(&**id)) {
                break;
            }
            sleep(ms(20)).await;
        }
    })
    .await;
    // Whoever goes away while it is deleted leaves no place taken, either.
    for (steps, id) in ids().await.into_iter().enumerate() {
        leave(&server, (Method::DELETE, &format!("{CRONS}/{id}"), &json!({})), steps).await;
    }
    let body = json!({"assistant_id": "echo", "schedule": "@daily", "enabled": false});
    within("there is room for as many as before", async {
        loop {
            for id in ids().await {
                delete(&server, &format!("{CRONS}/{id}")).await;
            }
            let mut made = 0;
            while server.post(CRONS, &body).await.status == 200 {
                made += 1;
            }
            if made == CALLERS {
                break;
            }
        }
    })
    .await;
}
