//! Large answers: written on a thread for such work, and counted until the client has taken them.

use std::cmp::Reverse;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use quell::{Payload, RunRef, RunReport, RunRow};
use serde::Serialize;
use tokio::time::Instant;

use crate::body::{BodyError, aside};
use crate::ids::{find, identity};
use crate::ledger::{Charge, Overdrawn};
use crate::view::View;

impl View {
    /// Makes an answer and writes it as JSON: at once if it is small, otherwise on a thread for
    /// such work, so that it delays no other request. `about` is its size in bytes, about: that
    /// much counts as under way for the principal until the client has taken it. One of at most
    /// 64 KiB is handed over at once: it does not count, and is never refused because of others.
    ///
    /// # Errors
    ///
    /// Fails if too much is under way, or it cannot be written.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves work that has begun on its thread to its end.
    pub async fn json_response<T, F>(&self, about: usize, make: F) -> Result<Response, BodyError>
    where
        T: Serialize,
        F: FnOnce() -> T + Send + 'static,
    {
        written(self.room_now(about)?, about, make).await
    }

    /// As [`View::json_response`], for a caller who has waited for the run and found no room: it
    /// waits for what others give back, for [`ROOM_WITHIN`]. Meanwhile it holds nothing of the run,
    /// which is read when there is room; none if the engine has forgotten it by then.
    ///
    /// # Errors
    ///
    /// Fails as [`View::json_response`], and at once if the answer alone is more than may be under
    /// way.
    ///
    /// # Cancel safety
    ///
    /// As [`View::json_response`].
    pub async fn json_response_soon<T, F>(
        &self,
        run: RunRef,
        about: usize,
        make: F,
    ) -> Result<Option<Response>, BodyError>
    where
        T: Serialize,
        F: FnOnce(&RunRef) -> T + Send + 'static,
    {
        let name = identity(&run);
        drop(run);
        let room = self.room_soon(about).await?;
        let Some(run) = find(self.service().engine(), name) else { return Ok(None) };
        written(room, about, move || make(&run)).await.map(Some)
    }

    /// Counts a text as under way for the principal until nobody holds it. One of at most 64 KiB
    /// does not count.
    ///
    /// # Errors
    ///
    /// Fails if too much is under way.
    pub fn counted(&self, text: impl Into<Bytes>) -> Result<Counted, Overdrawn> {
        let bytes = text.into();
        self.counted_in(self.room_now(bytes.len())?, bytes)
    }

    /// As [`View::counted`], in room that was found for it by [`View::room_for_answer`].
    ///
    /// # Errors
    ///
    /// Fails if it is larger than that, and too much is under way.
    pub fn counted_in(
        &self,
        mut room: Charge,
        text: impl Into<Bytes>,
    ) -> Result<Counted, Overdrawn> {
        let bytes = text.into();
        room.resize(counted(bytes.len()))?;
        Ok(Counted::new(bytes, room))
    }

    /// Waits until then for room for an answer of so many bytes. The text is made after that, and
    /// so is what it is made of: whoever waits holds no run and no report, which nobody would
    /// count, and looks for the run again.
    ///
    /// # Errors
    ///
    /// Fails if there is none by then; at once if the answer alone is more than may be under way.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropped, it holds nothing.
    pub async fn room_for_answer(&self, bytes: usize, until: Instant) -> Result<Charge, Overdrawn> {
        let ledger = &self.service().shared().requests;
        ledger.charge_until(self.principal().owner(), counted(bytes), until).await
    }

    /// As [`View::room_for_answer`], for [`ROOM_WITHIN`].
    ///
    /// # Errors
    ///
    /// As [`View::room_for_answer`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn room_soon(&self, bytes: usize) -> Result<Charge, Overdrawn> {
        self.room_for_answer(bytes, Instant::now() + ROOM_WITHIN).await
    }

    /// As [`View::room_for_answer`], at once.
    ///
    /// # Errors
    ///
    /// Fails if there is none.
    pub fn room_now(&self, bytes: usize) -> Result<Charge, Overdrawn> {
        self.service().shared().requests.charge(self.principal().owner(), counted(bytes))
    }

    /// Yields what an answer takes that tells a report, and what its runs were given and have said,
    /// in bytes, about. It writes nothing and copies nothing.
    pub fn weight(&self, report: &RunReport) -> usize {
        let engine = self.service().engine();
        let runs = report.rows.iter().filter_map(|row| engine.get(row.run));
        let inputs = runs.filter_map(|run| run.input().map(Payload::bytes_max));
        let rows = report.rows.iter().map(row_bytes);
        let said = engine.get(report.own_row().run);
        let said = said.map_or(0, |run| self.service().shared().records.bytes(&run));
        rows.chain(inputs).sum::<usize>() + said
    }
}

async fn written<T, F>(room: Charge, about: usize, make: F) -> Result<Response, BodyError>
where
    T: Serialize,
    F: FnOnce() -> T + Send + 'static,
{
    // The work has the room: it goes on if the client leaves.
    let work = async move { (serde_json::to_vec(&make()), room) };
    let (text, mut room) = aside(about, work).await?;
    let bytes = Bytes::from(text.map_err(|_| BodyError::Broken)?);
    // It was said how long it may be.
    room.shrink_to(bytes.len());
    let text = Bytes::from(Counted::new(bytes, room));
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}

/// What counts as under way for an answer of so many bytes.
pub(crate) const fn counted(bytes: usize) -> usize {
    if bytes <= FREE_BYTES { 0 } else { bytes }
}

/// Yields what a row takes in an answer, in bytes, about.
pub fn row_bytes(row: &RunRow) -> usize {
    let values = [&row.output, &row.partial].into_iter().flatten();
    512 + values.map(Payload::bytes_max).sum::<usize>()
}

/// Yields what a run takes in memory with its log, about, also if the engine has forgotten it: its
/// rows, what it was given, and its events.
pub fn run_bytes(run: &RunRef) -> usize {
    let rows = run.report().rows.iter().map(row_bytes).sum::<usize>();
    rows + run.input().map_or(0, Payload::bytes_max) + run.log_bytes()
}

/// Yields the newest of these runs, newest first, at most so many of them. The others are neither
/// sorted nor read.
pub fn newest(runs: impl IntoIterator<Item = RunRef>, most: usize) -> Vec<RunRef> {
    let dated = runs.into_iter().map(|run| (Reverse((run.queued_at(), run.id())), run));
    let mut runs: Vec<_> = dated.collect();
    if most > 0 && most < runs.len() {
        runs.select_nth_unstable_by_key(most - 1, |(age, _)| *age);
    }
    runs.truncate(most);
    runs.sort_unstable_by_key(|(age, _)| *age);
    runs.into_iter().map(|(_, run)| run).collect()
}

/// The text of an answer that counts as under way for as long as somebody holds it, or the bytes
/// made of it. Cheap to clone: all clones are one text, and count once.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use bytes::Bytes;
/// use quell::Engine;
/// use quell_flow::{Catalog, Contract};
/// use quell_http::{Principal, Service};
///
/// let service = Service::new(Engine::new(), Catalog::new());
/// let view = service.view(Contract::Native, Principal::named("ada"));
/// let text = view.counted("x".repeat(100_000)).unwrap();
/// let (weak, taken) = (text.downgrade(), Bytes::from(text));
/// assert!(weak.upgrade().is_some());
/// drop(taken);
/// assert!(weak.upgrade().is_none());
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Counted(Arc<Text>);

/// A [`Counted`], if somebody still holds it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct WeakCounted(Weak<Text>);

#[derive(Debug)]
struct Text {
    bytes: Bytes,
    _charge: Charge,
}

impl Counted {
    pub(crate) fn new(bytes: Bytes, room: Charge) -> Self {
        Self(Arc::new(Text { bytes, _charge: room }))
    }

    /// Yields a way to find it again that does not hold it.
    pub fn downgrade(&self) -> WeakCounted {
        WeakCounted(Arc::downgrade(&self.0))
    }
}

impl WeakCounted {
    /// Finds it; none if nobody holds it any more.
    pub fn upgrade(&self) -> Option<Counted> {
        self.0.upgrade().map(Counted)
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl From<Counted> for Bytes {
    fn from(text: Counted) -> Self {
        Self::from_owner(text)
    }
}

/// Answers up to this size do not count.
const FREE_BYTES: usize = 64 << 10;

/// How long an answer of a run that was waited for waits for room: as long as a client may take
/// nothing before it is given up, and what it was sent with it.
pub const ROOM_WITHIN: Duration = Duration::from_secs(30);
