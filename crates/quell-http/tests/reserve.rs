use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use quell::{CancelRequest, CauseKind, Disposition, EngineConfig, Payload, RunId, RunStatus};
use quell_http::{
    NATIVE, Principal, Service, Start, StartError, View, Wait, parse_id, router, scope_of,
};
use quell_test_support::{is_repeat, seeds};
use serde_json::{Value, json};

use crate::support::{Witness, get, post, service_with, soon, start};

const DAY: Duration = Duration::from_hours(24);

fn view_of(service: &Service, who: &str) -> View {
    service.view(NATIVE, Principal::named(who))
}

async fn start_as(view: &View, component: &str, id: &str) -> Result<quell::RunRef, StartError> {
    let component = view.find_component(component).unwrap();
    let start = Start::new(component, Payload::from("x")).id(id);
    view.start(start).await.map(|started| started.run)
}

fn stop() -> CancelRequest {
    CancelRequest::because("before it was there")
}

async fn reserve(view: &View, scope: &str, id: RunId, keep: Duration) -> Disposition {
    view.reserve(scope, id, stop().remember_for(keep), Wait::none()).await.disposition
}

#[tokio::test]
async fn a_stop_that_was_remembered_ends_the_run_before_its_body_is_polled() {
    let witness = Witness::default();
    let app = router(service_with(EngineConfig::new(), &witness));
    let asked = json!({ "remember_ms": 60_000, "reason": "early" });
    let answer = post(&app, "/v1/runs/r/cancel", &asked).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.header("quell-disposition"), "reserved");
    assert_eq!(answer.json()["status"], Value::Null);
    start(&app, "sleeper", "r", Value::Null).await;
    get(&app, "/v1/runs/r/events").await;
    let run = get(&app, "/v1/runs/r").await.json();
    assert_eq!((&run["status"], &run["started_at"]), (&json!("cancelled"), &Value::Null));
    assert_eq!(run["cause"]["message"], "early");
    assert_eq!(witness.entered(), 0);
    // It was used once, and the id is taken for good.
    start(&app, "sleeper", "r2", Value::Null).await;
    assert_eq!(get(&app, "/v1/runs/r2").await.json()["stopped_at"], Value::Null);
}

// I21: with workers that are free to take the body up at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_worker_is_quick_enough_to_poll_a_body_whose_stop_was_remembered() {
    let witness = Witness::default();
    let service = service_with(EngineConfig::new(), &witness);
    let ada = view_of(&service, "ada");
    for round in 0..500 {
        let id = format!("r{round}");
        reserve(&ada, "", parse_id(&id).unwrap(), DAY).await;
        start_as(&ada, "sleeper", &id).await.unwrap();
    }
    assert_eq!(witness.entered(), 0);
}

#[tokio::test]
async fn a_stop_is_remembered_for_its_owner_and_scope_alone() {
    let witness = Witness::default();
    let service = service_with(EngineConfig::new(), &witness);
    let (ada, bob) = (view_of(&service, "ada"), view_of(&service, "bob"));
    let sleeper = ada.find_component("sleeper").unwrap();
    let id = |text: &str| parse_id(text).unwrap();
    reserve(&ada, &scope_of(sleeper), id("a"), DAY).await;
    reserve(&ada, &scope_of(sleeper), id("b"), DAY).await;
    reserve(&ada, "team-1", id("c"), DAY).await;

    let foreign = start_as(&bob, "sleeper", "a").await.unwrap();
    assert!(foreign.row().stopped_at.is_none(), "another owner's run is left alone");
    let other = start_as(&ada, "stubborn", "b").await.unwrap();
    assert!(other.row().stopped_at.is_none(), "another component's run is left alone");
    let outside = start_as(&ada, "sleeper", "c").await.unwrap();
    assert!(outside.row().stopped_at.is_none(), "the scope was not asked for");

    reserve(&ada, "team-1", id("d"), DAY).await;
    let start = Start::new(sleeper, Payload::from("x")).id("d").reserved_in("team-1");
    let run = ada.start(start).await.unwrap().run;
    assert_eq!(run.ended().await.status, RunStatus::Cancelled);
    assert_eq!(run.row().cause.unwrap().by.as_deref(), Some("ada"));
}

#[tokio::test]
async fn a_stop_that_is_not_used_is_not_lost_and_not_for_ever() {
    let service = service_with(EngineConfig::new(), &Witness::default());
    let ada = view_of(&service, "ada");
    let id = parse_id("r").unwrap();
    assert_eq!(reserve(&ada, "", id, DAY).await, Disposition::Reserved);
    let sleeper = ada.find_component("sleeper").unwrap();
    let refused = Start::new(sleeper, Payload::from("x")).id("r").label("k", "x".repeat(2_000));
    assert!(matches!(ada.start(refused).await, Err(StartError::TooLarge { .. })));
    let run = start_as(&ada, "sleeper", "r").await.unwrap();
    assert_eq!(run.ended().await.cause.as_ref().unwrap().kind, CauseKind::UserRequest);

    reserve(&ada, "", parse_id("short").unwrap(), Duration::from_millis(1)).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let run = start_as(&ada, "sleeper", "short").await.unwrap();
    assert!(run.row().stopped_at.is_none(), "its time was over");
}

#[tokio::test]
async fn a_stop_for_a_run_that_is_there_by_now_reaches_it() {
    let service = service_with(EngineConfig::new(), &Witness::default());
    let ada = view_of(&service, "ada");
    let run = start_as(&ada, "sleeper", "r").await.unwrap();
    let answer = reserve(&ada, "", run.id(), DAY).await;
    assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
    assert_eq!(run.ended().await.status, RunStatus::Cancelled);
}

#[tokio::test]
async fn a_run_of_another_scope_that_has_the_id_is_left_alone() {
    let service = service_with(EngineConfig::new(), &Witness::default());
    let ada = view_of(&service, "ada");
    let (sleeper, steps) = ("sleeper", ada.find_component("steps").unwrap());
    let run = start_as(&ada, sleeper, "r").await.unwrap();
    for scope in [scope_of(steps), "team-1".into()] {
        assert_eq!(reserve(&ada, &scope, run.id(), DAY).await, Disposition::Unknown);
    }
    assert!(run.row().stopped_at.is_none());
    let scope = scope_of(ada.find_component(sleeper).unwrap());
    let answer = reserve(&ada, &scope, run.id(), DAY).await;
    assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");

    let flow = start_as(&ada, "steps", "flow").await.unwrap();
    soon("the step runs", || flow.children().len() == 1).await;
    let step = flow.children().remove(0);
    let answer = reserve(&ada, &scope_of(steps), step.id(), DAY).await;
    assert!(matches!(answer, Disposition::Accepted { .. }), "a step is its root's: {answer:?}");
}

/// Waits until both are here, then a little longer.
fn meet(here: &AtomicUsize, longer: u64) {
    here.fetch_add(1, Ordering::SeqCst);
    while here.load(Ordering::SeqCst) < 2 {
        std::thread::yield_now();
    }
    for _ in 0..longer {
        std::hint::spin_loop();
    }
}

// Whatever the order, a stop that was answered reaches the run, and before its body if it was
// answered `reserved`.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_stop_falls_between_the_look_and_the_start() {
    let service = service_with(EngineConfig::new(), &Witness::default());
    let ada = view_of(&service, "ada");
    let (mut before, mut after) = (0, 0);
    // Whoever came first is held back a little more the next time, so that both do.
    let mut ahead = 0_u64;
    for (seed, mut rng) in seeds(3_000) {
        let text = format!("r{}", seed.0);
        let id = parse_id(&text).unwrap();
        let here = Arc::new(AtomicUsize::new(0));
        let starting = tokio::spawn({
            let (ada, here, longer) = (ada.clone(), Arc::clone(&here), rng.u64(..100));
            async move {
                meet(&here, longer);
                start_as(&ada, "sleeper", &text).await.unwrap()
            }
        });
        let stopping = tokio::spawn({
            let (ada, longer) = (ada.clone(), ahead + rng.u64(..100));
            async move {
                meet(&here, longer);
                match ada.run_by_id(id) {
                    Some(run) => ada.cancel(&run, stop(), Wait::none()).await.disposition,
                    None => reserve(&ada, "", id, DAY).await,
                }
            }
        });
        let answer = stopping.await.unwrap();
        let run = starting.await.unwrap();
        match answer {
            Disposition::Reserved => {
                (before, ahead) = (before + 1, ahead + 20);
                let ended = Wait::terminal().at_most(Duration::from_secs(20)).of(&run).await;
                assert!(ended.is_reached, "the stop was lost");
                let row = ended.report.own_row();
                assert!(row.started_at.is_none(), "it was polled all the same");
            }
            Disposition::Accepted { .. } | Disposition::AlreadyStopping { .. } => {
                (after, ahead) = (after + 1, ahead.saturating_sub(20));
            }
            other => panic!("{other:?}"),
        }
        let ended = Wait::terminal().at_most(Duration::from_secs(20)).of(&run).await;
        assert!(ended.is_reached, "the stop was lost");
    }
    let is_race = before.min(after) >= 20;
    assert!(is_race || is_repeat(), "{before} before, {after} after");
}
