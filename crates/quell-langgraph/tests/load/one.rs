//! Clients that do what they like to the threads of one process.

use std::env;
use std::sync::Arc;

use quell::EngineConfig;
use quell::store::MemoryStore;
use quell_sqlite::SqliteStore;

use super::clients::{Load, Size};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_process_keeps_its_promises_whatever_clients_do() {
    Load::of(vec![EngineConfig::new()], Size::by_now()).play().await;
    let store = Arc::new(MemoryStore::new());
    Load::of(vec![EngineConfig::new().store(store)], Size::by_now()).play().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_process_with_a_file_keeps_its_promises_whatever_clients_do() {
    let folder = env::temp_dir().join(format!("quell-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let store = Arc::new(SqliteStore::open(folder.join("runs.db")).unwrap());
    Load::of(vec![EngineConfig::new().store(store)], Size::by_now()).play().await;
    let _ = std::fs::remove_dir_all(&folder);
}
