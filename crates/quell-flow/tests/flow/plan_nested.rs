//! Steps that run components, plans inside of plans, and teams.

use std::sync::Arc;

use quell::{CancelRequest, Payload, RunKind, RunReport, RunStatus, testing};
use quell_flow::{COMPONENT, Catalog, Component, LinkedPlan, Plan};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::*;

fn catalog() -> Catalog {
    let shout = Component::agent("shout", async |_ctx, input: Payload| {
        let text: Value = input.parse()?;
        Ok(text["text"].as_str().unwrap_or("?").to_uppercase().into())
    });
    let same = |id: &str| Component::agent(id, async |_ctx, input: Payload| Ok(input));
    let slow = Component::agent("slow", async |ctx, _| {
        ctx.set_output(Payload::from("half"));
        cleanup_for(ctx, millis(100), Err(quell::Failure::new("late"))).await
    });
    Catalog::new().with(shout).with(same("same")).with(slow)
}

fn made(id: &str, plan: LinkedPlan) -> Component {
    plan.into_component(id, Script::default())
}

/// Runs a plan of the catalog on an input.
async fn run_on(input: Value, yaml: &str) -> (Result<Value, String>, Arc<RunReport>) {
    let plan = Plan::from_yaml(yaml).unwrap().link(&catalog()).unwrap();
    let engine = engine();
    let spec = plan.plan().spec().input(input.into());
    let run = engine.submit(spec, move |ctx| plan.run(ctx, Script::default())).unwrap();
    let root = run.run().clone();
    let output = run.await.map(|output| output.parse().unwrap()).map_err(|e| e.to_string());
    let report = root.quiescent().await;
    testing::check_trace(&testing::trace(&root).await).unwrap();
    (output, report)
}

#[tokio::test(start_paused = true)]
async fn a_step_runs_a_component_on_values_that_keep_their_types() {
    let (output, report) = run_on(
        json!({"text": "hi", "list": [1, {"a": null}]}),
        r"
name: p
steps:
- { name: plain, component: shout }
- { name: filled, component: agent/shout, input: { text: 'oh {{ steps.plain.output }}' } }
- { name: typed, component: same, input: ['{{ input.list }}', '{{ 1 + 1 }}', '{{ 1 }}!', 3] }
",
    )
    .await;
    let typed = json!([[1, {"a": null}], 2, "1!", 3]);
    assert_eq!(output.unwrap(), json!({"plain": "HI", "filled": "OH HI", "typed": typed}));
    let shout = row(&report, "shout");
    assert_eq!((shout.kind, shout.depth), (RunKind::Agent, 2));
    assert_eq!(COMPONENT, "component");
}

#[tokio::test(start_paused = true)]
async fn a_component_is_stopped_with_its_plan_and_leaves_what_it_has() {
    let plan = Plan::from_yaml("name: p\nsteps:\n- { name: a, component: slow }\n").unwrap();
    let (plan, engine) = (plan.link(&catalog()).unwrap(), engine());
    let run = engine
        .submit(plan.plan().spec(), move |ctx| plan.run(ctx, Script::default()))
        .unwrap()
        .into_ref();
    let start = Instant::now();
    sleep(millis(10)).await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.quiescent().await;
    assert_eq!((since(start), report.status), (millis(110), RunStatus::Cancelled));
    assert_eq!(json(row(&report, "a").partial.as_ref()), json!("half"));
}

#[tokio::test(start_paused = true)]
async fn a_plan_inside_of_a_plan_sees_its_own_input_and_steps() {
    let (output, report) = run_on(
        json!({"n": 2}),
        r"
name: p
steps:
- name: a
  run: [say, '1']
- name: inner
  input: { m: '{{ input.n * 10 }}' }
  workflow:
    name: w
    grace: 1s
    steps:
    - { name: a, run: [say, '{{ input.m }}'] }
    - { name: b, run: [say, '{{ steps.a.output }}!'] }
    on_failure: [{ name: f, run: [say, f] }]
",
    )
    .await;
    assert_eq!(output.unwrap(), json!({"a": "1", "inner": {"a": "20", "b": "20!"}}));
    assert_eq!((row(&report, "w").kind, row(&report, "w").depth), (RunKind::Workflow, 2));
}

#[tokio::test(start_paused = true)]
async fn a_team_of_a_plan_works_in_every_mode() {
    let (output, report) = run_on(
        json!({"to": "kind", "text": "draft"}),
        r#"
name: p
steps:
- name: all
  team: { mode: broadcast }
  input: '{{ input.text }}'
  members:
  - { name: terse, run: [say, 'no {{ task }}'] }
  - { name: kind, run: [say, 'nice {{ task }}'] }
  - { name: ill, run: [fail, no] }
- name: one
  team: { mode: route, choose: task.to }
  members:
  - { name: terse, run: [say, 'no'] }
  - { name: kind, run: [say, '{{ task.text }}'] }
- name: row
  team: { mode: sequence }
  input: '{{ steps.one.output }}'
  members:
  - { name: x, run: [say, '{{ task }}+x'] }
  - { name: y, run: [say, '{{ task }}+y'] }
- name: led
  team: { mode: coordinate, leader: boss, max: 3 }
  members:
  - name: boss
    if: round < 3
    then: [{ name: out, run: [json, '{"n": {{ round }}}'] }]
    else: [{ name: out, run: [say, '{{ results[0].result }} of {{ results[0].member }}'] }]
  - { name: hand, run: [say, 'did {{ task }}'] }
"#
        .replace("max: 3 }", "max: 3, delegate: DELEGATE }")
        .replace(
            "DELEGATE",
            r#"'[{"member": "hand", "task": output.out.n}] if output.out is mapping else none'"#,
        )
        .as_str(),
    )
    .await;
    let expected = json!({
        "all": {"terse": "no draft", "kind": "nice draft",
            "ill": {"error": "run `ill` failed: no"}},
        "one": "draft",
        "row": "draft+x+y",
        "led": {"out": "did 2 of hand"},
    });
    assert_eq!(output.unwrap(), expected);
    let teams = report.rows.iter().filter(|row| row.kind == RunKind::Team);
    let teams: Vec<_> = teams.map(|row| (&*row.name, row.depth)).collect();
    assert_eq!(teams, [("all", 2), ("one", 2), ("row", 2), ("led", 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_finds_no_end_fails_its_team() {
    let (output, _) = run_on(
        json!(null),
        r#"
name: p
steps:
- name: led
  team: { mode: coordinate, leader: boss, max: 2 }
  members:
  - { name: boss, run: [json, '{"delegate": [{"member": "hand", "task": 1}]}'] }
  - { name: hand, run: [say, 'did'] }
"#,
    )
    .await;
    let words = "leader `boss` has not come to an end in 2 rounds";
    assert!(output.unwrap_err().contains(words));
}

#[test]
fn an_unknown_component_is_refused_before_anything_starts() {
    let text = "name: p\nsteps:\n- { name: a, component: shoot }\n- name: b\n  workflow:\n    \
                name: w\n    steps: [{ name: c, run: [x] }]\n    \
                on_stop: [{ name: d, component: team/shout }]\n";
    let faults = Plan::from_yaml(text).unwrap().link(&catalog()).unwrap_err();
    let meant = "did you mean `agent/shout`?";
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            format!("line 3, column 25: unknown component `shoot`; {meant}"),
            format!("line 8, column 37: unknown component `team/shout`; {meant}"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_is_not_linked_starts_nothing() {
    let (output, report, script) = run_plan(
        "name = 'p'\nsteps = [{ name = 'a', run = ['say', '1'] }, { name = 'b', component = 'c' }]",
    )
    .await;
    assert!(output.unwrap_err().contains("unknown component `c`; there are no components"));
    assert!(script.started().is_empty() && report.rows.len() == 1);
}

#[test]
fn plans_that_would_run_themselves_are_refused_with_the_circle() {
    let plan = |id: &str, uses: &[&str]| {
        let steps: Vec<_> =
            uses.iter().map(|to| format!("- {{ name: {to}, component: {to} }}\n")).collect();
        let steps = steps.concat();
        (id.to_owned(), Plan::from_yaml(&format!("name: {id}\nsteps:\n{steps}")).unwrap())
    };
    let told = |plans: Vec<(String, Plan)>| {
        let refused = Catalog::new().with_plans(plans, made).unwrap_err();
        refused.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let own = told(vec![plan("a", &["a"])]);
    let words = "line 3, column 25: component `a` would run itself: `a → a`; expected no circle";
    assert_eq!(own, [words]);
    let far =
        told(vec![plan("a", &["d", "b"]), plan("b", &["c"]), plan("c", &["b"]), plan("d", &["e"])]);
    let circle =
        "line 3, column 25: component `b` would run itself: `b → c → b`; expected no circle";
    let unknown = "line 3, column 25: unknown component `e`; there are no components";
    assert_eq!(far, [circle, unknown]);
}

#[tokio::test(start_paused = true)]
async fn plans_may_name_each_other_in_any_order_and_are_listed_with_their_steps() {
    let plans = [
        (
            "a",
            "name: a\ndescription: top\nsteps:\n- { name: x, component: workflow/b, input: 1 }\n",
        ),
        ("b", "name: b\nsteps:\n- { name: y, component: c }\n"),
        ("c", "name: c\nsteps:\n- { name: z, run: [say, '{{ input }}'] }\n"),
    ];
    let plans = plans.map(|(id, text)| (id.to_owned(), Plan::from_yaml(text).unwrap()));
    let catalog = Catalog::new().with_plans(plans, made).unwrap();
    let top = catalog.named("a").unwrap();
    assert_eq!((top.description(), &*top.parts()[0].name), (Some("top"), "x"));
    let engine = engine();
    let run = top.start(&engine, top.spec(), Payload::from("go")).unwrap();
    assert_eq!(run.await.unwrap().as_json(), r#"{"x":{"y":{"z":"1"}}}"#);
}
