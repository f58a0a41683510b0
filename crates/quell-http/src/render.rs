//! Large answers: written on a thread for such work, and counted until the client has taken them.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use quell::{Payload, RunReport, RunRow};
use serde::Serialize;

use crate::body::{BodyError, aside};
use crate::ledger::Charge;
use crate::view::View;

impl View {
    /// Writes an answer as JSON: at once if it is small, otherwise on a thread for such work, so
    /// that it delays no other request. `about` is its size in bytes, about: that much counts as
    /// under way for the principal until the client has taken it.
    ///
    /// # Errors
    ///
    /// Fails if too much is under way, or it cannot be written.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves work that has begun on its thread to its end.
    pub async fn told<T>(&self, value: T, about: usize) -> Result<Response, BodyError>
    where
        T: Serialize + Send + 'static,
    {
        let charge = self.service().shared().requests.charge(self.principal().owner(), about)?;
        let text = aside(about, async move { serde_json::to_vec(&value) }).await?;
        let rest = Bytes::from(text.map_err(|_| BodyError::Broken)?);
        let body = Body::new(Taken { rest, charge });
        Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
    }
}

/// What a report takes in an answer, in bytes, about.
pub(crate) fn report_bytes(report: &RunReport) -> usize {
    report.rows.iter().map(row_bytes).sum()
}

/// What a row takes in an answer, in bytes, about.
pub(crate) fn row_bytes(row: &RunRow) -> usize {
    let values = [&row.output, &row.partial].into_iter().flatten();
    512 + values.map(Payload::len).sum::<usize>()
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
