use quell_demo::playbook3d::{ALPHA, EVERYWHERE, SHORT, SLOW};
use serde_json::json;
use uuid::Uuid;

use crate::support::lab::Lab;

#[tokio::test]
async fn every_answer_about_a_run_is_the_same_when_the_memory_of_the_adapter_is_lost() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let mut runs = Vec::new();
    for (number, workflow) in [SHORT, SLOW, EVERYWHERE].into_iter().enumerate() {
        let named = Uuid::now_v7().to_string().to_uppercase();
        let body = json!({ "id": workflow, "origin": number, "inputs": { "n": 1 },
            "quell_timeout_ms": 50, "quell_grace_ms": 10 });
        let path = format!("/run_workflow/{ALPHA}/{named}");
        let answer = alice.post(&path, body.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        lab.run(&named).quiescent().await;
        runs.push(named);
    }
    let again = lab.forgetful().alice().await;
    for path in ["/runs", "/teams", "/workflows"] {
        assert_eq!(again.get(path).await.text, alice.get(path).await.text, "{path}");
    }
    for run in runs {
        let path = format!("/runs/{run}/result");
        let (before, after) = (alice.get(&path).await, again.get(&path).await);
        assert_eq!((before.status.as_u16(), &after.text), (200, &before.text));
        assert_eq!(again.listed(&run).await["id"], run);
        let cancel = (again.cancel(ALPHA, &run).await, alice.cancel(ALPHA, &run).await);
        assert_eq!(cancel.0.text, cancel.1.text);
    }
}
