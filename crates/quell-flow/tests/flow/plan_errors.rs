//! Every way in which a plan can be wrong: the line, the column and the words, for both formats.

use std::fmt::Write as _;

use proptest::prelude::*;
use quell_flow::{Plan, PlanError, PlanFormat, limits};

use crate::support::*;

/// Line, column and a part of the message that a text is refused with.
type Case<'a> = (&'a str, usize, usize, &'a str);

fn check(cases: &[Case<'_>], parse: fn(&str) -> Result<Plan, PlanError>) {
    for (text, line, column, words) in cases {
        let is_json = text.starts_with(['{', '[']);
        assert_own_words_stay(if is_json { PlanFormat::Json } else { PlanFormat::Toml }, text);
        let error = parse(text).expect_err(text);
        let place = (error.line(), error.column());
        assert_eq!(place, (Some(*line), Some(*column)), "{error}\n{text}");
        assert!(error.message().contains(words), "{error}\n{text}");
        assert!(!error.message().contains('\n'), "{error}\n{text}");
        assert_eq!(error.to_string(), format!("line {line}, column {column}: {}", error.message()));
    }
}

#[test]
fn a_toml_plan_with_a_wrong_structure_is_refused_with_its_place() {
    check(
        &[
            ("name = \"x\"\nsteps = [\n", 2, 10, "unclosed array"),
            ("name = \"x\"\nname = \"y\"\n", 2, 1, "duplicate key"),
            ("name = \"x\"\n", 1, 1, "plan has no `steps`"),
            ("steps = []\n", 1, 1, "plan has no `name`"),
            ("name = \"x\"\nstep = []\n", 2, 1, "unknown key `step`; did you mean `steps`?"),
            ("name = \"x\"\nsteps = 3\n", 2, 9, "found a number; expected a list"),
            ("name = 7\nsteps = []\n", 1, 8, "found a number; expected a string"),
            ("name = \"x\"\nsteps = []\n", 2, 9, "`steps` is empty; expected at least one"),
            ("name = \" \"\nsteps = []\n", 1, 8, "empty name; expected a text"),
            ("name = \"x\"\nsteps = [3]\n", 2, 10, "found a number; expected a table"),
        ],
        Plan::from_toml,
    );
}

#[test]
fn a_toml_step_with_a_wrong_structure_is_refused_with_its_place() {
    let one_of = "expected exactly one of `run`, `sequence`, `parallel`";
    check(
        &[
            ("name = \"x\"\n\n[[steps]]\nrun = [\"ls\"]\n", 3, 1, "step has no `name`"),
            ("name = \"x\"\n\n[[steps]]\nname = \"a\"\n", 3, 1, "step `a` does nothing"),
            ("name = \"x\"\n\n[[steps]]\nname = \"a\"\n", 3, 1, one_of),
            (
                "name = \"x\"\n[[steps]]\nname = \"a\"\nrun = [\"ls\"]\nsequence = []\n",
                5,
                1,
                "step `a` has both `run` and `sequence`; expected exactly one of",
            ),
            (
                "name = \"x\"\n[[steps]]\nname = \"a\"\nwalk = [\"ls\"]\n",
                4,
                1,
                "unknown key `walk`; expected one of `name`, `timeout`, `grace`, `idle`, `run`",
            ),
            (
                "name = \"x\"\n[[steps]]\nname = \"a\"\nrun = [\"ls\"]\n\n[[steps]]\nname = \"a\"\n\
                 run = [\"ls\"]\n",
                7,
                8,
                "duplicate name `a`; expected one of its own",
            ),
            (
                "name = \"x\"\n[[steps]]\nname = \"a\"\nsequence = []\n",
                4,
                12,
                "`sequence` is empty",
            ),
            (
                "name = \"x\"\n[[steps]]\nname = \"a\"\nparallel = {}\n",
                2,
                1,
                "parallel step has no `branches`",
            ),
            (
                "name = \"x\"\n[[steps]]\nname = \"a\"\nparallel = {}\nbranches = []\n",
                5,
                12,
                "`branches` is empty",
            ),
            (
                "name = \"x\"\n[[steps]]\nname = \"a\"\nrun = [\"ls\"]\n[[steps.branches]]\n",
                5,
                9,
                "`branches` goes with `parallel`; step `a` has `run`",
            ),
            (
                "name = \"x\"\n[[steps]]\nname = \"a\"\nparallel = {}\ncwd = \"/\"\n\
                 branches = [{ name = \"b\", run = [\"ls\"] }]\n",
                5,
                1,
                "`cwd` goes with `run`; step `a` has `parallel`",
            ),
            (
                "name = \"x\"\n[[steps]]\nname = \"a\"\nsequence = [\n  \
                 { name = \"ä\", run = 1 },\n]\n",
                5,
                23,
                "found a number; expected a list",
            ),
        ],
        Plan::from_toml,
    );
}

#[test]
fn a_step_with_a_condition_beside_what_it_does_is_shown_where_that_stands() {
    let text = "name = \"x\"\n[[steps]]\nname = \"a\"\nrun = [\"ls\"]\nif = \"input\"\n";
    let words = "step `a` has both `run` and `if`; a step with `if` runs the steps in its `then`: \
                 write `run` in one of these";
    check(&[(text, 5, 1, words)], Plan::from_toml);
}

#[test]
fn a_toml_plan_with_a_wrong_value_is_refused_with_its_place() {
    let step = |line: &str| format!("name = \"x\"\n[[steps]]\nname = \"a\"\n{line}\n");
    let run = |line: &str| step(&format!("run = [\"ls\"]\n{line}"));
    let parallel = |options: &str| {
        step(&format!(
            "parallel = {{ {options} }}\nbranches = [{{ name = \"b\", run = [\"ls\"] }}]"
        ))
    };
    let time = "expected a time above zero such as \"30s\" or \"500ms\"";
    check(
        &[
            (&step("run = []"), 4, 7, "empty command; expected a program and its arguments"),
            (&step("run = [\"\", \"x\"]"), 4, 8, "empty command"),
            (&step("run = \"ls\""), 4, 7, "found a string; expected a list"),
            (&step("run = [\"ls\", []]"), 4, 14, "found a list; expected a string"),
            (&step("run = [\"a\\u0000\"]"), 4, 8, "contains NUL"),
            (&run("timeout = \"0s\""), 5, 11, "time is zero; expected"),
            (&run("timeout = \"-5s\""), 5, 11, "invalid time `-5s`; expected"),
            (&run("timeout = \"soon\""), 5, 11, time),
            (&run("timeout = \"\""), 5, 11, "invalid time ``"),
            (&run("timeout = 30"), 5, 11, "found a number without a unit; expected a time"),
            (&run("grace = \"0ms\""), 5, 9, "time is zero"),
            (&run("idle = \"99999999999999999999y\""), 5, 8, "invalid time"),
            (&run("env = [\"A\"]"), 5, 7, "found a list; expected a table"),
            (&run("env = { A = [] }"), 5, 13, "found a list; expected a string"),
            (&run("env = { \"A=B\" = \"1\" }"), 5, 9, "name of a variable"),
            (&run("cwd = true"), 5, 7, "found a boolean; expected a string"),
            (&run("input = 1.5"), 5, 9, "found a number; expected a string"),
            (&parallel("limit = 0"), 4, 22, "limit `0`; expected a whole number above 0"),
            (&parallel("limit = -1"), 4, 22, "limit `-1`"),
            (&parallel("limit = 1.5"), 4, 22, "limit `1.5`"),
            (&parallel("limit = \"2\""), 4, 22, "`limit`: found a string; expected a whole number"),
            (&parallel("polcy = 1"), 4, 14, "unknown key `polcy`; did you mean `policy`?"),
            (
                &parallel("policy = \"any\""),
                4,
                23,
                "unknown policy `any`; expected one of `all`, `settle`, `first_success`",
            ),
            (&parallel("branch_timeout = \"0s\""), 4, 31, "time is zero"),
            (&parallel("branch_grace = \"x\""), 4, 29, "invalid time `x`"),
            (
                &parallel("on_branch_timeout = \"ignore\""),
                4,
                34,
                "expected one of `fail`, `skip`, `partial`, or a table `{ default = … }`",
            ),
            (&parallel("on_branch_timeout = 1"), 4, 34, "expected a string or a table"),
            (&parallel("on_branch_timeout = {}"), 4, 34, "table has no `default`"),
            (&parallel("on_branch_timeout = { default = nan }"), 4, 46, "expected a finite number"),
            (&parallel("on_branch_cancelled = \"x\""), 4, 36, "unknown word `x`"),
        ],
        Plan::from_toml,
    );
}

#[test]
fn a_json_plan_with_a_fault_is_refused_with_its_place() {
    check(
        &[
            ("", 1, 1, "the text ends before a value"),
            ("{\"name\": \"x\",\n \"steps\": [}\n", 2, 12, "expected value"),
            ("{\"name\": \"x\"}\n\n?", 3, 1, "trailing characters"),
            ("[1]", 1, 1, "found a list; expected a table"),
            ("{\"name\": \"x\",\n \"name\": \"y\"}", 2, 2, "duplicate key `name`"),
            ("{\"name\": \"x\",\n \"steps\":\n  null}", 3, 3, "found null; expected a list"),
            ("{\"name\": \"\\ud800\"}", 1, 17, "hex escape"),
            ("{\"name\": \"x\",\n \"st\\u0065p\": 1}", 2, 2, "unknown key `step`"),
            ("{\"name\": \"x\", \"steps\": [\n {\"name\": \"a\"}]}", 2, 2, "step `a` does nothing"),
            (
                "{\"name\": \"x\", \"steps\": [\n {\"name\": \"a\", \"run\": [\"ls\"],\n  \
                 \"cmd\": 1}]}",
                3,
                3,
                "unknown key `cmd`",
            ),
            (
                "{\"name\": \"x\", \"steps\": [\n {\"name\": \"a\", \"run\": [\"ls\"]},\n \
                 {\"name\": \"a\", \"run\": [\"ls\"]}]}",
                3,
                11,
                "duplicate name `a`",
            ),
            (
                "{\"name\": \"x\", \"steps\": [\n {\"name\": \"a\", \"run\": [\"ls\"],\n  \
                 \"timeout\": \"0s\"}]}",
                3,
                14,
                "time is zero",
            ),
            (
                "{\"name\": \"x\", \"steps\": [{\"name\": \"a\",\n \
                 \"parallel\": {\n  \"limit\": 0},\n \
                 \"branches\": []}]}",
                3,
                12,
                "limit `0`",
            ),
            (
                "{\"name\": \"x\", \"steps\": [{\"name\": \"a\",\n \
                 \"parallel\": {\n  \"limit\": 1e999},\n \
                 \"branches\": []}]}",
                3,
                16,
                "number out of range",
            ),
        ],
        Plan::from_json,
    );
}

/// A plan of one command inside so many sequences, one per line.
fn nested_toml(levels: usize) -> String {
    let open = "{ name = \"s\", sequence = [\n".repeat(levels - 1);
    let close = "] },\n".repeat(levels - 1);
    format!("name = \"deep\"\nsteps = [\n{open}{{ name = \"c\", run = [\"true\"] }},\n{close}]\n")
}

fn nested_json(levels: usize) -> String {
    let open = "{\"name\": \"s\", \"sequence\": [\n".repeat(levels - 1);
    let close = "]}".repeat(levels - 1);
    let step = format!("{open}{{\"name\": \"c\", \"run\": [\"true\"]}}{close}");
    format!("{{\"name\": \"deep\", \"steps\": [\n{step}]}}")
}

#[test]
fn steps_nest_up_to_their_bound_and_no_deeper() {
    let max = limits::PLAN_DEPTH_MAX;
    Plan::from_toml(&nested_toml(max)).unwrap();
    Plan::from_json(&nested_json(max)).unwrap();
    check(
        &[(&nested_toml(max + 1), max + 3, 1, "steps nest too deep; expected at most 32 levels")],
        Plan::from_toml,
    );
    check(&[(&nested_json(max + 1), max + 2, 1, "steps nest too deep")], Plan::from_json);
}

#[test]
fn steps_nest_up_to_their_bound_with_headers_too() {
    let mut text = String::from("name = \"deep\"\n");
    for level in 0..limits::PLAN_DEPTH_MAX {
        let header = format!("steps{}", ".sequence".repeat(level));
        writeln!(text, "[[{header}]]\nname = \"s\"").unwrap();
    }
    text.push_str("run = [\"true\"]\n");
    Plan::from_toml(&text).unwrap();
}

#[test]
fn hostile_nesting_is_refused_without_recursion() {
    let deep = 250_000;
    let words = "tables and lists nest too deep";
    check(
        &[
            (&format!("a = {}", "[".repeat(deep)), 1, 85, words),
            (&format!("a = {}", "{a=".repeat(deep)), 1, 245, words),
            (&format!("a{} = 1", ".a".repeat(deep)), 1, 1, words),
            (&format!("\n[a{}]", ".a".repeat(deep)), 2, 1, words),
            (&format!("a = {}1{}", "[".repeat(78), "]".repeat(78)), 1, 81, words),
            (&format!("b = [\n1]\na{} = 1\nc = 1", ".a".repeat(80)), 3, 1, words),
        ],
        Plan::from_toml,
    );
    check(
        &[
            (&"[".repeat(deep), 1, limits::PLAN_NESTING_MAX + 1, words),
            (&"{\"a\":".repeat(deep / 2), 1, limits::PLAN_NESTING_MAX * 5 + 1, words),
            (&format!("\n{}{}", "[".repeat(deep), "]".repeat(deep)), 2, 77, words),
        ],
        Plan::from_json,
    );
}

#[test]
fn brackets_in_a_text_do_not_nest() {
    let text = r#"\"[{"#.repeat(200);
    let plan =
        format!("{{\"name\": \"{text}\", \"steps\": [{{\"name\": \"a\", \"run\": [\"ls\"]}}]}}");
    Plan::from_json(&plan).unwrap();
}

#[test]
fn steps_are_counted_at_every_level_and_one_too_many_is_refused() {
    let plan = |steps: usize| {
        let mut text = String::from("name = \"many\"\n");
        text.push_str("[[steps]]\nname = \"all\"\nparallel = {}\n");
        for step in 1..steps {
            writeln!(text, "[[steps.branches]]\nname = \"{step}\"\nrun = [\"true\"]").unwrap();
        }
        text
    };
    let max = limits::PLAN_STEPS_MAX;
    Plan::from_toml(&plan(max)).unwrap();
    check(
        &[(&plan(max + 1), 5 + 3 * (max - 1), 1, "too many steps; expected at most 10000")],
        Plan::from_toml,
    );
}

#[test]
fn a_name_is_as_long_as_the_name_of_a_run_may_be_and_no_longer() {
    let plan = |bytes| {
        format!("name = \"{}\"\nsteps = [{{name = \"a\", run = [\"ls\"]}}]", "n".repeat(bytes))
    };
    let max = quell::limits::LABEL_BYTES_MAX;
    Plan::from_toml(&plan(max)).unwrap();
    check(&[(&plan(max + 1), 1, 8, "name has 1025 bytes; expected at most 1024")], Plan::from_toml);
}

#[test]
fn a_message_quotes_a_hostile_text_short_and_on_one_line() {
    for (text, says) in [("\\u001ba\\nb", r"`\u{1b}…`"), (&"b".repeat(1_000), "bbb…`; expected o")]
    {
        let step = format!("{{ name = \"{text}\", run = ['x'] }}");
        let plan = format!("name = 'p'\nsteps = [{step}, {step}]\n");
        let error = Plan::from_toml(&plan).unwrap_err();
        assert!(error.message().contains(says), "{error}");
        assert!(error.message().len() < 200, "{error}");
    }
}

#[test]
fn a_text_over_its_bound_is_refused_before_it_is_parsed() {
    let text = "#".repeat(limits::PLAN_BYTES_MAX + 1);
    for error in [Plan::from_toml(&text), Plan::from_json(&text)].map(Result::unwrap_err) {
        assert_eq!(error.to_string(), "plan has more than 1048576 bytes, the limit");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[\\[\\]{}=\",.a-z0-9 \n\\\\:]{0,200}") {
        Plan::from_toml(&text).ok();
        Plan::from_json(&text).ok();
    }

    #[test]
    fn no_damage_to_a_plan_makes_the_reader_panic_and_every_fault_has_a_place(
        at in any::<prop::sample::Index>(),
        len in 0..20_usize,
        put in "[\\[\\]{}=\",0\n]{0,4}",
    ) {
        let good = nested_json(4);
        let at = at.index(good.len());
        let end = (at + len).min(good.len());
        let damaged = format!("{}{put}{}", &good[..at], &good[end..]);
        if let Err(error) = Plan::from_json(&damaged) {
            let lines = damaged.matches('\n').count() + 1;
            prop_assert!(error.line().is_some_and(|line| (1..=lines).contains(&line)), "{error}");
        }
    }
}
