//! [`AnswerForm`]: the body of a request to continue a run (contract, section 7).

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use quell::Payload;
use quell_http::{JSON_LEVELS_MAX, Upload, View, check_json};

use crate::form::Taking;
use crate::wire::refusal::{Refusal, missing, unknown_field};

/// The answer to a paused run.
#[derive(Debug)]
pub(crate) struct AnswerForm {
    pub(crate) is_stream: bool,
    pub(crate) is_background: bool,
    pub(crate) session: Option<String>,
    /// As it came; none if the field came empty.
    answer: Option<String>,
}

impl AnswerForm {
    /// Reads the form of an answer, which is in this field. A form without that field is refused:
    /// the run would go on with an answer that its caller did not give.
    ///
    /// # Errors
    ///
    /// Fails with 408, 413, 429, 400 or 422; that the answer is no JSON is not looked at.
    pub(crate) async fn read(
        view: &View,
        headers: &HeaderMap,
        body: Body,
        field: &'static str,
    ) -> Result<(Self, Upload), Refusal> {
        let named = headers.clone();
        let parse = |bytes| async move { Self::of(Taking::read(&named, bytes).await?, field) };
        view.parse_body(headers, body, parse).await
    }

    /// Reads the fields of an answer, as [`read`](Self::read) does.
    ///
    /// # Errors
    ///
    /// Fails with 422.
    pub(crate) fn of(mut take: Taking, field: &str) -> Result<Self, Refusal> {
        let is_answer = take.has(field);
        let form = Self {
            is_stream: take.flag("stream").unwrap_or(true),
            is_background: take.flag("background").unwrap_or(false),
            session: take.label("session_id"),
            answer: take.text(field),
        };
        if !is_answer {
            let mut complaint = missing("body", field);
            if !take.is_form {
                complaint["msg"] = NO_FORM.into();
            }
            take.complaints.push(complaint);
            // The answer may be in one of these. Beside an answer they are nothing, as upstream.
            let others = take.fields.keys().filter(|name| !KNOWN.contains(&name.as_str()));
            let others = others.take(UNKNOWN_MAX).map(|name| unknown_field(name));
            take.complaints.extend(others.collect::<Vec<_>>());
        }
        if take.complaints.is_empty() { Ok(form) } else { Err(Refusal::invalid(take.complaints)) }
    }

    /// Makes it that of a client that follows the run and leaves it in the background.
    pub(crate) const fn followed(mut self) -> Self {
        (self.is_stream, self.is_background) = (true, true);
        self
    }

    /// Yields the answer: JSON, as it is spelt; null if there is none.
    pub(crate) fn answer(&self, field: &str) -> Result<Payload, Refusal> {
        let text = self.answer.as_deref().unwrap_or("null");
        let json = check_json(text, JSON_LEVELS_MAX).ok();
        let answer = json.and_then(|()| Payload::from_json_text(text).ok());
        let refused = || format!("Invalid JSON in {field} field");
        answer.ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, refused()))
    }
}

/// What is said of an answer that is missing in a body that is no form.
const NO_FORM: &str = "Field required: the body has to be a form, urlencoded or multipart";

/// Fields that clients send with an answer, and that say nothing here.
const KNOWN: [&str; 1] = ["user_id"];

/// How many fields that are not known a refusal names.
const UNKNOWN_MAX: usize = 5;
