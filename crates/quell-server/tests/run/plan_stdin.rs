//! Plans on stdin, and what is no regular file in the place of a plan or a report.

use std::fs::File;
use std::process::Command;

use crate::support::{Running, Scratch, row};

const YAML: &str = "# a comment\n\nname: p\nsteps:\n- { name: a, run: [cat] }\n";

#[test]
fn a_plan_on_stdin_is_read_in_each_format_and_its_steps_have_an_empty_stdin() {
    let toml = "name = 'p' # a: b\n[[steps]]\nname = 'a'\nrun = ['cat']\n";
    let json = "{\n  \"name\": \"p\", \"steps\": [{\"name\": \"a\", \"run\": [\"cat\"]}]\n}\n";
    let flow = "{ name: p, steps: [{ name: a, run: [cat] }] }\n";
    for text in [YAML, toml, json, flow] {
        let scratch = Scratch::new();
        let ended = scratch.run_with(&["run", "-", "--report", "report.json"], text);
        ended.assert_code(0);
        let output = row(&scratch.json("report.json"), "a")["output"].clone();
        assert_eq!((&output["stdout"], &output["exit_code"]), (&"".into(), &0.into()), "{text}");
        let ended = scratch.run_with(&["plan", "check", "-"], text);
        ended.assert_code(0);
        assert_eq!(ended.stdout, "stdin: ok\n");
        scratch.run_with(&["plan", "show", "-"], text).assert_code(0);
    }
}

#[test]
fn a_plan_on_stdin_that_looks_like_another_format_is_read_in_its_own() {
    let quoted = "{ \"name\": \"t\", steps: [{name: a, run: [cat]}] }\n";
    let pair = "{\n\n\"description\": \"\\ud83d\\ude00 = a\", \"name\": \"p\", \
                \"steps\": [{\"name\": \"a\", \"run\": [\"cat\"]}]}\n";
    let equals = "\"description\" :  'a = b'\nname: p\nsteps: [{ name: a, run: [cat] }]\n";
    let split = "? description\n: a=b\n? name\n: p\n? steps\n: [{ name: a, run: [cat] }]\n";
    let toml = "'description' = 'a: b'\nname = 'p'\n[[steps]]\nname = 'a'\nrun = ['cat']\n";
    let list = "[[steps]]\nname = 'a'\nrun = ['cat']\n";
    let scratch = Scratch::new();
    for text in [quoted, pair, equals, split, toml] {
        let ended = scratch.run_with(&["plan", "check", "-"], text);
        assert_eq!((ended.code, &*ended.stdout), (Some(0), "stdin: ok\n"), "{text}: {ended:?}");
    }
    // The messages are those of the format that it looks like.
    for (text, says) in [
        (list, "stdin:1:1: plan has no `name`"),
        ("{\n\"name\": \"p\",\n\"steps\": [1 2]\n}\n", "stdin:3:13: expected `,` or `]`"),
        ("name = 'p'\nsteps = [{ name: 'a' }]\n", "stdin:2:"),
    ] {
        let ended = scratch.run_with(&["plan", "check", "-"], text);
        assert!(ended.stderr.contains(says), "{text}: {ended:?}");
    }
}

#[test]
fn a_fault_of_a_plan_on_stdin_is_shown_with_its_place() {
    let scratch = Scratch::new();
    let says = "stdin:5:14: unknown key `rn`; did you mean `run`?\n";
    for args in [&["plan", "check", "-"][..], &["run", "-"], &["plan", "show", "-"]] {
        let ended = scratch.run_with(args, &YAML.replace("run", "rn"));
        ended.assert_code(2);
        assert!(ended.stderr.contains(says), "{args:?}: {ended:?}");
    }
    let toml = scratch.run_with(&["plan", "check", "-"], "name = 'p'\nstep = []\n");
    assert!(toml.stderr.contains("stdin:2:1: unknown key `step`"), "{toml:?}");
    scratch.write("long", &format!("{YAML}#{}", "x".repeat(1 << 20)));
    let mut command = scratch.quell(&["plan", "check", "-"]);
    command.stdin(File::open(scratch.path("long")).expect("it is there"));
    let ended = Running::start(command).ended();
    ended.assert_code(2);
    let says = "stdin: plan has more than 1048576 bytes, the limit\n";
    assert!(ended.stderr.contains(says), "{ended:?}");
}

#[test]
fn a_pipe_is_refused_and_never_waited_for() {
    let scratch = Scratch::new();
    scratch.write("plan.yaml", YAML);
    for name in ["pipe", "pipe.yaml"] {
        let made = Command::new("mkfifo").arg(scratch.path(name)).status();
        assert!(made.expect("mkfifo runs").success());
    }
    let says = "is no regular file; expected one, or `-`, which reads a plan from stdin\n";
    for plan in ["pipe", "pipe.yaml", "/dev/stdin"] {
        for args in [&["plan", "check", plan][..], &["plan", "show", plan], &["run", plan]] {
            let ended = scratch.run_with(args, YAML);
            ended.assert_code(2);
            assert!(ended.stderr.contains(&format!("{plan}: {says}")), "{args:?}: {ended:?}");
        }
    }
    let says = "is no regular file; expected a report, as `quell run PLAN --report FILE` writes \
                it; `-` is for plans\n";
    for file in ["pipe", "/dev/stdin"] {
        let args = ["run", "plan.yaml", "--only", "a", "--outputs", file];
        let ended = scratch.run_with(&args, "{}");
        ended.assert_code(2);
        assert_eq!(ended.stderr, format!("error: {file}: {says}"));
    }
}
