//! The tests tested: each deliberate fault of the engine makes the test of its promise fail.
//!
//! The suite is built once more with `--cfg quell_mutation`, which makes the faults of
//! `crates/quell/src/faults.rs` possible; `QUELL_MUTATION` switches one on.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

/// Each fault, and the test that must fail with it and pass without.
const FAULTS: &[(&str, &str)] = &[
    ("skip-signal", "tree::i2_every_live_descendant_is_signalled_when_cancel_returns"),
    ("skip-fence", "fence::i8_after_a_stop_nothing_of_the_run_starts_and_the_refusal_says_why"),
    ("second-terminal-event", "tree::i3_a_run_has_one_terminal_event_and_only_quiesced_follows"),
    (
        "end-before-destructors",
        "tree::i4_a_quiescent_run_has_no_body_destructor_hook_or_closure_running",
    ),
    ("claim-quiescence", "blocked::i4_quiesced_follows_when_an_abandoned_body_has_really_ended"),
    ("overwrite-cause", "requests::i6_the_first_cause_wins_and_nothing_overwrites_it"),
    ("abort-late", "time::i12_depth_does_not_multiply_the_grace"),
    ("skip-abandon", "blocked::i12_every_program_is_terminal_by_grace_and_abort_wait"),
    ("forget-stop", "execution::i15_a_swallowed_stop_is_asserted_again_at_every_checkpoint"),
    ("forget-hook", "hooks::i16_hooks_run_once_in_reverse_order_after_the_body_and_before_the_end"),
    (
        "accept-late-write",
        "blocked::i27_a_blocking_closure_is_abandoned_honestly_and_its_late_output_is_counted",
    ),
    ("skip-a-number", "events::i30_the_log_is_dense_from_one_and_the_roots_end_is_its_last_event"),
];

#[test]
fn every_deliberate_fault_makes_the_test_of_its_promise_fail() {
    let names: BTreeSet<&str> = FAULTS.iter().map(|(_, test)| *test).collect();
    for test in names {
        let run = with_fault("", test);
        let told = String::from_utf8_lossy(&run.stdout);
        assert!(told.contains("1 passed"), "{test} must exist and pass without a fault:\n{told}");
    }
    let mut missed = Vec::new();
    for (fault, test) in FAULTS {
        let caught = !with_fault(fault, test).status.success();
        if !caught {
            missed.push(format!("{fault} passes {test}"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn every_fault_of_the_engine_is_in_the_list() {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/quell/src");
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir(engine).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            let names = text.split("faults::on(\"").skip(1);
            found.extend(names.filter_map(|rest| rest.split('"').next().map(str::to_owned)));
        }
    }
    let listed: BTreeSet<String> = FAULTS.iter().map(|(fault, _)| (*fault).to_owned()).collect();
    assert_eq!(found, listed);
}

fn with_fault(fault: &str, test: &str) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Command::new(std::env::var("CARGO").expect("the tests run under cargo"))
        .args(["test", "--package", "quell-tests", "--target-dir", "target/mutations"])
        .args(["--", "--exact", test])
        .current_dir(root)
        .env("RUSTFLAGS", "--cfg quell_mutation")
        .env("QUELL_MUTATION", fault)
        .output()
        .expect("cargo starts")
}
