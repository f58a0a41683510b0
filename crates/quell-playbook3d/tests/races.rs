use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use axum::body::Body;
use quell::{Payload, RunContext, RunStatus};
use quell_demo::playbook3d::ALPHA;
use quell_flow::Component;
use quell_test_support::{Servo, seeds};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::lab::{Client, Lab};

/// A workflow that gives way so often, or for ever, and the count of those that came to their end.
fn racer(finished: &Arc<AtomicU64>) -> Component {
    let finished = Arc::clone(finished);
    Component::workflow("racer", move |_ctx: RunContext, input: Payload| {
        let finished = Arc::clone(&finished);
        async move {
            let input: Value = input.parse()?;
            let Some(yields) = input["yields"].as_u64() else {
                return std::future::pending().await;
            };
            give_way(u32::try_from(yields)?).await;
            finished.fetch_add(1, Ordering::SeqCst);
            Ok(Payload::from("won"))
        }
    })
}

async fn give_way(times: u32) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

async fn racer_of(alice: &Client) -> Uuid {
    let workflows = alice.get("/workflows").await.body;
    let racer = workflows.as_array().unwrap().iter().find(|each| each["name"] == "racer");
    racer.unwrap()["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_the_answer_says_who_came_first_the_cancel_or_the_end() {
    let finished = Arc::new(AtomicU64::new(0));
    let lab = Lab::of(racer(&finished));
    let alice = lab.alice().await;
    let workflow = racer_of(&alice).await;
    let mut servo = Servo::wide(1);
    for (_seed, mut rng) in seeds(2_000) {
        let (yields, held_back) = servo.handicaps(&mut rng);
        let run = alice.start(ALPHA, workflow, json!({ "yields": yields })).await;
        give_way(held_back).await;
        let answer = alice.cancel(ALPHA, &run).await;
        let listed = alice.result(&run).await;
        let is_first = match answer.header("quell-disposition") {
            Some("accepted") => {
                assert_eq!(answer.message(), "Run successfully canceled.");
                assert_eq!(listed["status"], "canceled");
                assert_eq!(answer.header("quell-cause"), Some("user-request"));
                true
            }
            Some("already-terminal") => {
                let message = "Run is already in a final state: executed.";
                assert_eq!(answer.message(), message);
                assert_eq!(listed["status"], "executed");
                assert_eq!(listed["result"], "won");
                assert_eq!(answer.header("quell-cause"), None);
                false
            }
            other => panic!("{other:?}"),
        };
        // The end is the first runner: the longer the body takes, the likelier the cancel wins.
        servo.first_won(!is_first);
    }
    servo.assert_raced("a cancel and an end");
}

#[test]
fn a_cancel_of_an_allocated_id_always_stops_the_run_that_takes_it() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
    let finished = Arc::new(AtomicU64::new(0));
    let inside = runtime.enter();
    let lab = Lab::of(racer(&finished));
    drop(inside);
    let alice = runtime.block_on(lab.alice());
    let workflow = runtime.block_on(racer_of(&alice));
    let body = json!({ "id": workflow, "inputs": {} }).to_string();
    let mut servo = Servo::wide(200);
    for (_seed, mut rng) in seeds(2_000) {
        let ticket = runtime.block_on(alice.get("/get_run_id"));
        let id = ticket.body["run_id"].as_str().expect("an id").to_owned();
        let (reserving, starting) = servo.handicaps(&mut rng);
        let barrier = Barrier::new(2);
        let (start, cancel) = thread::scope(|scope| {
            let start = scope.spawn(|| {
                barrier.wait();
                spin(starting);
                let path = format!("/run_workflow/{ALPHA}/{id}");
                runtime.block_on(alice.post(&path, Body::from(body.clone())))
            });
            barrier.wait();
            spin(reserving);
            let cancel = runtime.block_on(alice.cancel(ALPHA, &id));
            (start.join().expect("no panic"), cancel)
        });
        assert_eq!(start.status, 200, "{start:?}");
        assert_eq!(cancel.status, 200, "{cancel:?}");
        assert_eq!(cancel.message(), "Run successfully canceled.");
        let report = runtime.block_on(lab.run(&id).ended());
        assert_eq!(report.status, RunStatus::Cancelled);
        let was_reserved = match cancel.header("quell-disposition") {
            Some("reserved") => true,
            Some("accepted") => false,
            other => panic!("{other:?}"),
        };
        if was_reserved {
            assert_eq!(report.own_row().started_at, None, "it was never polled");
        }
        servo.first_won(was_reserved);
    }
    servo.assert_raced("a cancel and a start");
    assert_eq!(finished.load(Ordering::SeqCst), 0);
}

fn spin(times: u32) {
    for _ in 0..times {
        std::hint::spin_loop();
    }
}
