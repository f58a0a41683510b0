//! Clients that do what they like to the threads of three nodes on one `PostgreSQL`.

use std::sync::Arc;

use quell::EngineConfig;
use quell_postgres::{PostgresNode, PostgresOptions};
use quell_test_support::PostgresServer;

use super::clients::{Load, Size};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_nodes_keep_their_promises_whatever_clients_do() {
    let server = PostgresServer::shared();
    let database = server.database();
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        let mut options = PostgresOptions::new(server.url(&database));
        options.node = Some(name.to_owned());
        let node = Arc::new(PostgresNode::open(options).await.unwrap());
        nodes.push(EngineConfig::new().node(node));
    }
    Load::of(nodes, Size::by_now()).play().await;
}
