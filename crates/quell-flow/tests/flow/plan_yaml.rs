//! Plans in YAML: the same plans, and what of YAML is refused.

use proptest::prelude::*;
use quell_flow::{Plan, limits};

const YAML: &str = "
# A tour.
name: tour
description: |
  What a plan
  can say.
timeout: 1m
steps:
- name: list
  run: [ls, '-l', \"\\u00e4\"]
  env: { LANG: C }
- name: work
  parallel:
    policy: best_effort
    deadline: 5s
    min: 0x1
    limit: 2
    on_branch_timeout: { default: { a: [1, -2.5, true, null, ~, 'yes', 1e3] } }
  branches:
  - name: a
    run:
    - \"true\"
  - { name: b, retry: { attempts: 3 }, run: ['on'] }
on_stop:
- { name: c, run: [tidy] }
";

#[test]
fn a_plan_in_yaml_is_the_plan_that_it_is_in_json() {
    let json = r#"{
        "name": "tour", "description": "What a plan\ncan say.\n", "timeout": "1m", "steps": [
            {"name": "list", "run": ["ls", "-l", "ä"], "env": {"LANG": "C"}},
            {"name": "work", "parallel": {
                "policy": "best_effort", "deadline": "5s", "min": 1, "limit": 2,
                "on_branch_timeout": {
                    "default": {"a": [1, -2.5, true, null, null, "yes", 1000.0]}}
            }, "branches": [
                {"name": "a", "run": ["true"]},
                {"name": "b", "retry": {"attempts": 3}, "run": ["on"]}
            ]}
        ], "on_stop": [{"name": "c", "run": ["tidy"]}]
    }"#;
    let plan = Plan::from_yaml(YAML).unwrap();
    assert_eq!(plan, Plan::from_json(json).unwrap());
    let written = serde_json::to_string_pretty(&plan).unwrap();
    assert_eq!(Plan::from_yaml(&written).unwrap(), plan, "JSON is YAML");
}

#[test]
fn what_is_no_plan_in_yaml_is_refused_with_its_place() {
    let deep = |levels: usize| format!("a: {}{}", "[".repeat(levels), "]".repeat(levels));
    let cases = [
        ("", 1, 1, "empty document; expected a table"),
        ("# nothing\n", 2, 1, "empty document"),
        ("name: x\nname: y\n", 2, 1, "duplicate key `name`"),
        ("name: [x\n", 2, 1, ""),
        ("name: x\nsteps: &a []\n", 2, 8, "anchor; expected the value without one"),
        ("name: x\nsteps: *a\n", 2, 8, ""),
        ("name: x\nsteps: !!set {}\n", 2, 8, "tag; expected the value without one"),
        ("name: x\n? [a]\n: 1\n", 2, 3, "a key is a list; expected a text"),
        ("name: x\n---\nname: y\n", 2, 1, "second document; expected one"),
        ("name: ä\nsteps: [{name: ä, run: 1}]\n", 2, 24, "found a number; expected a list"),
        ("name: x\nsteps: 99999999999999999999\n", 2, 8, "number out of range"),
        ("name: x\nsteps: .inf\n", 2, 8, "expected a finite number"),
        (&deep(100), 1, limits::PLAN_NESTING_MAX + 3, "tables and lists nest too deep"),
        (&deep(200_000), 1, 259, "tables and lists nest too deep"),
    ];
    for (text, line, column, words) in cases {
        let error = Plan::from_yaml(text).expect_err(text);
        let place = (error.line().unwrap(), error.column().unwrap());
        assert_eq!(place, (line, column), "{text:.80}: {error}");
        assert!(error.message().contains(words), "{text:.80}: {error}");
        assert!(!error.message().contains('\n'), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_yaml_reader_panic(text in "[-?:&*!|>'\"\\[\\]{}#, a-c0-9\n\\\\]{0,120}") {
        Plan::from_yaml(&text).ok();
    }
}
