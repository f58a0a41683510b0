//! A client of few words: requests against a router in this process.

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use futures::StreamExt as _;
use quell_test_support::within;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Site, fresh};

pub(crate) use quell_test_support::Answer;

/// What an answer says in this contract.
pub(crate) trait Events {
    /// Yields the events of a stream: their data.
    fn events(&self) -> Vec<Value>;
}

impl Events for Answer {
    fn events(&self) -> Vec<Value> {
        events(&self.text)
    }
}

pub(crate) fn events(text: &str) -> Vec<Value> {
    let frames = text.split("\n\n").filter(|frame| !frame.is_empty() && !frame.starts_with(':'));
    let event = |frame: &str| {
        let (name, data) = frame.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["event"].as_str());
        data
    };
    frames.map(event).collect()
}

pub(crate) fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

pub(crate) fn post_form(path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    Request::post(path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form(fields)))
        .unwrap()
}

impl Site {
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        quell_test_support::send(&self.app, request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.send(Request::post(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn create(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(post_form(path, fields)).await
    }

    /// Asks for a stream, of which nothing is read yet.
    pub(crate) async fn follow(&self, request: Request<Body>) -> Told {
        let answer = self.app.clone().oneshot(request).await.unwrap();
        Told { chunks: answer.into_body().into_data_stream(), text: String::new() }
    }
}

/// A stream, and what it has told. Dropped, its client goes away.
pub(crate) struct Told {
    chunks: BodyDataStream,
    text: String,
}

impl Told {
    /// Reads on until it has told of something.
    pub(crate) async fn until(&mut self, word: &str) -> Vec<Value> {
        let reads = async {
            while !self.text.contains(word) {
                assert!(self.reads_on().await, "it ends before {word}: {}", self.text);
            }
        };
        within(word, reads).await;
        events(&self.text)
    }

    /// Reads to its end, and yields all that it has told.
    pub(crate) async fn until_its_end(mut self) -> Vec<Value> {
        within("its end", async { while self.reads_on().await {} }).await;
        events(&self.text)
    }

    async fn reads_on(&mut self) -> bool {
        let Some(chunk) = self.chunks.next().await else { return false };
        self.text.push_str(str::from_utf8(&chunk.unwrap()).unwrap());
        true
    }
}

/// Starts a run in the background and yields its id.
pub(crate) async fn start(site: &Site, path: &str, message: &str, session: &str) -> String {
    let run = fresh("run");
    let fields = [
        ("message", message),
        ("background", "true"),
        ("stream", "false"),
        ("session_id", session),
        ("run_id", &run),
    ];
    let answer = site.create(&format!("{path}/runs"), &fields).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let expected = json!({ "run_id": run, "session_id": session, "status": "PENDING" });
    assert_eq!(answer.json(), expected);
    while read(site, path, &run, session).await["status"] == "PENDING" {
        tokio::task::yield_now().await;
    }
    run
}

pub(crate) async fn read(site: &Site, path: &str, run: &str, session: &str) -> Value {
    let answer = site.get(&format!("{path}/runs/{run}?session_id={session}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

pub(crate) fn refused(answer: &Answer, status: u16, detail: &str, code: Option<&str>) {
    let mut expected = json!({ "detail": detail });
    if let Some(code) = code {
        expected["error_code"] = code.into();
    }
    assert_eq!((answer.status.as_u16(), answer.json()), (status, expected));
}

/// Every kind of component: its path, the prefix of its events, the key of its id.
pub(crate) const KINDS: [(&str, &str, &str); 3] = [
    ("/agents/slow-agent", "Run", "agent_id"),
    ("/teams/slow-team", "TeamRun", "team_id"),
    ("/workflows/slow-workflow", "Workflow", "workflow_id"),
];
