//! Stateless runs of several nodes that are deleted at their end: whoever waits through another
//! node, or comes back within a minute, gets what their own node answers.

use quell::RunId;
use quell::testing::cluster::Nodes;
use quell_test_support::{secs, soon, within};
use serde_json::{Value, json};

use crate::nodes::{server, stored};
use crate::talk::{Answer, Server, id_of};

/// Three servers on three nodes of one store.
fn three() -> [Server; 3] {
    let nodes = Nodes::new(secs(30));
    ["a", "b", "c"].map(|name| server(&nodes.join(name)))
}

fn asking(graph: &str) -> Value {
    json!({ "assistant_id": graph, "input": { "ms": 300, "chunk_ms": 20, "tag": "t" },
        "stream_mode": ["values", "custom"], "stream_resumable": true })
}

/// Has one begun; yields the path of the run with its thread, and without.
async fn begun(server: &Server, body: &Value) -> (String, String) {
    let made = server.post("/runs", body).await;
    assert_eq!(made.status, 200, "{made:?}");
    let (run, row) = (made.header("content-location").to_owned(), made.json());
    stored(server, &run).await;
    (format!("/threads/{}/runs/{}", row["thread_id"].as_str().unwrap(), id_of(&run)), run)
}

/// Waits until a run has ended and been deleted.
async fn gone(server: &Server, run: &str) {
    within("it is gone", async {
        while server.status(run).await != "gone" {
            tokio::time::sleep(secs(1) / 200).await;
        }
    })
    .await;
}

fn said(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text.replace(": heartbeat\n", "").trim().to_owned()
}

#[tokio::test]
async fn who_waits_for_a_stateless_run_through_another_node_is_told_its_end() {
    for graph in ["slow", "nested", "failing"] {
        let [a, b, c] = three();
        let (a, b, c) = (a.saying("idempotency-key", "k"), b, c.saying("idempotency-key", "k"));
        let body = asking(graph);
        let (run, bare) = begun(&a, &body).await;
        let from_start = b.saying("last-event-id", "-1");
        let (join, stream) = (format!("{run}/join"), format!("{bare}/stream"));
        let (near, far, streamed, repeated) = tokio::join!(
            a.get(&join),
            b.get(&join),
            from_start.get(&stream),
            c.post("/runs", &body)
        );
        assert_eq!(said(&far), said(&near), "{graph}");
        assert!(!near.text.contains("Run not found"), "{near:?}");
        let replayed = a.saying("last-event-id", "-1").get(&stream).await;
        assert_eq!(said(&streamed), said(&replayed), "{graph}");
        assert_eq!(repeated.json()["run_id"], id_of(&run), "{graph}");
    }
}

#[tokio::test]
async fn who_repeats_a_stateless_wait_or_stream_through_another_node_is_told_its_end() {
    for path in ["/runs/wait", "/runs/stream"] {
        let [a, b, c] = three().map(|server| server.saying("idempotency-key", "k"));
        let body = asking("slow");
        let first = tokio::spawn({
            let (a, body) = (a.clone(), body.clone());
            async move { a.post(path, &body).await }
        });
        let live = || a.service.engine().runs(&quell::RunFilter::new().roots().live());
        soon("it is made", || !live().is_empty()).await;
        live()[0].accepted().await.unwrap();
        let waiting = b.post(path, &body).await;
        let first = first.await.unwrap();
        // It is over for all, and comes late here.
        let late = c.post(path, &body).await;
        for other in [&waiting, &late] {
            assert_eq!(said(other), said(&first), "{path}");
            assert_eq!(other.header("location"), first.header("location"));
        }
    }
}

#[tokio::test]
async fn who_comes_back_behind_the_end_of_a_stateless_run_is_told_it_by_every_node() {
    let all = three().map(|server| server.saying("idempotency-key", "k"));
    let body = asking("slow");
    let (run, bare) = begun(&all[0], &body).await;
    let [join, stream] = [format!("{run}/join"), format!("{run}/stream")];
    let thread = run.split("/runs/").next().unwrap();
    said(&all[0].get(&join).await);
    gone(&all[0], &run).await;
    let own = said(&all[0].get(&join).await);
    assert!(own.contains("slow:done"), "{own}");
    let replayed = said(&all[0].saying("last-event-id", "-1").get(&stream).await);
    let object = all[0].post("/runs", &body).await.json();
    for server in &all {
        gone(server, &run).await;
        assert_eq!(said(&server.get(&join).await), own);
        let again = server.saying("last-event-id", "-1");
        for path in [&stream, &format!("{bare}/stream")] {
            assert_eq!(said(&again.get(path).await), replayed);
            assert_eq!(said(&server.get(path).await), "", "nothing is new");
        }
        let repeated = server.post("/runs", &body).await.json();
        assert_eq!(
            (&repeated["run_id"], &repeated["status"]),
            (&id_of(&run).into(), &object["status"])
        );
        // For everything else it is gone, with its thread.
        for path in [thread, &run, &format!("{thread}/runs"), &format!("{thread}/state")] {
            assert_eq!(server.get(path).await.status, 404, "{path}");
        }
        assert_eq!(server.post(&format!("{run}/cancel"), &Value::Null).await.status, 404);
        let none = server.post("/threads/search", &json!({})).await.json();
        assert_eq!(none, json!([]));
        assert_eq!(crate::threads::delete(server, &run).await.status, 404);
    }
    // Its thread is none: the id is free, and what is made there has nothing of it.
    let id = thread.rsplit('/').next().unwrap();
    for server in &all {
        let body = json!({ "thread_id": id, "if_exists": "do_nothing" });
        assert_eq!(server.post("/threads", &body).await.json()["values"], Value::Null);
        assert_eq!(server.get(&format!("{thread}/runs")).await.json(), json!([]));
    }
}

#[tokio::test]
async fn of_a_stateless_run_that_is_rolled_back_or_deleted_other_nodes_are_told_nothing() {
    for by_run in [true, false] {
        let [a, b, _] = three();
        let body = json!({ "assistant_id": "slow", "input": { "ms": 60_000, "tag": "t" } });
        let (run, _) = begun(&a, &body).await;
        let thread = run.split("/runs/").next().unwrap();
        let path = if by_run { &*run } else { thread };
        assert_eq!(crate::threads::delete(&a, path).await.status, 204);
        for server in [&a, &b] {
            let joined = server.get(&format!("{run}/join")).await.json();
            assert_eq!(joined["__error__"]["message"], "404: Run not found", "{joined}");
        }
        let id = RunId::from_text(id_of(&run));
        within("it has left the store", async {
            while b.service.engine().stored_run(id).await.unwrap().is_some() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
