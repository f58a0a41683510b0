//! Starting, streaming, joining, reading.

use std::time::{Duration, Instant};

use axum::http::Method;
use quell::RunFilter;
use serde_json::{Value, json};

use crate::talk::{Says, Server, id_of};

#[tokio::test]
async fn a_run_object_and_its_headers_have_the_shape_of_the_contract() {
    let server = Server::new();
    let thread = server.thread().await;
    let body = json!({"assistant_id": "steps", "input": {"ms": 0}, "metadata": {"who": "ada"}});
    let answer = server.post(&format!("/threads/{thread}/runs"), &body).await;
    let run = answer.json();
    let id = run["run_id"].as_str().unwrap();
    assert_eq!(answer.header("content-location"), format!("/threads/{thread}/runs/{id}"));
    assert_eq!(run["assistant_id"], "01d10e59-d4b4-51ec-8e94-9b2716b34de8");
    assert_eq!(run["metadata"]["who"], "ada");
    assert_eq!(run["metadata"]["graph_id"], "steps");
    assert_eq!(run["kwargs"]["temporary"], false);
    assert_eq!(run["multitask_strategy"], "enqueue");
    assert_eq!(run["quell"]["cause"], Value::Null);
    let stateless = server.post("/runs", &body).await;
    let id = stateless.json()["run_id"].as_str().unwrap().to_owned();
    assert_eq!(stateless.header("content-location"), format!("/runs/{id}"));
    assert_eq!(stateless.json()["kwargs"]["temporary"], true);
}

#[tokio::test]
async fn wait_and_stream_say_where_to_go_on() {
    let server = Server::new();
    let thread = server.thread().await;
    let body = json!({"assistant_id": "echo", "input": {"text": "x"}});
    let wait = server.post(&format!("/threads/{thread}/runs/wait"), &body).await;
    let run = wait.header("content-location").to_owned();
    assert_eq!(wait.header("location"), format!("{run}/join"));
    assert_eq!(wait.header("content-type"), "application/json");
    assert_eq!(wait.json(), json!({"text": "x", "log": ["echo:x"]}));
    let stream = server.post(&format!("/threads/{thread}/runs/stream"), &body).await;
    let run = stream.header("content-location").to_owned();
    assert_eq!(stream.header("location"), format!("{run}/stream"));
    assert_eq!(stream.header("cache-control"), "no-store");
    assert_eq!(stream.header("x-accel-buffering"), "no");
    assert!(stream.header("content-type").starts_with("text/event-stream"));
    assert!(!stream.text.contains("id:") && !stream.text.contains('\r'));
    let names: Vec<_> = stream.events().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["metadata", "values", "values"]);
    let stateless = server.post("/runs/wait", &body).await;
    let run = stateless.header("content-location").to_owned();
    assert!(run.starts_with("/threads/"), "{run}");
    assert_eq!(server.status(&run).await, "gone");
    assert_eq!(server.get(&format!("{run}/join")).await.json()["log"], json!(["echo:x"]));
    let stateless = server.post("/runs/stream", &body).await;
    assert!(stateless.header("location").starts_with("/runs/"));
}

#[tokio::test]
async fn a_resumable_stream_is_replayed_after_any_event() {
    let server = Server::new();
    let thread = server.thread().await;
    let body = json!({"assistant_id": "slow", "input": {"ms": 30, "chunk_ms": 3},
        "stream_mode": ["values", "updates", "custom"], "stream_resumable": true});
    let all = server.post(&format!("/threads/{thread}/runs/stream"), &body).await;
    let ids: Vec<_> = all.text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert!(ids.len() > 4 && ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    assert!(ids.iter().all(|id| id.len() == 20 && id.as_bytes()[13] == b'-'), "{ids:?}");
    let path = all.header("location").to_owned();
    for (place, id) in ids.iter().enumerate() {
        let rest = server.saying("last-event-id", id).get(&path).await;
        let rest: Vec<_> = rest.text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
        assert_eq!(rest, ids[place + 1..]);
    }
    let from_start = server.saying("last-event-id", "-1").get(&path).await;
    assert_eq!(from_start.text, all.text);
    let one_mode = server.saying("last-event-id", "0");
    let one_mode = one_mode.get(&format!("{path}?stream_mode=updates")).await;
    let names: Vec<_> = one_mode.events().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["metadata", "updates"]);
    assert_eq!(server.get(&path).await.text, "", "without the header only what is new");
}

#[tokio::test]
async fn values_of_a_thread_grow_in_the_order_of_its_lane() {
    let server = Server::new();
    let thread = server.thread().await;
    server.start(&thread, "slow", json!({"ms": 50, "tag": "first"})).await;
    for n in 0..5 {
        server.start(&thread, "echo", json!({"text": n.to_string()})).await;
    }
    let last = server.start(&thread, "echo", json!({"text": "x"})).await;
    let joined = server.get(&format!("{last}/join")).await.json();
    let log = json!(["slow:done", "echo:0", "echo:1", "echo:2", "echo:3", "echo:4", "echo:x"]);
    assert_eq!(joined["log"], log);
    assert_eq!(joined["tag"], "first");
    let row = server.get(&format!("/threads/{thread}")).await.json();
    assert_eq!((&row["values"], &row["status"]), (&joined, &json!("idle")));
    assert_eq!(row["metadata"]["graph_id"], "echo");
}

#[tokio::test]
async fn a_run_without_input_goes_on_from_what_there_is() {
    let server = Server::new();
    let thread = server.thread().await;
    let body = json!({"assistant_id": "echo"});
    let path = format!("/threads/{thread}/runs/wait");
    let error = json!({"error": "EmptyInputError", "message": "Received no input for __start__"});
    let empty = server.thread().await;
    for graph in ["echo", "echo", "steps"] {
        let body = json!({ "assistant_id": graph, "input": null });
        let told = server.post(&format!("/threads/{empty}/runs/wait"), &body).await.json();
        assert_eq!(told, json!({ "__error__": error }), "{graph}");
        let [row, state] = ["", "/state"].map(|last| format!("/threads/{empty}{last}"));
        assert_eq!(server.get(&row).await.json()["values"], Value::Null, "{graph}");
        assert_eq!(server.get(&state).await.json()["next"], json!([]), "{graph}");
    }
    assert_eq!(server.post(&path, &body).await.json(), json!({"__error__": error}));
    server.post(&path, &json!({"assistant_id": "echo", "input": {"text": "a"}})).await;
    let again = server.post(&path, &body).await.json();
    assert_eq!(again, json!({"text": "a", "log": ["echo:a"]}));
}

#[tokio::test]
async fn a_delayed_run_is_pending_until_it_is_due() {
    let server = Server::new();
    let thread = server.thread().await;
    let body = json!({"assistant_id": "echo", "input": {}, "after_seconds": 2});
    let start = Instant::now();
    let answer = server.post(&format!("/threads/{thread}/runs"), &body).await;
    let run = answer.header("content-location").to_owned();
    assert_eq!(answer.json()["status"], "pending");
    let rejecting = json!({"assistant_id": "echo", "input": {}, "multitask_strategy": "reject"});
    let refused = server.post(&format!("/threads/{thread}/runs"), &rejecting).await;
    assert_eq!(refused.detail().0, 409);
    server.get(&format!("{run}/join")).await;
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert_eq!(server.status(&run).await, "success");
}

#[tokio::test]
async fn a_run_that_is_over_its_time_says_so_everywhere() {
    let server = Server::new();
    let thread = server.thread().await;
    let body = json!({"assistant_id": "steps", "input": {"ms": 60_000, "tag": "late"},
        "metadata": {"quell_timeout_ms": 50}});
    let error = json!({"error": "TimeoutError",
        "message": "Run exceeded its time limit of 50 ms"});
    let stream = server.post(&format!("/threads/{thread}/runs/stream"), &body).await;
    assert_eq!(stream.events().last().unwrap(), &("error".to_owned(), error.clone()));
    let run = stream.header("content-location").to_owned();
    assert_eq!(server.status(&run).await, "timeout");
    assert_eq!(server.get(&format!("{run}/join")).await.json()["__error__"], error);
    let row = server.get(&format!("/threads/{thread}")).await.json();
    assert_eq!((&row["status"], &row["error"]), (&json!("error"), &error));
    assert_eq!(row["values"]["log"], json!(["before"]), "values reached so far are kept");
    server.assert_stopped("late").await;
}

#[tokio::test]
async fn an_idempotency_key_gives_the_same_run_again() {
    let server = Server::new();
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs");
    let keyed = server.saying("idempotency-key", "k1");
    let body = json!({"assistant_id": "echo", "input": {"text": "x"}});
    let first = keyed.post(&path, &body).await.json();
    let again = keyed.post(&path, &body).await.json();
    assert_eq!(first["run_id"], again["run_id"]);
    let other = keyed.post(&path, &json!({"assistant_id": "echo", "input": {}})).await;
    let text = "Idempotency-Key was used with a different request";
    assert_eq!(other.detail(), (409, text.into()));
    assert_eq!(server.get(&path).await.json().as_array().unwrap().len(), 1);
    let keyed = server.saying("idempotency-key", "k2");
    let wait = format!("{path}/wait");
    let first = keyed.post(&wait, &body).await;
    let again = keyed.post(&wait, &body).await;
    assert_eq!(first.header("content-location"), again.header("content-location"));
    assert_eq!(first.text, again.text);
}

#[tokio::test]
async fn an_empty_idempotency_key_is_refused_with_words() {
    let server = Server::new();
    let thread = server.thread().await;
    let body = json!({"assistant_id": "echo", "input": {"text": "x"}});
    let text =
        "Idempotency-Key: empty; send a text that repeats of this request alone have, or none";
    let paths = [format!("/threads/{thread}/runs"), "/runs".to_owned(), "/runs/wait".to_owned()];
    for path in paths {
        let refused = server.saying("idempotency-key", "").post(&path, &body).await;
        assert_eq!(refused.detail(), (422, text.into()), "{path}");
    }
}

#[tokio::test]
async fn the_key_of_a_run_that_was_deleted_at_its_end_still_gives_its_answer() {
    let server = Server::new();
    let body = json!({"assistant_id": "echo", "input": {"text": "x"}});
    let keyed = server.saying("idempotency-key", "waited");
    let first = keyed.post("/runs/wait", &body).await;
    assert_eq!(first.status, 200, "{first:?}");
    for _ in 0..2 {
        let again = keyed.post("/runs/wait", &body).await;
        assert_eq!((again.status, &again.text), (first.status, &first.text));
        for name in ["location", "content-location", "content-type"] {
            assert_eq!(again.header(name), first.header(name), "{name}");
        }
    }
    let keyed = server.saying("idempotency-key", "started");
    let first = keyed.post("/runs", &body).await.json();
    let path = format!("/runs/{}", first["run_id"].as_str().unwrap());
    server.get(&format!("{path}/stream")).await;
    while !server.service.engine().runs(&RunFilter::new().live()).is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let again = keyed.post("/runs", &body).await;
    assert_eq!((again.status.as_u16(), again.header("content-location")), (200, &*path));
    assert_eq!(again.json()["status"], "success");
    let keyed = server.saying("idempotency-key", "streamed");
    let first = keyed.post("/runs/stream", &body).await;
    let again = keyed.post("/runs/stream", &body).await;
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.events().last(), first.events().last());
    // Another's key is another's.
    let other = server.saying("idempotency-key", "waited");
    let other = other.post("/runs/wait", &json!({"assistant_id": "echo"})).await;
    assert_eq!(other.status, 409);
}

#[tokio::test]
async fn the_key_of_a_run_that_was_rolled_back_gives_what_was_told_at_its_end() {
    let server = Server::new();
    let thread = server.thread().await;
    let (runs, wait) = (format!("/threads/{thread}/runs"), format!("/threads/{thread}/runs/wait"));
    let say = |text: &str| json!({"assistant_id": "echo", "input": {"text": text}});
    server.post(&wait, &say("a")).await;
    let busy = server.start(&thread, "slow", json!({"ms": 60_000, "tag": "busy"})).await;
    server.until_ticking("busy").await;
    let keyed = server.saying("idempotency-key", "undone");
    let undo = async {
        loop {
            let listed = server.get(&format!("{runs}?status=pending")).await.json();
            if let Some(id) = listed[0]["run_id"].as_str() {
                return server
                    .post(&format!("{runs}/{id}/cancel?action=rollback"), &json!({}))
                    .await;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let body = say("undone");
    let (first, _) = tokio::join!(keyed.post(&wait, &body), undo);
    assert_eq!(first.json()["log"], json!(["echo:a"]), "it never began");
    // The thread goes on; what was told of the run does not.
    server.post(&format!("{busy}/cancel"), &json!({})).await;
    assert_eq!(server.post(&wait, &say("b")).await.json()["text"], "b");
    assert_eq!(keyed.post(&wait, &body).await.text.trim(), first.text.trim());
}

#[tokio::test]
async fn a_key_does_not_get_a_run_past_another_that_is_due_later() {
    let server = Server::new();
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs");
    let later = json!({"assistant_id": "echo", "input": {}, "after_seconds": 3_600});
    let body = json!({"assistant_id": "echo", "input": {}, "multitask_strategy": "reject"});
    let keyed = server.saying("idempotency-key", "early");
    // The run that the key stands for is no reason to refuse it again.
    let mut first = later.clone();
    first["multitask_strategy"] = "reject".into();
    let first = keyed.post(&path, &first).await;
    assert_eq!(first.status, 200);
    for caller in [&server, &server.saying("idempotency-key", "other")] {
        assert_eq!(caller.post(&path, &body).await.status, 409);
    }
    let mut again = later;
    again["multitask_strategy"] = "reject".into();
    let again = keyed.post(&path, &again).await.json();
    assert_eq!(again["run_id"], first.json()["run_id"]);
}

#[tokio::test]
async fn a_list_is_newest_first_and_shows_what_is_asked_for() {
    let server = Server::new();
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let run = server.start(&thread, "echo", json!({})).await;
        server.get(&format!("{run}/join")).await;
        ids.push(json!({"run_id": id_of(&run)}));
    }
    ids.reverse();
    let only = server.get(&format!("{path}?select=run_id")).await.json();
    assert_eq!(only, json!(ids));
    let page = server.get(&format!("{path}?select=run_id&limit=1&offset=1")).await.json();
    assert_eq!(page, json!([ids[1]]));
    assert_eq!(server.get(&format!("{path}?status=error")).await.json(), json!([]));
}

#[tokio::test]
async fn everywhere_can_be_run_and_stopped_here() {
    let server = Server::new();
    let thread = server.thread().await;
    let input = json!({"message": "go probe=everywhere"});
    let run = server.start(&thread, "everywhere", input).await;
    server.until_ticking("everywhere").await;
    server.post(&format!("{run}/cancel?wait=1"), &Value::Null).await;
    server.assert_stopped("everywhere").await;
    let row = server.get(&format!("/threads/{thread}")).await.json();
    assert_eq!(row["values"], json!({"message": "go probe=everywhere", "log": []}));
}

#[tokio::test]
async fn a_page_of_another_origin_may_read_the_headers() {
    let server = Server::new().saying("origin", "http://elsewhere");
    let answer = server.get("/ok").await;
    assert_eq!(answer.json(), json!({"ok": true, "services": {}}));
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(answer.header("access-control-expose-headers").contains("content-location"));
    let asking = server
        .saying("access-control-request-method", "POST")
        .saying("access-control-request-headers", "x-api-key");
    let preflight = asking.send(Method::OPTIONS, "/runs/cancel", "").await;
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("access-control-allow-headers"), "x-api-key");
    let exposed = preflight.header("access-control-expose-headers");
    assert!(exposed.contains("content-location"), "{exposed}");
    assert_eq!(server.get("/info").await.json()["flags"]["crons"], true);
}

#[tokio::test]
async fn an_options_request_that_is_no_preflight_is_a_method_that_is_not_served() {
    let server = Server::new().saying("origin", "http://elsewhere");
    let answer = server.send(Method::OPTIONS, "/runs/cancel", "").await;
    assert_eq!(answer.detail(), (405, "Method Not Allowed".into()));
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("vary"), "", "the answer is the same for every origin");
}

#[tokio::test]
async fn who_joins_a_run_that_has_ended_gets_its_end_if_ends_are_asked_for() {
    let mut options = quell_langgraph::Options::default();
    for (end_event, text) in [(true, "event: end\ndata: null\n\n"), (false, "")] {
        options.end_event = end_event;
        let (config, open) = (quell::EngineConfig::new(), quell_http::Access::open());
        let server = Server::with(config, options.clone(), open);
        let thread = server.thread().await;
        let run = server.start(&thread, "echo", json!({})).await;
        server.get(&format!("{run}/join")).await;
        assert_eq!(server.get(&format!("{run}/stream")).await.text, text);
        let body = json!({"assistant_id": "echo", "input": {}});
        let whole = server.post("/runs/stream", &body).await.text;
        assert_eq!(whole.matches("event: end").count(), usize::from(end_event));
        let again = server.saying("last-event-id", "-1").get(&format!("{run}/stream")).await.text;
        assert_eq!(again.matches("event: end").count(), usize::from(end_event), "{again}");
    }
}
