//! Parts of plans: which steps run, and where the outputs of the others come from.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use quell::Payload;
use quell_flow::{Catalog, MissingOutput, PartError, Plan, PlanPart};

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
    let plan = plan.part(part, &outputs(given)).map_err(|error| error.to_string())?;
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
                step `send` reads the output of `check`, which neither runs nor is given; \
                step `tidy` of `on_failure` reads the output of `build`, which neither runs nor \
                is given";
    assert_eq!(error, says);
    let error = run(PlanPart::Only("tell"), &[("build", "1")]).await.unwrap_err();
    assert_eq!(error, "step `tell` reads the output of `send`, which neither runs nor is given");
    let error = run(PlanPart::Only("sed"), &[]).await.unwrap_err();
    assert_eq!(error, "plan `p` has no step `sed` at its top; did you mean `send`?");
    let error = run(PlanPart::From("look"), &[]).await.unwrap_err();
    assert!(error.contains("it is a step in `check`, and only"), "{error}");
    // The `build` that this one reads is a step of its own.
    assert!(run(PlanPart::Only("check"), &[("build", "1")]).await.is_ok());
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
    let words = "plan `p` has no step `b` at its top; it is a branch in `s`, and only steps at the \
                 top run alone; did you mean `s`?";
    let error = plan().part(PlanPart::Only("b"), &BTreeMap::new()).unwrap_err();
    assert_eq!(error.to_string(), words);
}

/// What is missing for a part of a plan of three steps with this cleanup.
fn missing(part: PlanPart<'_>, step: &str, cleanup: &str) -> Vec<(String, String)> {
    let text = format!(
        "name: p\nsteps:\n- {{ name: a b, run: [x] }}\n- {{ name: mid, {step} }}\n\
         - {{ name: end, run: [x] }}\n{cleanup}\n"
    );
    let plan = Plan::from_yaml(&text).unwrap().link(&Catalog::new()).unwrap();
    match plan.part(part, &BTreeMap::new()) {
        Ok(_) => Vec::new(),
        Err(PartError::Missing(missing)) => {
            let names = |one: MissingOutput| (one.step.to_string(), one.of.to_string());
            missing.into_iter().map(names).collect()
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_step_that_is_read_in_brackets_has_to_be_given() {
    let reads = "run: [x, '{{ steps[\"a b\"].output }}']";
    let found = missing(PlanPart::Only("mid"), reads, "");
    assert_eq!(found, [("mid".to_owned(), "a b".to_owned())]);
}

#[test]
fn what_cleanup_of_the_plan_reads_has_to_be_given_if_it_comes_before_the_part() {
    for key in ["on_failure", "on_stop"] {
        let tidy = |reads: &str| {
            format!(
                "{key}:\n- {{ name: tidy, if: 'true', then: [{{ name: t, run: [x, '{reads}'] }}] }}"
            )
        };
        let (run, first) = ("run: [x]", tidy("{{ steps[\"a b\"].output }}"));
        for part in [PlanPart::Only("mid"), PlanPart::From("mid"), PlanPart::Only("end")] {
            let found = missing(part, run, &first);
            assert_eq!(found, [("tidy".to_owned(), "a b".to_owned())], "{part:?}");
        }
        assert_eq!(missing(PlanPart::From("a b"), run, &first), []);
        // What has not run yet is not there in a whole plan either.
        let last = tidy("{{ steps.end.output }}");
        assert_eq!(missing(PlanPart::Only("mid"), run, &last), []);
        let asks = tidy("{{ steps[\"a b\"].output if steps[\"a b\"] is defined else 1 }}");
        assert_eq!(missing(PlanPart::Only("mid"), run, &asks), []);
        let asks_first = first.replace("'true'", "'steps[\"a b\"] is defined'");
        assert_eq!(missing(PlanPart::Only("mid"), run, &asks_first), []);
    }
}

#[test]
fn many_missing_outputs_are_counted() {
    let (mut reads, mut steps) = (String::new(), String::new());
    for at in 0..40 {
        let _ = write!(reads, "{{{{ steps.s{at}.output }}}}");
        let _ = writeln!(steps, "- {{ name: s{at}, run: [x] }}");
    }
    let text = format!("name: p\nsteps:\n{steps}- {{ name: end, run: [x, '{reads}'] }}\n");
    let plan = Plan::from_yaml(&text).unwrap().link(&Catalog::new()).unwrap();
    let error = plan.part(PlanPart::Only("end"), &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().ends_with("; and 28 more"), "{error}");
}
