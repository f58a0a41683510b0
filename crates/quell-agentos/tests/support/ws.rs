//! A client of web sockets, over a pipe within this process: its clock may be stopped.

use std::io;

use axum::serve::Listener;
use futures::{SinkExt as _, StreamExt as _};
use quell_test_support::within;
use serde_json::{Value, json};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::Site;
use super::http::events;

/// What a server accepts: ends of pipes.
struct Pipes(Receiver<DuplexStream>);

impl Listener for Pipes {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.recv().await {
            Some(pipe) => (pipe, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A server of a site, for clients that are in this process.
#[derive(Clone)]
pub(crate) struct Served(Sender<DuplexStream>);

impl Site {
    /// Serves it until the runtime ends.
    pub(crate) fn served(&self) -> Served {
        let (pipes, accepted) = channel(8);
        let (app, listener) = (self.app.clone(), Pipes(accepted));
        drop(tokio::spawn(async move { axum::serve(listener, app).await }));
        Served(pipes)
    }
}

impl Served {
    /// Asks for a socket, with headers and a pipe that takes so many bytes.
    pub(crate) async fn ask(
        &self,
        headers: &[(&'static str, &str)],
        bytes: usize,
    ) -> Result<Client, tungstenite::Error> {
        let (own, other) = duplex(bytes);
        self.0.send(other).await.unwrap();
        let mut request = "ws://localhost/workflows/ws".into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let socket = client_async(request, own).await?.0;
        Ok(Client { socket, refused: None })
    }

    /// Opens a socket, and reads the first word.
    pub(crate) async fn open(&self) -> Client {
        let mut client = self.ask(&[], 64 << 10).await.unwrap();
        assert_eq!(client.json().await["event"], "connected");
        client
    }

    /// Opens a socket in the name of somebody.
    pub(crate) async fn open_as(&self, key: &str) -> Client {
        let mut client = self.open().await;
        client.say(&json!({ "action": "authenticate", "token": key })).await;
        assert_eq!(client.json().await["event"], "authenticated");
        client
    }
}

/// The status and the body of a refusal.
pub(crate) fn refusal(asked: Result<Client, tungstenite::Error>) -> (u16, String) {
    match asked {
        Err(tungstenite::Error::Http(answer)) => {
            let body = answer.body().clone().unwrap_or_default();
            (answer.status().as_u16(), String::from_utf8(body).unwrap())
        }
        Ok(_) => panic!("it is open"),
        Err(error) => panic!("{error}"),
    }
}

pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<DuplexStream>,
    refused: Option<String>,
}

/// What comes from the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// JSON.
    Bare(Value),
    /// The same in the text of a server-sent event.
    Event(Value),
    /// The end, and its code; none without a close frame.
    End(Option<u16>),
}

impl Client {
    pub(crate) async fn say(&mut self, message: &Value) {
        self.send(Message::Text(message.to_string().into())).await;
    }

    /// Sends a message; that it cannot be sent is seen by what comes.
    pub(crate) async fn send(&mut self, message: Message) {
        self.refused = self.socket.send(message).await.err().map(|error| error.to_string());
    }

    pub(crate) async fn frame(&mut self) -> Frame {
        loop {
            let message = within("a frame comes", self.socket.next()).await;
            return match message {
                Some(Ok(Message::Text(text))) if text.starts_with('{') => {
                    Frame::Bare(serde_json::from_str(&text).unwrap())
                }
                Some(Ok(Message::Text(text))) => {
                    let [event] = <[Value; 1]>::try_from(events(&text)).unwrap();
                    Frame::Event(event)
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Close(frame))) => Frame::End(frame.map(|frame| frame.code.into())),
                Some(Ok(other)) => panic!("{other:?}"),
                Some(Err(_)) | None => Frame::End(None),
            };
        }
    }

    /// Reads bare JSON.
    pub(crate) async fn json(&mut self) -> Value {
        match self.frame().await {
            Frame::Bare(json) => json,
            other => panic!("{other:?}"),
        }
    }

    /// Asks, and reads one bare answer.
    pub(crate) async fn asked(&mut self, message: &Value) -> Value {
        self.say(message).await;
        self.json().await
    }

    /// Reads events up to the one of this name, all in this form.
    pub(crate) async fn until(&mut self, name: &str, are_bare: bool) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        while all.last().is_none_or(|last| last["event"] != name) {
            all.push(match (self.frame().await, are_bare) {
                (Frame::Bare(json), true) | (Frame::Event(json), false) => json,
                (other, _) => panic!("{other:?} behind {all:?}"),
            });
        }
        all
    }

    /// Starts a workflow, and reads the first event.
    pub(crate) async fn start(&mut self, workflow: &str, message: &str, run: &str) -> Value {
        let asked = json!({
            "action": "start-workflow", "workflow_id": workflow, "message": message,
            "run_id": run, "session_id": "s",
        });
        self.say(&asked).await;
        let first = self.until("WorkflowStarted", false).await;
        assert_eq!((first.len(), &first[0]["run_id"]), (1, &json!(run)));
        first[0].clone()
    }
}
