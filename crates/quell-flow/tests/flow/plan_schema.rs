//! The schema of the format: it knows what the reader knows.

use std::fs;
use std::path::{Path, PathBuf};

use boon::{Compiler, Schemas};
use quell_flow::{PLAN_SCHEMA, Plan, PlanFormat};
use serde_json::{Value, json};

fn schema() -> Value {
    serde_json::from_str(PLAN_SCHEMA).unwrap()
}

/// Tells whether a value is a plan by the schema.
fn allows(plan: &Value) -> Result<(), String> {
    let mut compiler = Compiler::new();
    compiler.add_resource("plan.json", schema()).unwrap();
    let mut schemas = Schemas::new();
    let index = compiler.compile("plan.json", &mut schemas).unwrap();
    schemas.validate(plan, index).map_err(|error| error.to_string())
}

/// The plans that come with the server.
fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../quell-server/plans");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let plans: Vec<_> = files.filter(|path| PlanFormat::of(path).is_ok()).collect();
    assert!(plans.len() >= 3, "{plans:?}");
    plans
}

#[test]
fn every_example_is_a_plan_by_the_schema_and_by_the_reader() {
    for path in examples() {
        let plan = Plan::load(&path).unwrap();
        let written = serde_json::to_value(&plan).unwrap();
        allows(&written).unwrap_or_else(|words| panic!("{}: {words}", path.display()));
        assert_eq!(Plan::from_json(&written.to_string()).unwrap(), plan, "{}", path.display());
    }
}

/// A plan with every action and every option.
fn everything() -> Value {
    let run = json!([{"name": "r", "run": ["x"], "cwd": "/", "env": {"A": "b"},
        "env_clear": true, "input": "i"}]);
    json!({
        "name": "p", "description": "d", "timeout": "1m", "grace": "2s",
        "on_failure": run, "on_stop": run,
        "steps": [
            {"name": "a", "sequence": run, "timeout": "1.5s", "grace": "1s", "idle": "1m 1.5s",
             "retry": {"attempts": 2, "backoff": "1s", "cap": "1m 30s", "min": "9ms",
                "attempt_timeout": "3s"},
             "on_failure": run, "on_stop": run},
            {"name": "b", "branches": run, "parallel": {
                "policy": "best_effort", "deadline": "1s", "min": 0, "limit": 1,
                "branch_timeout": "1s", "branch_grace": "1s", "branch_idle": "1s",
                "on_branch_timeout": {"default": [1]}, "on_branch_cancelled": "skip",
                "on_loser": "detach", "start_next": "settled"}},
            {"name": "c", "parallel": {"policy": "quorum", "quorum": 1}, "branches": [
                {"name": "last", "run": ["x"], "needs": ["first"]},
                {"name": "first", "run": ["x"], "needs": []}]},
            {"name": "d", "branches": run, "parallel": {"policy": "until", "until": "ok > 0"}},
            {"name": "e", "branches": run, "parallel": {"policy": "hedge", "delay": "1s"}},
            {"name": "f", "steps": run, "loop": {"count": 2}},
            {"name": "g", "steps": run, "loop": {"until": "index > 1", "max": 2,
                "on_max": "accept"}},
            {"name": "h", "if": "true", "then": run, "else": run},
            {"name": "i", "route": "'r'", "routes": run, "otherwise": "r"},
            {"name": "j", "team": {"mode": "broadcast", "on_member_failed": "fail",
                "on_member_stopped": "go_on"}, "members": run, "input": {"a": 1}},
            {"name": "k", "team": {"mode": "route", "choose": "task"}, "members": run},
            {"name": "l", "team": {"mode": "coordinate", "leader": "r", "max": 3,
                "delegate": "output.d"}, "members": run},
            {"name": "m", "component": "agent/x", "input": ["{{ input }}"]},
            {"name": "n", "workflow": {"name": "w", "steps": run}, "input": null},
            {"name": "o", "wait": "go?"},
            {"name": "q", "wait": {"ask": "go?", "expires": "1h", "approve": true}},
        ]
    })
}

#[test]
fn the_schema_and_the_reader_know_the_same_format() {
    let plan = everything();
    allows(&plan).unwrap();
    let read = Plan::from_json(&plan.to_string()).unwrap();
    allows(&serde_json::to_value(&read).unwrap()).unwrap();
    // Every key of the schema is in the plan above, which the reader takes.
    let text = plan.to_string();
    for table in ["plan", "step", "parallel", "loop", "team", "retry", "wait"] {
        let keys = schema()["$defs"][table]["properties"].as_object().unwrap().clone();
        for (key, value) in &keys {
            assert!(text.contains(&format!("\"{key}\":")), "{table}.{key} is in no test");
            let said = value.get("description").and_then(Value::as_str);
            assert!(said.is_some(), "{table}.{key} has no description");
        }
    }
}

#[test]
fn what_the_schema_refuses_the_reader_refuses() {
    let run = json!([{"name": "r", "run": ["x"]}]);
    let branches = |needs: &Value| {
        let branches = json!([{"name": "r", "run": ["x"], "needs": needs},
            {"name": "s", "run": ["x"]}]);
        json!({"name": "a", "parallel": {}, "branches": branches})
    };
    let steps = [
        json!({"name": "a"}),
        json!({"run": ["x"]}),
        json!({"name": "", "run": ["x"]}),
        json!({"name": "a", "run": []}),
        json!({"name": "a", "run": "x"}),
        json!({"name": "a", "run": ["x"], "cmd": 1}),
        json!({"name": "a", "run": ["x"], "sequence": run}),
        json!({"name": "a", "run": ["x"], "timeout": 5}),
        json!({"name": "a", "run": ["x"], "timeout": "soon"}),
        json!({"name": "a", "run": ["x"], "then": run}),
        json!({"name": "a", "run": ["x"], "retry": {}}),
        json!({"name": "a", "run": ["x"], "retry": {"attempts": 0}}),
        json!({"name": "a", "sequence": []}),
        json!({"name": "a", "parallel": {}}),
        json!({"name": "a", "parallel": {"policy": "any"}, "branches": run}),
        json!({"name": "a", "parallel": {"policy": "quorum"}, "branches": run}),
        json!({"name": "a", "parallel": {"policy": "quorum", "quorum": 0}, "branches": run}),
        json!({"name": "a", "parallel": {"quorum": 1}, "branches": run}),
        branches(&json!("s")),
        branches(&json!([1])),
        branches(&json!(["s", "s"])),
        json!({"name": "a", "parallel": {"policy": "hedge"}, "branches": run}),
        json!({"name": "a", "parallel": {"on_branch_timeout": {}}, "branches": run}),
        json!({"name": "a", "loop": {"count": 2}}),
        json!({"name": "a", "loop": {}, "steps": run}),
        json!({"name": "a", "loop": {"count": 2, "max": 2}, "steps": run}),
        json!({"name": "a", "loop": {"until": "true"}, "steps": run}),
        json!({"name": "a", "if": "true"}),
        json!({"name": "a", "route": "input"}),
        json!({"name": "a", "team": {"mode": "chat"}, "members": run}),
        json!({"name": "a", "team": {"mode": "route"}, "members": run}),
        json!({"name": "a", "team": {"mode": "coordinate", "leader": "r"}, "members": run}),
        json!({"name": "a", "component": ""}),
        json!({"name": "a", "workflow": "w"}),
        json!({"name": "a", "wait": ""}),
        json!({"name": "a", "wait": 5}),
        json!({"name": "a", "wait": {}}),
        json!({"name": "a", "wait": {"ask": "x", "expires": 5}}),
        json!({"name": "a", "wait": {"ask": "x", "approve": "yes"}}),
    ];
    for step in steps {
        let plan = json!({"name": "p", "steps": [step]});
        assert!(allows(&plan).is_err(), "the schema lets it pass: {plan}");
        Plan::from_json(&plan.to_string()).expect_err(&plan.to_string());
    }
}

#[test]
fn a_plan_is_drawn_as_the_tree_of_what_it_runs() {
    let plan = Plan::from_yaml(
        r"
name: tour
timeout: 1m
steps:
- { name: list, run: [ls, -l], retry: { attempts: 3 }, timeout: 2s }
- name: work
  parallel: { policy: quorum, quorum: 1, limit: 2 }
  branches:
  - { name: a, component: agent/x }
  - { name: b, loop: { until: index > 2, max: 9 }, steps: [{ name: c, run: [x] }] }
  - { name: f, run: [x], needs: [a, b], retry: { attempts: 2 }, timeout: 1s }
- { name: ask, if: input, then: [{ name: d, run: [y] }], else: [{ name: e, run: [z] }] }
on_stop: [{ name: tidy, run: [rm, x] }]
",
    );
    let expected = "\
tour (timeout 1m)
├─ list: run ls -l, 3 attempts (timeout 2s)
├─ work: parallel quorum(1), limit 2
│  ├─ a: component agent/x
│  ├─ b: loop until index > 2, 9 rounds at most
│  │  └─ c: run x
│  └─ f: run x, after a and b, 2 attempts (timeout 1s)
├─ ask: if input
│  ├─ then
│  │  └─ d: run y
│  └─ else
│     └─ e: run z
└─ on_stop
   └─ tidy: run rm x
";
    assert_eq!(plan.unwrap().to_string(), expected);
}
