//! Values that pass from step to step, and what they decide: templates, conditions, routes, loops.

use quell::{Payload, RunKind};
use quell_flow::{Plan, PlanFormat};
use tokio::time::Instant;

use crate::support::*;

/// Runs a plan on an input.
async fn run_on(input: &str, yaml: &str) -> (Result<String, String>, Script) {
    let plan = PlanFormat::Yaml.read(yaml).unwrap_or_else(|faults| panic!("{faults:?}"));
    let (engine, script) = (engine(), Script::default());
    let runner = script.clone();
    let spec = plan.spec().input(Payload::from_json_text(input).unwrap());
    let run = engine.submit(spec, move |ctx| plan.run(ctx, runner)).unwrap();
    let root = run.run().clone();
    let output = run.await.map(|output| output.as_json().to_owned()).map_err(|e| e.to_string());
    root.quiescent().await;
    quell::testing::check_trace(&quell::testing::trace(&root).await).unwrap();
    (output, script)
}

#[tokio::test(start_paused = true)]
async fn texts_of_a_command_may_quote_the_input_and_the_steps_before() {
    let (output, script) = run_on(
        r#"{"who": "ada", "n": 3}"#,
        r#"
name: p
steps:
- name: greet
  run: [say, "hello {{ input.who | upper }}"]
- name: my step
  run: [json, '{"id": {{ input.n + 4 }}, "tags": ["a", "b"]}']
- name: both
  sequence:
  - name: inner
    run: [input]
    input: '{{ steps.greet.output }}, {{ steps["my step"].output.tags | join("-") }}'
  - name: near
    run: [say, "{{ steps.inner.output | length }} {{ steps['my step'].output.id }}"]
"#,
    )
    .await;
    let expected = concat!(
        r#"{"greet":"hello ADA","my step":{"id": 7, "tags": ["a", "b"]},"#,
        r#""both":{"inner":"hello ADA, a-b","near":"14 7"}}"#
    );
    assert_eq!(output.unwrap().replace(": ", ":"), expected.replace(": ", ":"));
    assert_eq!(script.started()[0], "say hello ADA");
}

#[tokio::test(start_paused = true)]
async fn an_expression_that_fails_fails_its_step_and_starts_nothing() {
    for (step, words) in [
        ("run: [say, '{{ input.gone.deeper }}']", "template of `run`: `input` has no `gone`"),
        ("if: input.gone\n  then: [{ name: b, run: [say, x] }]", "expression `input.gone`"),
        ("if: input.n / 0\n  then: [{ name: b, run: [say, x] }]", "expression `input.n / 0`"),
        ("run: [say, '{{ input.n | join }}{{ input.n.x.y }}']", "template"),
        ("run: ['{{ input.empty }}']", "a template made an empty command"),
        ("route: input.n\n  routes: [{ name: b, run: [say, x] }]", "no route to `7`"),
    ] {
        let plan = format!("name: p\nsteps:\n- name: a\n  {step}\n- name: z\n  run: [say, z]\n");
        let (output, script) = run_on(r#"{"n": 7, "empty": ""}"#, &plan).await;
        let error = output.unwrap_err();
        assert!(error.contains("step `a` failed: ") && error.contains(words), "{error}");
        assert!(script.started().is_empty(), "{step}: {:?}", script.started());
    }
}

#[tokio::test(start_paused = true)]
async fn a_template_makes_no_more_than_its_bound() {
    let wide = "{{ steps.a.output }}".repeat(40);
    let plan = format!(
        "name: p\nsteps:\n- name: a\n  run: [say, \"{{{{ input }}}}\"]\n\
         - name: b\n  run: [say, \"{wide}\"]\n"
    );
    let (output, _) = run_on(&format!("\"{}\"", "x".repeat(200_000)), &plan).await;
    let error = output.unwrap_err();
    assert!(error.contains("the text is over its limit of 4194304 bytes"), "{error:.300}");
}

#[tokio::test(start_paused = true)]
async fn a_condition_chooses_its_steps_and_yields_null_without_any() {
    let plan = r"
name: p
steps:
- name: a
  if: input.n > 2 and input.who is defined
  then: [{ name: x, run: [say, many] }]
  else: [{ name: y, run: [say, few] }, { name: z, run: [say, '{{ steps.y.output }}'] }]
- name: b
  if: input.n == 0
  then: [{ name: x, run: [say, none] }]
";
    let (output, _) = run_on(r#"{"n": 3, "who": 1}"#, plan).await;
    assert_eq!(output.unwrap(), r#"{"a":{"x":"many"},"b":null}"#);
    let (output, _) = run_on(r#"{"n": 0, "who": 1}"#, plan).await;
    assert_eq!(output.unwrap(), r#"{"a":{"y":"few","z":"few"},"b":{"x":"none"}}"#);
}

#[tokio::test(start_paused = true)]
async fn a_route_runs_the_step_that_is_named_or_the_other_one() {
    let plan = |otherwise: &str| {
        format!(
            "name: p\nsteps:\n- name: a\n  route: input\n  routes:\n  \
             - {{ name: east, run: [say, E] }}\n  - {{ name: west, run: [say, W] }}\n{otherwise}"
        )
    };
    let (output, script) = run_on(r#""west""#, &plan("")).await;
    assert_eq!((output.unwrap().as_str(), script.started().len()), (r#"{"a":"W"}"#, 1));
    let (output, _) = run_on(r#""north""#, &plan("  otherwise: east\n")).await;
    assert_eq!(output.unwrap(), r#"{"a":"E"}"#);
    let (output, script) = run_on(r#""north""#, &plan("")).await;
    let words = "no route to `north`, which `input` says; there are `east`, `west`";
    assert!(output.unwrap_err().contains(words));
    assert!(script.started().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_loop_counts_or_goes_on_until_something_is_true() {
    let (output, script) = run_on(
        "null",
        r"
name: p
steps:
- name: thrice
  loop: { count: 3 }
  steps: [{ name: s, run: [say, '{{ index }} {{ last.s if last else 0 }}'] }]
- name: till
  loop: { until: 'output.s | int >= 2 and steps.s.output == output.s and index > 1', max: 9 }
  steps: [{ name: s, run: [say, '{{ index }}'] }]
",
    )
    .await;
    assert_eq!(output.unwrap(), r#"{"thrice":{"s":"3 2 1 0"},"till":{"s":"2"}}"#);
    assert_eq!(script.started().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_is_not_through_in_time_fails_or_is_accepted() {
    let plan = |more: &str| {
        format!(
            "name: p\nsteps:\n- name: l\n  loop: {{ until: output.s == '9', max: 4{more} }}\n  \
             steps: [{{ name: s, run: [say, '{{{{ index }}}}'] }}]\n"
        )
    };
    let (output, script) = run_on("null", &plan("")).await;
    let words = "`output.s == '9'` has not become true in 4 rounds";
    assert!(output.unwrap_err().contains(words));
    assert_eq!(script.started().len(), 4);
    let (output, _) = run_on("null", &plan(", on_max: accept")).await;
    assert_eq!(output.unwrap(), r#"{"l":{"s":"4"}}"#);
}

#[tokio::test(start_paused = true)]
async fn a_loop_is_a_tree_of_rounds_and_a_stop_ends_it_between_two() {
    let engine = engine();
    let (run, script) = submit_plan(
        &engine,
        r#"
        name = "p"
        timeout = "2500ms"
        [[steps]]
        name = "l"
        loop = { count = 1_000_000 }
        steps = [{ name = "s", run = ["wait", "1000"] }]
    "#,
    );
    let (root, start) = (run.run().clone(), Instant::now());
    drop(run);
    let report = root.quiescent().await;
    assert_eq!((since(start), script.started().len()), (millis(2_500), 3));
    let names: Vec<_> = report.rows.iter().map(|row| (&*row.name, row.kind)).collect();
    let step = RunKind::Step;
    assert_eq!(names[1..4], [("l", step), ("round 1", step), ("s", step)]);
    assert_eq!(json(row(&report, "l").partial.as_ref()), serde_json::json!({"s": "1000"}));
}

#[tokio::test(start_paused = true)]
async fn until_decides_over_the_branches_of_a_plan() {
    let plan = |until: &str| {
        Plan::from_yaml(&format!(
            "name: p\nsteps:\n- name: s\n  parallel: {{ policy: until, until: \"{until}\" }}\n  \
             branches:\n  - {{ name: a, run: [wait, '100'] }}\n  \
             - {{ name: b, run: [fail, no] }}\n  \
             - {{ name: c, run: [wait, '300'] }}\n  - {{ name: d, run: [wait, '900'] }}\n"
        ))
        .unwrap()
    };
    for (until, expected, after) in [
        ("ok == 2", Ok(r#"{"s":{"a":"100","c":"300"}}"#), 300),
        ("values.a is defined and failed == 1", Ok(r#"{"s":{"a":"100"}}"#), 100),
        ("ended == branches", Ok(r#"{"s":{"a":"100","c":"300","d":"900"}}"#), 900),
        ("ok == 4", Err("all of 4 branches ended and it is not enough"), 900),
        ("values.a.x.y == 1", Err("expression `values.a.x.y == 1`"), 0),
    ] {
        let (engine, start, plan) = (engine(), Instant::now(), plan(until));
        let run = engine.submit(plan.spec(), move |ctx| plan.run(ctx, Script::default())).unwrap();
        let output = run.await.map(|output| output.as_json().to_owned()).map_err(|e| e.to_string());
        match (output, expected) {
            (Ok(output), Ok(expected)) => assert_eq!(output, expected),
            (Err(error), Err(words)) => assert!(error.contains(words), "{until}: {error}"),
            other => panic!("{until}: {other:?}"),
        }
        assert_eq!(since(start), millis(after), "{until}");
    }
}
