//! A node that keeps a run which another one has forgotten: it does not answer for a later run that
//! has its id.

use axum::http::StatusCode;
use quell::{CancelRequest, ResumeError, RunContext, RunSpec, RunStatus};
use quell_http::parse_id;
use quell_test_support::soon;
use serde_json::{Value, json};

use crate::nodes::{Process, two};
use crate::support::{JSON, get, post, send};

/// Has a run end at the one node, and be forgotten through the other one.
async fn forgotten(a: &Process, b: &Process, id: &str) {
    let run = a.working("sleeper", id).await;
    run.cancel(CancelRequest::because("enough"));
    run.quiescent().await;
    run.stored().await.unwrap();
    b.service.engine().forget_stored(run.id()).await.unwrap();
    assert!(a.service.engine().get(run.id()).is_some(), "it is kept");
}

#[tokio::test(start_paused = true)]
async fn i4_a_run_is_stopped_through_a_node_that_keeps_an_earlier_one_of_its_id() {
    let (_nodes, a, b) = two();
    forgotten(&a, &b, "r").await;
    let run = b.working("stubborn", "r").await;
    let cancel = json!({ "wait": "quiescent" });
    let answer = post(&a.app, "/v1/runs/r/cancel", &cancel).await;
    assert_eq!(b.witness.inside(), 0, "it said {}", answer.json());
    assert_eq!(answer.header("quell-disposition"), "accepted");
    assert_eq!((&answer.json()["quiescent"], run.status()), (&json!(true), RunStatus::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn i4_many_are_stopped_through_a_node_that_keeps_an_earlier_one_of_the_id_of_one() {
    let (_nodes, a, b) = two();
    forgotten(&a, &b, "r").await;
    let run = b.working("stubborn", "r").await;
    let cancel = json!({ "where": { "status": ["running"] }, "wait": "quiescent" });
    let answer = post(&a.app, "/v1/runs/cancel", &cancel).await;
    assert_eq!((answer.status, b.witness.inside()), (StatusCode::OK, 0), "{answer:?}");
    assert_eq!(run.status(), RunStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_keeps_an_earlier_run_asks_the_one_that_has_the_id_by_now() {
    let (_nodes, a, b) = two();
    let [here, there] = [&a, &b].map(|it| it.service.engine().clone());
    let asks = async |ctx: RunContext| ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"));
    for id in ["pause", "resume", "limits", "cancel", "forget"] {
        forgotten(&a, &b, id).await;
        let spec = RunSpec::agent("asks").id(parse_id(id).unwrap());
        let run = there.submit_resumable_durably(spec, asks).await.unwrap().into_ref();
        run.paused().await.unwrap();
        let own = run.id();
        match id {
            // It is paused, which the earlier one is not.
            "pause" => here.pause_anywhere(own, "wait").await.unwrap(),
            "resume" => here.resume_anywhere(own, Some(1), "yes").await.unwrap(),
            "limits" => {
                let limits = quell::NewLimits::new().timeout(std::time::Duration::from_mins(15));
                let outcome = here.set_limits_anywhere(own, limits).await.unwrap();
                assert!(matches!(outcome, quell::LimitsOutcome::Changed { .. }), "{outcome:?}");
            }
            "cancel" => {
                let stop = CancelRequest::because("enough");
                drop(here.cancel_anywhere(own, stop).await.unwrap());
                soon("it stops", || run.status() == RunStatus::Cancelled).await;
            }
            _ => {
                run.cancel(CancelRequest::because("enough"));
                run.quiescent().await;
                run.stored().await.unwrap();
                here.forget_stored(own).await.unwrap();
                assert_eq!(here.stored_run(own).await, Ok(None));
            }
        }
        assert!(here.get(own).is_none(), "{id}: it has left memory");
        let again = run.resume("yes");
        assert_eq!(
            matches!(again, Err(ResumeError::NotPaused(_))),
            id != "pause" && id != "limits"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_run_is_not_forgotten_for_one_that_was_read_before() {
    let (_nodes, a, b) = two();
    let run = a.stopped("r").await;
    let engine = b.service.engine();
    let read = engine.stored_run(run.id()).await.unwrap().unwrap();
    engine.forget_record(&read).await.unwrap();
    b.stopped("r").await;
    assert!(a.service.engine().forget_record(&read).await.is_err());
    assert!(engine.stored_run(run.id()).await.unwrap().is_some(), "it stays");
}

#[tokio::test(start_paused = true)]
async fn an_id_and_a_key_of_what_another_node_has_forgotten_are_free_here() {
    let (_nodes, a, b) = two();
    forgotten(&a, &b, "r").await;
    let made = async |node: &Process, key: &str| {
        let body =
            json!({ "component": "agent/sleeper", "id": "r", "input": Value::Null }).to_string();
        send(&node.app, "POST", "/v1/runs", &[JSON, ("idempotency-key", key)], body).await
    };
    let new = made(&a, "k").await;
    assert_eq!(new.status, StatusCode::CREATED, "{new:?}");
    let run = a.run("r");
    run.cancel(CancelRequest::because("enough"));
    run.quiescent().await;
    run.stored().await.unwrap();
    b.service.engine().forget_stored(run.id()).await.unwrap();
    // As on the node that has forgotten it.
    let [far, near] = [made(&b, "k").await, made(&a, "k").await];
    assert_eq!((near.status, near.text), (far.status, far.text));
    assert_eq!(made(&b, "l").await.status, StatusCode::CREATED);
    b.run("r").stored().await.unwrap();
    let again = made(&a, "l").await;
    assert_eq!((again.status, &again.json()["status"]), (StatusCode::OK, &json!("running")));
    assert_eq!(get(&a.app, "/v1/runs/r").await.json()["status"], "running");
    b.run("r").cancel(CancelRequest::because("enough"));
}

#[tokio::test(start_paused = true)]
async fn i4_who_has_read_a_run_through_another_node_stops_no_later_one_of_its_id() {
    let (_nodes, a, b) = two();
    a.working("sleeper", "r").await;
    let read = b.found("r").await;
    forgotten_by(&a, "r").await;
    let later = a.working("sleeper", "r").await;
    let stop = CancelRequest::because("enough").rollback();
    let outcome = b.view().cancel(&read, stop, quell_http::Wait::quiescent()).await;
    assert_eq!(outcome.disposition, quell::Disposition::Unknown);
    let limits = quell::NewLimits::new().timeout(std::time::Duration::ZERO);
    let limited = b.view().set_limits(read, limits).await;
    assert!(matches!(limited, Err(quell_http::NotDone::Unknown)), "{limited:?}");
    assert_eq!(later.status(), RunStatus::Running);
    later.cancel(CancelRequest::because("enough"));
}

/// Has a run of a node be stopped, and forgotten there.
async fn forgotten_by(node: &Process, id: &str) {
    let run = node.run(id);
    run.cancel(CancelRequest::because("enough"));
    run.quiescent().await;
    run.stored().await.unwrap();
    run.forget().unwrap();
    run.stored().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
}
