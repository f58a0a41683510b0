//! The messages of plans, word for word: each names its key, shows its line, says what is right.

use quell_flow::{PlanError, PlanFormat};

use crate::support::*;

/// The faults of a plan as people see them: the message with its place, and the line below it.
fn shown(format: PlanFormat, text: &str) -> String {
    assert_own_words_stay(format, text);
    let faults = format.read(text).expect_err(text);
    let shown = |fault: &PlanError| format!("{fault}\n{}\n", fault.snippet().unwrap());
    faults.iter().map(shown).collect()
}

/// Asserts what is shown of the one step of a plan in YAML, whose first line is line 3.
#[track_caller]
fn assert_shown(step: &str, expected: &str) {
    let text = format!("name: p\nsteps:\n{step}\n");
    assert_eq!(shown(PlanFormat::Yaml, &text), expected.trim_start_matches('\n'), "{text}");
}

#[test]
fn a_command_line_is_shown_as_the_list_that_it_should_be() {
    assert_shown(
        "- name: a\n  run: make all",
        r#"
line 4, column 8: `run`: found a string; expected a list such as `["make", "all"]`
  |
4 |   run: make all
  |        ^
"#,
    );
    assert_shown(
        "- name: a\n  run: make | cat",
        r#"
line 4, column 8: `run`: found a string; expected a list such as `["sh", "-c", "make | cat"]`
  |
4 |   run: make | cat
  |        ^
"#,
    );
    assert_shown(
        "- name: a\n  run: make {{ input }}",
        r#"
line 4, column 8: `run`: found a string; expected a list such as `["make", "all"]`
  |
4 |   run: make {{ input }}
  |        ^
"#,
    );
}

#[test]
fn every_misspelt_key_of_a_step_is_shown_with_the_right_one() {
    assert_shown(
        "- name: a\n  run: [x]\n  retries: 3\n  neeeds: [b]\n  timeot: 30s",
        "
line 5, column 3: unknown key `retries`; did you mean `retry`?
  |
5 |   retries: 3
  |   ^
line 5, column 12: `retry`: found a number; expected a table such as `{ attempts: 3 }`, where the \
         first attempt counts too
  |
5 |   retries: 3
  |            ^
line 6, column 3: unknown key `neeeds`; `needs` goes with the `branches` of `parallel`; other \
         steps have an order of their own
  |
6 |   neeeds: [*]
  |   ^
line 7, column 3: unknown key `timeot`; did you mean `timeout`?
  |
7 |   timeot: ***
  |   ^
",
    );
}

#[test]
fn what_a_table_of_a_misspelt_key_lacks_is_named() {
    for (step, says) in [
        ("run: [x], retires: {}", "retry has no `attempts`"),
        ("lopo: {}, steps: [{ name: b, run: [x] }]", "loop has no `count`; expected how often, or"),
    ] {
        let found = shown(PlanFormat::Yaml, &format!("name: p\nsteps: [{{ name: a, {step} }}]\n"));
        assert!(found.contains(says), "{found}");
    }
}

#[test]
fn a_key_of_another_tool_is_shown_with_the_one_that_does_the_same() {
    assert_shown(
        "- name: a\n  comand: [x]\n- name: b\n  onFailure: [{ name: c, run: [x] }]\n  run: [x]",
        "
line 4, column 3: unknown key `comand`; did you mean `run`?
  |
4 |   comand: [*]
  |   ^
line 6, column 3: unknown key `onFailure`; did you mean `on_failure`?
  |
6 |   onFailure: [{ name: *, run: [*] }]
  |   ^
",
    );
}

#[test]
fn a_time_without_a_unit_is_shown_with_one() {
    assert_shown(
        "- { name: a, run: [x], timeout: 30 }",
        "
line 3, column 33: `timeout`: found a number without a unit; expected a time such as \"30s\" or \
         \"500ms\"
  |
3 | - { name: a, run: [x], timeout: 30 }
  |                                 ^
",
    );
}

#[test]
fn a_number_of_a_command_is_the_text_that_is_written() {
    let plan = "name: p\nsteps: [{ name: a, run: [sleep, 5, -1.5], env: { PORT: 8080 } }]";
    let plan = PlanFormat::Yaml.read(plan).unwrap();
    let quell_flow::Action::Run(run) = &plan.steps()[0].action else { panic!("{plan}") };
    assert_eq!(run.command, ["sleep", "5", "-1.5"]);
    assert_eq!(run.env["PORT"], "8080");
    let toml = "name = 'p'\nsteps = [{ name = 'a', run = ['x', 5# seconds\n] }]";
    assert!(PlanFormat::Toml.read(toml).is_ok());
    assert_shown(
        "- { name: a, run: [chmod, 0644, true], env: { A: 1.50 } }",
        r#"
line 3, column 27: `run`: found a number; expected a string such as `"0644"`
  |
3 | - { name: a, run: [chmod, 0644, true], env: { A: **** } }
  |                           ^
line 3, column 33: `run`: found a boolean; expected a string such as `"true"`
  |
3 | - { name: a, run: [chmod, 0644, true], env: { A: **** } }
  |                                 ^
line 3, column 50: `env.A`: found a number; expected a string, in quotes
  |
3 | - { name: a, run: [chmod, 0644, true], env: { A: **** } }
  |                                                  ^
"#,
    );
}

#[test]
fn a_template_without_quotes_is_shown_with_them() {
    for (step, column, line) in [
        ("- name: a\n  run: [echo, {{ input.x }}]", 15, "  run: […, {{ input.… }}]"),
        ("- name: a\n  run:    {{ input.x }}", 11, "  run:    {{ input.… }}"),
    ] {
        let caret = " ".repeat(line.split("{{").next().unwrap().chars().count() + 1);
        let expected = format!(
            "line 4, column {column}: `{{{{ input.… }}}}` is a table in YAML; expected quotes \
             around it: `\"{{{{ input.… }}}}\"`\n  |\n4 | {line}\n  |{caret}^\n",
        );
        assert_shown(step, &expected);
    }
}

#[test]
fn a_retry_that_is_a_number_is_shown_as_a_table_of_its_format() {
    let toml = "name = 'p'\n[[steps]]\nname = 'a'\nrun = ['x']\nretry = 3\n";
    assert_eq!(
        shown(PlanFormat::Toml, toml),
        "line 5, column 9: `retry`: found a number; expected a table such as `{ attempts = 3 }`, \
         where the first attempt counts too\n  |\n5 | retry = 3\n  |         ^\n",
    );
    let json = r#"{"name": "p", "steps": [{"name": "a", "run": ["x"], "retry": 2}]}"#;
    let words = "expected a table such as `{\"attempts\": 2}`, where the first attempt counts too";
    assert!(shown(PlanFormat::Json, json).contains(words));
}

#[test]
fn an_expression_of_another_language_is_shown_in_this_one() {
    assert_shown(
        "- { name: a, if: input.x = 1, then: [{ name: b, run: [x] }] }",
        "
line 3, column 18: `if`: bad expression `input.x = 1`: unexpected input after \
         expression; expected `==`, which compares
  |
3 | - { name: a, if: input.x = 1, then: [{ name: b, run: [x] }] }
  |                  ^
",
    );
    assert_shown(
        "- { name: a, if: '{{ input.x }}', then: [{ name: b, run: [x] }] }",
        "
line 3, column 18: `if`: `{{ input.x }}` has the braces of a template; expected `input.x`
  |
3 | - { name: a, if: '{{ input.x }}', then: [{ name: b, run: [x] }] }
  |                  ^
",
    );
}

#[test]
fn an_operator_of_another_language_is_shown_with_the_right_one() {
    let end = "unexpected end of input, expected expression";
    for (expression, hint) in [
        ("input.x && input.y", "; expected `and`"),
        ("input.x || input.y", "; expected `or`"),
        ("input.x = 1", "; expected `==`, which compares"),
        ("input.x == '=' +", end),
        ("input | default(x='=') +", end),
    ] {
        let then = "then: [{ name: b, run: [x] }]";
        let text = format!("name: p\nsteps:\n- {{ name: a, if: \"{expression}\", {then} }}");
        let faults = PlanFormat::Yaml.read(&text).unwrap_err();
        assert!(faults.len() == 1 && faults[0].message().ends_with(hint), "{faults:?}");
    }
}

#[test]
fn a_name_that_no_expression_may_read_is_shown_with_the_one_that_was_meant() {
    let cases = [
        (
            "steps.build.stdout",
            "step `build` has no `stdout` in `{{ steps.build.stdout }}`; did you mean \
             `steps.build.output.stdout`?",
        ),
        (
            "steps.build.outptu",
            "step `build` has no `outptu` in `{{ steps.build.outptu }}`; did you mean \
             `steps.build.output`?",
        ),
        (
            "steps.biuld.output",
            "unknown step `biuld` in `{{ steps.biuld.output }}`; did you mean `build`?",
        ),
        (
            "steps.x.output",
            "unknown step `x` in `{{ steps.x.output }}`; expected one of those that come before: \
             `build`",
        ),
        (
            "build.output",
            "unknown name `build` in `{{ build.output }}`; did you mean `steps.build.output`?",
        ),
        ("inputs.x", "unknown name `inputs` in `{{ inputs.x }}`; did you mean `input`?"),
        ("env.HOME", "unknown name `env` in `{{ env.HOME }}`; expected one of `input`, `steps`"),
    ];
    for (expression, message) in cases {
        assert_shown(
            &format!("- {{ name: build, run: [x] }}\n- name: a\n  run: ['{{{{ {expression} }}}}']"),
            &format!(
                "line 5, column 9: `run`: {message}\n  |\n5 |   run: ['{{{{ {expression} }}}}']\n  \
                 |         ^\n",
            ),
        );
    }
}

#[test]
fn a_step_with_two_actions_is_shown_with_both() {
    assert_shown(
        "- name: a\n  run: [x]\n  plan: { name: w, steps: [{ name: b, run: [x] }] }",
        "
line 5, column 3: unknown key `plan`; did you mean `workflow`?
  |
5 |   plan: { name: *, steps: [{ name: *, run: [*] }] }
  |   ^
line 5, column 3: step `a` has both `run` and `workflow`; expected exactly one of `run`, \
         `sequence`, `parallel`, `loop`, `if`, `route`, `team`, `component`, `workflow`, `wait`
  |
5 |   plan: { name: *, steps: [{ name: *, run: [*] }] }
  |   ^
",
    );
}

#[test]
fn a_word_is_shown_with_the_one_that_was_meant() {
    let inside = "branches: [{ name: b, run: [x] }]";
    for (options, words) in [
        ("policy: quorom, quorum: 1", "unknown policy `quorom`; did you mean `quorum`?"),
        ("policy: any", "unknown policy `any`; expected one of `all`, `settle`, "),
        ("on_loser: canel", "`on_loser`: unknown word `canel`; did you mean `cancel`?"),
        ("on_branch_timeout: skp", "`on_branch_timeout`: unknown word `skp`; did you mean `skip`?"),
    ] {
        let text = format!("name: p\nsteps:\n- {{ name: a, parallel: {{ {options} }}, {inside} }}");
        let faults = PlanFormat::Yaml.read(&text).unwrap_err();
        assert!(faults.len() == 1 && faults[0].message().starts_with(words), "{faults:?}");
    }
}

#[test]
fn every_fault_of_a_step_is_shown() {
    let text = "
name: p
steps:
- name: ''
  timeout: soon
  grace: 0s
  cwd: [x]
  run: [x, '{{ a }}', '{{ b }}']
  env: { A: [] }
  retry: { attempts: 0, cap: 3 }
  then: []
  on_stop: [{ name: b }]
";
    let faults = PlanFormat::Yaml.read(text).unwrap_err();
    let lines: Vec<_> = faults.iter().map(|fault| fault.line().unwrap()).collect();
    assert_eq!(lines, [4, 5, 6, 7, 8, 8, 9, 10, 10, 11, 12], "{faults:#?}");
}

#[test]
fn a_line_is_shown_around_the_place_and_without_what_a_terminal_would_obey() {
    let (before, after) = ("ä".repeat(100), "b".repeat(100));
    let text = format!(
        "name = \"x\"\nsteps = [ # {before}\n\t{{ name = \"{before}\u{202e}\", \
                        run = [\"x\", \"\\u001b\"], \
                        env_clear = \"{after}\" }}\n]\n"
    );
    let faults = PlanFormat::Toml.read(&text).unwrap_err();
    let snippet = faults[0].snippet().unwrap();
    let expected = format!(
        "  |\n3 | …{}\u{fffd}\", run = [\"x\", \"******\"], env_clear = \"{}…\n  | {}^",
        "ä".repeat(21),
        "*".repeat(59),
        " ".repeat(61),
    );
    assert_eq!(snippet, expected, "{faults:#?}");
}

#[test]
fn a_caret_is_below_its_place_also_after_wide_characters() {
    assert_shown(
        "- { name: 漢字🦀, bad: 1, run: [x] }",
        "
line 3, column 16: unknown key `bad`; expected one of `name`, `timeout`, `grace`, `idle`, `run`, \
         `cwd`, `env`, `env_clear`, `input`, `sequence`, `parallel`, `branches`, `loop`, `steps`, \
         `if`, `then`, `else`, `route`, `routes`, `otherwise`, `team`, `members`, `component`, \
         `workflow`, `wait`, `retry`, `on_failure`, `on_stop`
  |
3 | - { name: 漢字🦀, bad: *, run: [x] }
  |                   ^
",
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_plan() {
    for (format, text) in [
        (PlanFormat::Toml, "name = 'p'\nsteps = [{ name = 'a', run = ['x'] }]"),
        (PlanFormat::Json, r#"{"name": "p", "steps": [{"name": "a", "run": ["x"]}]}"#),
        (PlanFormat::Yaml, "{ name: p, steps: [{ name: a, run: [x] }] }"),
    ] {
        let marked = format!("\u{feff}{text}");
        assert!(format.read(&marked).is_ok(), "{format:?}");
        let wrong = |text: &str| shown(format, &text.replacen("name", "nam", 1));
        assert_eq!(wrong(&marked), wrong(text));
    }
}

#[test]
fn a_value_of_a_wrong_type_is_shown_with_its_key_and_what_is_right() {
    let steps = "a list of steps, each a table with its `name`";
    for (step, key, right) in [
        ("on_stop: { name: b }, run: [x]", "on_stop", steps),
        ("route: input.x, routes: { b: {} }", "routes", steps),
        ("parallel: {}, branches: { b: {} }", "branches", steps),
        (
            "route: input.x, routes: [{ name: b, run: [x] }], otherwise: { name: b }",
            "otherwise",
            "the name of one of `routes`",
        ),
    ] {
        let found = shown(PlanFormat::Yaml, &format!("name: p\nsteps: [{{ name: a, {step} }}]\n"));
        assert!(
            found.contains(&format!(": `{key}`: found a table; expected {right}\n")),
            "{found}"
        );
    }
    let found = shown(PlanFormat::Yaml, "name: p\nsteps: [{ name: a, run: [x], env: [A=1] }]\n");
    let right = r#"`env`: found a list; expected a table such as `{ NAME: "value" }`"#;
    assert!(found.contains(right), "{found}");
}

#[test]
fn a_month_is_not_taken_for_a_minute() {
    let step = "name: p\nsteps: [{ name: a, run: [x], timeout: 5M }]\n";
    let right = "`timeout`: `M` of `5M` is a month; expected `m` for minutes, or `months`";
    let found = shown(PlanFormat::Yaml, step);
    assert!(found.contains(right), "{found}");
}
