//! [`Peer`]: a service, which notes what it sees.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;

use crate::support::PATIENCE;

/// A service: a thread for each connection, on which one request is answered.
pub(crate) struct Peer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
    notes: Mutex<Receiver<String>>,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    /// The head as it was sent, in lower case.
    pub(super) head: String,
    pub(crate) body: String,
    /// How many there were before it.
    pub(super) nth: usize,
}

impl Asked {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    /// Yields a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.map(str::trim)
    }
}

/// What answers a request.
pub(crate) struct Answers<'a> {
    pub(crate) asked: &'a Asked,
    socket: TcpStream,
    notes: Sender<String>,
}

impl Answers<'_> {
    /// Writes text as it is. Whether somebody reads it is no matter.
    pub(super) fn write(&mut self, text: &str) {
        let _ = self.socket.write_all(text.as_bytes());
    }

    /// Writes text again and again until the other side has closed the connection, and notes that.
    pub(super) fn flood(&mut self, text: &str) {
        let text = text.repeat(1_000);
        while self.socket.write_all(text.as_bytes()).is_ok() {}
        self.note("closed");
    }

    /// Writes a whole answer.
    pub(crate) fn answer(&mut self, status: &str, kind: &str, body: &str) {
        let length = body.len();
        self.write(&format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        ));
    }

    /// Writes the head of an answer, whose end is that of the connection.
    pub(super) fn begin(&mut self, status: &str, kind: &str) {
        self.write(&format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n"
        ));
    }

    /// Writes the head of an answer that says how long it is.
    pub(super) fn begin_of(&mut self, length: usize, kind: &str) {
        self.write(&format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
        ));
    }

    pub(super) fn note(&self, note: &str) {
        let _ = self.notes.send(note.to_owned());
    }

    /// Waits until a flag is set, or the other side has closed the connection.
    pub(super) fn wait_for(&mut self, flag: &AtomicBool) {
        let _ = self.socket.set_read_timeout(Some(Duration::from_millis(10)));
        let is_open = |read: io::Result<usize>| match read {
            Ok(bytes) => bytes > 0,
            Err(error) => {
                use ErrorKind::{Interrupted, TimedOut, WouldBlock};
                matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
            }
        };
        while !flag.load(Ordering::SeqCst) && is_open(self.socket.read(&mut [0])) {}
    }

    /// Waits until the other side has closed the connection, and notes it.
    pub(super) fn note_end(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = self.socket.read_to_end(&mut rest);
        self.note("closed");
    }
}

impl Peer {
    /// Starts one; it ends with the tests.
    pub(crate) fn start(answer: impl Fn(&mut Answers<'_>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (sender, notes) = channel();
        let (answer, all) = (Arc::new(answer), Arc::clone(&seen));
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (answer, all, notes) = (Arc::clone(&answer), Arc::clone(&all), sender.clone());
                thread::spawn(move || {
                    let Some(mut asked) = read(&socket) else { return };
                    let mut seen = all.lock();
                    asked.nth = seen.len();
                    seen.push(asked.clone());
                    drop(seen);
                    answer(&mut Answers { asked: &asked, socket, notes });
                });
            }
        });
        Self { address, seen, notes: Mutex::new(notes) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Yields the requests so far.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().clone()
    }

    /// Waits for the next note.
    #[track_caller]
    pub(crate) fn next_note(&self) -> String {
        self.notes.lock().recv_timeout(PATIENCE).expect("the service notes something")
    }
}

/// Reads a request.
pub(super) fn read(from: impl Read) -> Option<Asked> {
    let mut from = BufReader::new(from);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let path = head.split(' ').nth(1)?.to_owned();
    let head = head.to_ascii_lowercase();
    let mut asked = Asked { path, head, body: String::new(), nth: 0 };
    let length = asked.header("content-length").unwrap_or("0").parse().ok()?;
    from.take(length).read_to_string(&mut asked.body).ok()?;
    Some(asked)
}
