//! The web socket of workflows (contract, section 9): its words, its runs, and who has which.

use axum::body::Body;
use axum::http::Request;
use quell::{Payload, RunContext};
use quell_agentos::Options;
use quell_flow::Component;
use quell_http::{Access, Issuer, Jwt, Key};
use quell_test_support::secs;
use serde_json::{Value, json};
use tokio::task::yield_now;
use tokio_tungstenite::tungstenite::Message;

use crate::support::http::{Events as _, names, read};
use crate::support::{Site, fresh};

pub(crate) fn error(text: &str) -> Value {
    json!({ "event": "error", "error": text })
}

fn with_key() -> Site {
    Site::new(Options::default(), Access::open().key(Key::new("ada", "adas-key")))
}

#[tokio::test]
async fn a_socket_says_what_it_wants_and_answers_every_word() {
    let served = Site::open().served();
    let mut client = served.ask(&[], 1 << 16).await.unwrap();
    let first = json!({
        "event": "connected", "message": "Connected to AgentOS.", "requires_auth": false,
    });
    assert_eq!(client.json().await, first);
    let authenticated = json!({
        "event": "authenticated",
        "message": "Authentication successful. You can now send commands.",
    });
    for (asked, answer) in [
        (json!({ "action": "ping" }), json!({ "event": "pong" })),
        (json!({ "action": "bogus" }), error("Unknown action: bogus")),
        (json!({ "action": "cancel", "run_id": "r" }), error("Unknown action: cancel")),
        (json!({}), error("Unknown action: None; expected `action`")),
        (json!([1]), error("Invalid JSON: expected an object")),
        (json!({ "action": "authenticate", "token": "any" }), authenticated),
        (
            json!({ "action": "authenticate" }),
            json!({ "event": "auth_error", "error": "Token is required" }),
        ),
        (json!({ "action": "start-workflow" }), error("workflow_id is required")),
        (
            json!({ "action": "start-workflow", "workflow_id": "nope" }),
            error("Workflow nope not found"),
        ),
        (
            json!({ "action": "start-workflow", "workflow_id": "short-agent" }),
            error("Workflow short-agent not found"),
        ),
    ] {
        assert_eq!(client.asked(&asked).await, answer, "{asked}");
    }
    for text in ["{nope", "[1]", "\"ping\""] {
        client.send(Message::Text(text.into())).await;
        assert_eq!(client.json().await, error("Invalid JSON: expected an object"));
    }
    client.send(Message::Binary(vec![0, 1].into())).await;
    assert_eq!(client.json().await, error("Invalid JSON: expected an object"));
    assert_eq!(client.asked(&json!({ "action": "ping" })).await["event"], "pong");
}

#[tokio::test]
async fn what_a_message_lacks_is_said() {
    let mut client = Site::open().served().open().await;
    for (asked, answer) in [
        (json!({ "action": "reconnect" }), error("run_id is required for subscription")),
        (
            json!({ "action": "reconnect", "run_id": "r", "last_event_index": "x" }),
            error(
                "last_event_index: Input should be a valid integer, unable to parse string as an \
                 integer",
            ),
        ),
        (
            json!({ "action": "reconnect", "run_id": "r" }),
            error("Run r not found in buffer or database"),
        ),
        (json!({ "action": "continue-workflow" }), error("workflow_id is required")),
        (
            json!({ "action": "continue-workflow", "workflow_id": "short-workflow" }),
            error("run_id is required"),
        ),
        (
            json!({
                "action": "continue-workflow", "workflow_id": "short-workflow", "run_id": "r",
                "step_requirements": [],
            }),
            error("Run r not found"),
        ),
    ] {
        assert_eq!(client.asked(&asked).await, answer, "{asked}");
    }
    let bad = json!({
        "action": "start-workflow", "workflow_id": "short-workflow", "run_id": "a\nb",
    });
    let said = client.asked(&bad).await;
    assert!(said["error"].as_str().unwrap().starts_with("run_id: "), "{said}");
}

#[tokio::test]
async fn nobody_is_served_before_the_token_and_one_that_is_wrong_changes_nothing() {
    let served = with_key().served();
    let mut client = served.ask(&[], 1 << 16).await.unwrap();
    let first = json!({
        "event": "connected", "requires_auth": true,
        "message": "Connected to AgentOS. Please authenticate to continue.",
    });
    assert_eq!(client.json().await, first);
    let required = json!({
        "event": "auth_required",
        "error": "Authentication required. Send authenticate action with valid bearer token.",
    });
    let start = json!({ "action": "start-workflow", "workflow_id": "short-workflow" });
    for asked in [json!({ "action": "ping" }), json!({ "action": "bogus" }), start.clone()] {
        assert_eq!(client.asked(&asked).await, required);
    }
    let invalid = json!({ "event": "auth_error", "error": "Invalid token" });
    let bad = json!({ "action": "authenticate", "token": "bad" });
    assert_eq!(client.asked(&bad).await, invalid);
    assert_eq!(client.asked(&start).await, required);
    let good = json!({ "action": "authenticate", "token": "adas-key" });
    assert_eq!(client.asked(&good).await["event"], "authenticated");
    assert_eq!(client.asked(&json!({ "action": "ping" })).await["event"], "pong");
    assert_eq!(client.asked(&bad).await, invalid);
    assert_eq!(client.asked(&json!({ "action": "ping" })).await["event"], "pong");
}

#[tokio::test]
async fn a_token_is_looked_at_again_with_every_message() {
    let secret = "a secret of at least thirty-two bytes";
    let access = Access::open().jwt(Jwt::hs256(secret).unwrap());
    let served = Site::new(Options::default(), access).served();
    let issue = |time| Issuer::hs256(secret).unwrap().issue("ada", time, []);
    let mut client = served.open().await;
    let required = client.asked(&json!({ "action": "ping" })).await;
    let words = "Authentication required. Send authenticate action with valid JWT.";
    assert_eq!(required["error"], words);
    let forged = json!({ "action": "authenticate", "token": "x" });
    assert_eq!(client.asked(&forged).await["error_type"], "invalid_token");
    let token = json!({ "action": "authenticate", "token": issue(secs(1)) });
    let authenticated = json!({
        "event": "authenticated", "message": "JWT authentication successful.", "user_id": "ada",
    });
    assert_eq!(client.asked(&token).await, authenticated);
    let expired = json!({
        "event": "auth_error", "error": "Token has expired", "error_type": "expired",
    });
    let mut last = Value::Null;
    while last["event"] == "pong" || last.is_null() {
        last = client.asked(&json!({ "action": "ping" })).await;
    }
    assert_eq!(last, expired);
    let token = json!({ "action": "authenticate", "token": issue(secs(60)) });
    assert_eq!(client.asked(&token).await, authenticated);
    assert_eq!(client.asked(&json!({ "action": "ping" })).await["event"], "pong");
}

#[tokio::test]
async fn a_run_is_told_as_over_http_and_goes_on_without_its_client() {
    let site = Site::open();
    let served = site.served();
    let mut client = served.open().await;
    let (run, probe) = (fresh("run"), fresh("probe"));
    let mut all = vec![client.start("slow-workflow", "ticks=2 tick_ms=1", &run).await];
    all.extend(client.until("WorkflowCompleted", false).await);
    for (index, event) in all.iter().enumerate() {
        assert_eq!(event["event_index"], index, "{event}");
    }
    let path = format!("/workflows/slow-workflow/runs/{run}/resume");
    let told = site.create(&path, &[]).await.events();
    assert_eq!(all, told[1..], "as the stream of the same run");
    // Without a message, and in a session of its own.
    let bare = json!({ "action": "start-workflow", "workflow_id": "short-workflow" });
    client.say(&bare).await;
    let all = client.until("WorkflowCompleted", false).await;
    let expected =
        ["WorkflowStarted", "StepStarted", "StepOutput", "StepCompleted", "WorkflowCompleted"];
    assert_eq!(names(&all), expected);
    assert_ne!(all[0]["session_id"], "s");
    let gone = fresh("run");
    client.start("fn-workflow", &format!("ticks=5 tick_ms=1 probe={probe}"), &gone).await;
    drop(client);
    while read(&site, "/workflows/fn-workflow", &gone, "s").await["status"] != "COMPLETED" {
        yield_now().await;
    }
    assert!(site.witness.get(&probe).0.values().all(|ticks| *ticks == 5));
    let again = json!({
        "action": "start-workflow", "workflow_id": "short-workflow", "run_id": gone,
    });
    let said = served.open().await.asked(&again).await;
    assert_eq!(said, error(&format!("Run {gone} already exists")));
}

#[tokio::test]
async fn several_runs_share_a_socket_and_one_that_is_cancelled_says_so() {
    let site = Site::open();
    let mut client = site.served().open().await;
    let [long, short] = [fresh("run"), fresh("run")];
    client.start("fn-workflow", "ticks=1000000 tick_ms=1 probe=two", &long).await;
    site.at_work("two", 4).await;
    let asked = json!({
        "action": "start-workflow", "workflow_id": "short-workflow", "run_id": short,
    });
    client.say(&asked).await;
    let all = client.until("WorkflowCompleted", false).await;
    assert_eq!(all.last().unwrap()["run_id"], json!(short));
    let path = format!("/workflows/fn-workflow/runs/{long}/cancel");
    assert_eq!(site.post(&path).await.status, 200);
    let all = client.until("WorkflowCancelled", false).await;
    assert_eq!(all.last().unwrap()["reason"], format!("Run {long} was cancelled"));
    assert!(site.witness.get("two").1.iter().any(|mark| mark.ends_with(":dropped")));
}

#[tokio::test]
async fn scopes_are_those_of_each_message_and_runs_of_others_are_unknown() {
    let ada = Key::new("ada", "ada").scopes(["workflows:short-workflow:run", "agents:run"]);
    let access = Access::open().key(ada).key(Key::new("ben", "ben"));
    let served = Site::new(Options::default(), access).served();
    let mut ben = served.open_as("ben").await;
    let [own, run] = [fresh("run"), fresh("run")];
    ben.start("short-workflow", "m", &run).await;
    ben.until("WorkflowCompleted", false).await;
    let mut ada = served.open_as("ada").await;
    ada.start("short-workflow", "m", &own).await;
    ada.until("WorkflowCompleted", false).await;
    for action in ["start-workflow", "reconnect", "continue-workflow"] {
        let verb = match action {
            "start-workflow" => "run",
            "reconnect" => "reconnect to",
            _ => "continue",
        };
        let asked =
            json!({ "action": action, "workflow_id": "slow-workflow", "run_id": fresh("run") });
        let forbidden = error(&format!("Insufficient permissions to {verb} this workflow"));
        assert_eq!(ada.asked(&asked).await, forbidden);
    }
    let reconnect = |run: &str| {
        let workflow = "short-workflow";
        json!({ "action": "reconnect", "run_id": run, "workflow_id": workflow })
    };
    let unknown = error(&format!("Run {run} not found in buffer or database"));
    assert_eq!(ada.asked(&reconnect(&run)).await, unknown);
    assert_eq!(ada.asked(&reconnect(&own)).await["event"], "replay");
    ada.until("WorkflowCompleted", true).await;
    // Another one takes over the socket, and has the rights of the new one alone.
    let ben = json!({ "action": "authenticate", "token": "ben" });
    assert_eq!(ada.asked(&ben).await["event"], "authenticated");
    assert_eq!(ada.asked(&reconnect(&run)).await["event"], "replay");
}

#[tokio::test]
async fn a_run_that_asks_has_its_answer_over_the_socket() {
    let asks = Component::workflow("asks", async |ctx: RunContext, _input: Payload| {
        ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"))
    });
    let mut client = Site::of(asks.resumable()).served().open().await;
    let run = fresh("run");
    let mut all = vec![client.start("asks", "m", &run).await];
    all.extend(client.until("WorkflowPaused", false).await);
    let asked = |answer: Value| {
        json!({
            "action": "continue-workflow", "workflow_id": "asks", "run_id": run,
            "session_id": "s", "step_requirements": answer,
        })
    };
    let bare = client.asked(&asked(Value::Null)).await;
    assert_eq!(bare, error("step_requirements: Field required"));
    client.say(&asked(json!([]))).await;
    all.extend(client.until("WorkflowCompleted", false).await);
    for (index, event) in all.iter().enumerate() {
        assert_eq!(event["event_index"], index, "{event}");
    }
    let again = client.asked(&asked(json!([{ "confirmed": true }]))).await;
    assert_eq!(again, error(&format!("Cannot continue run {run}: run is completed")));
}

#[tokio::test]
async fn without_an_upgrade_the_path_is_that_of_a_workflow() {
    let workflow = Component::workflow("ws", async |_ctx, input: Payload| Ok(input));
    for (site, status) in [(Site::of(workflow), 200), (Site::open(), 404)] {
        for path in ["/workflows/ws", "/workflows/ws/"] {
            assert_eq!(site.get(path).await.status, status, "{path}");
        }
    }
    let answer = with_key().get("/workflows/ws").await;
    assert_eq!(answer.status, 401);
    let half = Request::get("/workflows/ws").header("upgrade", "websocket");
    let answer = Site::open().send(half.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.json()["detail"].is_string()), (400, true));
}
