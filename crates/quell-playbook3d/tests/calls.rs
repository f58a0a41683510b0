use std::time::Duration;

use quell::{Payload, RunContext};
use quell_demo::playbook3d::{ALPHA, BETA, BOB, EVE, EVERYWHERE, SHORT, SLOW, STUBBORN};
use quell_flow::{Component, ComponentKind, Contract};
use quell_http::{Principal, Start, Wait};
use quell_test_support::Writers;
use serde_json::{Value, json};

use crate::support::lab::{Client, Lab};

#[tokio::test]
async fn teams_and_workflows_are_those_of_the_caller() {
    let lab = Lab::new();
    let bob = lab.client(BOB).await;
    assert_eq!(bob.get("/teams").await.body, json!([{ "id": BETA, "name": "Beta" }]));
    let workflow = |id, name| json!({ "id": id, "name": name, "team_id": BETA });
    let expected =
        [workflow(SLOW, "slow"), workflow(SHORT, "short"), workflow(STUBBORN, "stubborn")];
    assert_eq!(bob.get("/workflows").await.body, json!(expected));
    let alice = lab.alice().await;
    let all = alice.get("/workflows").await.body;
    let ids: Vec<_> = all.as_array().unwrap().iter().map(|each| each["id"].clone()).collect();
    assert_eq!(json!(ids), json!([SLOW, SHORT, STUBBORN, EVERYWHERE]));
}

#[tokio::test]
async fn a_run_has_the_callers_id_in_the_callers_spelling() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let id = "DDDDDDDD-0000-4000-8000-00000000000A";
    let path = format!("/run_workflow/{ALPHA}/{id}");
    let answer = alice.post(&path, json!({ "id": SHORT, "origin": 3 }).to_string()).await;
    assert_eq!(answer.status, 200);
    let queued = json!({
        "run_id": id,
        "status": "queued",
        "message": "Workflow queued successfully.",
    });
    assert_eq!(answer.body, queued);
    lab.run(id).ended().await;
    let listed = alice.listed(id).await;
    assert_eq!((&listed["status"], &listed["platform"]), (&json!("executed"), &json!(3)));
    let result = alice.get(&format!("/runs/{}/result", id.to_lowercase())).await;
    assert_eq!(result.body["result"], "ok");
}

#[tokio::test]
async fn a_run_without_an_id_gets_one() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let run = alice.start(ALPHA, SHORT, json!({})).await;
    assert!(run.parse::<uuid::Uuid>().is_ok());
    assert_ne!(run, alice.start(ALPHA, SHORT, json!({})).await);
}

#[tokio::test]
async fn allocated_ids_differ_and_make_no_run() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let one = alice.get("/get_run_id").await;
    assert_eq!(one.status, 200);
    assert_ne!(one.body, alice.get("/get_run_id").await.body);
    assert_eq!(one.body.as_object().map(serde_json::Map::len), Some(1));
    assert_eq!(alice.get("/runs").await.body, json!([]));
}

#[tokio::test]
async fn a_run_object_has_every_key_of_the_contract() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let run = alice.start(ALPHA, SHORT, json!({})).await;
    lab.run(&run).ended().await;
    let mut listed = alice.listed(&run).await;
    assert!(listed["duration"].as_f64().is_some_and(|seconds| seconds >= 0.0));
    listed["duration"] = json!(0);
    let expected = json!({
        "id": run,
        "platform": "2",
        "status": "executed",
        "progress": null,
        "duration": 0,
        "webhookUrl": null,
        "runResult": "ok",
        "team": { "id": ALPHA, "name": "Alpha" },
        "owner": { "name": "alice" },
        "workflow": { "id": SHORT, "name": "short", "team_id": ALPHA },
        "quell": { "status": "completed", "cause": null, "quiescent": true, "abandoned": [] },
    });
    assert_eq!(listed, expected);
    let result = alice.get(&format!("/runs/{run}/result")).await.body;
    let quell = &expected["quell"];
    assert_eq!(result, json!({ "result": "ok", "status": "executed", "quell": quell }));
}

#[tokio::test]
async fn how_long_a_run_is_at_it_is_by_the_clock_of_its_times() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let run = alice.start(ALPHA, SLOW, json!({})).await;
    while lab.run(&run).row().started_at.is_none() {
        tokio::task::yield_now().await;
    }
    // Another process has told of a time that is ahead of the clock of this one.
    let engine = lab.service.engine();
    assert!(engine.not_before(engine.time() + Duration::from_mins(10)));
    let duration = alice.listed(&run).await["duration"].as_f64();
    assert!(duration.is_some_and(|seconds| seconds > 599.0), "{duration:?}");
}

#[tokio::test]
async fn runs_are_listed_newest_first_to_every_member_of_the_team() {
    let lab = Lab::new();
    let (alice, eve) = (lab.alice().await, lab.client(EVE).await);
    // The ids run the other way.
    let ids = ["3", "2", "1"].map(|n| format!("dddddddd-0000-4000-8000-00000000000{n}"));
    for id in &ids {
        let path = format!("/run_workflow/{ALPHA}/{id}");
        assert_eq!(alice.post(&path, json!({ "id": SHORT }).to_string()).await.status, 200);
        lab.run(id).ended().await;
    }
    for client in [alice, eve] {
        let runs = client.get("/runs").await.body;
        let listed: Vec<_> = runs.as_array().unwrap().iter().map(|run| &run["id"]).collect();
        assert_eq!(listed, [&ids[2], &ids[1], &ids[0]]);
    }
}

#[tokio::test]
async fn a_live_run_shows_how_far_it_has_come_and_no_result() {
    let component = Component::workflow("halfway", async |ctx: RunContext, _input: Payload| {
        ctx.progress(0.5);
        ctx.set_output("half".into());
        ctx.stopped().await;
        Ok(Payload::from("late"))
    });
    let lab = Lab::of(component);
    let alice = lab.alice().await;
    let halfway = workflow(&alice, "halfway").await;
    let run = alice.start(ALPHA, halfway, json!({})).await;
    let mut listed = Value::Null;
    while listed["progress"] != 0.5 {
        tokio::task::yield_now().await;
        listed = alice.listed(&run).await;
    }
    assert_eq!((&listed["status"], &listed["runResult"]), (&json!("running"), &json!(null)));
    assert_eq!(listed["quell"]["quiescent"], false);
    let path = format!("/runs/{run}/result");
    let result = alice.get(&path).await.body;
    assert_eq!((&result["result"], &result["status"]), (&json!(null), &json!("running")));
    assert_eq!(alice.cancel(ALPHA, &run).await.status, 200);
    let result = alice.get(&path).await.body;
    // D1: what the body returns after the stop is partial output.
    assert_eq!((&result["result"], &result["status"]), (&json!("late"), &json!("canceled")));
}

#[tokio::test]
async fn runs_of_other_contracts_are_seen_by_team_and_cancelled() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let elsewhere = lab.service.view(Contract::named("agentos"), Principal::anonymous());
    let slow =
        elsewhere.component(ComponentKind::Workflow, "slow-workflow").expect("it is exposed");
    let input = || Payload::from("tick_ms=2 probe=elsewhere");
    let start = Start::new(slow, input()).id("any text").session(ALPHA.to_string());
    let run = elsewhere.start(start).await.expect("it starts").run;
    let others = Start::new(slow, input()).session(BETA.to_string());
    let others = elsewhere.start(others).await.expect("it starts").run;
    let runs = alice.get("/runs").await.body;
    assert_eq!(runs.as_array().map(Vec::len), Some(1));
    // An id that is no UUID is shown as the UUID that it stands for: `cancel` takes no other.
    let id = run.id().to_string();
    assert_eq!((&runs[0]["id"], &runs[0]["workflow"]["id"]), (&json!(id), &json!(SLOW)));
    assert_eq!(runs[0]["team"], json!({ "id": ALPHA, "name": "Alpha" }));
    assert_eq!(alice.cancel(ALPHA, &id).await.message(), "Run successfully canceled.");
    assert!(run.row().status.is_terminal() && !others.row().status.is_terminal());
    // And the other way round.
    let mine = alice.start(ALPHA, SLOW, json!({})).await;
    let seen = elsewhere.run(&mine).expect("it is exposed there too");
    assert_eq!(seen.label(quell_http::SESSION), Some(&*ALPHA.to_string()));
    seen.cancel(quell::CancelRequest::because("elsewhere"));
    Wait::terminal().of(&seen).await;
    assert_eq!(alice.listed(&mine).await["status"], "canceled");
}

#[tokio::test]
async fn a_step_is_no_run_here_and_hidden_components_are_not_seen() {
    let hidden = Component::workflow("hidden", async |_ctx, input: Payload| Ok(input))
        .exposed_in([Contract::named("agentos")]);
    let lab = Lab::of(hidden);
    let alice = lab.alice().await;
    let run = alice.start(ALPHA, SLOW, json!({ "message": "probe=steps" })).await;
    while lab.ticks("steps") == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let step = lab.run(&run).children()[0].id().to_string();
    assert_eq!(alice.cancel(ALPHA, &step).await.status, 404);
    assert_eq!(alice.get(&format!("/runs/{step}/result")).await.status, 404);
    let elsewhere = lab.service.view(Contract::named("agentos"), Principal::anonymous());
    let hidden =
        elsewhere.component(ComponentKind::Workflow, "hidden").expect("it is exposed there");
    let start = Start::new(hidden, "x".into()).session(ALPHA.to_string());
    let hidden = elsewhere.start(start).await.expect("it starts").run.id().to_string();
    assert_eq!(alice.cancel(ALPHA, &hidden).await.status, 404);
    assert_eq!(alice.listed(&hidden).await, Value::Null);
}

pub(crate) async fn workflow(client: &Client, name: &str) -> uuid::Uuid {
    let workflows = client.get("/workflows").await.body;
    let known = workflows.as_array().unwrap().iter().find(|each| each["name"] == name);
    known.unwrap()["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn no_digit_of_a_number_is_lost() {
    let lab = Lab::of(Component::workflow("same", async |_ctx, input: Payload| Ok(input)));
    let alice = lab.alice().await;
    let same = workflow(&alice, "same").await;
    let exact = r#"{"n":123456789012345678901234567890,"x":[0.1000,1e400,-1E+999]}"#;
    let body = format!(r#"{{"id":"{same}","inputs":{exact}}}"#);
    let run = alice.post(&format!("/run_workflow/{ALPHA}"), body).await.body["run_id"].clone();
    let run = run.as_str().unwrap();
    lab.run(run).ended().await;
    let result = alice.get(&format!("/runs/{run}/result")).await.text;
    assert!(result.contains(&format!(r#""result":{exact}"#)), "{result}");
    let listed = alice.get("/runs").await.text;
    assert!(listed.contains(&format!(r#""runResult":{exact}"#)), "{listed}");
}

#[tokio::test]
async fn a_large_answer_is_written_on_another_thread() {
    let writers = Writers::default();
    let its = writers.clone();
    let lab = Lab::of(Component::workflow("large", move |_ctx, _input| {
        let output = its.output();
        async move { Ok(output) }
    }));
    let alice = lab.alice().await;
    let large = workflow(&alice, "large").await;
    let run = alice.start(ALPHA, large, json!({})).await;
    lab.run(&run).ended().await;
    assert!(alice.get(&format!("/runs/{run}/result")).await.text.contains("xxx"));
    let run = alice.start(ALPHA, large, json!({})).await;
    lab.run(&run).ended().await;
    assert!(alice.get("/runs").await.text.contains("xxx"));
    writers.assert_elsewhere(2);
}
