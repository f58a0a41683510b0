//! What a request changes it changes only if there is room for its answer.

use axum::http::Method;
use quell::EngineConfig;
use quell_http::{Access, Principal, ServiceLimits};
use quell_langgraph::{CONTRACT, Options};
use serde_json::{Value, json};

use crate::talk::Server;

/// Yields the key of what was made.
async fn made(server: &Server, path: &str, body: Value, key: &str) -> String {
    let answer = server.post(path, &body).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()[key].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_finds_no_room_for_its_answer_changes_nothing() {
    let mut options = Options::default();
    options.cron_bytes_max = 1 << 20;
    let server = Server::with(EngineConfig::new(), options, Access::open());
    let large = "x".repeat(200_000);
    let own = json!({ "metadata": { "large": large } });
    let thread = made(&server, "/threads", own, "thread_id").await;
    let own = json!({ "graph_id": "echo", "config": { "large": large } });
    let assistant = made(&server, "/assistants", own, "assistant_id").await;
    let daily = json!({ "assistant_id": "echo", "schedule": "@daily", "input": [large] });
    let cron = made(&server, "/runs/crons", daily, "cron_id").await;
    let (thread_path, assistant_path) =
        (format!("/threads/{thread}"), format!("/assistants/{assistant}"));
    let cron_path = format!("/runs/crons/{cron}");
    let asked = [
        (Method::PATCH, thread_path.clone(), json!({ "metadata": { "a": 1 } })),
        (Method::POST, format!("{thread_path}/copy"), json!({})),
        (Method::POST, "/threads".into(), json!({"thread_id": thread, "if_exists": "do_nothing"})),
        (Method::PATCH, assistant_path.clone(), json!({ "name": "new" })),
        (Method::POST, format!("{assistant_path}/latest"), json!({ "version": 1 })),
        (Method::PATCH, cron_path.clone(), json!({ "enabled": false })),
    ];
    let all = async || {
        let mut all = Vec::new();
        for path in [&thread_path, &assistant_path, &cron_path] {
            all.push(server.get(path).await.json());
        }
        all.push(server.post("/threads/count", &json!({})).await.json());
        all
    };
    let before = all().await;

    let view = server.service.view(CONTRACT, Principal::anonymous());
    let held = view.room_now(ServiceLimits::default().requests_bytes_max - 150_000).unwrap();
    for (method, path, body) in &asked {
        let answer = server.send(method.clone(), path, &body.to_string()).await;
        assert_eq!(answer.status, 429, "{method} {path}: {}", answer.text.len());
    }
    assert_eq!(server.get(&thread_path).await.status, 429);
    let minimal = server.saying("prefer", "return=minimal");
    let ttl = json!({ "ttl": 60 }).to_string();
    assert_eq!(minimal.send(Method::PATCH, &thread_path, &ttl).await.status, 204);
    drop(held);

    let mut now = all().await;
    assert_ne!(now[0]["updated_at"], before[0]["updated_at"], "it has a time now");
    now[0]["updated_at"] = before[0]["updated_at"].clone();
    assert_eq!(now, before);
    for (method, path, body) in &asked {
        let answer = server.send(method.clone(), path, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
    }
}
