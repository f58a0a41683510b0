//! What would steer a terminal, or begin a line, is escaped: the names of files that are given, and
//! of steps.

use crate::support::Scratch;

/// A name that clears the screen and begins a line.
const NAME: &str = "a\u{1b}[2J\nerror: b";

#[test]
fn a_path_that_is_given_neither_steers_a_terminal_nor_begins_a_line() {
    let scratch = Scratch::new();
    let named = |extension: &str| format!("{NAME}.{extension}");
    let (plan, bad, config) = (named("yaml"), named("json"), named("toml"));
    scratch.write(&plan, "name: p\nsteps: [{ name: a, run: ['true'] }]\n");
    scratch.write(&bad, "{}");
    scratch.write(&config, "[agents.a]\nrun = ['true']\n");
    let (nowhere, new) = (format!("no/{NAME}"), format!("new{NAME}.toml"));
    for (args, code) in [
        (&["plan", "check", &plan][..], 0),
        (&["plan", "check", &bad], 2),
        (&["plan", "check", NAME], 2),
        (&["run", &bad], 2),
        (&["run", NAME], 2),
        (&["run", &plan, "--report", &nowhere], 2),
        (&["run", &plan, "--report", &plan], 2),
        (&["run", &plan, "--outputs", &nowhere, "--only", "a"], 2),
        (&["check", &config], 0),
        (&["check", &nowhere], 2),
        (&["init", &config], 2),
        (&["init", &nowhere], 2),
        (&["init", &new], 0),
        (&["man", &config], 2),
        (&["store", "check", &nowhere], 2),
        (&["runs", "--store", &nowhere], 2),
    ] {
        let ended = scratch.run(args);
        ended.assert_code(code);
        for said in [&ended.stdout, &ended.stderr] {
            assert!(!said.contains('\u{1b}'), "{args:?}: {said:?}");
            assert!(!said.lines().any(|line| line.starts_with("error: b")), "{args:?}: {said}");
        }
    }
}

#[test]
fn a_step_with_a_name_of_several_lines_is_one_line_of_a_report() {
    let scratch = Scratch::new();
    let plan = "name: \"p\\n\\e[2J\"\nsteps:\n- { name: \"a\\n\\e[2J\", run: ['false'] }\n";
    scratch.write("plan.yaml", plan);
    let ended = scratch.run(&["run", "plan.yaml"]);
    ended.assert_code(1);
    let said = ended.stdout + &ended.stderr;
    assert!(!said.contains('\u{1b}') && said.contains("step `a…` failed"), "{said:?}");
}
