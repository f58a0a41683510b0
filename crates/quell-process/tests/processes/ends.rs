//! How a process ends by itself, and what it leaves behind.

use std::time::{Duration, Instant};

use quell::RunStatus;
#[cfg(target_os = "linux")]
use quell::{RunSpec, StopDelivery};
use quell_process::Encoding;

use crate::support::{
    ATTEMPTS, PATIENCE, Scratch, UNKNOWN, eventually, failure_of, leave_out_of_reach, output_of,
    run, script, started_script,
};
#[cfg(target_os = "linux")]
use crate::support::{IS_NUMBERED, start};

#[tokio::test]
async fn a_failure_names_the_exit_code_and_the_last_lines_of_stderr() {
    let (message, partial) =
        failure_of(script("echo out; echo early >&2; echo oops >&2; exit 3")).await;
    assert_eq!(message, "`sh` ended with exit status: 3: early\noops");
    let partial = partial.unwrap();
    assert_eq!(partial["exit_code"], 3);
    assert_eq!(partial["signal"], serde_json::Value::Null);
    assert_eq!(partial["stdout"], "out\n");
    assert_eq!(partial["stderr_tail"], "early\noops");
}

#[tokio::test]
async fn a_failure_names_the_signal() {
    let (message, partial) = failure_of(script("kill -SEGV $$")).await;
    assert!(message.contains("SIGSEGV"), "{message}");
    let partial = partial.unwrap();
    assert_eq!((&partial["exit_code"], &partial["signal"]), (&serde_json::Value::Null, &11.into()));
}

#[tokio::test]
async fn without_stderr_a_failure_quotes_stdout() {
    let (message, _) = failure_of(script("echo '1 test failed'; exit 1")).await;
    assert_eq!(message, "`sh` ended with exit status: 1: 1 test failed");
}

#[tokio::test]
async fn stderr_is_no_failure() {
    let output = output_of(script("echo careful >&2; printf done")).await;
    assert_eq!((output.exit_code, output.signal), (Some(0), None));
    assert_eq!((output.stdout.as_str(), output.stderr_tail.as_str()), ("done", "careful"));
    assert_eq!((output.stdout_bytes, output.stderr_bytes), (4, 8));
}

/// Writes 800,000 bytes at once, and ends: nobody has to read for that.
#[cfg(target_os = "linux")]
const WRITES_AT_ONCE: &str = r"
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    static char text[800000];
    fcntl(1, F_SETPIPE_SZ, 1 << 20);
    memset(text, 'x', sizeof text);
    return write(1, text, sizeof text) != sizeof text;
}
";

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_is_in_the_pipe_is_kept_although_the_runtime_is_held_up() {
    let scratch = Scratch::new("held-up");
    scratch.compile(WRITES_AT_ONCE);
    let held_up = tokio::spawn(async {
        loop {
            // For longer than a body waits for who holds on to a pipe.
            std::thread::sleep(Duration::from_millis(1_100));
            tokio::task::yield_now().await;
        }
    });
    let output = output_of(script("exec ./program").cwd(scratch.path())).await;
    held_up.abort();
    assert_eq!((output.stdout.len(), output.stdout_bytes), (800_000, 800_000));
    assert!(!output.stdout_truncated);
}

#[tokio::test]
async fn output_over_its_bound_is_cut_and_marked() {
    let output = output_of(script("printf 0123456789").output_bytes_max(4)).await;
    assert_eq!((output.stdout.as_str(), output.stdout_bytes), ("0123", 10));
    assert!(output.stdout_truncated);
}

#[tokio::test]
async fn output_of_exactly_its_bound_is_whole() {
    let output = output_of(script("printf 0123").output_bytes_max(4)).await;
    assert!(output.stdout == "0123" && !output.stdout_truncated);
}

#[tokio::test]
async fn a_bound_of_zero_keeps_nothing() {
    let output = output_of(script("printf 0123").output_bytes_max(0)).await;
    assert!(output.stdout.is_empty() && output.stdout_truncated);
    assert_eq!(output.stdout_bytes, 4);
}

#[tokio::test]
async fn binary_output_is_kept_byte_for_byte() {
    let output = output_of(script(r"printf '\377\000\n\200'")).await;
    assert_eq!(output.encoding, Encoding::Base64);
    assert_eq!(output.into_stdout_bytes().unwrap(), [0xff, 0, b'\n', 0x80]);
}

#[tokio::test]
async fn what_a_process_leaves_running_ends_with_it() {
    let scratch = Scratch::new("left-running");
    let text =
        "sh -c 'echo $$ > pid; while :; do sleep 1; done' & until [ -s pid ]; do :; done; echo ok";
    let output = output_of(script(text).cwd(scratch.path())).await;
    assert_eq!(output.stdout, "ok\n");
    assert!(!scratch.pid("pid").await.is_alive());
}

#[tokio::test]
async fn what_ignores_sigterm_ends_with_it_too() {
    let scratch = Scratch::new("left-stubborn");
    let text = "trap '' TERM; sh -c 'echo $$ > pid; while :; do sleep 1; done' >/dev/null 2>&1 &
        until [ -s pid ]; do :; done; echo ok";
    let output = output_of(script(text).cwd(scratch.path())).await;
    assert_eq!(output.stdout, "ok\n");
    assert!(!scratch.pid("pid").await.is_alive());
}

#[tokio::test]
async fn what_hears_sigterm_may_still_say_something() {
    let text =
        "sh -c 'trap \"echo bye; exit\" TERM; echo ready; while :; do sleep 0.01; done' > log &
        until [ -s log ]; do :; done; exec cat log";
    for attempt in 0.. {
        let scratch = Scratch::new("says-bye");
        assert_eq!(output_of(script(text).cwd(scratch.path())).await.stdout, "ready\n");
        let log = std::fs::read_to_string(scratch.path().join("log")).unwrap();
        if log == "ready\nbye\n" {
            return;
        }
        // It has 500 ms, which may be too short on a busy machine.
        assert!(attempt < ATTEMPTS, "{log}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_left_the_group_ends_with_it() {
    let scratch = Scratch::new("left-group");
    let text =
        "setsid sh -c 'trap \"\" TERM; echo $$ > pid; while :; do sleep 1; done' >/dev/null 2>&1 &
        until [ -s pid ]; do :; done";
    output_of(script(text).cwd(scratch.path())).await;
    assert!(!scratch.pid("pid").await.is_alive());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn i4_what_left_the_group_and_gave_up_the_mark_is_dead_when_the_run_is_quiescent() {
    let scratch = Scratch::new("left-group-and-mark");
    for delivery in [None, Some(StopDelivery::Signal), Some(StopDelivery::Drop)] {
        let then = if delivery.is_some() { "exec sleep 600" } else { ":" };
        let text = format!(
            "{IS_NUMBERED}; env -i PATH=\"$PATH\" setsid sh -c 'echo $$ > pid; exec sleep 600' \
             >/dev/null 2>&1 & until [ -s pid ]; do :; done; {then}"
        );
        let spec = RunSpec::step("program").grace(PATIENCE);
        let spec = spec.stop_delivery(delivery.unwrap_or(StopDelivery::Signal));
        let started = start(spec, script(&text).cwd(scratch.path()));
        let stray = scratch.pid("pid").await;
        let report =
            if delivery.is_some() { started.stop().await.1 } else { started.end().await.1 };
        let is_alive = stray.is_alive();
        stray.kill();
        assert!(report.quiescent && !is_alive, "{delivery:?}: {report:?}");
        std::fs::remove_file(scratch.path().join("pid")).unwrap();
    }
}

/// It holds stdout, is without the mark when the program ends, and has it again afterwards.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn i4_whoever_holds_stdout_and_carries_the_mark_is_dead_when_the_run_is_quiescent() {
    let again = "echo $$ > pid; until grep -q ') Z' /proc/$P/stat; do :; done
        sleep 0.2; QUELL_PROCESS_IDS=$M exec sleep 600";
    for attempt in 0.. {
        let scratch = Scratch::new("holds-stdout-again");
        std::fs::write(scratch.path().join("again.sh"), again).unwrap();
        let text = format!(
            "{UNKNOWN} P=$$ M=\"$QUELL_PROCESS_IDS\" setsid sh again.sh &
            until [ -s pid ]; do :; done; echo ok"
        );
        let (_, report) = run(started_script(&text).cwd(scratch.path())).await;
        assert!(report.status == RunStatus::Completed && report.quiescent, "{report:?}");
        let stray = scratch.pid("pid").await;
        let is_left = stray.is_alive();
        stray.kill();
        if !is_left {
            return;
        }
        // A busy machine gives it the mark after the last look, or not at all.
        assert!(attempt < ATTEMPTS, "it is alive");
    }
}

#[tokio::test]
async fn whoever_is_out_of_reach_and_holds_stdout_does_not_hold_the_run() {
    let scratch = Scratch::new("holds-stdout");
    let begun_at = Instant::now();
    let text = format!("{}; until [ -s pid ]; do :; done; echo ok", leave_out_of_reach());
    let output = output_of(started_script(&text).cwd(scratch.path())).await;
    assert_eq!(output.stdout, "ok\n");
    assert!(begun_at.elapsed() < PATIENCE);
    // It is what the test says it is: neither in the group, nor marked, nor numbered.
    let stray = scratch.pid("pid").await;
    assert!(stray.is_alive());
    stray.kill();
    eventually("it is dead", || (!stray.is_alive()).then_some(())).await;
}
