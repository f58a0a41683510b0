//! The page of plans: its examples are plans, and it has every key and word of the schema.

use quell::{Failure, Payload, RunContext, testing};
use quell_flow::{CommandStep, PLAN_PAGE, PLAN_SCHEMA, Plan, Runner};
use serde_json::{Value, json};

use crate::support::*;

/// Yields the code between fences of a language.
fn fenced(language: &str) -> &'static str {
    let open = format!("```{language}\n");
    let (_, rest) = PLAN_PAGE.split_once(&open).expect(language);
    rest.split_once("```").expect("an end").0
}

/// Answers as a program does. `status` is ready in the second round; `upload far` takes for ever.
#[derive(Clone)]
struct Shop;

impl Runner for Shop {
    async fn run(&self, ctx: RunContext, step: CommandStep) -> Result<Payload, Failure> {
        let words: Vec<&str> = step.command.iter().map(String::as_str).collect();
        let stdout = match *words {
            ["upload", "far"] => {
                ctx.stopped().await;
                return Err(Failure::new("stopped"));
            }
            ["status", "2"] => "yes\n".to_owned(),
            ["status", _] => "no\n".to_owned(),
            _ => words.join(" ") + "\n",
        };
        Ok(json!({ "stdout": stdout, "exit_code": 0 }).into())
    }
}

/// Puts "…" where the output of a command is.
fn without_outputs(value: Value) -> Value {
    match value {
        Value::Object(map) if map.contains_key("stdout") => "…".into(),
        Value::Object(map) => {
            map.into_iter().map(|(name, value)| (name, without_outputs(value))).collect()
        }
        other => other,
    }
}

#[tokio::test(start_paused = true)]
async fn the_whole_example_yields_what_the_page_shows() {
    let plan = Plan::from_yaml(fenced("yaml")).unwrap();
    let engine = engine();
    let spec = plan.spec().input(json!({ "loud": true }).into());
    let run = engine.submit(spec, move |ctx| plan.run(ctx, Shop)).unwrap();
    let output: Value = run.await.unwrap().parse().unwrap();
    assert_eq!(output["build"]["box"]["stdout"], "pack make linux\n");
    let shown: Value = serde_json::from_str(fenced("json")).unwrap();
    assert_eq!(without_outputs(output), shown);
}

#[test]
fn the_page_has_every_key_and_word_of_the_schema() {
    let schema: Value = serde_json::from_str(PLAN_SCHEMA).unwrap();
    for table in ["plan", "step", "parallel", "loop", "team", "retry"] {
        for (key, value) in schema["$defs"][table]["properties"].as_object().unwrap() {
            let words = [&value["enum"], &value["oneOf"][0]["enum"]];
            let words = words.into_iter().filter_map(Value::as_array).flatten();
            for word in words.filter_map(Value::as_str).chain([key.as_str()]) {
                let stands = ["`", " ", "{ "].iter().any(|before| {
                    ["`", ":", " }"]
                        .iter()
                        .any(|after| PLAN_PAGE.contains(&format!("{before}{word}{after}")))
                });
                assert!(stands, "{table}.{key}: {word}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_step_has_the_output_of_the_table() {
    let (output, ..) = run_plan(
        r#"
        name = "kinds"
        [[steps]]
        name = "sequence"
        sequence = [{ name = "a", run = ["say", "1"] }]
        [[steps]]
        name = "race"
        parallel = { policy = "first_success" }
        branches = [{ name = "a", run = ["fail", "x"] }, { name = "b", run = ["say", "2"] },
            { name = "c", run = ["wait", "5"] }]
        [[steps]]
        name = "first"
        run = ["say", "{{ steps.race.output | first }}"]
        [[steps]]
        name = "loop"
        loop = { count = 2 }
        steps = [{ name = "a", run = ["say", "{{ index }}"] }]
        [[steps]]
        name = "if"
        if = "true"
        then = [{ name = "a", run = ["say", "3"] }]
        [[steps]]
        name = "neither"
        if = "false"
        then = [{ name = "a", run = ["say", "3"] }]
        [[steps]]
        name = "route"
        route = "'a'"
        routes = [{ name = "a", run = ["say", "4"] }]
        [[steps]]
        name = "workflow"
        workflow = { name = "w", steps = [{ name = "a", run = ["say", "5"] }] }
        [[steps]]
        name = "all"
        team = { mode = "broadcast" }
        members = [{ name = "a", run = ["say", "6"] }, { name = "b", run = ["fail", "7"] }]
        [[steps]]
        name = "chain"
        team = { mode = "sequence" }
        input = "x"
        members = [{ name = "a", run = ["say", "{{ task }}y"] },
            { name = "b", run = ["say", "{{ task }}z"] }]
        [[steps]]
        name = "chosen"
        team = { mode = "route", choose = "'a'" }
        members = [{ name = "a", run = ["say", "8"] }]
        [[steps]]
        name = "led"
        team = { mode = "coordinate", leader = "a", max = 1, delegate = "none" }
        members = [{ name = "a", run = ["say", "9"] }, { name = "b", run = ["say", "10"] }]
    "#,
    )
    .await;
    let expected = concat!(
        r#"{"sequence":{"a":"1"},"race":{"b":"2"},"first":"b","loop":{"a":"2"},"#,
        r#""if":{"a":"3"},"neither":null,"route":"4","workflow":{"a":"5"},"#,
        r#""all":{"a":"6","b":{"error":"run `b` failed: 7"}},"chain":"xyz","chosen":"8","led":"9"}"#
    );
    assert_eq!(output.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_text_is_written_into_a_text_as_json() {
    let input = json!({ "t": "it's <b>", "n": null, "b": true, "o": { "x": null }, "l": [1, "ü"],
        "f": 1.5 });
    for (template, expected) in [
        ("{{ input.t }}", "it's <b>"),
        ("{{ input.n }}", "null"),
        ("{{ input.b }}", "true"),
        ("{{ input.o }}", r#"{"x":null}"#),
        ("a {{ input.l }} {{ input.f }}", r#"a [1,"ü"] 1.5"#),
        ("{{ input.l | first + 1 }}", "2"),
    ] {
        let step = json!({ "name": "s", "run": ["say", template] });
        let plan = Plan::from_json(&json!({ "name": "p", "steps": [step] }).to_string()).unwrap();
        let engine = testing::engine();
        let spec = plan.spec().input(input.clone().into());
        let run = engine.submit(spec, move |ctx| plan.run(ctx, Script::default())).unwrap();
        let output: Value = run.await.unwrap().parse().unwrap();
        assert_eq!(output["s"], expected, "{template}");
    }
}
