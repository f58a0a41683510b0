use std::sync::Arc;
use std::time::SystemTime;

use quell::store::{Accepted, Epoch, MemoryStore, Record, Store, StoreError};
use quell::{Engine, EngineConfig, Recovery, RunId, RunKind, Shutdown};
use quell_demo::playbook3d::{ALPHA, EVE, SHORT, SLOW};
use quell_test_support::Valve;
use serde_json::json;

use crate::support::lab::Lab;

/// A lab as a process has it that opened the store: the nth one.
async fn nth(boot: u32, store: &Arc<MemoryStore>) -> (Lab, Arc<Valve>) {
    let store = Valve::reopened(store, boot);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let engine = Engine::with_config(config);
    engine.recover(|_| Recovery::Fail).await.unwrap();
    (Lab::on(engine), store)
}

#[tokio::test]
async fn runs_and_results_are_shown_after_a_restart_as_before_it() {
    let store = Arc::new(MemoryStore::new());
    let (lab, _) = nth(1, &store).await;
    let (alice, eve) = (lab.alice().await, lab.client(EVE).await);
    let mut paths = vec!["/runs".to_owned()];
    for (workflow, is_cancelled) in [(SHORT, false), (SLOW, true), (SHORT, false)] {
        let run = alice.start(ALPHA, workflow, json!({})).await;
        if is_cancelled {
            assert_eq!(alice.cancel(ALPHA, &run).await.status, 200);
        }
        lab.run(&run).quiescent().await;
        paths.push(format!("/runs/{run}/result"));
    }
    let mut before = Vec::new();
    for path in &paths {
        before.push((alice.get(path).await, eve.get(path).await));
    }
    lab.service.engine().shutdown(Shutdown::default()).await;
    let (lab, valve) = nth(2, &store).await;
    let (alice, eve) = (lab.alice().await, lab.client(EVE).await);
    for (path, (to_alice, to_eve)) in paths.iter().zip(before) {
        for (client, before) in [(&alice, to_alice), (&eve, to_eve)] {
            let after = client.get(path).await;
            assert_eq!((after.status, after.text), (before.status, before.text), "{path}");
        }
    }
    let run = paths[1].split('/').nth(2).unwrap();
    let cancelled = alice.cancel(ALPHA, run).await;
    assert_eq!(cancelled.header("quell-disposition"), Some("already-terminal"));
    valve.fail_reads(StoreError::Io { what: "secret-path".into() });
    for path in paths {
        let answer = alice.get(&path).await;
        assert_eq!(answer.status, 500, "the table has no 503: {path}");
        assert!(!answer.text.contains("secret-path"));
    }
}

#[tokio::test]
async fn a_team_is_shown_its_stored_runs_behind_many_of_others() {
    let store = Arc::new(MemoryStore::new());
    let (lab, _) = nth(1, &store).await;
    let run = lab.alice().await.start(ALPHA, SHORT, json!({})).await;
    lab.run(&run).quiescent().await;
    lab.service.engine().shutdown(Shutdown::default()).await;
    let later = Valve::reopened(&store, 2);
    let other = |nth: usize| {
        let (id, epoch) = (RunId::from_text(&nth.to_string()), Epoch::new(2, 1));
        let name = "of others".into();
        let mut run = Accepted::new(id, RunKind::Workflow, name, epoch, SystemTime::now());
        run.owner = Some("somebody".into());
        Record::Accepted(Box::new(run))
    };
    later.append((0..2_100).map(other).collect()).await.unwrap();
    let (lab, _) = nth(3, &store).await;
    let list = lab.alice().await.get("/runs").await;
    assert!(list.text.contains(&run), "{}", list.text);
}

#[tokio::test]
async fn the_same_key_and_payload_give_the_first_answer_again_after_a_restart() {
    let store = Arc::new(MemoryStore::new());
    let (path, body) = (format!("/run_workflow/{ALPHA}"), json!({ "id": SHORT }).to_string());
    let mut answers = Vec::new();
    for boot in 1..3 {
        let (lab, _) = nth(boot, &store).await;
        let mut alice = lab.alice().await;
        alice.set("idempotency-key", "once");
        let answer = alice.post(&path, body.clone()).await;
        answers.push((answer.status.as_u16(), answer.body));
        lab.service.engine().shutdown(Shutdown::default()).await;
    }
    assert_eq!(answers[0].0, 200);
    assert_eq!(answers[0], answers[1]);
}
