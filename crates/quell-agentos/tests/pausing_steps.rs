//! Steps of plans that wait for an answer (contract, section 7).

use std::sync::Arc;

use quell::testing::cluster::Nodes;
use quell::{Engine, EngineConfig, Failure, Payload, RunContext};
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, Component};
use quell_http::Access;
use quell_test_support::secs;
use serde_json::{Value, json};

use crate::nodes::soon_read;
use crate::pausing::{create, go_on, read};
use crate::support::http::{Events, names, refused};
use crate::support::{Site, fresh};

/// Asks as a step of a plan does for approval, and yields the answer.
async fn ask_approval(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    let request = json!({ "step": "ök", "ask": "deploy?", "approve": true });
    ctx.resumed_with().ok_or_else(|| ctx.pause(Payload::from(request)))
}

/// Asks as a step of a plan does that takes any answer, and yields it.
async fn ask_anything(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    let request = json!({ "step": "who", "ask": "to whom?" });
    ctx.resumed_with().ok_or_else(|| ctx.pause(Payload::from(request)))
}

fn site() -> Site {
    site_of(EngineConfig::new())
}

fn site_of(config: EngineConfig) -> Site {
    let catalog = Catalog::new()
        .with(Component::workflow("approval", ask_approval).resumable())
        .with(Component::workflow("input", ask_anything).resumable());
    let (options, engine) = (Options::default(), Engine::with_config(config));
    Site::made_of(Witness::default(), catalog, engine, options, Access::open())
}

/// The answer of a client that rejects what it was shown.
fn rejection() -> String {
    json!([{ "step_id": "ök", "requires_confirmation": true, "confirmed": false }]).to_string()
}

/// Waits until a run reads as one that a rejection has cancelled.
async fn is_rejected(site: &Site, path: &str, run: &str) {
    soon_read(site, path, run, "CANCELLED").await;
    let over = read(site, path, run).await;
    assert_eq!(over["cancellation_stage"], "PAUSED", "{over}");
    let cause = &over["quell"]["cause"];
    assert_eq!(cause["kind"], "user-request", "{over}");
    assert_eq!(cause["message"], "step `ök` was rejected", "{over}");
}

#[tokio::test]
async fn a_rejected_step_cancels_its_run_as_is_shown_and_the_answer_no_is_the_plans_to_decide() {
    let nodes = Nodes::new(secs(30));
    let node = |name| {
        let node = nodes.join(name);
        site_of(EngineConfig::new().store(Arc::clone(&node) as _).cluster(node))
    };
    let (here, there, path) = (node("a"), node("b"), "/workflows/approval");
    for (site, who) in [(&here, "its own"), (&there, "another")] {
        for (stream, background) in [("false", "false"), ("true", "false"), ("false", "true")] {
            let run = fresh("run");
            create(&here, path, &run, &[]).await;
            soon_read(site, path, &run, "PAUSED").await;
            let answer = rejection();
            let fields = [
                ("step_requirements", &*answer),
                ("session_id", "s"),
                ("stream", stream),
                ("background", background),
            ];
            let over = go_on(site, path, &run, &fields).await;
            let how = format!("{who}, {stream} {background}: {}", over.text);
            match (stream, background) {
                ("true", _) => assert_eq!(names(&over.events()), ["WorkflowCancelled"], "{how}"),
                (_, "true") => assert_eq!(over.status, 202, "{how}"),
                _ => assert_eq!(over.json()["status"], "CANCELLED", "{how}"),
            }
            is_rejected(site, path, &run).await;
            let again = go_on(site, path, &run, &fields).await;
            let words = format!("Cannot continue run {run}: run is cancelled");
            refused(&again, 409, &words, None);
        }
    }
    create(&here, path, "no", &[]).await;
    let fields = [("step_requirements", "false"), ("session_id", "s"), ("stream", "false")];
    let over = go_on(&here, path, "no", &fields).await.json();
    assert_eq!((&over["status"], &over["content"]), (&json!("COMPLETED"), &json!("false")));
}

#[tokio::test]
async fn a_step_for_approval_is_shown_as_the_client_reads_it_and_answered_as_it_answers() {
    let (site, path) = (site(), "/workflows/approval");
    let mut required = json!([{
        "step_id": "ök", "step_name": "ök", "step_type": "Step", "requires_confirmation": true,
        "confirmation_message": "deploy?", "on_reject": "cancel",
    }]);
    let run = "r1";
    let asked = create(&site, path, run, &[]).await.events();
    assert_eq!(asked.last().unwrap()["step_requirements"], required);
    assert_eq!(read(&site, path, run).await["step_requirements"], required);
    // As Python spells it.
    let answer = |required: &Value| required.to_string().replace('ö', "\\u00f6");
    // What was shown, and nothing decided: it is asked again.
    let shown = answer(&required);
    let fields = [("step_requirements", &*shown), ("session_id", "s"), ("stream", "false")];
    let again = go_on(&site, path, run, &fields).await;
    assert_eq!(again.status, 422, "{}", again.text);
    for confirmed in ["true", "false"] {
        let other = format!(r#"[{{"step_id": "no", "confirmed": {confirmed}}}]"#);
        let fields = [("step_requirements", &*other), ("session_id", "s"), ("stream", "false")];
        assert_eq!(go_on(&site, path, run, &fields).await.status, 409);
    }
    required[0]["confirmed"] = true.into();
    let decided = answer(&required);
    let fields = [("step_requirements", &*decided), ("session_id", "s"), ("stream", "false")];
    // Sent again it is the same answer.
    for _ in 0..2 {
        let over = go_on(&site, path, run, &fields).await;
        assert_eq!(over.status, 200, "{}", over.text);
        assert_eq!(over.json()["content"], "true", "{}", over.text);
    }
}

#[tokio::test]
async fn a_step_that_takes_any_answer_is_shown_as_the_client_reads_it_and_gets_what_was_put_in() {
    let (site, path) = (site(), "/workflows/input");
    let shown = json!({
        "step_id": "who", "step_name": "who", "step_type": "Step",
        "requires_user_input": true, "user_input_message": "to whom?",
        "user_input_schema": [{ "name": "answer", "field_type": "str", "required": true }],
    });
    let put_in = |key: &str, value: Value| {
        let mut shown = shown.clone();
        shown[key] = value;
        json!([shown])
    };
    let schema = |name, value| json!([{ "name": name, "value": value }, { "name": "more" }]);
    for (run, answer, got) in [
        ("r1", put_in("user_input", json!({ "answer": "ada" })), json!("ada")),
        ("r2", put_in("user_input", json!({ "answer": 1.50 })), json!(1.50)),
        ("r3", put_in("user_input", json!({ "to": "ada", "cc": null })), json!({ "to": "ada" })),
        ("r4", put_in("user_input_schema", schema("answer", "ada")), json!("ada")),
        ("r5", put_in("user_input_schema", schema("to", "ada")), json!({ "to": "ada" })),
        // Forms of no client: the step gets them as they are spelt.
        ("r6", json!("ada"), json!("ada")),
        ("r7", json!([{ "name": "ada" }]), json!([{ "name": "ada" }])),
    ] {
        let asked = create(&site, path, run, &[]).await.events();
        assert_eq!(asked.last().unwrap()["step_requirements"], json!([shown]));
        assert_eq!(read(&site, path, run).await["step_requirements"], json!([shown]));
        let go_on = async |answer: &Value| {
            let text = answer.to_string();
            let fields = [("step_requirements", &*text), ("session_id", "s"), ("stream", "false")];
            go_on(&site, path, run, &fields).await
        };
        for nothing in [json!([shown]), put_in("user_input", json!({ "answer": null }))] {
            let refused = go_on(&nothing).await;
            assert_eq!(refused.status, 422, "{}", refused.text);
            let why = &refused.json()["detail"][0]["msg"];
            assert_eq!(*why, "step `who` waits for `user_input`", "{}", refused.text);
        }
        assert_eq!(go_on(&json!([{ "step_id": "no" }])).await.status, 409);
        // Sent again it is the same answer.
        for _ in 0..2 {
            let over = go_on(&answer).await;
            assert_eq!(over.status, 200, "{}", over.text);
            let content = over.json()["content"].clone();
            let is_it = content == got
                || serde_json::from_str::<Value>(content.as_str().unwrap_or("")).ok().as_ref()
                    == Some(&got);
            assert!(is_it, "{run}: {content}");
        }
    }
}
