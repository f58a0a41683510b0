//! The examples say what happens, and their witnesses agree.

// A model plays no examples.
#![cfg(not(any(quell_loom, quell_shuttle)))]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

/// What was printed, by module.
static PRINTED: LazyLock<Mutex<HashMap<&str, Vec<String>>>> = LazyLock::new(Mutex::default);

/// Shadows the macro of the standard library in the modules below, and keeps each line.
macro_rules! println {
    ($($words:tt)*) => {{
        let line = format!($($words)*);
        std::println!("{line}");
        crate::PRINTED.lock().unwrap().entry(module_path!()).or_default().push(line);
    }};
}

#[expect(dead_code, reason = "here nobody calls its `main`")]
#[path = "../examples/blocking_code.rs"]
mod blocking_code;
#[expect(dead_code, reason = "here nobody calls its `main`")]
#[path = "../examples/cancel_tree.rs"]
mod cancel_tree;
#[expect(dead_code, reason = "here nobody calls its `main`")]
#[path = "../examples/grace_and_partial.rs"]
mod grace_and_partial;
#[expect(dead_code, reason = "here nobody calls its `main`")]
#[path = "../examples/hooks_and_shield.rs"]
mod hooks_and_shield;
#[expect(dead_code, reason = "here nobody calls its `main`")]
#[path = "../examples/shutdown.rs"]
mod shutdown;

/// Yields what an example printed. Each is played by one test.
fn printed(example: &str) -> Vec<String> {
    let printed = PRINTED.lock().unwrap();
    let of = |module: &&str| module.ends_with(example);
    let module = printed.keys().copied().find(of).expect("the example printed something");
    printed[module].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_every_run_of_the_tree() {
    cancel_tree::cancel().await.unwrap();
    let lines = printed("cancel_tree");
    assert_eq!(
        lines[..2],
        ["before the cancel, 4 steps are at work", "the engine answers: accepted"]
    );
    assert_eq!(lines[2], "research cancelled: user-request: user pressed stop (by ada)");
    for (depth, name, count) in [(1, "web", 1), (1, "papers", 1), (2, "search", 2), (2, "read", 2)]
    {
        let row = "cancelled: parent-stopped: user pressed stop (by ada)";
        let row = format!("{}{name} {row}", "  ".repeat(depth));
        assert_eq!(lines.iter().filter(|line| **line == row).count(), count, "{row}");
    }
    let end =
        ["nothing of the tree executes any more: true", "after the cancel, 0 steps are at work"];
    assert_eq!(lines[9..], end);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grace_is_used_or_not_asked_for_or_overstayed() {
    grace_and_partial::stop_three().await.unwrap();
    let lines = printed("grace_and_partial");
    let expected = [
        r#"attentive returned Some("once upon a …") after the stop (parent-stopped)"#,
        r#"attentive is cancelled, ended in time, and left "once upon a""#,
        r#"naive is cancelled, ended in time, and left ["a first thought"]"#,
        r#"tardy is cancelled, dropped when the grace was over, and left "one more thing""#,
    ];
    assert_eq!(lines, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shield_finishes_and_then_hooks_run_the_last_one_first() {
    hooks_and_shield::stop_while_saving().await.unwrap();
    let lines = printed("hooks_and_shield");
    let expected = [
        "the machine is rented: true",
        "the stop comes while the body saves",
        "shield: the weights are saved, although the run is to stop",
        "hook: scratch files are deleted",
        "hook: the machine is given back, because of user-request",
        "trainer is cancelled, with errors of cleanup: 0",
        "the machine is rented: false",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closure_that_does_not_ask_is_abandoned_and_named() {
    blocking_code::stop_threads().await.unwrap();
    let lines = printed("blocking_code");
    let expected = [
        "2 threads are at work",
        "cruncher is cancelled, on time; quiescent: false",
        "no longer waited for: blocking work of stubborn",
        "1 thread is still at work",
        "later; quiescent: true",
        "0 threads are at work",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_stops_each_run_at_its_stage() {
    shutdown::shut_down().await.unwrap();
    let lines = printed("shutdown");
    let cause = "cancelled: shutdown: engine is shutting down";
    let expected = [
        "chat says goodbye: shutdown",
        "a run that comes late is refused: engine is shutting down",
        &format!("batch is {cause}"),
        &format!("chat is {cause}"),
        &format!("fetch is {cause}"),
        "of 3 runs, 3 were cancelled",
        "still executing: 0",
        "steps of the batch that were torn: 0",
    ];
    assert_eq!(lines, expected);
}
