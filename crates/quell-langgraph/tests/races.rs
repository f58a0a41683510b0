//! Cancel against completion: what a client is told is true.

use axum::http::Method;
use fastrand::Rng;
use quell_test_support::{is_repeat, seeds};
use serde_json::{Value, json};

use crate::talk::{Server, id_of};

/// Lets a cancel meet a run of so many milliseconds a step. Yields whether it was accepted.
async fn race(server: &Server, thread: &str, ms: u64, rng: &mut Rng) -> bool {
    let graph = ["echo", "steps", "nested"][rng.usize(..3)];
    let run = server.start(thread, graph, json!({"ms": ms})).await;
    for _ in 0..rng.u32(..12) {
        tokio::task::yield_now().await;
    }
    let by_ids = json!({"thread_id": thread, "run_ids": [id_of(&run)]});
    let is_rollback = rng.bool();
    let action = if is_rollback { "rollback" } else { "interrupt" };
    let (path, body) = match rng.u8(..3) {
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
    let server = Server::new();
    let (mut rounds, mut accepted) = (0, 0);
    for (_seed, mut rng) in seeds(2_000) {
        let thread = server.thread().await;
        // Where most cancels come too late, runs take longer, whatever the machine.
        let ms = u64::from(accepted * 3 < rounds);
        accepted += u64::from(race(&server, &thread, ms, &mut rng).await);
        rounds += 1;
    }
    let share = |count: u64| count * 100 / rounds;
    let is_race = share(accepted) >= 5 && share(rounds - accepted) >= 5;
    assert!(is_race || is_repeat(), "{accepted} of {rounds}");
}
