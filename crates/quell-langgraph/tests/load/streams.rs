//! Streams, and replays of them: from the start and from any id, while the run goes on and when it
//! has ended.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::Method;
use axum::response::Response;
use fastrand::Rng;
use futures::StreamExt as _;
use quell_test_support::within;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::clients::{Known, Load};
use crate::talk::Server;

/// An event: its id, its name and its data.
pub(super) type Event = (String, String, String);

impl Load {
    /// Streams a run to its end. Every replay of it is what was told, from any id.
    pub(super) async fn stream(&self, server: &Server, thread: &Known, rng: &mut Rng) {
        let streamed = self.made((server, "runs/stream"), thread, Self::body(thread, rng));
        let Some(streamed) = within("a stream ends", streamed).await else { return };
        let (run, told) = (streamed.header("content-location"), events(&streamed.text));
        assert_rising(&told);
        assert_exact(&self.replay(run, "-1", rng).await, &told, run);
        if !told.is_empty() {
            let from = rng.usize(..told.len());
            let behind = self.replay(run, &told[from].0, rng).await;
            assert_exact(&behind, &told[from + 1..], run);
        }
    }

    /// Reads what any node has of a run behind an id, to its end.
    pub(super) async fn replay(&self, run: &str, id: &str, rng: &mut Rng) -> Vec<Event> {
        let other = self.any(rng).saying("last-event-id", id);
        events(&within("a replay ends", other.get(&format!("{run}/stream"))).await.text)
    }

    /// Reads some of what any node has of a live run behind an id, and goes away.
    pub(super) async fn replay_live(&self, run: &str, id: &str, rng: &mut Rng) -> Vec<Event> {
        let other = self.any(rng).saying("last-event-id", id);
        let path = format!("{run}/stream");
        let joined = within("a replay begins", other.open(Method::GET, &path, "")).await;
        let mut reader = Reader::of(joined);
        reader.read(rng.usize(1..8)).await;
        reader.told()
    }
}

/// A stream of which a client reads as much as it likes. It goes away when this is dropped. What
/// the client does not read is taken from the server all the same, as a socket does.
pub(super) struct Reader {
    pieces: UnboundedReceiver<Bytes>,
    socket: AbortHandle,
    text: String,
}

impl Reader {
    pub(super) fn of(response: Response) -> Self {
        let (sender, pieces) = mpsc::unbounded_channel();
        let mut body = response.into_body().into_data_stream();
        let socket = tokio::spawn(async move {
            while let Some(piece) = body.next().await {
                // A client that is gone takes nothing.
                let _ = sender.send(piece.unwrap());
            }
        });
        Self { pieces, socket: socket.abort_handle(), text: String::new() }
    }

    /// Reads so many pieces more, or what comes of them in a while.
    pub(super) async fn read(&mut self, pieces: usize) {
        for _ in 0..pieces {
            let Ok(Some(piece)) = timeout(PATIENCE, self.pieces.recv()).await else { return };
            self.text.push_str(str::from_utf8(&piece).unwrap());
        }
    }

    /// Yields the events that have come whole.
    pub(super) fn told(&self) -> Vec<Event> {
        let whole = self.text.rfind("\n\n").unwrap_or_default();
        events(&self.text[..whole])
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.socket.abort();
    }
}

/// How long a client that goes away waits for a piece of a stream.
const PATIENCE: Duration = Duration::from_millis(30);

fn events(text: &str) -> Vec<Event> {
    let frames = text.split("\n\n").map(|frame| {
        let field = |name: &str| {
            let line = frame.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().to_owned()
        };
        (field("id: "), field("event: "), field("data: "))
    });
    frames.filter(|(_, event, _)| !event.is_empty()).collect()
}

/// Every event has an id, and no two have one.
fn assert_rising(told: &[Event]) {
    let is_rising = told.windows(2).all(|two| two[0].0 < two[1].0);
    assert!(is_rising && told.iter().all(|it| !it.0.is_empty()), "{told:?}");
}

/// Parts what was told of a run from the error that says that it was deleted meanwhile.
fn without_error(told: &[Event]) -> (&[Event], bool) {
    match told.split_last() {
        Some((last, begin)) if last.1 == "error" => {
            assert!(last.2.contains("404: Run not found"), "{last:?}");
            (begin, true)
        }
        _ => (told, false),
    }
}

/// A replay to the end is what was told; of a run that was deleted meanwhile, the begin of it.
fn assert_exact(again: &[Event], told: &[Event], run: &str) {
    match without_error(again) {
        (begin, true) => assert!(told.starts_with(begin), "{run}: {begin:?} of {told:?}"),
        (again, false) => assert_eq!(again, told, "{run}"),
    }
}

/// What was told to a client that went away is a part of all, from a place on. Of a run that was
/// deleted meanwhile, what there is of both is the same.
pub(super) fn assert_part(told: &[Event], (all, from): (&[Event], usize), run: &str) {
    let told = without_error(told).0;
    assert_rising(told);
    let (all, is_deleted) = without_error(all);
    let all = all.get(from..).unwrap_or_default();
    let is_part = if is_deleted {
        told.iter().zip(all).all(|(one, two)| one == two)
    } else {
        all.starts_with(told)
    };
    assert!(is_part, "{run}: {told:?} of {all:?}");
}
