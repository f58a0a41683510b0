//! Runs that wait for an answer (contract, section 7).

use axum::body::Body;
use axum::http::Request;
use quell::{Engine, Failure, Payload, RunContext};
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, Component};
use quell_http::Access;
use quell_test_support::{Answer, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::Site;
use crate::support::http::{Events, form, names, refused};

/// Asks for a tool to be confirmed, and yields the answer.
async fn ask(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    let request = json!({
        "question": "may I?",
        "say \"hi\"": 1,
        "tools": [{ "tool_call_id": "q1", "tool_name": "rm", "requires_confirmation": true }],
        "requirements": [{ "id": "q1" }],
        "step_requirements": [{ "step_id": "q1" }],
    });
    ctx.resumed_with().ok_or_else(|| ctx.pause(Payload::from(request)))
}

/// Asks, then works until it is stopped.
async fn ask_and_work(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    if ctx.resumed_with().is_none() {
        return Err(ctx.pause("may I?"));
    }
    std::future::pending().await
}

fn site() -> Site {
    let catalog = Catalog::new()
        .with(Component::agent("a", ask).resumable())
        .with(Component::team("t", ask).resumable())
        .with(Component::workflow("w", ask).resumable())
        .with(Component::agent("worker", ask_and_work).resumable());
    let (options, engine) = (Options::default(), Engine::new());
    Site::made_of(Witness::default(), catalog, engine, options, Access::open())
}

/// Each kind: its path, the prefix of its events, the field of the answer.
const KINDS: [(&str, &str, &str); 3] = [
    ("/agents/a", "Run", "tools"),
    ("/teams/t", "TeamRun", "requirements"),
    ("/workflows/w", "Workflow", "step_requirements"),
];

pub(crate) async fn create(site: &Site, path: &str, run: &str, more: &[(&str, &str)]) -> Answer {
    let own = [("message", "hi"), ("run_id", run), ("session_id", "s")];
    site.create(&format!("{path}/runs"), &[&own, more].concat()).await
}

pub(crate) async fn go_on(site: &Site, path: &str, run: &str, fields: &[(&str, &str)]) -> Answer {
    site.create(&format!("{path}/runs/{run}/continue"), fields).await
}

pub(crate) async fn read(site: &Site, path: &str, run: &str) -> Value {
    site.get(&format!("{path}/runs/{run}?session_id=s")).await.json()
}

#[tokio::test]
async fn a_stream_ends_with_the_pause_and_the_continued_one_goes_on_to_the_end() {
    let site = site();
    for (path, prefix, field) in KINDS {
        let asked = create(&site, path, path, &[]).await.events();
        let paused = format!("{prefix}Paused");
        assert_eq!(names(&asked), [&format!("{prefix}Started"), &paused], "{path}");
        let last = asked.last().unwrap();
        assert_eq!(
            (&last["request"]["question"], &last["run_id"]),
            (&json!("may I?"), &json!(path))
        );
        assert_eq!(last[field].as_array().unwrap().len(), 1, "{last}");
        assert_eq!(last["quell"]["status"], "paused");
        let run = path.replace('/', "%2F");
        let shown = read(&site, path, &run).await;
        assert_eq!((&shown["status"], &shown["request"]), (&json!("PAUSED"), &last["request"]));
        assert_eq!(shown[field].as_array().unwrap().len(), 1, "{shown}");

        let fields = [(field, r#"[{"confirmed": true}]"#), ("session_id", "s")];
        let rest = go_on(&site, path, &run, &fields).await;
        assert_eq!(rest.status, 200, "{}", rest.text);
        let rest = rest.events();
        let completed = format!("{prefix}Completed");
        let expected = match prefix {
            "Workflow" => vec![completed],
            _ => vec![format!("{prefix}Continued"), format!("{prefix}ContentCompleted"), completed],
        };
        assert_eq!(names(&rest), expected, "{path}");
        assert_eq!(rest.last().unwrap()["content"], r#"[{"confirmed": true}]"#);
        let over = read(&site, path, &run).await;
        assert_eq!((&over["status"], over.get("request")), (&json!("COMPLETED"), None));
    }
}

#[tokio::test]
async fn an_answer_as_json_is_the_paused_run_and_then_the_completed_one() {
    let site = site();
    for (path, _, field) in KINDS {
        let asked = create(&site, path, path, &[("stream", "false")]).await;
        assert_eq!((asked.status.as_u16(), &asked.json()["status"]), (200, &json!("PAUSED")));
        // Nobody who left has cancelled it.
        let run = path.replace('/', "%2F");
        let again = create(&site, path, path, &[]).await;
        assert_eq!(again.status, 409, "{}", again.text);
        let rest = go_on(&site, path, &run, &[("stream", "false"), (field, "7")]).await;
        let over = rest.json();
        assert_eq!((&over["status"], &over["content"]), (&json!("COMPLETED"), &json!("7")));
    }
}

#[tokio::test]
async fn an_answer_that_names_what_it_answers_is_to_nothing_else() {
    let site = site();
    for (path, _, field) in KINDS {
        create(&site, path, path, &[]).await;
        let run = path.replace('/', "%2F");
        let key = match field {
            "tools" => "tool_call_id",
            "requirements" => "id",
            _ => "step_id",
        };
        let of = |ids: &[&str]| {
            let items = ids.iter().map(|id| json!({ key: id, "confirmed": true }));
            Value::Array(items.collect()).to_string()
        };
        let other = go_on(&site, path, &run, &[(field, &of(&["q0"])), ("stream", "false")]).await;
        let words = format!("Cannot continue run {path}: it asks something else now");
        refused(&other, 409, &words, None);
        assert_eq!(read(&site, path, &run).await["status"], "PAUSED");
        // However a client spells it.
        let own = of(&["q0", "q1"]).replace("q1", "\\u00711");
        let rest = go_on(&site, path, &run, &[(field, &own), ("stream", "false")]).await.json();
        assert_eq!((&rest["status"], &rest["content"]), (&json!("COMPLETED"), &json!(own)));
    }
}

#[tokio::test]
async fn an_empty_answer_is_null_and_one_in_the_background_is_accepted() {
    let site = site();
    let (path, _, field) = KINDS[0];
    create(&site, path, "r", &[]).await;
    let fields = [(field, ""), ("stream", "false"), ("background", "true")];
    let answer = go_on(&site, path, "r", &fields).await;
    let expected = json!({ "run_id": "r", "session_id": "s", "status": "PENDING" });
    assert_eq!((answer.status.as_u16(), answer.json()), (202, expected));
    while read(&site, path, "r").await["status"] != "COMPLETED" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_form_without_the_answer_is_refused_with_the_field_that_is_expected() {
    let site = site();
    for (path, _, field) in KINDS {
        create(&site, path, path, &[]).await;
        let run = path.replace('/', "%2F");
        let is_refused = async |sent: &[(&str, &str)], others: &[&str]| {
            let answer = go_on(&site, path, &run, sent).await;
            assert_eq!(answer.status, 422, "{sent:?}: {}", answer.text);
            let told = answer.json();
            let told = told["detail"].as_array().unwrap();
            let said = |at: usize| (&told[at]["loc"][1], &told[at]["type"], &told[at]["msg"]);
            let required = (&json!(field), &json!("missing"), &json!("Field required"));
            assert_eq!(said(0), required, "{sent:?}");
            let no_such = told[1..].iter().map(|one| {
                assert_eq!(one["type"], "extra_forbidden", "{one}");
                one["loc"][1].as_str().unwrap()
            });
            assert_eq!(no_such.collect::<Vec<_>>(), others, "{sent:?}");
            assert_eq!(read(&site, path, &run).await["status"], "PAUSED", "{sent:?}");
        };
        is_refused(&[], &[]).await;
        is_refused(&[("session_id", "s"), ("stream", "false"), ("user_id", "u")], &[]).await;
        is_refused(&[("answer", "7"), ("stream", "false")], &["answer"]).await;
        let misspelt = field.to_uppercase();
        is_refused(&[(&misspelt, "[]"), ("message", "yes")], &[&misspelt, "message"]).await;
        let long = "x".repeat(1_000);
        is_refused(&[(&long, "[]")], &[&long[..64]]).await;
        let many: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(|name| (name, "1")).into();
        is_refused(&many, &["a", "b", "c", "d", "e"]).await;

        let request = Request::post(format!("{path}/runs/{run}/continue"))
            .header("content-type", "application/json")
            .body(Body::from(json!({ field: [] }).to_string()));
        let answer = site.send(request.unwrap()).await;
        let told = &answer.json()["detail"][0];
        assert_eq!((answer.status.as_u16(), &told["loc"][1]), (422, &json!(field)), "{told}");
        assert!(told["msg"].as_str().unwrap().contains("has to be a form"), "{told}");
        assert_eq!(read(&site, path, &run).await["status"], "PAUSED");
        // What is not known beside an answer is nothing, as upstream.
        let sent = [(field, "7"), ("stream", "false"), ("answer", "8")];
        assert_eq!(go_on(&site, path, &run, &sent).await.json()["content"], "7");
    }
}

#[tokio::test]
async fn what_is_not_paused_is_not_continued_in_the_words_of_the_contract() {
    let site = site();
    for (path, _, field) in KINDS {
        let run = path.replace('/', "%2F");
        let bad_field = [(field, "{")];
        let none = format!("No runs found for run ID {path}");
        refused(&go_on(&site, path, &run, &bad_field).await, 404, &none, Some("NOT_FOUND"));
        create(&site, path, path, &[]).await;
        let elsewhere = go_on(&site, path, &run, &[("session_id", "other"), (field, "1")]).await;
        refused(&elsewhere, 404, &none, Some("NOT_FOUND"));
        let bad = format!("Invalid JSON in {field} field");
        refused(&go_on(&site, path, &run, &bad_field).await, 400, &bad, Some("BAD_REQUEST"));
        assert_eq!(read(&site, path, &run).await["status"], "PAUSED");
        site.post(&format!("{path}/runs/{run}/cancel")).await;
        let cancelled = format!("Cannot continue run {path}: run is cancelled");
        refused(&go_on(&site, path, &run, &bad_field).await, 409, &cancelled, None);
    }
    create(&site, "/agents/a", "r", &[("background", "true")]).await;
    go_on(&site, "/agents/a", "r", &[("tools", "")]).await;
    let completed = "Cannot continue run r: run is completed";
    refused(&go_on(&site, "/agents/a", "r", &[("tools", "")]).await, 409, completed, None);
    let unknown = go_on(&site, "/agents/nobody", "r", &[]).await;
    refused(&unknown, 404, "Agent not found", Some("NOT_FOUND"));
}

#[tokio::test]
async fn a_run_that_is_cancelled_while_it_is_paused_says_so_in_its_stage() {
    let site = site();
    create(&site, "/agents/a", "r", &[]).await;
    let answer = site.post("/agents/a/runs/r/cancel").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})));
    let run = read(&site, "/agents/a", "r").await;
    assert_eq!(
        (&run["status"], &run["cancellation_stage"]),
        (&json!("CANCELLED"), &json!("PAUSED"))
    );
    // After its answer it is at work again.
    create(&site, "/agents/worker", "w", &[]).await;
    let fields = [("stream", "false"), ("background", "true"), ("tools", "[]")];
    go_on(&site, "/agents/worker", "w", &fields).await;
    while read(&site, "/agents/worker", "w").await["status"] != "RUNNING" {
        tokio::task::yield_now().await;
    }
    site.post("/agents/worker/runs/w/cancel?wait=true").await;
    assert_eq!(read(&site, "/agents/worker", "w").await["cancellation_stage"], "EXECUTING");
}

/// Sends a form over a socket of its own, and yields the socket.
async fn send(to: std::net::SocketAddr, path: &str, fields: &[(&str, &str)]) -> TcpStream {
    let body = form(fields);
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = TcpStream::connect(to).await.unwrap();
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    socket
}

async fn until(socket: &mut TcpStream, mark: &str) {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains(mark) {
        let count = socket.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "the stream ended: {text}");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
}

/// agno #8910, #9278: the end of the stream reads as a client that has left there, and a paused run
/// as cancelled.
#[tokio::test]
async fn who_leaves_after_the_pause_cancels_nothing_and_who_leaves_the_continued_run_cancels_it() {
    let site = site();
    let address = serve(site.app.clone()).await;
    let fields = [("message", "m"), ("run_id", "r"), ("session_id", "s")];
    let mut asker = send(address, "/agents/worker/runs", &fields).await;
    until(&mut asker, "event: RunPaused").await;
    let run = || read(&site, "/agents/worker", "r");
    drop(asker);
    let mut answerer = send(address, "/agents/worker/runs/r/continue", &[("tools", "[]")]).await;
    until(&mut answerer, "event: RunContinued").await;
    while run().await["status"] != "RUNNING" {
        tokio::task::yield_now().await;
    }
    drop(answerer);
    while run().await["status"] != "CANCELLED" {
        tokio::task::yield_now().await;
    }
    assert_eq!(run().await["quell"]["cause"]["kind"], "disconnected");
}

#[tokio::test]
async fn an_answer_to_very_many_other_questions_costs_one_look_at_each() {
    // Each compared with each would be four billion comparisons, and nobody else would be answered.
    let ids = |ids: std::ops::Range<u32>| ids.map(|id| json!({ "id": id })).collect::<Value>();
    let question = json!({ "requirements": ids(0..10_000) });
    let body = move |ctx: RunContext, _input: Payload| {
        let request = Payload::from(question.clone());
        async move { ctx.resumed_with().ok_or_else(|| ctx.pause(request)) }
    };
    let catalog = Catalog::new().with(Component::team("t", body).resumable());
    let (options, engine) = (Options::default(), Engine::new());
    let site = Site::made_of(Witness::default(), catalog, engine, options, Access::open());
    let shown = create(&site, "/teams/t", "one", &[("stream", "false")]).await.json();
    assert_eq!(shown["requirements"].as_array().map(Vec::len), Some(10_000));
    let others = ids(10_000..410_000).to_string();
    let other = go_on(&site, "/teams/t", "one", &[("requirements", &others)]).await;
    assert_eq!(other.status, 409, "{}", other.text);
    let one_of_them = json!([{ "id": 400_000 }, { "more": [7], "id": 7 }]).to_string();
    let fields = [("requirements", &*one_of_them), ("stream", "false")];
    let right = go_on(&site, "/teams/t", "one", &fields).await;
    assert_eq!((right.status.as_u16(), &right.json()["status"]), (200, &json!("COMPLETED")));
}
