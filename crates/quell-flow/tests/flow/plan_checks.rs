//! What can be known of a plan before it runs is refused before it runs, all of it, with its place.

use std::fmt::Write as _;

use quell_flow::{Plan, PlanFormat, limits};

use crate::support::*;

/// The faults of a YAML plan: line, and message.
fn faults(text: &str) -> Vec<(usize, String)> {
    assert_own_words_stay(PlanFormat::Yaml, text);
    let faults = PlanFormat::Yaml.read(text).expect_err(text);
    faults.iter().map(|fault| (fault.line().unwrap(), fault.message().to_owned())).collect()
}

#[test]
fn what_a_step_does_is_refused_with_its_place_and_what_would_be_right() {
    let one = "[{ name: b, run: [x] }]";
    let cases = [
        ("loop: {}\n  steps: ONE", 4, "loop has no `count`; expected how often, or `until` and"),
        ("loop: { count: 0 }\n  steps: ONE", 4, "count `0`; expected a whole number above 0"),
        ("loop: { count: 1000001 }\n  steps: ONE", 4, "expected at most 1000000"),
        ("loop: { until: 'true' }\n  steps: ONE", 4, "loop has no `max`; expected how often at"),
        ("loop: { count: 2, max: 3 }\n  steps: ONE", 4, "`max` does not go with `count`"),
        ("loop: { until: 'true', max: 3, count: 3 }\n  steps: ONE", 4, "`count` does not go with"),
        ("loop: { until: 'true', max: 3, on_max: x }\n  steps: ONE", 4, "one of `fail`, `accept`"),
        ("loop: { count: 2 }", 3, "loop has no `steps`"),
        ("if: 'true'", 3, "`if` has no `then`"),
        ("if: 7\n  then: ONE", 4, "found a number; expected an expression, which is a string"),
        ("run: [x]\n  else: ONE", 5, "`else` goes with `if`; step `a` has `run`"),
        ("run: [x]\n  steps: ONE", 5, "`steps` goes with `loop`; step `a` has `run`"),
        ("sequence: ONE\n  input: x", 5, "`input` goes with `run`, `component`, `workflow`,"),
        ("route: input", 3, "route has no `routes`"),
        ("route: \"'c'\"\n  routes: ONE", 4, "unknown route `c`; expected one of `b` of `routes`"),
        ("route: input\n  routes: ONE\n  otherwise: c", 6, "unknown route `c`; expected one of"),
        ("team: {}\n  members: ONE", 4, "team has no `mode`"),
        ("team: { mode: chat }\n  members: ONE", 4, "unknown mode `chat`; expected one of `broad"),
        ("team: { mode: route }\n  members: ONE", 4, "mode `route` has no `choose`"),
        ("team: { mode: route, choose: \"'c'\" }\n  members: ONE", 4, "unknown choice `c`"),
        ("team: { mode: sequence, max: 2 }\n  members: ONE", 4, "`max` goes with mode `coordin"),
        ("team: { mode: coordinate, leader: c, max: 2 }\n  members: ONE", 4, "unknown leader `c`"),
        ("team: { mode: coordinate, leader: b }\n  members: ONE", 4, "has no `max`"),
        ("component: ''", 4, "empty name of a component"),
        ("workflow: { name: w, steps: [] }", 4, "`steps` is empty; expected at least one"),
        ("workflow: { name: w, halts: [] }", 4, "unknown key `halts`; expected one of `name`"),
        ("run: [x]\n  on_stop: []", 5, "`on_stop` is empty; expected at least one"),
        (
            "parallel: { start_next: decided }\n  branches: ONE\n  on_failure: ONE",
            6,
            "`on_failure` does not go with `start_next = \"decided\"`",
        ),
    ];
    for (step, line, words) in cases {
        let plan = format!("name: p\nsteps:\n- name: a\n  {}\n", step.replace("ONE", one));
        let found = faults(&plan);
        assert!(found.len() == 1 && found[0].1.contains(words), "{plan}{found:?}");
        assert_eq!(found[0].0, line, "{plan}{found:?}");
    }
}

#[test]
fn a_choice_whose_step_has_a_fault_has_none_itself() {
    let (broken, good) = ("{ name: b, run: [] }", "{ name: c, run: [x] }");
    for (step, of) in [
        ("route: input\n  routes: [LIST]\n  otherwise: NAME", "route `NAME`"),
        ("route: \"'NAME'\"\n  routes: [LIST]", "route `NAME`"),
        ("team: { mode: route, choose: \"'NAME'\" }\n  members: [LIST]", "choice `NAME`"),
        ("team: { mode: coordinate, leader: NAME, max: 2 }\n  members: [LIST]", "leader `NAME`"),
    ] {
        let found = |name: &str, list: &str| {
            let step = step.replace("NAME", name).replace("LIST", list);
            let plan = format!("name: p\nsteps:\n- name: a\n  {step}\n");
            faults(&plan).into_iter().map(|(_, words)| words).collect::<Vec<_>>()
        };
        let alone = found("b", broken);
        assert!(alone.len() == 1 && !alone[0].contains("unknown"), "{alone:?}");
        assert_eq!(found("b", &format!("{broken}, {good}")), alone);
        // Nobody knows the names that are not there.
        let unnamed = found("b", "{ run: [x] }");
        assert!(unnamed.iter().all(|words| !words.contains("unknown")), "{unnamed:?}");
        let other = found("zzzz", &format!("{broken}, {good}")).join("\n");
        let right = of.replace("NAME", "zzzz");
        assert!(
            other.contains(&format!("unknown {right}; expected one of `b`, `c` of `")),
            "{other}"
        );
    }
}

#[test]
fn an_expression_is_refused_for_its_syntax_and_for_what_is_not_there() {
    let cases = [
        ("run: ['{{ input. }}']", "bad template `{{ input. }}`: "),
        ("run: ['{{ input']", "bad template"),
        ("run: ['{{ a }}{% if b %}']", "`{%` in a template; expected `{{ … }}` only"),
        ("run: ['{{ 1 / 0 }}']", "bad template `{{ 1 / 0 }}`: "),
        ("run: ['{{ input | indent }}']", "unknown filter `indent`; expected one of `abs`"),
        ("run: ['{{ range(9) }}']", "unknown function `range`; there are none"),
        ("run: ['{{ steps.z.output }}']", "unknown step `z`"),
        ("run: ['{{ steps.a.output }}']", "unknown step `a`"),
        ("run: ['{{ stepz.first.output }}']", "unknown name `stepz`"),
        ("run: ['{{ error }}']", "unknown name `error`"),
        ("run: ['x']\n  env: { A: '{{ index }}' }", "unknown name `…` in `…`; expected one of"),
        (
            "run: ['x']\n  env: { A: '{{ inptu }}' }",
            "unknown name `…` in `…`; did you mean `input`?",
        ),
        (
            "run: ['x']\n  env: { A: '{{ 1 | trm }}' }",
            "`env.A`: bad template `…`: unknown filter; expected one of `abs`, `bo",
        ),
        ("run: ['x']\n  input: '{{ task }}'", "unknown name `task`"),
        ("run: ['x']\n  cwd: '{{ output }}'", "unknown name `output`"),
        ("component: c\n  input: { a: ['{{ steps.frist.output }}'] }", "did you mean `first`?"),
        ("component: c\n  input: '{{ steps.z.output }}'", "unknown step `z`"),
        ("if: input >\n  then: [{ name: b, run: [x] }]", "bad expression `input >`: "),
        (
            "if: input == 'x' && input\n  then: [{ name: b, run: [x] }]",
            "unexpected `&` behind a text; expected `and`",
        ),
        ("run: [\"{{ 'x' & input }}\"]", "unexpected `&` behind a text"),
        ("run: [\"{{ 'x' 'y' }}\"]", "unexpected text behind a text"),
        (
            "if: input is odd\n  then: [{ name: b, run: [x] }]",
            "unknown test `odd`; expected one of `boolean`",
        ),
        ("if: \"1 + 'a'\"\n  then: [{ name: b, run: [x] }]", "bad expression"),
        ("loop: { until: steps.z.output, max: 2 }\n  steps: [{ name: b, run: [x] }]", "step `z`"),
        (
            "workflow: { name: w, steps: [{ name: b, if: steps.first.output, then: [] }] }",
            "`first`",
        ),
        ("run: [x]\n  on_stop: [{ name: b, run: ['{{ error }}'] }]", "unknown name `error`"),
        ("run: [x]\n  on_failure: [{ name: b, run: ['{{ cause }}'] }]", "unknown name `cause`"),
    ];
    for (step, words) in cases {
        let first = "- name: first\n  run: [x]\n";
        let plan = format!("name: p\nsteps:\n{first}- name: a\n  {step}\n");
        let found = faults(&plan);
        assert!(found.iter().any(|(_, message)| message.contains(words)), "{plan}{found:?}");
        assert!(found.iter().all(|(line, _)| *line >= 6), "{plan}{found:?}");
    }
}

#[test]
fn an_expression_may_read_what_comes_before_it_further_out_and_in_cleanup() {
    Plan::from_yaml(
        r"
name: p
steps:
- name: a
  run: ['{{ input.x }}']
- name: b
  sequence:
  - name: c
    run: ['{{ steps.a.output }}']
  - name: d
    loop: { until: steps.e.output and steps.c.output and output.e, max: 3 }
    steps: [{ name: e, run: ['{{ index }} {{ last }} {{ steps.c.output }}'] }]
  on_stop: [{ name: x, if: steps.d is defined, then: [{ name: y, run: ['{{ cause.kind }}'] }] }]
- name: f
  team: { mode: route, choose: task.to }
  members: [{ name: m, run: ['{{ task }} {{ steps.b.output.c }}'] }]
- name: g
  team: { mode: coordinate, leader: m, max: 3, delegate: output.todo }
  members: [{ name: m, run: ['{{ task }} {{ results }} {{ round }}'] }]
on_failure: [{ name: x, run: ['{{ error }} {{ steps.f is defined }}'] }]
",
    )
    .unwrap();
}

#[test]
fn every_fault_of_a_plan_is_told_in_the_order_of_the_text() {
    let found = faults(
        r"
name: p
steps:
- name: a
  run: []
- name: a
  cmd: [x]
- name: b
  parallel: { policy: quorum, quorum: 0 }
  branches:
  - name: x
    timeout: 0s
    run: [x]
  - name: y
- name: c
  run: ['{{ steps.b.output }}', '{{ steps.d.output }}']
on_stop:
- run: [x]
",
    );
    let words = [
        (5, "empty command"),
        (6, "duplicate name `a`"),
        (7, "unknown key `cmd`"),
        (9, "quorum `0`"),
        (12, "time is zero"),
        (14, "step `y` does nothing"),
        (16, "unknown step `d`"),
        (18, "step has no `name`"),
    ];
    assert_eq!(found.len(), words.len(), "{found:#?}");
    for ((line, message), (expected, words)) in found.iter().zip(words) {
        assert!(*line == expected && message.contains(words), "{line}: {message}");
    }
}

#[test]
fn each_unknown_filter_and_name_of_a_text_is_told() {
    let text = |run: &str| format!("name: p\nsteps:\n- name: a\n  run: [x, \"{run}\"]\n");
    let told = |run: &str| {
        let found = faults(&text(run)).into_iter().map(|(_, words)| words);
        found.map(|words| words.trim_start_matches("`run`: ").to_owned()).collect::<Vec<_>>()
    };
    let run = "{{ foo }} {{ input.x | trimm }} {{ input.y | uper | lowr }}";
    let right = [
        "bad template `{{ input.x | trimm }}`: unknown filter `trimm`; did you mean `trim`?",
        "bad template `{{ input.y | uper | lowr }}`: unknown filter `uper`; did you mean `upper`?",
        "bad template `{{ input.y | uper | lowr }}`: unknown filter `lowr`; did you mean `lower`?",
    ];
    let found = told(run);
    assert_eq!(found[..3], right);
    let name = format!("unknown name `foo` in `{run}`; expected one of `input`, `steps`");
    assert_eq!(found[3..], [name]);
    // White space between them stays, and other text is `…`.
    let found = told("x {{ input }} {{ input..y }}");
    assert!(found[0].starts_with("bad template `{{ input..y }}`: "), "{found:?}");
    let found = told("x {{ input }} {{ input.y");
    assert!(found[0].starts_with("bad template `…{{ input }} {{…`: "), "{found:?}");
    let step = "if: input.x | trimm is odd\n  then: [{ name: b, run: [x] }]";
    let found = faults(&format!("name: p\nsteps:\n- name: a\n  {step}\n"));
    assert_eq!(found.len(), 2, "{found:?}");
    // Of a long list every word is there.
    let found = told("{{ input | indent }}");
    assert!(found[0].contains("`lower` and 14 more"), "{found:?}");
}

#[test]
fn both_parts_of_a_step_may_have_a_fault() {
    for step in [
        "if: x +, then: []",
        "if: input.x, then: [], else: []",
        "route: x +, routes: []",
        "parallel: [], branches: []",
    ] {
        let text = format!("name: p\nsteps:\n- {{ name: a, {step} }}");
        let faults = PlanFormat::Yaml.read(&text).unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:#?}");
    }
}

#[test]
fn faults_beyond_their_bound_are_not_looked_for() {
    let mut text = String::from("name: p\nsteps:\n");
    for step in 0..1_000 {
        writeln!(text, "- name: s{step}").unwrap();
    }
    assert_eq!(faults(&text).len(), limits::PLAN_FAULTS_MAX);
}

#[test]
fn an_expression_is_as_long_as_it_may_be_and_no_longer() {
    let plan = |bytes: usize| {
        let text = format!("{{{{ input }}}}{}", "x".repeat(bytes - 11));
        format!("name: p\nsteps:\n- name: a\n  run: ['{text}']\n")
    };
    Plan::from_yaml(&plan(limits::EXPRESSION_BYTES_MAX)).unwrap();
    let found = faults(&plan(limits::EXPRESSION_BYTES_MAX + 1));
    assert!(found[0].1.contains("expression has 65537 bytes; expected at most 65536"), "{found:?}");
}
