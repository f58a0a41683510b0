//! [`Follow`]: the events of a run of a server, beyond the ends of connections.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hyper::Response;
use hyper::body::Incoming;
use quell::{EventKind, RunEvent};
use tokio::time::{sleep, timeout};

use super::client::piece;
use super::not_done::NotDone;
use super::one_run::OneRun;
use crate::remote::Sse;

/// What is heard of a run.
#[derive(Debug)]
pub(super) enum Heard {
    /// Something happened.
    Event(RunEvent),
    /// An event cannot be read: the server is of another release.
    Unreadable,
    /// The connection is lost, for these reasons. It is made again, from the last event on.
    Lost(String),
}

/// Reads the events of a run in their order, until its end. When a connection is lost it makes
/// another one, from the last event on: none is lost, and none comes twice.
pub(super) struct Follow {
    run: OneRun,
    /// The last event that was heard.
    after: u64,
    has_ended: bool,
    stream: Option<Stream>,
    /// A connection was lost before.
    is_again: bool,
    /// Since when there is no connection.
    lost_since: Option<Instant>,
}

impl Follow {
    pub(super) fn new(run: OneRun) -> Self {
        Self { run, after: 0, has_ended: false, stream: None, is_again: false, lost_since: None }
    }

    async fn open(&mut self) -> Result<(), NotDone> {
        let response = self.run.open_events(self.after).await?;
        self.stream = Some(Stream::new(response));
        self.lost_since = None;
        Ok(())
    }

    /// Yields what is heard next; none after the end of the run.
    ///
    /// # Errors
    ///
    /// Fails if the server refuses, or is away for too long.
    ///
    /// # Cancel safety
    ///
    /// What was read of an event that is not whole may be lost: nothing is to be read after that.
    pub(super) async fn next(&mut self) -> Result<Option<Heard>, NotDone> {
        while !self.has_ended {
            let read = if let Some(stream) = &mut self.stream {
                stream.next().await
            } else {
                if self.is_again {
                    sleep(RETRY_WAIT).await;
                }
                self.open().await.map(|()| Some(Vec::new()))
            };
            let lost = match read {
                Ok(Some(line)) if line.is_empty() => continue,
                Ok(Some(line)) => return Ok(Some(self.heard(&line))),
                Ok(None) => match self.ended().await {
                    Ok(true) => break,
                    Ok(false) => NotDone::Lost("the stream has ended before the run".to_owned()),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            (self.stream, self.is_again) = (None, true);
            let NotDone::Lost(words) = lost else { return Err(lost) };
            match self.lost_since {
                Some(since) if since.elapsed() > AWAY_MAX => return Err(NotDone::Lost(words)),
                Some(_) => {}
                None => {
                    self.lost_since = Some(Instant::now());
                    return Ok(Some(Heard::Lost(words)));
                }
            }
        }
        self.has_ended = true;
        Ok(None)
    }

    fn heard(&mut self, line: &[u8]) -> Heard {
        let Ok(event) = serde_json::from_slice::<RunEvent>(line) else { return Heard::Unreadable };
        self.after = self.after.max(event.last_seq());
        self.has_ended = event.run == self.run.run() && matches!(event.kind, EventKind::Ended(_));
        Heard::Event(event)
    }

    /// Tells whether the run has ended: its last events may be gone.
    async fn ended(&self) -> Result<bool, NotDone> {
        Ok(self.run.own_row().await?.status.is_terminal())
    }
}

/// The lines of a stream.
struct Stream {
    body: Incoming,
    sse: Sse,
    /// The line that has no end yet; nothing of one that is too long.
    line: Vec<u8>,
    is_long: bool,
    /// Lines that were read at once.
    ready: VecDeque<Vec<u8>>,
}

impl Stream {
    fn new(response: Response<Incoming>) -> Self {
        let body = response.into_body();
        let (sse, ready) = (Sse::default(), VecDeque::new());
        Self { body, sse, line: Vec::new(), is_long: false, ready }
    }

    /// Yields the next line; none at the end of the stream.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, NotDone> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            // A server that has nothing to say says so all the time.
            let data = timeout(SILENCE_MAX, piece(&mut self.body)).await;
            let data = data.map_err(|_| NotDone::Lost("the server is silent".to_owned()))??;
            let Some(data) = data else { return Ok(None) };
            let Self { sse, line, is_long, ready, .. } = self;
            sse.push(&data, |text| {
                let is_whole = text.ends_with(b"\n");
                *is_long |= line.len() + text.len() > LINE_BYTES_MAX;
                if !*is_long {
                    line.extend_from_slice(text);
                }
                if is_whole {
                    // One that is too long is no JSON, and said to be unreadable.
                    let cut = if std::mem::take(is_long) { b"cut".to_vec() } else { Vec::new() };
                    let whole = std::mem::take(line);
                    ready.push_back(if cut.is_empty() { whole } else { cut });
                }
            });
        }
    }
}

/// The longest event that is read: twice the longest that a server of this release has.
const LINE_BYTES_MAX: usize = 512 << 10;

/// How long a stream may be silent: a server says three times in that time that it is there.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// How long a server may be away, as while it is started again.
const AWAY_MAX: Duration = Duration::from_mins(2);

const RETRY_WAIT: Duration = Duration::from_millis(500);
