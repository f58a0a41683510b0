//! [`run`]: one web socket, from its first word to its last (contract, section 9).
//!
//! One task reads and writes. It holds one message of its client, one thing that is being done, and
//! some texts that are being written. While these are, it reads nothing: a client that asks for
//! more waits, and one that takes nothing for too long is cut off.

use std::future::{pending, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::sink::SinkExt as _;
use futures::stream::StreamExt as _;
use quell_http::{Charge, View};
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Error as SocketError;

use super::act::{About, Acted, act};
use super::caller::{Caller, is_by_token};
use super::following::{Following, Text};
use crate::app::App;
use crate::wire::socket::{
    Asked, NO_OBJECT, auth_error, auth_required, connected, error, error_of, pong, too_large,
    unknown,
};

/// Talks with a client until one of the two has gone.
pub(super) async fn run(app: Arc<App>, socket: WebSocket, caller: Caller) {
    let mut session = Session {
        socket,
        caller,
        following: Following::default(),
        acting: None,
        pace: Pace { next: Instant::now() },
        heard: Instant::now(),
        is_draining: false,
        buffer: None,
        app,
    };
    let Err(end) = session.talk().await;
    session.end(end).await;
}

struct Session {
    app: Arc<App>,
    socket: WebSocket,
    caller: Caller,
    following: Following,
    /// What the last message has asked for, while it is done.
    acting: Option<BoxFuture<'static, Acted>>,
    pace: Pace,
    /// When the client was heard of last, if only by the answer to a ping.
    heard: Instant,
    /// Whether the server takes nothing new.
    is_draining: bool,
    /// The room of the buffer of the socket, which keeps the size of the largest text.
    buffer: Option<Charge>,
}

/// What comes next.
enum Next {
    Draining,
    TooLate,
    Acted(Acted),
    Message(Option<Result<Message, axum::Error>>),
    Text(Text),
    Ping,
}

/// Why a session ends.
enum End {
    /// The client has gone, or takes nothing.
    Gone,
    /// It is told why.
    Closed(u16, &'static str),
}

/// There is no end that is none.
type Ended = Result<std::convert::Infallible, End>;

impl Session {
    async fn talk(&mut self) -> Ended {
        let app = Arc::clone(&self.app);
        let mut draining = pin!(app.service.draining());
        self.say(&connected(!app.service.access_of().is_open())).await?;
        let mut ping_at = Instant::now() + PING_EVERY;
        loop {
            match self.next(draining.as_mut(), ping_at).await {
                Next::Draining => self.is_draining = true,
                Next::TooLate => return Err(End::Closed(POLICY, "not authenticated in time")),
                Next::Acted(acted) => {
                    // Until now nothing was read.
                    (self.acting, self.heard) = (None, Instant::now());
                    match acted {
                        Acted::Said(said) => self.say(&said).await?,
                        Acted::Follows(followed) => self.following.add(followed),
                    }
                }
                Next::Message(None) => return Err(End::Gone),
                Next::Message(Some(Ok(message))) => self.take(message).await?,
                Next::Message(Some(Err(error))) => return Err(self.unread(error).await),
                Next::Text(text) => self.tell(text).await?,
                Next::Ping => {
                    ping_at = Instant::now() + PING_EVERY;
                    if self.acting.is_none() && self.heard.elapsed() >= PONG_WITHIN + PING_EVERY {
                        return Err(End::Closed(KEEPALIVE, "keepalive ping timeout"));
                    }
                    self.write(Message::Ping(Bytes::new())).await?;
                }
            }
            if self.is_draining {
                // Other nodes go on with theirs, and the client finds them there.
                self.following.leave_others();
                if self.following.is_empty() && self.acting.is_none() {
                    return Err(End::Closed(RESTART, "Server is shutting down"));
                }
            }
        }
    }

    async fn next(&mut self, draining: Pin<&mut impl Future<Output = ()>>, ping: Instant) -> Next {
        let Self { socket, following, acting, pace, .. } = self;
        let (says_until, is_draining) = (self.caller.says_until(), self.is_draining);
        let too_late = async { sleep_until(says_until.unwrap_or(ping)).await };
        let may_read = acting.is_none();
        let acted = async {
            match acting {
                Some(acting) => acting.await,
                None => pending().await,
            }
        };
        let message = async {
            pace.wait().await;
            socket.recv().await
        };
        tokio::select! {
            biased;
            () = draining, if !is_draining => Next::Draining,
            () = too_late, if says_until.is_some() => Next::TooLate,
            acted = acted => Next::Acted(acted),
            message = message, if may_read => Next::Message(message),
            Some(text) = following.next() => Next::Text(text),
            () = sleep_until(ping) => Next::Ping,
        }
    }

    /// Takes a message of the client.
    async fn take(&mut self, message: Message) -> Result<(), End> {
        self.pace.count();
        self.heard = Instant::now();
        let bytes = match &message {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
            // The socket has answered it.
            Message::Close(_) => return Err(End::Gone),
        };
        if !self.caller.may_send(bytes) {
            return Err(End::Closed(POLICY, "too much before authentication"));
        }
        let text = match &message {
            Message::Text(text) => text.as_str(),
            Message::Binary(_) => return self.say(&error(NO_OBJECT)).await,
            _ => return Ok(()),
        };
        match Asked::read(text) {
            Some(asked) => self.asked(asked).await,
            None => self.say(&error(NO_OBJECT)).await,
        }
    }

    /// Yields why nothing more can be read. That a message is too large is said first, in words
    /// that tell where a longer one goes.
    async fn unread(&mut self, error: axum::Error) -> End {
        let end = End::of(error);
        if matches!(end, End::Closed(TOO_LARGE, _)) {
            // The client hears it, or the end alone.
            let _ = self.say(&too_large(MESSAGE_BYTES_MAX)).await;
        }
        end
    }

    async fn asked(&mut self, mut asked: Asked) -> Result<(), End> {
        let by_token = is_by_token(&self.app);
        let action = asked.action.take();
        if action.as_deref() == Some("authenticate") {
            let token = asked.take("token");
            let before = self.caller.subject();
            let said = self.caller.authenticate(&self.app, token.as_deref());
            if self.caller.subject() != before {
                // Another caller: what the former one follows is not theirs to read.
                self.following = Following::default();
            }
            return self.say(&said).await;
        }
        let view = match self.caller.view(&self.app) {
            Ok(Some(view)) => view,
            Ok(None) => return self.say(&auth_required(by_token)).await,
            Err(error) => return self.say(&auth_error(error, by_token)).await,
        };
        match action.as_deref() {
            Some("ping") => self.say(&pong()).await,
            action => match action.and_then(About::of) {
                Some(about) => self.act(view, about, asked).await,
                None => self.say(&unknown(action)).await,
            },
        }
    }

    /// Begins what is asked for.
    async fn act(&mut self, view: View, about: About, asked: Asked) -> Result<(), End> {
        let run = asked.fields.get("run_id").and_then(Value::as_str);
        let run = run.filter(|_| about != About::Start);
        if !self.following.has_room_for(run) {
            let count = self.following.len();
            let text = format!(
                "Too many runs in flight on this connection ({count}); wait for some to finish or \
                 open another connection"
            );
            let said = run.map_or_else(|| error(&text), |run| error_of(run, &text));
            return self.say(&said).await;
        }
        self.acting = Some(Box::pin(act(Arc::clone(&self.app), view, about, asked)));
        Ok(())
    }

    /// Writes a text of a run, and those that are there with it.
    async fn tell(&mut self, first: Text) -> Result<(), End> {
        let (mut texts, mut bytes, mut room) = (0, 0, Ok(()));
        let mut next = Some(first);
        let mut last = Bytes::new();
        while let Some(text) = next.take() {
            last = text
                .unwrap_or_else(|(run, cut)| error_of(&run, &cut.to_string()).to_string().into());
            (texts, bytes) = (texts + 1, bytes + last.len());
            room = room.and(self.keep_room(last.len()));
            self.feed(last.clone()).await?;
            if texts < BATCH_TEXTS && bytes < BATCH_BYTES {
                next = self.following.next().now_or_never().flatten();
            }
        }
        self.flush().await?;
        // A large text is the last one, and counts until it is written.
        drop(last);
        tokio::task::consume_budget().await;
        room
    }

    /// Counts the buffer of the socket, which keeps the size of the largest text that was written.
    /// Without room it is given up, once that is written, and the client may come back.
    fn keep_room(&mut self, bytes: usize) -> Result<(), End> {
        if bytes <= self.buffer.as_ref().map_or(0, Charge::bytes).max(BATCH_BYTES) {
            return Ok(());
        }
        let Some(view) = self.caller.known() else { return Ok(()) };
        let room = view.room_now(bytes);
        self.buffer = Some(room.map_err(|_| End::Closed(LATER, "no room for what is written"))?);
        Ok(())
    }

    async fn say(&mut self, said: &Value) -> Result<(), End> {
        self.write(Message::Text(said.to_string().into())).await
    }

    async fn feed(&mut self, text: Bytes) -> Result<(), End> {
        // What is written is text: it was made of texts.
        let Ok(text) = Utf8Bytes::try_from(text) else { return Ok(()) };
        within(self.socket.feed(Message::Text(text))).await
    }

    async fn flush(&mut self) -> Result<(), End> {
        within(self.socket.flush()).await
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        within(self.socket.send(message)).await
    }

    /// Says why, and waits for a moment until the client has heard it: what it has sent and nobody
    /// reads would otherwise have the system forget the last words.
    async fn end(mut self, end: End) {
        let End::Closed(code, reason) = end else { return };
        let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        let last = async {
            if self.socket.send(close).await.is_ok() {
                while let Some(Ok(_)) = self.socket.recv().await {}
                if code == TOO_LARGE {
                    // What is left of the message is never read.
                    pending::<()>().await;
                }
            }
        };
        // It was told, or does not listen.
        let _ = timeout(LAST_WORDS, last).await;
    }
}

impl End {
    /// Yields why nothing more can be read.
    fn of(error: axum::Error) -> Self {
        match error.into_inner().downcast_ref() {
            Some(SocketError::Capacity(_)) => Self::Closed(TOO_LARGE, "message is too large"),
            Some(SocketError::Protocol(_) | SocketError::Utf8(_)) => {
                Self::Closed(PROTOCOL, "not the protocol")
            }
            _ => Self::Gone,
        }
    }
}

/// Waits until the client has taken what is written.
async fn within(write: impl Future<Output = Result<(), axum::Error>>) -> Result<(), End> {
    match timeout(TAKES_WITHIN, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End::Gone),
    }
}

/// How fast messages are taken.
struct Pace {
    /// When the next one would come if they came one after the other, as fast as may be.
    next: Instant,
}

impl Pace {
    /// Waits until one more message may be read.
    async fn wait(&self) {
        let at = self.next.checked_sub(EVERY * AT_ONCE);
        match at.filter(|at| *at > Instant::now()) {
            Some(at) => sleep_until(at).await,
            None => ready(()).await,
        }
    }

    fn count(&mut self) {
        self.next = self.next.max(Instant::now()) + EVERY;
    }
}

/// Between two messages of a client, which may send some at once.
const EVERY: Duration = Duration::from_millis(20);
const AT_ONCE: u32 = 100;

/// How often a client is asked whether it is there, and how long its answer may take: as upstream.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(20);

/// How long a client may take nothing of what is written to it.
const TAKES_WITHIN: Duration = Duration::from_secs(30);

/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The largest message of a client. Socket by socket it is in memory, and counted by nothing else.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// What is written at once: as many texts, or as many bytes, whichever is less.
const BATCH_TEXTS: usize = 32;
pub(super) const BATCH_BYTES: usize = 16 << 10;

/// Why a socket is closed (RFC 6455, section 7.4).
const PROTOCOL: u16 = 1002;
const POLICY: u16 = 1008;
const TOO_LARGE: u16 = 1009;
const KEEPALIVE: u16 = 1011;
const RESTART: u16 = 1012;
const LATER: u16 = 1013;
