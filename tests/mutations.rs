//! The tests tested: each deliberate fault of the engine makes the test of its promise fail.
//!
//! The suite is built once more with `--cfg quell_mutation`, which makes the faults of
//! `crates/quell/src/faults.rs` possible; `QUELL_MUTATION` switches one on. Each fault runs only
//! the test that it must fail.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::tidy;

/// Each fault, and the test that must fail with it and pass without.
const FAULTS: &[(&str, &str)] = &[
    ("forget-child", "tree::i1_a_parent_that_is_through_waits_for_every_attached_child"),
    ("skip-signal", "tree::i2_every_live_descendant_is_signalled_when_cancel_returns"),
    ("second-terminal-event", "tree::i3_a_run_has_one_terminal_event_and_only_quiesced_follows"),
    (
        "end-before-destructors",
        "tree::i4_a_quiescent_run_has_no_body_destructor_hook_or_closure_running",
    ),
    ("claim-quiescence", "blocked::i4_quiesced_follows_when_an_abandoned_body_has_really_ended"),
    ("blame-the-stopped", "tree::i5_errors_and_panics_while_stopping_are_no_failures"),
    ("overwrite-cause", "requests::i6_the_first_cause_wins_and_nothing_overwrites_it"),
    ("ignore-a-shorter-grace", "requests::i7_modes_only_rise_and_deadlines_only_shrink"),
    ("skip-fence", "fence::i8_after_a_stop_nothing_of_the_run_starts_and_the_refusal_says_why"),
    (
        "accept-too-late",
        "races::i9_an_accepted_cancel_never_ends_completed_and_a_completed_run_refuses_it",
    ),
    (
        "forget-the-deadline-above",
        "time::i10_the_earliest_deadline_of_a_run_and_its_ancestors_counts",
    ),
    ("time-out-the-children", "time::i11_only_the_run_that_declared_the_deadline_is_timed_out"),
    ("abort-late", "time::i12_depth_does_not_multiply_the_grace"),
    ("skip-abandon", "blocked::i12_every_program_is_terminal_by_grace_and_abort_wait"),
    ("hide-the-stop", "time::i13_a_shield_holds_until_the_hard_deadline_and_hides_nothing"),
    (
        "fire-late",
        "blocked::i14_deadlines_cancels_and_reads_work_while_every_body_worker_is_blocked",
    ),
    ("forget-stop", "execution::i15_a_swallowed_stop_is_asserted_again_at_every_checkpoint"),
    ("forget-hook", "hooks::i16_hooks_run_once_in_reverse_order_after_the_body_and_before_the_end"),
    ("lose-what-was-done", "execution::i17_what_was_finished_before_the_stop_is_in_the_report"),
    (
        "poll-before-the-news",
        "lastpoll::i17_the_last_poll_of_a_parent_waits_until_the_ends_of_its_children_were_told",
    ),
    ("record-a-call-twice", "tools::i18_every_recorded_call_has_exactly_one_recorded_outcome"),
    ("end-early", "execution::i19_an_attempt_starts_when_the_one_before_is_over"),
    ("skip-fence", "execution::i20_a_retry_never_outlives_a_stop"),
    ("start-anyway", "edges::i21_a_cancel_before_the_start_polls_no_user_code"),
    ("remember-everything", "edges::i22_cancelling_an_unknown_id_changes_nothing_later"),
    ("blame-the-ended", "edges::i23_cancelling_a_terminal_run_changes_nothing_and_says_so"),
    (
        "stay-attached",
        "detach::i25_a_child_survives_its_parent_only_by_detach_and_has_a_log_of_its_own",
    ),
    (
        "let-panics-through",
        "isolation::i26_a_panic_anywhere_in_a_body_is_that_runs_failure_and_nothing_elses",
    ),
    (
        "accept-late-write",
        "blocked::i27_a_blocking_closure_is_abandoned_honestly_and_its_late_output_is_counted",
    ),
    ("name-no-decider", "execution::i28_a_failing_sibling_is_named_as_the_decider"),
    (
        "skip-what-was-missed",
        "events::i29_publishing_waits_for_no_reader_and_slow_ones_are_told_what_they_missed",
    ),
    ("skip-a-number", "events::i30_the_log_is_dense_from_one_and_the_roots_end_is_its_last_event"),
    (
        "stop-on-leaving",
        "events::i31_whoever_leaves_stops_nothing_and_a_disconnect_that_stops_says_so",
    ),
    ("read-what-was", "events::i32_after_an_acknowledgement_every_read_shows_stopping_or_later"),
    ("end-early", "waiting::i33_any_number_of_waiters_is_told_and_none_too_early"),
    ("admit-after-shutdown", "shutdown::i38_shutdown_closes_admission_and_stops_what_is_live"),
    (
        "keep-everything",
        "retention::i39_ten_thousand_ended_trees_are_kept_and_the_oldest_leave_first",
    ),
    ("act-on-the-control-thread", FOREIGN),
    ("drop-under-the-lock", FOREIGN),
    (
        "cancel-what-goes-on",
        "tools::i18_a_call_that_a_stop_drops_is_unknown_while_its_hold_is_held",
    ),
    ("fail-in-silence", "tokens::i2_a_run_that_fails_tells_its_token_and_all_who_ask"),
    ("keep-the-time-that-was-read", "promises::i30_times_in_a_log_never_run_backwards"),
    (
        "keep-the-error",
        "promises::i39_an_error_that_holds_its_own_run_goes_with_the_last_who_may_ask_for_it",
    ),
    (
        "leave-the-stream-open",
        "promises::i38_a_shutdown_that_is_dropped_still_ends_the_streams_of_the_engine",
    ),
    // The soak looks for these two by itself, with a witness of its own.
    ("skip-signal", SOAK),
    ("claim-quiescence", SOAK),
];

const FOREIGN: &str =
    "foreign::i14_i26_no_foreign_code_breaks_a_promise_wherever_it_runs_and_whatever_it_calls";

const SOAK: &str = "soak::i39_waves_of_random_trees_end_on_time_and_leave_nothing_behind";

#[test]
fn every_deliberate_fault_makes_the_test_of_its_promise_fail() {
    let suite = mutated_suite();
    let names: BTreeSet<&str> = FAULTS.iter().map(|(_, test)| *test).collect();
    let sound = names.into_iter().map(|test| ("", test));
    let missed = each(sound, |fault, test| match run(&suite, fault, test) {
        End::Passed => None,
        end => Some(format!("{test} must exist and pass without a fault: {end:?}")),
    });
    assert!(missed.is_empty(), "{missed:#?}");
    let missed = each(FAULTS.iter().copied(), |fault, test| match run(&suite, fault, test) {
        End::Failed => None,
        end => Some(format!("{fault} does not fail {test}: {end:?}")),
    });
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn every_promise_has_a_fault_that_breaks_it() {
    let broken: BTreeSet<u32> =
        FAULTS.iter().filter_map(|(_, test)| tidy::number_of(test.split("::").last()?)).collect();
    let missing: Vec<_> =
        tidy::promised_by_the_engine().filter(|number| !broken.contains(number)).collect();
    assert!(missing.is_empty(), "no fault breaks the invariants {missing:?}");
}

#[test]
fn every_fault_of_the_engine_is_in_the_list() {
    let mut found = BTreeSet::new();
    for text in tidy::texts_within("crates/quell/src") {
        let names = text.split("faults::on(\"").skip(1);
        found.extend(names.filter_map(|rest| rest.split('"').next().map(str::to_owned)));
    }
    let listed: BTreeSet<String> = FAULTS.iter().map(|(fault, _)| (*fault).to_owned()).collect();
    assert_eq!(found, listed);
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds the suite with its faults, and yields where it is.
fn mutated_suite() -> PathBuf {
    let built = Command::new(std::env::var("CARGO").expect("the tests run under cargo"))
        .args(["test", "--package", "quell-tests", "--target-dir", "target/mutations"])
        .args(["--no-run", "--message-format", "json"])
        .current_dir(top())
        .env("RUSTFLAGS", "--cfg quell_mutation")
        .output()
        .expect("cargo starts");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let told = String::from_utf8_lossy(&built.stdout);
    let messages = told.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut suites = messages.filter_map(|message: serde_json::Value| {
        let is_ours = message["target"]["name"] == "quell" && message["profile"]["test"] == true;
        message["executable"].as_str().filter(|_| is_ours).map(PathBuf::from)
    });
    suites.next().expect("cargo says where the suite is")
}

/// Does something for each pair on two threads, and collects what it has to say.
fn each<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)> + Send,
    what: impl Fn(&str, &str) -> Option<String> + Sync,
) -> Vec<String> {
    let pairs = std::sync::Mutex::new(pairs);
    let next = || pairs.lock().unwrap().next();
    let work = || -> Vec<String> {
        std::iter::from_fn(next).filter_map(|(fault, test)| what(fault, test)).collect()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut said = work();
        said.extend(other.join().unwrap());
        said
    })
}

/// How one test ended with one fault.
#[derive(Debug)]
enum End {
    Passed,
    Failed,
    /// There is no such test.
    Unknown,
    /// A fault has to be told by an assertion, not by patience.
    Hung,
}

fn run(suite: &Path, fault: &str, test: &str) -> End {
    let test = Command::new(suite)
        .args(["--exact", test])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("QUELL_MUTATION", fault)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the suite starts");
    let Some(told) = within(Duration::from_mins(1), test) else { return End::Hung };
    match told {
        told if told.contains("1 passed; 0 failed") => End::Passed,
        told if told.contains("0 passed; 0 failed") => End::Unknown,
        _ => End::Failed,
    }
}

/// Waits for a process and yields what it said; one that takes too long is killed.
fn within(time: Duration, mut child: Child) -> Option<String> {
    let mut stdout = child.stdout.take().expect("its output is piped");
    let reader = std::thread::spawn(move || {
        let mut told = Vec::new();
        stdout.read_to_end(&mut told).expect("its output can be read");
        String::from_utf8_lossy(&told).into_owned()
    });
    let until = Instant::now() + time;
    while child.try_wait().expect("it can be waited for").is_none() {
        if Instant::now() > until {
            child.kill().expect("it can be killed");
            child.wait().expect("it can be waited for");
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(reader.join().expect("the output was read"))
}
