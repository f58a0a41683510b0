//! A receiver of webhooks, on a socket of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How a receiver answers: with these texts, one after the other, and the last one from then on.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) port: u16,
    got: watch::Receiver<Vec<(String, Value)>>,
}

/// What is written to each caller.
#[derive(Clone)]
pub(crate) enum Says {
    Text(String),
    /// This, a while later.
    Late(String),
    /// Nothing, for ever.
    Nothing,
    /// This, again and again, for as long as it is taken.
    Endless(&'static str),
}

pub(crate) fn status(status: &str) -> Says {
    Says::Text(bare(status))
}

/// As [`status`], when a server that began to end meanwhile is in the midst of that.
pub(crate) fn late(status: &str) -> Says {
    Says::Late(bare(status))
}

/// An answer without a body.
fn bare(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")
}

impl Receiver {
    pub(crate) async fn new(says: Vec<Says>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, got) = watch::channel(Vec::new());
        let (tell, says) = (Arc::new(tell), Arc::new(Mutex::new(says)));
        drop(tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                drop(tokio::spawn(answer(socket, Arc::clone(&tell), Arc::clone(&says))));
            }
        }));
        Self { port, got }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook?key=hush", self.port)
    }

    /// Waits until so many came, and yields all.
    pub(crate) async fn got(&self, count: usize) -> Vec<(String, Value)> {
        let mut got = self.got.clone();
        got.wait_for(|got| got.len() >= count).await.unwrap().clone()
    }

    /// Yields those that have come by now.
    pub(crate) fn by_now(&self) -> usize {
        self.got.borrow().len()
    }
}

type Tell = Arc<watch::Sender<Vec<(String, Value)>>>;

async fn answer(mut socket: TcpStream, tell: Tell, says: Arc<Mutex<Vec<Says>>>) {
    let Some(got) = request(&mut socket).await else { return };
    let next = {
        let mut says = says.lock().unwrap();
        match says.len() {
            1 => says[0].clone(),
            _ => says.remove(0),
        }
    };
    tell.send_modify(|all| all.push(got));
    match next {
        Says::Text(text) => drop(socket.write_all(text.as_bytes()).await),
        Says::Late(text) => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(socket.write_all(text.as_bytes()).await);
        }
        Says::Nothing => drop(socket.read(&mut [0]).await),
        Says::Endless(text) => while socket.write_all(text.as_bytes()).await.is_ok() {},
    }
}

async fn request(socket: &mut TcpStream) -> Option<(String, Value)> {
    let mut text = Vec::new();
    let head = loop {
        let mut part = [0; 4_096];
        let count = socket.read(&mut part).await.ok().filter(|count| *count > 0)?;
        text.extend(&part[..count]);
        if let Some(at) = text.windows(4).position(|part| part == b"\r\n\r\n") {
            break at;
        }
    };
    let begin = String::from_utf8(text[..head].to_vec()).ok()?;
    let length = begin.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let length: usize = length.parse().ok()?;
    let mut body = text.split_off(head + 4);
    let came = body.len();
    body.resize(length, 0);
    socket.read_exact(&mut body[came..]).await.ok()?;
    Some((begin, serde_json::from_slice(&body).ok()?))
}
