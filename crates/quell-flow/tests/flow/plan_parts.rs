//! Parts of plans: which steps run, and where the outputs of the others come from.

use std::collections::BTreeMap;

use quell::Payload;
use quell_flow::{Catalog, Plan, PlanPart};

use crate::support::*;

const PLAN: &str = r#"
    name = "p"
    on_failure = [{ name = "tidy", run = ["say", "{{ steps.build.output }}"] }]
    [[steps]]
    name = "build"
    run = ["say", "box"]
    [[steps]]
    name = "check"
    sequence = [
        { name = "build", run = ["say", "inner"] },
        { name = "look", run = ["say", "{{ steps.build.output }}"] },
    ]
    [[steps]]
    name = "send"
    if = "steps.check.output.look == 'inner'"
    then = [{ name = "mail", run = ["say", "{{ steps.build.output }} {{ input }}"] }]
    [[steps]]
    name = "tell"
    run = ["say", "{{ steps.send.output.mail }}"]
"#;

fn outputs(given: &[(&str, &str)]) -> BTreeMap<String, Payload> {
    let payload = |json: &str| Payload::from_json_text(json).unwrap();
    given.iter().map(|(name, json)| ((*name).to_owned(), payload(json))).collect()
}

/// Runs a part of the plan; yields its output and what was started.
async fn run(part: PlanPart<'_>, given: &[(&str, &str)]) -> Result<(String, Vec<String>), String> {
    let plan = Plan::from_toml(PLAN).unwrap().link(&Catalog::new()).unwrap();
    let plan = plan.part(part, &outputs(given))?;
    let script = Script::default();
    let (runner, spec) = (script.clone(), plan.plan().spec().input(Payload::from("now")));
    let engine = engine();
    let run = engine.submit(spec, move |ctx| plan.run(ctx, runner)).unwrap();
    let output = run.await.map_err(|error| error.to_string())?;
    Ok((output.as_json().to_owned(), script.started()))
}

const CHECKED: (&str, &str) = ("check", r#"{"look":"inner"}"#);

#[tokio::test(start_paused = true)]
async fn one_step_runs_alone_with_the_outputs_that_are_given() {
    let given = [("build", "\"old box\""), CHECKED];
    let (output, started) = run(PlanPart::Only("send"), &given).await.unwrap();
    assert_eq!(output, r#"{"send":{"mail":"old box now"}}"#);
    assert_eq!(started, ["say old box now"]);
}

#[tokio::test(start_paused = true)]
async fn a_step_and_all_after_it_run_and_read_what_runs_now() {
    let given = [("build", "\"old box\""), CHECKED, ("send", r#"{"mail":"stale"}"#)];
    let (output, started) = run(PlanPart::From("send"), &given).await.unwrap();
    assert_eq!(output, r#"{"send":{"mail":"old box now"},"tell":"old box now"}"#);
    assert_eq!(started, ["say old box now", "say old box now"]);
    let (all, _) = run(PlanPart::From("build"), &[]).await.unwrap();
    assert!(
        all.starts_with(r#"{"build":"box","check":"#) && all.ends_with("\"box now\"}"),
        "{all}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_refused_with_the_names_and_nothing_starts() {
    let error = run(PlanPart::From("send"), &[]).await.unwrap_err();
    let says = "step `send` reads the output of `build`, which neither runs nor is given; \
                step `send` reads the output of `check`, which neither runs nor is given";
    assert_eq!(error, says);
    let error = run(PlanPart::Only("tell"), &[("build", "1")]).await.unwrap_err();
    assert_eq!(error, "step `tell` reads the output of `send`, which neither runs nor is given");
    let error = run(PlanPart::Only("sed"), &[]).await.unwrap_err();
    assert_eq!(error, "plan `p` has no step `sed` at its top; did you mean `send`?");
    // The `build` that this one reads is a step of its own.
    assert!(run(PlanPart::Only("check"), &[]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_another_needs_is_no_step_that_has_to_be_given() {
    let text = r#"
        name = "p"
        steps = [
            { name = "build", run = ["say", "outer"] },
            { name = "s", parallel = {}, branches = [
                { name = "b", needs = ["build"], run = ["say", "{{ steps.build.output }}"] },
                { name = "build", run = ["say", "inner"] },
            ] },
        ]
    "#;
    let plan = || Plan::from_toml(text).unwrap().link(&Catalog::new()).unwrap();
    for part in [PlanPart::Only("s"), PlanPart::From("s")] {
        let plan = plan().part(part, &BTreeMap::new()).unwrap();
        let engine = engine();
        let run = engine.submit(plan.plan().spec(), move |ctx| plan.run(ctx, Script::default()));
        let output = run.unwrap().await.unwrap();
        assert_eq!(output.as_json(), r#"{"s":{"b":"inner","build":"inner"}}"#);
    }
    let words = "plan `p` has no step `b` at its top; expected one of `build`, `s`";
    assert_eq!(plan().part(PlanPart::Only("b"), &BTreeMap::new()).unwrap_err(), words);
}
