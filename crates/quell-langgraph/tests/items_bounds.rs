//! How many items of the key-value store an owner has, and how large they are together.

use std::sync::Arc;

use quell::EngineConfig;
use quell::store::MemoryStore;
use quell_http::{Access, Key};
use quell_langgraph::Options;
use quell_test_support::{ms, within};
use serde_json::json;

use crate::items::{delete, put};
use crate::talk::Server;

fn bounded() -> Options {
    let mut options = Options::default();
    (options.items_owner_max, options.items_owner_bytes_max) = (5, 2_000);
    options
}

/// Puts a small item; yields the status, and the words of a refusal.
async fn puts(server: &Server, nr: usize) -> (u16, String) {
    let body = json!({"namespace": ["n"], "key": nr.to_string(), "value": {}});
    let answer = put(server, body).await;
    (answer.status.as_u16(), answer.text)
}

fn full() -> (u16, String) {
    let text = "Too many items: one owner has 5 at most, of 2000 bytes together";
    (429, json!({ "detail": text }).to_string())
}

#[tokio::test]
async fn an_owner_has_so_many_items_of_so_many_bytes_on_every_store() {
    let file = std::env::temp_dir().join(format!("quell-items-{}.db", std::process::id()));
    let sqlite = Arc::new(quell_sqlite::SqliteStore::open(&file).unwrap());
    for config in [
        EngineConfig::new(),
        EngineConfig::new().store(Arc::new(MemoryStore::new())),
        EngineConfig::new().store(sqlite),
    ] {
        let access = Access::open().key(Key::new("ada", "ada-s")).key(Key::new("bob", "bob-s"));
        let server = Server::with(config, bounded(), access);
        let (ada, bob) = (server.saying("x-api-key", "ada-s"), server.saying("x-api-key", "bob-s"));
        for nr in 0..5 {
            assert_eq!(puts(&ada, nr).await.0, 204);
        }
        assert_eq!(puts(&ada, 5).await, full());
        assert_eq!(puts(&ada, 4).await.0, 204, "it is no other one");
        // Others have places of their own; of those who come at once no more get one.
        let all = futures::future::join_all((0..12).map(|nr| puts(&bob, nr))).await;
        assert_eq!(all.iter().filter(|(status, _)| *status == 204).count(), 5, "{all:?}");
        // Another process knows no more than the store.
        if server.service.engine().has_store() {
            let app = crate::support::router(server.service.clone(), bounded());
            let next = Server { app, ..ada.clone() };
            assert_eq!(puts(&next, 5).await, full());
        }
        assert_eq!(delete(&ada, json!(["n"]), "0").await.status, 204);
        assert_eq!(puts(&ada, 6).await.0, 204, "a place that is given back is free");
        let large = json!({"namespace": ["n"], "key": "6", "value": {"x": "y".repeat(1_500)}});
        assert_eq!(put(&ada, large.clone()).await.text, full().1);
        for nr in 1..5 {
            assert_eq!(delete(&ada, json!(["n"]), &nr.to_string()).await.status, 204);
        }
        assert_eq!(put(&ada, large).await.status, 204);
        assert_eq!(puts(&ada, 6).await.0, 204, "what is smaller is taken");
    }
    let _ = std::fs::remove_file(&file);
}

#[tokio::test]
async fn what_has_shrunk_or_is_over_counts_no_more_and_never_twice() {
    for config in [EngineConfig::new(), EngineConfig::new().store(Arc::new(MemoryStore::new()))] {
        let server = Server::with(config, bounded(), Access::open());
        let sized = async |key: &str, size: usize| {
            let value = json!({"x": "y".repeat(size)});
            put(&server, json!({"namespace": ["n"], "key": key, "value": value})).await.status
        };
        assert_eq!(sized("large", 1_500).await, 204);
        assert_eq!(sized("other", 1_000).await, 429);
        assert_eq!(sized("large", 1).await, 204);
        assert_eq!(sized("other", 1_000).await, 204, "what has shrunk leaves room at once");
        for key in ["large", "other"] {
            assert_eq!(delete(&server, json!(["n"]), key).await.status, 204);
        }
        for nr in 0..5 {
            let key = nr.to_string();
            let brief = json!({"namespace": ["n"], "key": key, "value": {}, "ttl": 0.001});
            assert_eq!(put(&server, brief).await.status, 204);
        }
        // Their time is over, and so is that in which nothing is counted anew.
        tokio::time::sleep(ms(1_100)).await;
        // They are counted anew, and left out then; in memory they have to leave first.
        let _ = puts(&server, 10).await;
        assert_eq!(puts(&server, 0).await.0, 204);
        for nr in 1..5 {
            assert_eq!(delete(&server, json!(["n"]), &nr.to_string()).await.status, 204);
        }
        let mut told = Vec::new();
        for nr in 10..15 {
            told.push(puts(&server, nr).await.0);
        }
        assert_eq!(told, [204, 204, 204, 204, 429], "with the one that was put again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_nodes_an_owner_has_so_many_items_together() {
    let nodes = crate::crons_stored::three_with(bounded()).await;
    let mut told = Vec::new();
    for nr in 0..9 {
        told.push(puts(&nodes[nr % 3], nr).await.0);
    }
    assert_eq!(told, [204, 204, 204, 204, 204, 429, 429, 429, 429]);
    assert_eq!(delete(&nodes[2], json!(["n"]), "0").await.status, 204);
    within("its place is free", async {
        while puts(&nodes[0], 9).await.0 != 204 {
            tokio::time::sleep(ms(20)).await;
        }
    })
    .await;
    assert_eq!(puts(&nodes[1], 10).await, full());
}
