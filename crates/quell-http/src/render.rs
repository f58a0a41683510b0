//! Large answers: written on a thread for such work, and counted until the client has taken them.

use std::cmp::Reverse;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use quell::{Payload, RunRef, RunReport, RunRow};
use serde::Serialize;

use crate::body::{BodyError, aside};
use crate::ledger::Charge;
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
    pub async fn told<T, F>(&self, about: usize, make: F) -> Result<Response, BodyError>
    where
        T: Serialize,
        F: FnOnce() -> T + Send + 'static,
    {
        let ledger = &self.service().shared().requests;
        let counted = if about <= PIECE_BYTES { 0 } else { about };
        let mut charge = ledger.charge(self.principal().owner(), counted)?;
        let text = aside(about, async move { serde_json::to_vec(&make()) }).await?;
        let rest = Bytes::from(text.map_err(|_| BodyError::Broken)?);
        // It was said how long it may be.
        charge.shrink_to(rest.len());
        let body = Body::new(Taken { rest, charge });
        Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
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

/// Yields what a row takes in an answer, in bytes, about.
pub fn row_bytes(row: &RunRow) -> usize {
    let values = [&row.output, &row.partial].into_iter().flatten();
    512 + values.map(Payload::bytes_max).sum::<usize>()
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

/// An answer of which the rest is counted.
struct Taken {
    rest: Bytes,
    charge: Charge,
}

impl http_body::Body for Taken {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let size = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(size);
        let left = self.rest.len();
        self.charge.shrink_to(left);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// What the server takes of an answer at once.
const PIECE_BYTES: usize = 64 << 10;
