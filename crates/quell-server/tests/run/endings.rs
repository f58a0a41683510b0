//! How a run ends is how `quell` exits.

use std::time::Duration;

use crate::support::{PATIENCE, Running, Scratch, row, run_beyond_the_start, wait_until};

#[test]
fn a_run_that_completes_exits_0_and_says_what_it_kept() {
    let scratch = Scratch::new();
    let ended = scratch.run(&["run", "--", "sh", "-c", "echo first; echo second"]);
    ended.assert_code(0);
    let stdout = &ended.stdout;
    assert!(stdout.contains("sh  running"), "{stdout}");
    assert!(stdout.contains("output   13 bytes, last line: second"), "{stdout}");
    assert!(stdout.contains("completed after"), "{stdout}");
    assert!(stdout.ends_with("nothing of it was found running\n"), "{stdout}");
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_run_that_fails_exits_1_and_says_why() {
    let scratch = Scratch::new();
    let ended = scratch.run(&["run", "--", "sh", "-c", "echo half; echo oh no >&2; exit 3"]);
    ended.assert_code(1);
    let stdout = &ended.stdout;
    assert!(stdout.contains("failed after"), "{stdout}");
    assert!(stdout.contains("error    `sh` ended with exit status: 3\n"), "{stdout}");
    assert!(stdout.contains("stdout   half\n") && stdout.contains("stderr   oh no\n"), "{stdout}");
}

#[test]
fn a_step_that_fails_shows_all_that_it_wrote_once() {
    let scratch = Scratch::new();
    let plan = r#"{ "name": "p", "steps": [{ "name": "outer", "sequence": [
        { "name": "inner", "run": ["sh", "-c", "seq -f 'line %g.' 60 >&2; exit 1"] }
    ] }] }"#;
    scratch.write("p.json", plan);
    let ended = scratch.run(&["run", "p.json"]);
    ended.assert_code(1);
    for nth in 1..=60 {
        let times = ended.stdout.matches(&format!(" line {nth}.\n")).count();
        assert_eq!(times, 1, "line {nth}: {ended:?}");
    }
    assert!(ended.stdout.contains("step `outer` failed: step `inner` failed: `sh` ended with"));
}

#[test]
fn a_step_that_fails_and_is_cleaned_up_shows_what_it_wrote() {
    let scratch = Scratch::new();
    let plan = r#"{ "name": "p", "steps": [{
        "name": "a", "run": ["sh", "-c", "echo half; echo oh no >&2; exit 3"],
        "on_failure": [{ "name": "tidy", "run": ["true"] }]
    }] }"#;
    scratch.write("p.json", plan);
    let ended = scratch.run(&["run", "p.json"]);
    ended.assert_code(1);
    for once in [" stdout   half\n", " stderr   oh no\n"] {
        assert_eq!(ended.stdout.matches(once).count(), 1, "{ended:?}");
    }
}

#[test]
fn a_program_that_does_not_exist_is_a_failure() {
    let scratch = Scratch::new();
    let ended = scratch.run(&["run", "--", "./no-such-program"]);
    ended.assert_code(1);
    assert!(ended.stdout.contains("./no-such-program"), "{ended:?}");
}

#[test]
fn a_run_that_times_out_exits_124_and_leaves_nothing() {
    let script = "echo begun; echo $$ > pid; exec sleep 300";
    let (scratch, ended) = run_beyond_the_start(1, |scratch, timeout| {
        scratch.run(&["run", "--timeout", timeout, "--", "sh", "-c", script])
    });
    ended.assert_code(124);
    assert!(ended.took >= Duration::from_millis(500), "{ended:?}");
    assert!(ended.stdout.contains("stopping: deadline"), "{ended:?}");
    assert!(ended.stdout.contains("partial  6 bytes, last line: begun"), "{ended:?}");
    scratch.assert_nothing_is_left(1);
}

#[test]
fn a_program_that_ignores_sigterm_lives_as_long_as_the_grace() {
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done";
    let (scratch, ended) = run_beyond_the_start(1, |scratch, timeout| {
        let args = ["run", "--report", "report.json", "--timeout", timeout, "--grace", "2s", "--"];
        scratch.run(&[&args[..], &["sh", "-c", script]].concat())
    });
    ended.assert_code(124);
    assert!(ended.took >= Duration::from_secs(2), "SIGKILL came before the grace was over");
    assert!(ended.took < PATIENCE / 2, "{ended:?}");
    scratch.assert_nothing_is_left(1);
    let report = scratch.json("report.json");
    assert_eq!(report["status"], "timed-out");
    let row = row(&report, "sh");
    // A busy machine may have no time to reap it before the body is dropped.
    assert!(row["partial"]["signal"] == 9 || row["aborted"] == true, "{report:#}");
}

#[test]
fn processes_that_leave_their_group_do_not_survive_a_stop() {
    let scratch = Scratch::new();
    let script = "echo $$ > pid.1; \
                  setsid sh -c 'trap \"\" TERM; echo $$ > pid.2; while :; do sleep 0.1; done' & \
                  wait";
    let args = ["run", "--grace", "1s", "--", "sh", "-c", script];
    let running = Running::start(scratch.quell(&args));
    wait_until("both have begun", || scratch.pids().len() == 2);
    running.signal("TERM");
    running.ended().assert_code(130);
    scratch.assert_nothing_is_left(2);
}

#[test]
fn processes_in_the_background_do_not_survive_the_program_that_started_them() {
    let scratch = Scratch::new();
    let script = "sh -c 'echo $$ > pid.1; exec sleep 300' & \
                  while [ ! -s pid.1 ]; do sleep 0.05; done";
    let ended = scratch.run(&["run", "--", "sh", "-c", script]);
    ended.assert_code(0);
    scratch.assert_nothing_is_left(1);
}

// The second Ctrl-C leaves nobody who could see how the program ends.
#[test]
fn a_program_that_is_aborted_was_ended_by_sigkill_and_the_report_says_so() {
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done";
    let (scratch, ended) = run_beyond_the_start(1, |scratch, timeout| {
        scratch.run(&["run", "--timeout", timeout, "--grace", "0s", "--", "sh", "-c", script])
    });
    ended.assert_code(124);
    scratch.assert_nothing_is_left(1);
    assert!(ended.stdout.contains("SIGKILL    1 (sh)"), "{}", ended.stdout);
}

#[test]
fn every_line_of_a_program_is_shown_whole_when_asked_for() {
    let scratch = Scratch::new();
    let ended = scratch.run(&["run", "-v", "--", "printf", "%0300d\\n", "1"]);
    ended.assert_code(0);
    assert!(ended.stdout.contains(&format!("{}1", "0".repeat(299))), "{}", ended.stdout);
}
