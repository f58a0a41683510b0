//! Branches that need others, as real programs: each writes a file when it has begun, and another
//! one when it is done.

use serde_json::Value;

use crate::output::checked_events;
use crate::support::{Ended, Running, Scratch, row, wait_until};

/// Builds and ships beside a branch that needs nothing, and that ends when all is shipped. Each
/// waits for what shows that the others run.
const RELEASE: &str = r#"
    [[steps.branches]]
    name = "ship"
    needs = ["test"]
    run = ["sh", "-c", "[ -e test.done ] && [ -e build.done ] && touch ship.done"]
    [[steps.branches]]
    name = "test"
    needs = ["build"]
    run = ["sh", "-c", "[ -e build.done ] && [ -e free.begun ] && touch test.done"]
    [[steps.branches]]
    name = "build"
    run = ["sh", "-c", "until [ -e free.begun ]; do sleep 0.05; done; touch build.done"]
    [[steps.branches]]
    name = "free"
    run = ["sh", "-c", "touch free.begun; until [ -e ship.done ]; do sleep 0.05; done"]
"#;

/// Runs a plan of one parallel step to its end.
fn run(scratch: &Scratch, options: &str, branches: &str, args: &[&str]) -> Ended {
    write(scratch, "4m", options, branches);
    scratch.run(&[&["run", "plan.toml", "--report", "report.json"], args].concat())
}

fn write(scratch: &Scratch, timeout: &str, options: &str, branches: &str) {
    let step = format!("[[steps]]\nname = 'parts'\nparallel = {{ {options} }}\n{branches}");
    scratch.write("plan.toml", &format!("name = 'p'\ntimeout = '{timeout}'\ngrace = '1s'\n{step}"));
}

/// What the report says of a branch.
fn branch(report: &Value, name: &str) -> Value {
    let rows = row(report, "parts")["summary"]["branches"].as_array().cloned();
    let mut rows = rows.expect("the step has branches").into_iter();
    rows.find(|row| row["name"] == name).expect("every branch has a row")
}

#[test]
fn a_branch_begins_after_what_it_needs_and_beside_what_it_does_not_need() {
    for options in ["", "limit = 2", "policy = 'settle'", "policy = 'quorum', quorum = 4"] {
        let scratch = Scratch::new();
        run(&scratch, options, RELEASE, &[]).assert_code(0);
        let report = scratch.json("report.json");
        for name in ["ship", "test", "build", "free"] {
            assert_eq!(branch(&report, name)["counted_as"], "ok", "{name} with {options}");
        }
        scratch.assert_nothing_is_left(0);
    }
}

#[test]
fn a_branch_whose_need_failed_never_begins_and_the_report_names_the_need() {
    let branches = r#"
        [[steps.branches]]
        name = "ship"
        needs = ["test"]
        run = ["touch", "ship.begun"]
        [[steps.branches]]
        name = "test"
        needs = ["build"]
        run = ["touch", "test.begun"]
        [[steps.branches]]
        name = "build"
        run = ["sh", "-c", "touch build.begun; exit 3"]
        [[steps.branches]]
        name = "free"
        run = ["touch", "free.begun"]
    "#;
    for (options, code) in [("policy = 'settle'", 0), ("", 1)] {
        let scratch = Scratch::new();
        let ended = run(&scratch, options, branches, &[]);
        ended.assert_code(code);
        let names = scratch.names();
        assert!(names.contains(&"build.begun".into()), "{names:?}");
        assert!(!names.contains(&"test.begun".into()) && !names.contains(&"ship.begun".into()));
        let report = scratch.json("report.json");
        for (name, need) in [("test", "build"), ("ship", "test")] {
            let row = branch(&report, name);
            assert_eq!((&row["unmet"], &row["run"]), (&need.into(), &Value::Null));
            assert_eq!(row["counted_as"], "skipped");
            assert!(ended.stdout.contains(&format!("needs {need}, which did not complete")));
        }
    }
}

#[test]
fn a_branch_that_never_begins_is_in_the_log() {
    let branches = r#"
        [[steps.branches]]
        name = "ship"
        needs = ["build"]
        run = ["true"]
        [[steps.branches]]
        name = "build"
        run = ["false"]
    "#;
    let scratch = Scratch::new();
    let lines = run(&scratch, "policy = 'settle'", branches, &["-v"]).stdout;
    let says = "p/parts  ship is not started: it needs build, which did not complete\n";
    assert_eq!(lines.matches(says).count(), 1, "{lines}");
    let events = checked_events(&run(&scratch, "policy = 'settle'", branches, &["--json"]));
    let skipped = { events.iter() }.filter(|event| event["event"] == "skipped");
    let data: Vec<_> = skipped.map(|event| event["data"].clone()).collect();
    assert_eq!(data, [serde_json::json!({ "name": "ship", "unmet": "build" })]);
}

#[test]
fn a_race_that_is_won_begins_nothing_more() {
    let branches = r#"
        [[steps.branches]]
        name = "next"
        needs = ["fast"]
        run = ["touch", "next.begun"]
        [[steps.branches]]
        name = "fast"
        run = ["sh", "-c", "until [ -e slow.begun ]; do sleep 0.05; done"]
        [[steps.branches]]
        name = "slow"
        run = ["sh", "-c", "touch slow.begun; while :; do sleep 0.05; done"]
    "#;
    let scratch = Scratch::new();
    run(&scratch, "policy = 'first_success'", branches, &[]).assert_code(0);
    assert!(!scratch.names().contains(&"next.begun".into()));
    let next = branch(&scratch.json("report.json"), "next");
    assert_eq!((&next["counted_as"], &next["unmet"]), (&"skipped".into(), &Value::Null));
    assert_eq!(next["cause"]["kind"], "race-lost");
    scratch.assert_nothing_is_left(0);
}

/// One that goes on for ever, and one that waits for it.
const FOR_EVER: &str = r#"
    [[steps.branches]]
    name = "next"
    needs = ["first"]
    run = ["touch", "next.begun"]
    [[steps.branches]]
    name = "first"
    run = ["sh", "-c", "touch first.begun; while :; do sleep 0.05; done"]
"#;

#[test]
fn a_stop_and_a_timeout_leave_a_branch_that_waits_unbegun() {
    for is_timeout in [false, true] {
        let scratch = Scratch::new();
        write(&scratch, if is_timeout { "1s" } else { "4m" }, "", FOR_EVER);
        let running =
            Running::start(scratch.quell(&["run", "plan.toml", "--report", "report.json"]));
        if !is_timeout {
            wait_until("it has begun", || scratch.names().contains(&"first.begun".into()));
            running.signal("INT");
        }
        running.ended().assert_code(if is_timeout { 124 } else { 130 });
        assert!(!scratch.names().contains(&"next.begun".into()));
        scratch.assert_nothing_is_left(0);
    }
}

#[test]
fn a_part_of_a_plan_is_a_step_with_all_of_its_branches() {
    let scratch = Scratch::new();
    run(&scratch, "", RELEASE, &["--only", "parts"]).assert_code(0);
    assert!(scratch.names().contains(&"ship.done".into()));
    let refused = run(&scratch, "", RELEASE, &["--only", "ship"]);
    refused.assert_code(2);
    let words = "plan `p` has no step `ship` at its top; it is a branch in `parts`, and only \
                 steps at the top run alone; did you mean `parts`?\n";
    assert!(refused.stderr.contains(words), "{refused:?}");
}
