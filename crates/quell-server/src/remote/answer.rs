//! [`Answer`]: what a service answers, by its content type.

use std::fmt::Display;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use hyper::{HeaderMap, Response, StatusCode};
use quell::{Failure, JsonError, Payload, check_json, limits};
use quell_process::EventLines;
use serde::de::IgnoredAny;

use super::sse::Sse;
use crate::faults::in_full;
use crate::printed::output;

/// An answer that was read to its end.
#[derive(Debug)]
pub(super) enum Answer {
    /// One value, in JSON.
    Json(Vec<u8>),
    /// One text.
    Text(Vec<u8>),
    /// Events, which were heard.
    Events,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Text,
    /// An event on each line.
    Lines,
    /// Server-sent events.
    Sse,
}

impl Answer {
    /// Reads an answer; what it says of the run goes to `lines`.
    ///
    /// # Errors
    ///
    /// Fails if the answer breaks off or may be cut, or is one value or text that is too long. Then
    /// the service may go on.
    pub(super) async fn read(
        response: Response<Incoming>,
        form: Form,
        lines: &mut EventLines,
    ) -> Result<Self, Failure> {
        let (head, mut body) = response.into_parts();
        let (mut sse, mut whole) = (Sse::default(), Vec::new());
        let mut is_done = false;
        while let Some(data) = next(&mut body).await? {
            match form {
                Form::Json | Form::Text if whole.len() + data.len() > KEPT_MAX => {
                    let words = format!("its answer is longer than {KEPT_MAX} bytes");
                    return Err(Failure::new(words));
                }
                Form::Json | Form::Text => whole.extend_from_slice(&data),
                Form::Lines => lines.push(&data),
                Form::Sse => sse.push(&data, |line| is_done |= hear(line, lines)),
            }
            // The service can wait for readers, and a stop is seen between two pieces.
            lines.wait_for_readers().await;
            tokio::task::yield_now().await;
        }
        sse.finish(|line| is_done |= hear(line, lines));
        lines.finish();
        if !has_end(head.status, &head.headers) {
            match form {
                Form::Json => whole_json(&whole).map_err(cut)?,
                // Nothing tells.
                Form::Text => {}
                Form::Lines | Form::Sse if is_done || lines.result()?.is_some() => {}
                Form::Lines | Form::Sse => {
                    return Err(cut(", without an event `result` or `[DONE]`"));
                }
            }
        }
        Ok(match form {
            Form::Json => Self::Json(whole),
            Form::Text => Self::Text(whole),
            Form::Lines | Form::Sse => Self::Events,
        })
    }

    /// Yields the output that it is.
    ///
    /// # Errors
    ///
    /// Fails if it is not the JSON that it is said to be, if that cannot be read again, or as
    /// [`output`].
    pub(super) fn output(&self, lines: &EventLines) -> Result<Payload, Failure> {
        match self {
            Self::Json(whole) => {
                let text = str::from_utf8(whole)
                    .map_err(|_| Failure::new("its answer is not JSON: it is no UTF-8"))?;
                check_json(text, limits::OUTPUT_LEVELS_MAX).map_err(|error| {
                    Failure::new(match error {
                        JsonError::NotJson(words) => format!("its answer is not JSON: {words}"),
                        other => format!("its answer is refused: {other}"),
                    })
                })?;
                Ok(Payload::from_json_text(text)?)
            }
            Self::Text(whole) => output("its answer", (whole, whole.len() as u64), ("", 0)),
            Self::Events => {
                if let Some(result) = lines.result()? {
                    return Ok(result.clone());
                }
                let (kept, bytes) = lines.printed();
                output("its answer without events", (&kept, bytes), lines.content())
            }
        }
    }
}

/// Takes a line of server-sent events, but for the one with which many services end theirs; tells
/// whether it is that one.
fn hear(line: &[u8], lines: &mut EventLines) -> bool {
    let is_done = line.trim_ascii() == b"[DONE]";
    if !is_done {
        lines.push(line);
    }
    is_done
}

/// Checks that a text is JSON, to its end; else says so.
pub(super) fn whole_json(text: &[u8]) -> Result<(), String> {
    let read = serde_json::from_slice::<IgnoredAny>(text);
    read.map(drop).map_err(|error| format!(", and is not JSON: {error}"))
}

/// The failure of an answer that has no end but that of its connection, and does not say that it is
/// complete. The service may have died, or have closed the connection and go on.
pub(super) fn cut(words: impl Display) -> Failure {
    Failure::new(format!("its answer may be cut: it ends with the connection{words}"))
}

/// Tells whether the end of an answer is more than that of its connection: it has a length, its
/// chunks have an end, or one of its status has no body (RFC 9112, section 6.3).
pub(super) fn has_end(status: StatusCode, headers: &HeaderMap) -> bool {
    if [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT].contains(&status) {
        return true;
    }
    let Some(codings) = headers.get_all(TRANSFER_ENCODING).iter().next_back() else {
        return headers.contains_key(CONTENT_LENGTH);
    };
    // Chunks that are encoded once more have no end, and neither has what is not chunked.
    let last = codings.to_str().ok().and_then(|codings| codings.rsplit(',').next());
    last.is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked"))
}

/// Reads what is left of an answer that is refused, for a while; tells whether that was all of it.
/// Then nothing is in doubt.
pub(super) async fn is_at_end(mut body: Incoming) -> bool {
    let rest = async {
        let mut left = REST_MAX;
        while let Some(data) = next(&mut body).await? {
            left = left.checked_sub(data.len()).ok_or_else(|| Failure::new("too much"))?;
        }
        Ok::<_, Failure>(())
    };
    matches!(tokio::time::timeout(REST_TIME, rest).await, Ok(Ok(())))
}

/// Yields the next piece of a body; none at its end.
///
/// # Errors
///
/// Fails if the body breaks off.
pub(super) async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
    loop {
        let Some(frame) = body.frame().await else { return Ok(None) };
        let frame = frame
            .map_err(|error| Failure::new(format!("its answer breaks off: {}", in_full(&error))))?;
        // Trailers say nothing.
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

/// Tells how an answer is written.
///
/// # Errors
///
/// Fails if it is encoded.
pub(super) fn form_of(headers: &HeaderMap) -> Result<Form, Failure> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let encoding = text(CONTENT_ENCODING);
    if !["", "identity"].iter().any(|plain| encoding.trim().eq_ignore_ascii_case(plain)) {
        let words = format!("its answer is encoded as `{encoding}`, which was not asked for");
        return Err(Failure::new(words));
    }
    let kind = text(CONTENT_TYPE).split(';').next().unwrap_or_default();
    Ok(match kind.trim().to_ascii_lowercase().as_str() {
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines" => Form::Lines,
        "text/event-stream" => Form::Sse,
        kind if kind == "application/json" || kind.ends_with("+json") => Form::Json,
        _ => Form::Text,
    })
}

/// The longest answer that is one value or one text, and how much is kept of lines that are no
/// events: as much as of the stdout of a program.
pub(super) const KEPT_MAX: usize = 4 << 20;

/// How much of an answer that is refused is read without being kept, and for how long.
const REST_MAX: usize = 16 << 20;
const REST_TIME: Duration = Duration::from_secs(5);
