//! Steps of plans that wait for an answer, and what `quell run` answers them.

use std::io::{self, Write as _};

use serde_json::Value;

use crate::support::{Running, Scratch, row, wait_until};

pub(crate) const PLAN: &str = "\
name: p
steps:
- { name: build, run: [sh, -c, 'echo run >> built; echo box'] }
- { name: ok, wait: { ask: 'send {{ steps.build.output.stdout | trim }}?', approve: true } }
- { name: where, wait: to whom? }
- { name: send, run: [sh, -c, 'echo \"$0\" >> sent', '{{ steps.where.output }}'] }
";

pub(crate) fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("plan.yaml", PLAN);
    scratch
}

pub(crate) fn text(scratch: &Scratch, name: &str) -> String {
    String::from_utf8_lossy(&scratch.read(name)).into_owned()
}

#[test]
fn answers_of_the_command_line_let_the_plan_go_on_and_nothing_runs_twice() {
    let scratch = scratch();
    let answers = ["--answer", "where=ada = b", "--answer", "ok=yes", "--report", "report.json"];
    let ended = scratch.run(&[&["run", "plan.yaml"][..], &answers].concat());
    ended.assert_code(0);
    assert!(ended.stderr.contains("ok: send box? [yes/no]: answered"), "{ended:?}");
    assert_eq!((&*text(&scratch, "built"), &*text(&scratch, "sent")), ("run\n", "ada = b\n"));
    let report = scratch.json("report.json");
    assert_eq!(report["output"]["ok"], true);
    assert_eq!(row(&report, "where")["output"], "ada = b");
}

#[test]
fn a_component_that_is_a_plan_takes_answers_for_its_steps_alone() {
    let scratch = scratch();
    scratch.write("quell.toml", "[workflows.p]\nplan = 'plan.yaml'\n");
    let ended = scratch.run(&["run", "workflow/p", "--answer", "ok=yes", "--answer", "where=ada"]);
    ended.assert_code(0);
    assert_eq!(text(&scratch, "sent"), "ada\n");
    let ended = scratch.run(&["run", "workflow/p", "--answer", "wher=ada"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("no step `wher` waits for an answer; did you mean `where`?"));
}

#[test]
fn a_refusal_fails_the_run() {
    let scratch = scratch();
    let ended = scratch.run(&["run", "plan.yaml", "--answer", "ok=no"]);
    ended.assert_code(1);
    assert!(ended.stdout.contains("the answer is no"), "{ended:?}");
    assert!(!scratch.names().contains(&"sent".to_owned()));
}

#[test]
fn without_an_answer_and_a_terminal_the_run_is_cancelled_at_once_and_says_how_to_answer() {
    let scratch = scratch();
    for args in [&["run", "plan.yaml"][..], &["run", "plan.yaml", "--answer", "ok=perhaps"]] {
        let ended = scratch.run(args);
        ended.assert_code(1);
        assert!(
            ended.stderr.contains("expected `--answer 'ok=VALUE'`, or a terminal"),
            "{ended:?}"
        );
        assert!(ended.stderr.contains("nobody answers: the run is cancelled"), "{ended:?}");
        assert!(!scratch.names().contains(&"sent".to_owned()));
    }
}

#[test]
fn an_answer_that_no_step_waits_for_is_refused_before_anything_starts() {
    let scratch = scratch();
    scratch.write("none.yaml", "name: p\nsteps: [{ name: a, run: [touch, ran] }]\n");
    for (plan, answer, says) in [
        ("plan.yaml", "wher=x", "no step `wher` waits for an answer; did you mean `where`?"),
        ("plan.yaml", "zzzzzz=x", "expected one of `ok`, `where`"),
        ("none.yaml", "ok=x", "no step `ok` waits for an answer; no step of it waits"),
        ("plan.yaml", "ok", "expected STEP=VALUE such as `ok=yes`"),
    ] {
        let ended = scratch.run(&["run", plan, "--answer", answer]);
        ended.assert_code(2);
        assert!(ended.stderr.contains(says), "{ended:?}");
    }
    assert!(!scratch.names().iter().any(|name| name == "built" || name == "ran"));
}

/// Runs the plan in a terminal, types when the question is there, and yields the exit code.
fn typed(scratch: &Scratch, keys: &str) -> Option<i32> {
    typed_to(scratch, "run plan.yaml", keys)
}

/// As [`typed`], with a command line.
pub(crate) fn typed_to(scratch: &Scratch, args: &str, keys: &str) -> Option<i32> {
    let line = format!("{} {args}", env!("CARGO_BIN_EXE_quell"));
    let (reader, mut writer) = io::pipe().expect("a pipe can be made");
    let mut command = scratch.program("script");
    command.args(["-qefc", &line, "typescript"]).stdin(reader);
    let running = Running::start(command);
    let shown = || String::from_utf8_lossy(&scratch.read("typescript")).into_owned();
    wait_until("the question", || shown().contains("ok: send box? [yes/no]"));
    writer.write_all(keys.as_bytes()).expect("the pipe has room");
    let code = running.ended().code;
    drop(writer);
    code
}

#[test]
fn lines_of_the_terminal_are_answers() {
    let scratch = scratch();
    assert_eq!(typed(&scratch, "what?\nyes\nada\n"), Some(0));
    assert_eq!((&*text(&scratch, "built"), &*text(&scratch, "sent")), ("run\n", "ada\n"));
}

#[test]
fn what_is_neither_yes_nor_no_is_no_attempt_of_the_run_and_the_terminal_asks_again() {
    let scratch = scratch();
    let words = "expected `yes` or `no`; ok: send box? [yes/no]";
    let args = "run plan.yaml --answer ok=perhaps --answer where=ada --store runs.db";
    assert_eq!(typed_to(&scratch, args, "what?\nyes\n"), Some(0));
    let shown = text(&scratch, "typescript");
    assert_eq!(shown.matches(words).count(), 2, "of the option and of a line: {shown}");
    let listed = scratch.run(&["runs", "--store", "runs.db", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).expect("one run");
    let id = listed["id"].as_str().expect("an id");
    let events = scratch.run(&["events", id, "--store", "runs.db", "--json"]).stdout;
    let resumed = events.lines().filter(|line| line.contains("\"resumed\"")).count();
    assert_eq!(resumed, 2, "one for each answer: {events}");
}

#[test]
fn a_signal_ends_the_wait_for_a_line() {
    let scratch = scratch();
    assert_eq!(typed(&scratch, "\u{3}"), Some(130));
    assert!(!scratch.names().contains(&"sent".to_owned()));
}
