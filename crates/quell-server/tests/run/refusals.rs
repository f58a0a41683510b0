//! What is wrong is refused with one message, before anything starts.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Ended, Scratch};

/// A step that would leave a trace.
const TRACE: &str = "{ name = 'trace', run = ['touch', 'marker'] }";

/// Asserts that a message says what is wrong, once, and that nothing was started.
#[track_caller]
fn assert_refused(scratch: &Scratch, ended: &Ended, words: &[&str]) {
    ended.assert_code(2);
    assert_eq!(ended.stdout, "", "{ended:#?}");
    assert_eq!(ended.stderr.matches("error: ").count(), 1, "one message: {ended:#?}");
    for word in words {
        assert!(ended.stderr.contains(word), "`{word}` is missing: {ended:#?}");
    }
    assert!(!scratch.path("marker").exists(), "the plan was started");
}

#[test]
fn a_wrong_plan_is_refused_with_its_file_and_line() {
    let deep = format!(
        "name = 'p'\nsteps = [{}{TRACE}{}]\n",
        "{ name = 's', sequence = [".repeat(60),
        "] }".repeat(60)
    );
    let lists = format!("name = 'p'\nsteps = {}{}\n", "[".repeat(5_000), "]".repeat(5_000));
    let step = |rest: &str| format!("name = 'p'\nsteps = [\n{TRACE},\n{rest},\n]\n");
    let table: Vec<(&str, String, &str)> = vec![
        ("syntax", "name = 'p'\nsteps = [\n".to_owned() + TRACE + "\n", ":"),
        ("unknown-key", format!("name = 'p'\nstep = []\nsteps = [{TRACE}]\n"), ":2:1: "),
        ("unknown-option", step("{ name = 'a', run = ['true'], shell = true }"), ":4:"),
        ("wrong-type", step("{ name = 'a', run = 'true' }"), ":4:"),
        ("wrong-type-of-name", step("{ name = 1, run = ['true'] }"), ":4:"),
        ("duplicate-name", step("{ name = 'trace', run = ['true'] }"), ":4:"),
        ("empty-name", step("{ name = '', run = ['true'] }"), ":4:"),
        ("no-name", step("{ run = ['true'] }"), ":4:"),
        ("empty-command", step("{ name = 'a', run = [] }"), ":4:"),
        ("nothing-to-do", step("{ name = 'a' }"), ":4:"),
        ("zero-duration", format!("name = 'p'\ntimeout = '0s'\nsteps = [{TRACE}]\n"), ":2:"),
        ("negative-duration", format!("name = 'p'\ngrace = '-1s'\nsteps = [{TRACE}]\n"), ":2:"),
        ("number-as-duration", format!("name = 'p'\ntimeout = 5\nsteps = [{TRACE}]\n"), ":2:"),
        ("no-steps", "name = 'p'\nsteps = []\n".to_owned(), ":2:"),
        ("too-deep", deep, ":2:"),
        ("too-deep-lists", lists, ":2:"),
    ];
    for (name, text, place) in table {
        let scratch = Scratch::new();
        let file = format!("{name}.toml");
        scratch.write(&file, &text);
        let ended = scratch.run(&["run", &file]);
        assert_refused(&scratch, &ended, &[&format!("error: {file}{place}")]);
        // The message, and its line of the plan with a caret.
        assert_eq!(ended.stderr.lines().count(), 4, "{name}: {}", ended.stderr);
        assert!(ended.stderr.ends_with("^\n"), "{name}: {}", ended.stderr);
    }
}

#[test]
fn a_plan_that_cannot_be_read_is_refused() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("directory.toml")).expect("a directory can be made");
    fs::write(scratch.path("binary.toml"), [0xff, 0xfe, 0]).expect("a file can be written");
    scratch.write("plan.ini", "name = p");
    scratch.write("broken.json", "{");
    for (plan, word) in [
        ("missing.toml", "no such file"),
        ("directory.toml", "directory.toml"),
        ("binary.toml", "UTF-8"),
        ("plan.ini", "extension"),
        ("broken.json", "broken.json:1:"),
        ("", "a value is required"),
    ] {
        let ended = scratch.run(&["run", plan]);
        assert_refused(&scratch, &ended, &[word]);
    }
}

#[test]
fn a_wrong_command_line_is_refused_with_what_would_be_right() {
    let scratch = Scratch::new();
    scratch.write("plan.toml", &format!("name = 'p'\nsteps = [{TRACE}]\n"));
    for (args, word) in [
        (&["run"][..], "quell run plan.toml"),
        (&["run", "--"], "quell run plan.toml"),
        (&["run", "plan.toml", "--", "touch", "marker"], "cannot be used with"),
        (&["run", "plan.toml", "other.toml"], "other.toml"),
        (&["run", "plan.toml", "--timeout", "0s"], "zero"),
        (&["run", "plan.toml", "--timeout", "soon"], "--timeout"),
        (&["run", "plan.toml", "--timeout=-1s"], "--timeout"),
        (&["run", "plan.toml", "--grace=-1s"], "--grace"),
        (&["run", "plan.toml", "--grace"], "--grace"),
        (&["run", "plan.toml", "--frobnicate"], "--frobnicate"),
        (&["run", "--", ""], "empty name"),
        (&["walk"], "walk"),
    ] {
        let ended = scratch.run(args);
        assert_refused(&scratch, &ended, &[word]);
    }
}

// The report has the input, and is read by parsers that go 127 levels deep.
#[test]
fn an_input_that_could_not_be_read_again_is_refused() {
    let scratch = Scratch::new();
    scratch.write("plan.toml", "name = 'p'\nsteps = [{ name = 'a', run = ['true'] }]\n");
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    for (input, says) in [
        (deep(128), "nested deeper than 127 levels"),
        (deep(10_000), "nested deeper than 127 levels"),
        ("\"\\ud800\"".to_owned(), "a text has half of a character"),
    ] {
        let ended = scratch.run(&["run", "plan.toml", "--input", &input]);
        assert_refused(&scratch, &ended, &[says]);
    }
    let input = deep(127);
    scratch.run(&["run", "plan.toml", "--input", &input]).assert_code(0);
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_anything_starts() {
    let scratch = Scratch::new();
    let plan = format!("name = 'p'\nsteps = [{TRACE}]\n");
    scratch.write("plan.toml", &plan);
    fs::create_dir(scratch.path("directory")).expect("a directory can be made");
    for path in ["no/such/directory/report.json", "directory", "plan.toml/report.json", "", "/"] {
        let ended = scratch.run(&["run", "plan.toml", "--report", path]);
        assert_refused(&scratch, &ended, &["report"]);
    }
    assert_eq!(scratch.names(), ["directory", "plan.toml"], "a draft was left");
    assert_eq!(scratch.read("plan.toml"), plan.as_bytes());
}

#[test]
fn a_report_in_the_place_of_what_is_read_is_refused_and_nothing_is_overwritten() {
    let scratch = Scratch::new();
    let plan = format!("name = 'p'\nsteps = [{TRACE}]\n");
    scratch.write("plan.toml", &plan);
    scratch.write("quell.toml", "[agents.a]\nrun = ['true']\n");
    let old = r#"{"rows": [{"name": "p", "depth": 0, "status": "completed"}]}"#;
    scratch.write("old.json", old);
    symlink("old.json", scratch.path("link.json")).expect("a link can be made");
    let part = ["run", "plan.toml", "--from", "trace", "--outputs", "old.json"];
    for (args, report, what) in [
        (&part[..], "old.json", "`--outputs`"),
        (&part, "./link.json", "`--outputs`"),
        (&["run", "plan.toml"], "plan.toml", "the plan"),
        (&["run", "agent/a"], "quell.toml", "the configuration"),
        (&["run", "agent/a", "--config", "plan.toml"], "plan.toml", "the configuration"),
    ] {
        let ended = scratch.run(&[args, &["--report", report]].concat());
        let words = format!("--report {report} would overwrite {what}, which is read; expected");
        assert_refused(&scratch, &ended, &[&words]);
    }
    assert_eq!(scratch.read("plan.toml"), plan.as_bytes());
    assert_eq!(scratch.read("old.json"), old.as_bytes());
    scratch.run(&[&part[..], &["--report", "new.json"]].concat()).assert_code(0);
}

#[test]
fn help_and_version_are_no_errors() {
    let scratch = Scratch::new();
    let help = scratch.run(&["run", "--help"]);
    help.assert_code(0);
    for word in ["124", "130", "SIGINT", "--report", "quell run [OPTIONS] -- <COMMAND>..."] {
        assert!(help.stdout.contains(word), "`{word}` is missing: {}", help.stdout);
    }
    let version = scratch.run(&["--version"]);
    version.assert_code(0);
    assert_eq!(version.stdout, concat!("quell ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_component_for_a_contract_that_nobody_serves_is_refused_with_those_that_are_served() {
    let scratch = Scratch::new();
    let exposed = |name: &str| {
        let text = format!("[agents.a]\nrun = ['touch', 'marker']\ncontracts = ['{name}']\n");
        scratch.write("quell.toml", &text);
    };
    let right = "expected one of `native`, `agentos`, `langgraph`, `playbook3d`";
    for name in ["agentsos", "AgentOS", ""] {
        exposed(name);
        for command in ["serve", "list"] {
            let ended = scratch.run(&[command, "--config", "quell.toml"]);
            let words = format!("unknown contract `{name}`; {right}");
            assert_refused(&scratch, &ended, &["quell.toml:3:14: ", &words]);
        }
    }
    exposed("agnos', 'native', 'rest");
    let ended = scratch.run(&["check"]);
    let each = [(14, "agnos"), (33, "rest")];
    let says =
        each.map(|(at, name)| format!("quell.toml:3:{at}: `contracts`: unknown contract `{name}`"));
    assert!(says.iter().all(|words| ended.stderr.contains(words)), "{ended:?}");
    assert!(!ended.stderr.contains("nothing to serve"), "{ended:?}");
    for name in ["native", "agentos", "langgraph", "playbook3d"] {
        exposed(name);
        scratch.run(&["list", "--config", "quell.toml"]).assert_code(0);
    }
}

#[test]
fn what_no_program_can_be_given_is_refused_with_its_place() {
    let scratch = Scratch::new();
    let nul = "text contains NUL, which no program takes";
    let name = "name of a variable is empty or contains `=` or NUL";
    for (keys, says) in [
        ("run = ['env', \"hush\\u0000\"]", format!("quell.toml:2:7: `run`: {nul}")),
        ("run = ['env']\ncwd = \"hush\\u0000\"", format!("quell.toml:3:7: `cwd`: {nul}")),
        ("run = ['env']\nenv = { A = \"hush\\u0000\" }", format!("quell.toml:3:13: `A`: {nul}")),
        ("run = ['env']\nenv = { B = 'b', 'hush=' = 'y' }", format!("quell.toml:3:18: {name}")),
        ("run = ['env']\n[agents.a.env]\n\"hush\\u0000\" = 'y'", format!("quell.toml:4:1: {name}")),
        ("run = ['env']\nenv.'' = 'y'", format!("quell.toml:3:5: {name}")),
    ] {
        scratch.write("quell.toml", &format!("[agents.a]\n{keys}\n"));
        for args in [&["check"][..], &["list"], &["run", "agent/a"]] {
            let ended = scratch.run(args);
            ended.assert_code(2);
            assert!(ended.stderr.contains(&says), "{says}: {}", ended.stderr);
            assert!(!ended.stderr.contains("hush"), "{}", ended.stderr);
        }
    }
}
