//! Plans as data: what the formats can say, and that both say the same.

use std::time::Duration;

use proptest::prelude::*;
use quell::Payload;
use quell_flow::{Action, OnCancelled, OnTimeout, Plan, PlanPolicy};
use serde_json::{Value, json};

const TOUR: &str = r#"
name = "tour"
timeout = "1m 30s"
grace = "3s"

[[steps]]
name = "list"
run = ["ls", "-l"]
cwd = "/tmp"
input = "none"
env = { LANG = "C", A = "1" }
timeout = "500ms"
idle = "100ms"

[[steps]]
name = "work"
[steps.parallel]
policy = "settle"
limit = 2
branch_timeout = "5s"
branch_grace = "1s"
on_branch_timeout = "partial"
on_branch_cancelled = "skip"

[[steps.branches]]
name = "hash"
run = ["sh", "-c", "sha256sum README.md"]
grace = "2s"

[[steps.branches]]
name = "both"

[[steps.branches.sequence]]
name = "first"
run = ["true"]

[[steps.branches.sequence]]
name = "second"
[steps.branches.sequence.parallel]
on_branch_timeout = { default = { found = [1, 2.5, true, "x"], at = 2024-01-02 } }

[[steps.branches.sequence.branches]]
name = "only"
run = ["true"]
"#;

#[test]
fn a_plan_says_what_to_run_in_which_order_and_for_how_long() {
    let plan = Plan::from_toml(TOUR).unwrap();
    assert_eq!(plan.name(), "tour");
    assert_eq!(plan.timeout(), Some(Duration::from_secs(90)));
    assert_eq!(plan.grace(), Some(Duration::from_secs(3)));

    let [list, work] = plan.steps() else { panic!("expected two steps") };
    assert_eq!(list.timeout, Some(Duration::from_millis(500)));
    assert_eq!(list.idle, Some(Duration::from_millis(100)));
    let Action::Run(run) = &list.action else { panic!("expected a command") };
    assert_eq!(run.command, ["ls", "-l"]);
    assert_eq!((run.cwd.as_deref(), run.input.as_deref()), (Some("/tmp"), Some("none")));
    assert_eq!(run.env.len(), 2);

    let Action::Parallel(work) = &work.action else { panic!("expected a parallel step") };
    assert_eq!(work.options.policy, PlanPolicy::Settle);
    assert_eq!(work.options.limit, Some(2));
    assert_eq!(work.options.branch_timeout, Some(Duration::from_secs(5)));
    assert_eq!(work.options.branch_grace, Some(Duration::from_secs(1)));
    assert_eq!(work.options.on_branch_timeout, OnTimeout::Partial);
    assert_eq!(work.options.on_branch_cancelled, OnCancelled::Skip);
    assert_eq!(work.branches[0].grace, Some(Duration::from_secs(2)));

    let Action::Sequence(both) = &work.branches[1].action else { panic!("expected a sequence") };
    let Action::Parallel(second) = &both.sequence[1].action else { panic!("expected a step") };
    let default = r#"{"found":[1,2.5,true,"x"],"at":"2024-01-02"}"#;
    let default = Payload::from_json_text(default).unwrap();
    assert_eq!(second.options.on_branch_timeout, OnTimeout::Default(default));
    assert_eq!(second.options.policy, PlanPolicy::All);
}

#[test]
fn names_of_steps_are_unique_among_siblings_only() {
    let json = r#"{"name": "x", "steps": [
        {"name": "x", "sequence": [{"name": "x", "run": ["a"]}]},
        {"name": "y", "sequence": [{"name": "x", "run": ["b"]}]}
    ]}"#;
    Plan::from_json(json).unwrap();
}

#[test]
fn a_plan_in_toml_equals_its_json() {
    let plan = Plan::from_toml(TOUR).unwrap();
    let json = serde_json::to_string_pretty(&plan).unwrap();
    assert_eq!(Plan::from_json(&json).unwrap(), plan);
}

fn time() -> impl Strategy<Value = Option<String>> {
    prop::option::of(
        (1..1_000_000_u64).prop_map(|millis| {
            humantime::format_duration(Duration::from_millis(millis)).to_string()
        }),
    )
}

fn with(mut step: Value, entries: Vec<(&str, Option<Value>)>) -> Value {
    for (key, value) in entries {
        if let Some(value) = value {
            step[key] = value;
        }
    }
    step
}

/// Steps of random names, made unique by their place.
fn steps(of: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::vec((".{1,5}", of, time(), time(), time()), 1..4).prop_map(|steps| {
        let named =
            steps.into_iter().enumerate().map(|(place, (name, step, timeout, grace, idle))| {
                let name = Some(json!(format!("{place}{name}")));
                let times = [("timeout", timeout), ("grace", grace), ("idle", idle)];
                let times = times.map(|(key, time)| (key, time.map(Value::from)));
                with(step, [("name", name)].into_iter().chain(times).collect())
            });
        named.collect()
    })
}

fn any_step() -> impl Strategy<Value = Value> {
    // `{{` would begin a template.
    let text = "[^\0{]{1,6}";
    let command = (
        prop::collection::vec(text, 1..3),
        prop::option::of(text),
        prop::option::of("[^{]{0,6}"),
        prop::collection::btree_map("[A-Z]{1,3}", "[^\0{]{0,4}", 0..3),
    );
    let run = command.prop_map(|(run, cwd, input, env)| {
        let cwd = ("cwd", cwd.map(Value::from));
        with(json!({"run": run, "env": env}), vec![cwd, ("input", input.map(Value::from))])
    });
    let retry = (1..9_u32, time(), time(), time()).prop_map(|(attempts, backoff, cap, timeout)| {
        let times = [("backoff", backoff), ("cap", cap), ("attempt_timeout", timeout)];
        let times = times.map(|(key, time)| (key, time.map(Value::from)));
        with(json!({"attempts": attempts}), times.into())
    });
    let run =
        (run, prop::option::of(retry)).prop_map(|(run, retry)| with(run, vec![("retry", retry)]));
    run.prop_recursive(4, 24, 3, |step| {
        let word = prop_oneof![
            Just(json!("fail")),
            Just(json!("skip")),
            Just(json!("partial")),
            any::<i32>().prop_map(|n| json!({"default": {"n": [n, null, 0.5]}})),
        ];
        let policy = prop_oneof![
            prop::sample::select(vec!["all", "settle", "first_success", "first_settled"])
                .prop_map(|name| json!({"policy": name})),
            Just(json!({"policy": "quorum", "quorum": 1})),
            (1..9_u32).prop_map(|s| json!({"policy": "hedge", "delay": format!("{s}ms")})),
            (0..2_u32)
                .prop_map(|min| json!({"policy": "best_effort", "deadline": "1m 1s", "min": min})),
        ];
        let limit = prop::option::of(1..9_u32);
        let on_loser = prop::option::of(prop::sample::select(vec!["let_finish", "detach"]));
        let start_next = prop::option::of(Just("decided"));
        let options = (policy, limit, time(), time(), word, on_loser, start_next);
        prop_oneof![
            steps(step.clone()).prop_map(|steps| json!({"sequence": steps})),
            (steps(step), options).prop_map(|(branches, options)| {
                let (policy, limit, timeout, idle, word, on_loser, start_next) = options;
                let options = vec![
                    ("on_branch_timeout", Some(word)),
                    ("limit", limit.map(Value::from)),
                    ("branch_timeout", timeout.map(Value::from)),
                    ("branch_idle", idle.map(Value::from)),
                    ("on_loser", on_loser.map(Value::from)),
                    ("start_next", start_next.map(Value::from)),
                ];
                json!({"parallel": with(policy, options), "branches": branches})
            }),
        ]
    })
}

proptest! {
    #[test]
    fn every_plan_survives_being_written_and_read(steps in steps(any_step()), timeout in time()) {
        let times = vec![("timeout", timeout.map(Value::from))];
        let plan = with(json!({"name": "p", "steps": steps}), times);
        let plan = Plan::from_json(&plan.to_string()).unwrap();
        let written = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(Plan::from_json(&written).unwrap(), plan);
    }
}
