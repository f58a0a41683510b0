//! Keys of runs that several members share. What has begun is told by a witness in the bodies.

use futures::future::join_all;
use quell::{Engine, IdempotencyKey, Recovery, RunContext, RunHandle, RunId, RunSpec, SubmitError};
use quell_core::store::Store as _;
use quell_test_support::{Witness, within};

use crate::crew::{engine, expire, join, listener, on_threads};
use crate::fixture::Place;

fn keyed(key: &str, payload: &str) -> RunSpec {
    RunSpec::agent("keyed").idempotency_key(IdempotencyKey::new(key, [payload]))
}

/// What a submit with this key and payload is told.
async fn told(by: &Engine, key: &str, payload: &str) -> Result<RunId, SubmitError> {
    let run = by.submit_durably(keyed(key, payload), listener).await;
    run.map(|run| run.run().id())
}

#[test]
fn i37_of_submits_with_one_key_on_all_members_at_one_instant_one_begins_and_all_learn_its_id() {
    let (place, witness) = (Place::shared(), Witness::new());
    on_threads(async {
        let nodes = join_all(["a", "b", "c"].map(|name| join(&place, name))).await;
        let engines: Vec<_> = nodes.iter().map(engine).collect();
        for round in 1..=20 {
            let submits = engines.iter().map(|engine| {
                let (engine, witness) = (engine.clone(), witness.clone());
                let spec = keyed(&format!("key {round}"), "same");
                tokio::spawn(async move {
                    let body = async move |_: RunContext| {
                        drop(witness.enter());
                        Ok(())
                    };
                    engine.submit_durably(spec, body).await.map(RunHandle::into_ref)
                })
            });
            let answers: Vec<_> = join_all(submits).await.into_iter().map(Result::unwrap).collect();
            let first: Vec<_> = answers.iter().flatten().collect();
            assert_eq!(first.len(), 1, "{answers:?}");
            let id = first[0].id();
            let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
            assert!(refused.into_iter().all(|it| *it == SubmitError::AlreadySubmitted(id)));
            for engine in &engines {
                let other = told(engine, &format!("key {round}"), "other").await;
                assert_eq!(other, Err(SubmitError::KeyConflict));
            }
            within("it ends", first[0].quiescent()).await;
            assert_eq!(place.sql("select count(*) from run"), round.to_string());
            assert_eq!(witness.entered(), round);
        }
        for node in nodes {
            node.close().await.unwrap();
        }
    });
}

#[test]
fn i37_a_key_leads_to_its_run_whoever_has_taken_that_over() {
    let place = Place::shared();
    on_threads(async {
        let nodes = join_all(["a", "b", "c"].map(|name| join(&place, name))).await;
        let [a, b, c] = [0, 1, 2].map(|nth| engine(&nodes[nth]));
        let run = told(&a, "key", "same").await.unwrap();
        expire(&place, "a");
        let taken = b.take_over(|_| Recovery::resume(RunSpec::agent("keyed"), listener)).await;
        assert_eq!(taken.unwrap().unwrap().recovered.resumed.len(), 1);
        for engine in [&b, &c] {
            let again = told(engine, "key", "same").await;
            assert_eq!(again, Err(SubmitError::AlreadySubmitted(run)));
            assert_eq!(told(engine, "key", "other").await, Err(SubmitError::KeyConflict));
        }
        assert_eq!(place.sql("select id, node from run"), format!("{run}|b"));
        for node in nodes {
            node.close().await.unwrap();
        }
    });
}
