//! [`ContinueForm`]: the body of a request to continue a run (contract, section 7).

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use quell::Payload;
use quell_flow::ComponentKind;
use quell_http::{JSON_LEVELS_MAX, Upload, View, check_json};

use crate::form::{Form, Taking};
use crate::wire::kinds::names_of;
use crate::wire::refusal::{Refusal, bad_value, missing, no_form, unknown_field};

/// What a run is to go on with.
#[derive(Debug)]
pub(crate) enum ContinueForm {
    /// The answer to a paused run.
    Answer(AnswerForm),
    /// A message behind an ended run. Besides it the answer, which nothing asks for, if there is
    /// one.
    Message(Box<Form>, Option<String>),
}

/// The answer to a paused run.
#[derive(Debug)]
pub(crate) struct AnswerForm {
    pub(crate) is_stream: bool,
    pub(crate) is_background: bool,
    pub(crate) session: Option<String>,
    /// Whether there is a message besides it, which a paused run does not take.
    pub(crate) has_message: bool,
    /// As it came; none if the field came empty.
    answer: Option<String>,
}

impl ContinueForm {
    /// Reads the form of a run of a component of this kind. A form with neither an answer nor a
    /// message is refused: the run would go on with an answer that its caller did not give.
    ///
    /// # Errors
    ///
    /// Fails with 408, 413, 429, 400 or 422; that the answer is no JSON is not looked at.
    pub(crate) async fn read(
        view: &View,
        headers: &HeaderMap,
        body: Body,
        kind: ComponentKind,
    ) -> Result<(Self, Upload), Refusal> {
        let of_type = headers.get(CONTENT_TYPE).cloned();
        let parse = |bytes| async move { Self::of(Taking::read(of_type, bytes).await?, kind) };
        view.parse_body(headers, body, parse).await
    }

    fn of(mut take: Taking, kind: ComponentKind) -> Result<Self, Refusal> {
        let field = names_of(kind).answer;
        // A workflow has to be paused, as upstream: it has none of these.
        if kind == ComponentKind::Workflow {
            return AnswerForm::of(take, field).map(Self::Answer);
        }
        take_boundary(&mut take);
        let Some(message) = take.text(INPUT) else {
            return AnswerForm::of(take, field).map(Self::Answer);
        };
        let answer = take.text(field).filter(|answer| !NO_ANSWERS.contains(&answer.trim()));
        if take.has("message") {
            take.complaints.push(unknown_field("message"));
        }
        take.fields.insert("message".into(), message.into());
        let form = Form::of(take)?;
        Ok(Self::Message(Box::new(form), answer))
    }

    /// Yields the session that it names.
    pub(crate) fn session(&self) -> Option<&str> {
        match self {
            Self::Answer(form) => form.session.as_deref(),
            Self::Message(form, _) => form.session.as_deref(),
        }
    }
}

/// Takes the fields that say where in a run another one begins, and complains about each that does
/// not say what is done here: behind its end, as a run of its own.
fn take_boundary(take: &mut Taking) {
    let has_message = take.fields.contains_key(INPUT);
    if take.flag("fork") == Some(true) && !has_message {
        take.complaints.push(bad_value("fork", "expected `input` beside it: a message"));
    }
    if take.flag("regenerate") == Some(true) {
        take.complaints.push(bad_value("regenerate", "is not served; expected `false`"));
    }
    for field in ["replace_original", "additional_instructions"] {
        if take.text(field).is_some() {
            let words = "goes with `regenerate`, which is not served; expected none";
            take.complaints.push(bad_value(field, words));
        }
    }
    let from = take.text("continue_from");
    if from.is_some_and(|from| from.trim() != "end") {
        take.complaints.push(bad_value("continue_from", "expected `end`: no other is served"));
    }
}

impl AnswerForm {
    /// Reads the fields of an answer, which is in this one.
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
            has_message: take.fields.contains_key(INPUT),
            answer: take.text(field),
        };
        if !is_answer {
            let complaint = if take.is_form { missing } else { no_form };
            take.complaints.push(complaint("body", field));
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

/// The field of the message behind an ended run.
pub(crate) const INPUT: &str = "input";

/// How a client says that it answers nothing: the Python client sends an empty list.
const NO_ANSWERS: [&str; 2] = ["[]", "null"];

/// Fields that clients send with an answer, and that say nothing here.
const KNOWN: [&str; 1] = ["user_id"];

/// How many fields that are not known a refusal names.
const UNKNOWN_MAX: usize = 5;
