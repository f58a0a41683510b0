//! Cancel against completion: what a client is told is true.

use axum::http::Method;
use serde_json::{Value, json};

use crate::talk::{Server, id_of};

/// One step of a small generator: races need many seeds, not good ones.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Yields whether the cancel was accepted.
async fn race(server: &Server, thread: &str, mut seed: u64) -> bool {
    let graph = ["echo", "steps", "nested"][usize::try_from(next(&mut seed) % 3).unwrap()];
    let run = server.start(thread, graph, json!({"ms": 0})).await;
    for _ in 0..next(&mut seed) % 12 {
        tokio::task::yield_now().await;
    }
    let by_ids = json!({"thread_id": thread, "run_ids": [id_of(&run)]});
    let is_rollback = next(&mut seed).is_multiple_of(2);
    let action = if is_rollback { "rollback" } else { "interrupt" };
    let (path, body) = match next(&mut seed) % 3 {
        0 => (format!("{run}/cancel?action={action}"), Value::Null),
        1 => (format!("{run}/cancel?wait=1&action={action}"), Value::Null),
        _ => (format!("/runs/cancel?action={action}"), by_ids),
    };
    let answer = server.send(Method::POST, &path, &body.to_string()).await;
    let told = answer.header("quell-disposition").to_owned();
    let joined = server.get(&format!("{run}/join")).await;
    assert_eq!(joined.status, 200);
    let status = server.status(&run).await;
    match (answer.status.as_u16(), &*told, &*status, is_rollback) {
        (200 | 202 | 204, "accepted", "interrupted", false)
        | (200 | 202 | 204, "accepted", "gone", true) => true,
        (404, "already-terminal", "success", _) => false,
        other => panic!("{graph} {path}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_was_accepted_never_ends_in_success() {
    let long = std::env::var_os("QUELL_LONG").is_some();
    let rounds: u64 = if long { 20_000 } else { 2_000 };
    let seed = std::env::var("QUELL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos())
    });
    eprintln!("QUELL_SEED={seed}");
    let server = Server::new();
    let mut accepted = 0;
    for round in 0..rounds {
        let thread = server.thread().await;
        accepted += u64::from(race(&server, &thread, seed.wrapping_add(round * 7919)).await);
    }
    let share = |count: u64| count * 100 / rounds;
    eprintln!("accepted {accepted} of {rounds}");
    assert!(share(accepted) >= 5 && share(rounds - accepted) >= 5, "{accepted} of {rounds}");
}
