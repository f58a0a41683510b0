//! [`Form`]: the body of a run request (contract, section 2), urlencoded or multipart, never JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use quell::{Payload, limits};
use quell_http::{BodyError, JSON_LEVELS_MAX, Upload, View, check_json, parse_id};
use serde_json::{Map, Value, json};

use crate::wire::refusal::{
    Refusal, bad_id, missing, no_form, no_json, no_object, not_bool, not_int, too_long,
};

/// A run request.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) message: String,
    pub(crate) is_stream: bool,
    pub(crate) is_background: bool,
    pub(crate) session: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) run: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) grace: Option<Duration>,
    /// The other fields, which are the input together with the message. Numbers keep every digit.
    keywords: BTreeMap<String, Payload>,
    /// The fields in one spelling, which does not depend on the encoding: for idempotency keys.
    pub(crate) canonical: String,
}

type Fields = Map<String, Value>;

impl Form {
    /// Reads the form of a request. It counts as under way for as long as the upload is there.
    ///
    /// # Errors
    ///
    /// Fails with 408, 413, 429, 400 or 422.
    pub(crate) async fn read(
        view: &View,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Self, Upload), Refusal> {
        let kind = headers.get(CONTENT_TYPE).cloned();
        let parse = |bytes| async move { Self::of(Taking::read(kind, bytes).await?) };
        view.parse_body(headers, body, parse).await
    }

    /// Reads the fields of a message of a web socket: of a run in the background, which is streamed
    /// and whose message may be empty.
    ///
    /// # Errors
    ///
    /// Fails with 422.
    pub(crate) fn of_message(mut take: Taking) -> Result<Self, Refusal> {
        for (name, value) in [("stream", "true"), ("background", "true")] {
            take.fields.insert(name.into(), value.into());
        }
        take.fields.entry("message").or_insert_with(|| "".into());
        Self::of(take)
    }

    pub(crate) fn of(mut take: Taking) -> Result<Self, Refusal> {
        // Writing cannot fail: the keys are text.
        let canonical = serde_json::to_string(&take.fields).unwrap_or_default();
        let message = take.text("message");
        if message.is_none() {
            let complaint = if take.is_form { missing } else { no_form };
            take.complaints.push(complaint("body", "message"));
        }
        let is_stream = take.flag("stream").unwrap_or(true);
        take.check_int("version");
        let is_background = take.flag("background").unwrap_or(false);
        let session = take.label("session_id");
        let user = take.label("user_id");
        let run = take.text("run_id");
        if run.as_deref().is_some_and(|id| parse_id(id).is_err()) {
            take.complaints.push(bad_id());
        }
        let timeout = take.millis("quell_timeout_ms");
        let grace = take.millis("quell_grace_ms");
        let state = take.state().map(|state| (STATE.to_owned(), state));
        let Taking { fields, complaints, .. } = take;
        let keywords = fields.into_iter().map(|(key, value)| (key, parsed(value)));
        match message {
            Some(message) if complaints.is_empty() => Ok(Self {
                message,
                is_stream,
                is_background,
                session,
                user,
                run,
                timeout,
                grace,
                keywords: keywords.chain(state).collect(),
                canonical,
            }),
            _ => Err(Refusal::invalid(complaints)),
        }
    }

    /// Tells whether the caller has a history of its own.
    pub(crate) fn has_history(&self) -> bool {
        self.keywords.contains_key(HISTORY)
    }

    /// Makes the input of the body: the message, or an object if there are keywords, of which the
    /// history is one if it has one.
    pub(crate) fn input(&self, history: Option<Payload>) -> Payload {
        if self.keywords.is_empty() && history.is_none() {
            return Payload::from(self.message.as_str());
        }
        let mut all = self.keywords.clone();
        all.insert("message".into(), self.message.as_str().into());
        all.extend(history.map(|history| (HISTORY.to_owned(), history)));
        // Writing cannot fail: the keys are text, and the values are JSON.
        Payload::json(&all).unwrap_or_else(|_| Payload::from(self.message.as_str()))
    }
}

/// Takes the fields of a form one by one, and collects their faults.
#[derive(Debug)]
pub(crate) struct Taking {
    pub(crate) fields: Fields,
    pub(crate) complaints: Vec<Value>,
    /// The fields that came empty.
    empty: Vec<String>,
    /// Whether the body may be one, by its type. One without a byte may.
    pub(crate) is_form: bool,
}

impl Taking {
    /// Reads the fields of a body of this type. One of another type has none.
    pub(crate) async fn read(kind: Option<HeaderValue>, bytes: Bytes) -> Result<Self, Refusal> {
        let name = kind.as_ref().and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let name = name.to_ascii_lowercase();
        Ok(if name.starts_with("application/x-www-form-urlencoded") {
            Self::of(urlencoded(&bytes)?)
        } else if let Some(kind) = kind.filter(|_| name.starts_with("multipart/form-data")) {
            Self::of(multipart(kind, bytes).await?)
        } else {
            Self { is_form: bytes.is_empty(), ..Self::of(Fields::new()) }
        })
    }

    /// Takes fields as they came.
    pub(crate) fn of(mut fields: Fields) -> Self {
        // An empty field counts as absent: agent-ui sends `session_id=`.
        let mut empty = Vec::new();
        fields.retain(|name, value| {
            let is_empty = value.as_str() == Some("");
            if is_empty {
                empty.push(name.clone());
            }
            !is_empty
        });
        Self { fields, complaints: Vec::new(), empty, is_form: true }
    }

    /// Tells whether a field came, empty or not, and was not taken yet.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name) || self.empty.iter().any(|empty| empty == name)
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        match self.fields.remove(name)? {
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        }
    }

    pub(crate) fn label(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        if text.len() > limits::LABEL_BYTES_MAX {
            self.complaints.push(too_long(&["body", name], limits::LABEL_BYTES_MAX));
        }
        Some(text)
    }

    pub(crate) fn flag(&mut self, name: &str) -> Option<bool> {
        let text = self.text(name)?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => {
                self.complaints.push(not_bool(name, &text));
                None
            }
        }
    }

    fn check_int(&mut self, name: &str) {
        if let Some(text) = self.fields.get(name).and_then(Value::as_str)
            && text.trim().parse::<i64>().is_err()
        {
            self.complaints.push(not_int(name, text));
        }
    }

    /// Takes the session state, which is shown as it was given: an object. Null is none, as it is
    /// upstream. Upstream leaves out what is no JSON, with a line in its log; here the request is
    /// refused.
    fn state(&mut self) -> Option<Payload> {
        let text = self.text(STATE).filter(|text| text.trim() != "null")?;
        if let Err(error) = check_json(&text, KEYWORD_LEVELS_MAX) {
            self.complaints.push(no_json(STATE, &error));
        } else if !text.trim_start().starts_with('{') {
            self.complaints.push(no_object(STATE));
        }
        Payload::from_json_text(&text).ok()
    }

    fn millis(&mut self, name: &str) -> Option<Duration> {
        let text = self.text(name)?;
        let millis = text.trim().parse().ok().map(Duration::from_millis);
        if millis.is_none() {
            self.complaints.push(not_int(name, &text));
        }
        millis
    }
}

fn urlencoded(bytes: &[u8]) -> Result<Fields, Refusal> {
    let mut fields = Fields::new();
    for (at, (key, value)) in form_urlencoded::parse(bytes).enumerate() {
        if at == FIELDS_MAX {
            return Err(too_many("fields"));
        }
        fields.insert(key.into_owned(), value.into_owned().into());
    }
    Ok(fields)
}

/// The field of the session state.
const STATE: &str = "session_state";

/// The keyword of the earlier runs of the session.
pub(crate) const HISTORY: &str = "history";

/// How deep a keyword is nested: it is a part of an input, which a component reads.
const KEYWORD_LEVELS_MAX: usize = JSON_LEVELS_MAX - 1;

/// Fields of a form, and files of it: as many as upstream takes.
const FIELDS_MAX: usize = 1_000;

fn too_many(what: &str) -> Refusal {
    let text = format!("Too many {what}. Maximum number of {what} is {FIELDS_MAX}.");
    Refusal::new(StatusCode::BAD_REQUEST, text)
}

async fn multipart(kind: HeaderValue, bytes: Bytes) -> Result<Fields, Refusal> {
    let mut request = Request::new(Body::from(bytes));
    request.headers_mut().insert(CONTENT_TYPE, kind);
    // The body is bounded already.
    DefaultBodyLimit::disable().apply(&mut request);
    let mut parts = Multipart::from_request(request, &()).await.map_err(|_| broken())?;
    let (mut fields, mut texts, mut files) = (Fields::new(), 0, Vec::new());
    while let Some(part) = parts.next_field().await.map_err(|_| broken())? {
        let name = part.name().unwrap_or_default().to_owned();
        let file = part.file_name().map(str::to_owned);
        let kind = part.content_type().map(str::to_owned);
        let content = part.bytes().await.map_err(|_| broken())?;
        match file {
            Some(_) if files.len() == FIELDS_MAX => return Err(too_many("files")),
            None if texts == FIELDS_MAX => return Err(too_many("fields")),
            Some(file) => files.push(json!({
                "filename": file, "content_type": kind,
                "content": BASE64_STANDARD.encode(&content),
            })),
            None => {
                texts += 1;
                fields.insert(name, String::from_utf8_lossy(&content).into_owned().into());
            }
        }
    }
    if !files.is_empty() {
        fields.insert("files".into(), files.into());
    }
    Ok(fields)
}

/// Reads a keyword: JSON text of an object or an array as it is spelt, any other text as itself; so
/// is text that would be JSON, but that no component could read.
fn parsed(value: Value) -> Payload {
    let text = value.as_str().unwrap_or_default();
    let is_json =
        text.trim_start().starts_with(['{', '[']) && check_json(text, KEYWORD_LEVELS_MAX).is_ok();
    let json = is_json.then(|| Payload::from_json_text(text).ok()).flatten();
    json.unwrap_or_else(|| Payload::from(value))
}

fn broken() -> Refusal {
    BodyError::Broken.into()
}

#[cfg(test)]
mod tests {
    use quell_http::{Principal, Service};

    use super::*;

    fn of(text: &str) -> Result<Form, Refusal> {
        Form::of(Taking::of(urlencoded(text.as_bytes())?))
    }

    #[test]
    fn booleans_are_read_in_every_spelling() {
        for (text, expected) in [
            ("true", true),
            ("TRUE", true),
            ("1", true),
            ("yes", true),
            ("On", true),
            ("false", false),
            ("0", false),
            ("no", false),
            ("OFF", false),
        ] {
            assert_eq!(of(&format!("message=m&stream={text}")).unwrap().is_stream, expected);
        }
        let form = of("message=m").unwrap();
        assert!(form.is_stream && !form.is_background);
    }

    async fn of_parts(part: &str, count: usize) -> Result<Form, Refusal> {
        let first = "--b\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\nm\r\n";
        let body = format!("{first}{}--b--\r\n", part.repeat(count));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "multipart/form-data; boundary=b".parse().unwrap());
        let service = Service::new(quell::Engine::new(), quell_flow::Catalog::new());
        let view = service.view(crate::options::CONTRACT, Principal::anonymous());
        Form::read(&view, &headers, Body::from(body)).await.map(|(form, _)| form)
    }

    #[tokio::test]
    async fn a_form_has_no_more_fields_and_files_than_upstream_takes() {
        assert!(of(&format!("message=m{}", "&a=".repeat(FIELDS_MAX - 1))).is_ok());
        let refusal = of(&format!("message=m{}", "&a=".repeat(FIELDS_MAX))).unwrap_err();
        assert_eq!(refusal.status, 400);
        assert_eq!(refusal.detail, "Too many fields. Maximum number of fields is 1000.");
        let field = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n";
        assert!(of_parts(field, FIELDS_MAX - 1).await.is_ok());
        assert_eq!(of_parts(field, FIELDS_MAX).await.unwrap_err().status, 400);
        let file = field.replace("name", "filename=\"f\"; name");
        assert!(of_parts(&file, FIELDS_MAX).await.is_ok());
        let refusal = of_parts(&file, FIELDS_MAX + 1).await.unwrap_err();
        assert_eq!(refusal.detail, "Too many files. Maximum number of files is 1000.");
    }

    #[test]
    fn complaints_are_in_the_words_of_the_contract() {
        let missing = json!([
            {
                "type": "missing", "loc": ["body", "message"], "msg": "Field required",
                "input": null,
            }
        ]);
        assert_eq!(of("").unwrap_err().detail, missing);
        assert_eq!(of("message=").unwrap_err().detail, missing);
        let refusal = of("message=m&stream=banana").unwrap_err();
        assert_eq!(refusal.status, 422);
        let msg = "Input should be a valid boolean, unable to interpret input";
        let expected = json!([
            { "type": "bool_parsing", "loc": ["body", "stream"], "msg": msg, "input": "banana" }
        ]);
        assert_eq!(refusal.detail, expected);
        for bad in ["version=x", "quell_timeout_ms=soon", "quell_grace_ms=-1", "run_id=a%0Ab"] {
            assert_eq!(of(&format!("message=m&{bad}")).unwrap_err().status, 422, "{bad}");
        }
    }

    #[test]
    fn a_message_alone_is_the_input_and_other_fields_are_keywords() {
        let form = of("message=hi&session_id=&run_id=r1&user_id=u&quell_grace_ms=5").unwrap();
        assert_eq!(form.input(None), Payload::from("hi"));
        assert_eq!((form.session, form.run.as_deref()), (None, Some("r1")));
        let form = of("message=hi&session_state=%7B%22a%22%3A1%7D&x=y").unwrap();
        let expected = json!({ "message": "hi", "session_state": { "a": 1 }, "x": "y" });
        assert_eq!(form.input(None).parse::<Value>().unwrap(), expected);
    }
}
