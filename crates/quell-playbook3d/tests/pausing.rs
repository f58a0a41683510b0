use quell::{Failure, Payload, RunContext};
use quell_demo::playbook3d::ALPHA;
use quell_flow::Component;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::lab::Lab;

async fn ask(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"))
}

#[tokio::test]
async fn a_paused_run_says_so_has_no_result_yet_and_is_cancelled_at_once() {
    let lab = Lab::of(Component::workflow("asking", ask).resumable());
    let alice = lab.alice().await;
    let workflows = alice.get("/workflows").await.body;
    let asking = workflows.as_array().unwrap().iter().find(|each| each["name"] == "asking");
    let asking: Uuid = asking.unwrap()["id"].as_str().unwrap().parse().unwrap();
    let run = alice.start(ALPHA, asking, json!({})).await;
    lab.run(&run).paused().await.unwrap();
    let listed = alice.listed(&run).await;
    assert_eq!((&listed["status"], &listed["runResult"]), (&json!("paused"), &Value::Null));
    assert_eq!(
        (&listed["quell"]["status"], &listed["quell"]["quiescent"]),
        (&json!("paused"), &json!(true))
    );
    let result = alice.get(&format!("/runs/{run}/result")).await.body;
    assert_eq!((&result["result"], &result["status"]), (&Value::Null, &json!("paused")));

    let answer = alice.cancel(ALPHA, &run).await;
    assert_eq!(answer.message(), "Run successfully canceled.");
    let listed = alice.listed(&run).await;
    assert_eq!(
        (&listed["status"], &listed["quell"]["quiescent"]),
        (&json!("canceled"), &json!(true))
    );

    // The answer comes by another contract.
    let run = alice.start(ALPHA, asking, json!({})).await;
    lab.run(&run).paused().await.unwrap();
    lab.run(&run).resume("yes").unwrap();
    lab.run(&run).ended().await;
    let listed = alice.listed(&run).await;
    assert_eq!((&listed["status"], &listed["runResult"]), (&json!("executed"), &json!("yes")));
}
