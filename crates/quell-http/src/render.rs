//! [`View::json_response`] and [`View::room_for_answer`]: large answers, written away from the
//! threads of HTTP, and counted until the client has taken them.

use std::cmp::Reverse;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use quell::{Payload, RunRef, RunReport};
use serde::Serialize;
use tokio::time::Instant;

use crate::body::{BodyError, offload_if_large};
use crate::counted::{Counted, counted, row_bytes};
use crate::ids::{find, identity};
use crate::ledger::{Charge, Overdrawn};
use crate::service::View;

impl View {
    /// Makes an answer and writes it as JSON: on this task if it is small, otherwise on a thread of
    /// the blocking pool, so that it delays no other request. `about` is its approximate size in
    /// bytes: that much counts as under way for the principal until the client has taken it. An
    /// answer of at most 64 KiB does not count, and is never refused because of others.
    ///
    /// # Errors
    ///
    /// Fails if too many bytes are under way, or the answer cannot be written.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, work that has begun on a thread runs to its end.
    pub async fn json_response<T, F>(&self, about: usize, make: F) -> Result<Response, BodyError>
    where
        T: Serialize,
        F: FnOnce() -> T + Send + 'static,
    {
        written(self.room_now(about)?, about, make).await
    }

    /// As [`View::json_response`], with room that was taken before. A request that changes
    /// something takes the room for its answer first ([`View::room_now`]): so it is refused only
    /// where nothing has changed. What the answer has grown by since counts as far as there is room
    /// for it.
    ///
    /// # Errors
    ///
    /// Fails if the answer cannot be written.
    ///
    /// # Cancel safety
    ///
    /// As [`View::json_response`].
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::Engine;
    /// use quell_flow::Catalog;
    /// use quell_http::{NATIVE, Principal, Service};
    ///
    /// let service = Service::new(Engine::new(), Catalog::new());
    /// let view = service.view(NATIVE, Principal::named("ada"));
    /// let mut notes = vec!["x".repeat(100_000)];
    /// let about = notes[0].len() + 100;
    /// let room = view.room_now(about).unwrap(); // Refused here, nothing has changed.
    /// notes[0].push_str("more");
    /// let answer = view.json_response_in(room, about, move || notes).await.unwrap();
    /// assert_eq!(answer.status(), 200);
    /// # });
    /// ```
    pub async fn json_response_in<T, F>(
        &self,
        mut room: Charge,
        about: usize,
        make: F,
    ) -> Result<Response, BodyError>
    where
        T: Serialize,
        F: FnOnce() -> T + Send + 'static,
    {
        // Too late to refuse it.
        let _ = room.grow(counted(about).saturating_sub(room.bytes()));
        written(room, about, make).await
    }

    /// As [`View::json_response`], for a caller who has waited for the run: if there is no room, it
    /// waits up to [`ROOM_WITHIN`] for bytes that others give back. Meanwhile it holds nothing of
    /// the run, and looks it up again afterwards; `None` if the engine has forgotten it by then.
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

    /// Counts a text as under way for the principal until the last clone of it is dropped. A text
    /// of at most 64 KiB does not count.
    ///
    /// # Errors
    ///
    /// Fails if too many bytes are under way.
    pub fn counted(&self, text: impl Into<Bytes>) -> Result<Counted, Overdrawn> {
        let bytes = text.into();
        self.counted_in(self.room_now(bytes.len())?, bytes)
    }

    /// As [`View::counted`], with a charge that [`View::room_for_answer`] has made.
    ///
    /// # Errors
    ///
    /// Fails if the text is larger than the charge, and there is no room for the rest.
    pub fn counted_in(
        &self,
        mut room: Charge,
        text: impl Into<Bytes>,
    ) -> Result<Counted, Overdrawn> {
        let bytes = text.into();
        room.resize(counted(bytes.len()))?;
        Ok(Counted::new(bytes, room))
    }

    /// Waits for room for an answer of this size, until an instant. Hold no run and no report while
    /// you wait, since nothing counts them: look the run up again, and make the text afterwards.
    ///
    /// # Errors
    ///
    /// Fails if there is no room by then, and at once if the answer alone exceeds a bound.
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

    /// As [`View::room_for_answer`], without a wait.
    ///
    /// # Errors
    ///
    /// Fails if there is no room now.
    pub fn room_now(&self, bytes: usize) -> Result<Charge, Overdrawn> {
        self.service().shared().requests.charge(self.principal().owner(), counted(bytes))
    }

    /// Estimates the bytes of an answer that shows a report with the inputs and transcripts of its
    /// runs. It writes and copies nothing.
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
    // Move the room into the work, which goes on if the client leaves.
    let work = async move { (text_of(&make()), room) };
    let (text, mut room) = offload_if_large(about, work).await?;
    let bytes = Bytes::from(text.map_err(|_| BodyError::Broken)?);
    // `about` is an upper estimate: give the rest back.
    room.shrink_to(bytes.len());
    let text = Bytes::from(Counted::new(bytes, room));
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}

fn text_of(answer: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(TEXT_BYTES);
    serde_json::to_writer(&mut text, answer).map(|()| text)
}

/// Yields the newest of these runs, newest first, at most `most` of them. The others are neither
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

/// What an answer has room for at first, in bytes: most runs need no more, and each time that it
/// grows costs as much as ten small allocations (bench `http -- floor`).
const TEXT_BYTES: usize = 1 << 10;

/// How long the answer of a run that was waited for waits for room. `quell serve` closes a
/// connection whose client takes nothing for as long, and that gives room back.
pub const ROOM_WITHIN: Duration = Duration::from_secs(30);
