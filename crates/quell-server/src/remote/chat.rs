//! [`Chat`]: a model behind an `OpenAI`-compatible endpoint for chats.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Response, StatusCode};
use quell::{Failure, Payload};
use quell_process::EventLines;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::{Form, KEPT_MAX, cut, form_of, has_end, next, whole_json};
use super::messages::messages;
use super::sse::Sse;

/// What a model is asked besides the messages of a run.
#[derive(Debug)]
pub(crate) struct Chat {
    /// The name of the model.
    pub(crate) name: String,
    /// What precedes the messages.
    pub(crate) system: Option<String>,
    pub(crate) temperature: Option<f64>,
    /// The most tokens that the model may write.
    pub(crate) max_tokens: Option<u64>,
}

impl Chat {
    /// Makes the body of the request for an input.
    ///
    /// # Errors
    ///
    /// Fails if the input has no message.
    pub(super) fn request(&self, input: &Payload) -> Result<String, Failure> {
        let system = self.system.iter().map(|text| json!({ "role": "system", "content": text }));
        let said = messages(input.parse().unwrap_or_default())?;
        let mut body = Map::new();
        body.insert("model".into(), self.name.as_str().into());
        body.insert("messages".into(), system.chain(said).collect());
        body.insert("stream".into(), true.into());
        body.insert("stream_options".into(), json!({ "include_usage": true }));
        body.extend(self.temperature.map(|value| ("temperature".to_owned(), value.into())));
        body.extend(self.max_tokens.map(|most| ("max_tokens".to_owned(), most.into())));
        Ok(Value::Object(body).to_string())
    }

    /// Tells how an answer is written, as [`form_of`].
    ///
    /// # Errors
    ///
    /// Fails if a model does not answer like that.
    pub(super) fn form_of(headers: &HeaderMap) -> Result<Form, Failure> {
        let form = form_of(headers)?;
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        // Some stream without saying so.
        let is_unsaid = ["", "text/plain", "application/octet-stream"].contains(&kind);
        if matches!(form, Form::Json | Form::Sse) || is_unsaid {
            return Ok(form);
        }
        let kind = short(kind);
        Err(Failure::new(format!(
            "its answer is `{kind}`; expected `text/event-stream` or `application/json`"
        )))
    }

    /// Tells whether a refusal is one after which the clients of models ask again.
    pub(super) fn is_asked_again(status: StatusCode) -> bool {
        let for_now =
            [StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS];
        status.is_server_error() || for_now.contains(&status)
    }

    /// Reads the answer to its end: pieces of text and thoughts become events.
    ///
    /// # Errors
    ///
    /// Fails if the answer breaks off or is too long, or if something is wrong with it and its end
    /// does not follow. Then the model may go on.
    pub(super) async fn read(
        response: Response<Incoming>,
        form: Form,
        lines: &mut EventLines,
    ) -> Result<Said, Failure> {
        let (head, mut body) = response.into_parts();
        let has_end = has_end(head.status, &head.headers);
        let mut said = Said::default();
        if form == Form::Json {
            // An endpoint that does not stream says all at once.
            let mut whole = Vec::new();
            while let Some(data) = next(&mut body).await? {
                whole.extend_from_slice(&data);
                if whole.len() > KEPT_MAX {
                    return Err(too_long());
                }
            }
            if !has_end {
                whole_json(&whole).map_err(cut)?;
            }
            said.take_whole(&whole, lines);
        } else {
            let mut sse = Sse::default();
            while !said.is_over
                && let Some(data) = next(&mut body).await?
            {
                sse.push(&data, |line| said.take(line, lines));
                if said.fault.is_some() {
                    return said.at_end(&mut body, has_end).await;
                }
                lines.wait_for_readers().await;
                tokio::task::yield_now().await;
            }
            sse.finish(|line| said.take(line, lines));
            if !has_end && (said.fault.is_some() || !said.is_complete()) {
                let words = ", without `[DONE]` or a `finish_reason`";
                return Err(said.fault.unwrap_or_else(|| cut(words)));
            }
        }
        Ok(said)
    }
}

/// What a model has said so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    usage: Option<Value>,
    /// All of a message was there at once.
    has_message: bool,
    /// The name of the first tool that it calls.
    tool: Option<String>,
    /// Why it stopped, if it has said so.
    reason: Option<String>,
    /// Nothing follows.
    is_over: bool,
    /// What is wrong with a line.
    fault: Option<Failure>,
}

impl Said {
    /// Yields the output, which is the text that was heard, and counts what the model has used.
    ///
    /// # Errors
    ///
    /// Fails if the answer is malformed, too long or not complete, if the model says an error,
    /// waits for a tool, which nobody runs, or has said nothing for another reason than that it is
    /// through.
    pub(super) fn output(mut self, lines: &mut EventLines) -> Result<Payload, Failure> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.count(lines);
        if !self.is_complete() {
            return Err(Failure::new("its answer ends before it is complete"));
        }
        let Self { tool, reason, .. } = self;
        // All of it is kept: one that is too long is refused.
        let (text, _) = lines.content();
        let waits = matches!(reason.as_deref(), Some("tool_calls" | "function_call"));
        if waits || (text.is_empty() && tool.is_some()) {
            let tool = tool.map(|tool| format!(" `{tool}`")).unwrap_or_default();
            return Err(Failure::new(format!(
                "it calls a tool{tool}, and quell runs none for a model: expected a text"
            )));
        }
        if text.is_empty() && reason.as_deref() != Some("stop") {
            let why = reason.map(|reason| format!(": it stopped with `{reason}`"));
            return Err(Failure::new(format!("it says no text{}", why.unwrap_or_default())));
        }
        Ok(text.into())
    }

    const fn is_complete(&self) -> bool {
        self.is_over || self.reason.is_some()
    }

    /// Waits a little for the end of an answer that is wrong, if it has one.
    async fn at_end(mut self, body: &mut Incoming, has_end: bool) -> Result<Self, Failure> {
        let rest = async {
            while next(body).await?.is_some() {}
            Ok::<(), Failure>(())
        };
        match tokio::time::timeout(END_TIME, rest).await {
            Ok(Ok(())) if has_end => Ok(self),
            _ => Err(self.fault.take().unwrap_or_else(too_long)),
        }
    }

    /// Takes an answer that is not streamed.
    fn take_whole(&mut self, whole: &[u8], lines: &mut EventLines) {
        let heard = self.hear(whole, lines);
        self.is_over = self.reason.is_some() || self.has_message;
        self.fault = heard.err().or_else(|| {
            let words = "its answer is not that of a model: no choice has a message";
            (!self.is_over).then(|| Failure::new(words))
        });
    }

    /// Takes a line of the stream, if nothing is wrong yet and something is to follow. One without
    /// its newline is a piece of one that is too long.
    fn take(&mut self, line: &[u8], lines: &mut EventLines) {
        if self.is_over || self.fault.is_some() {
            return;
        }
        let heard = match line.strip_suffix(b"\n").map(<[u8]>::trim_ascii) {
            None => Err(Failure::new("an event of its answer is too long")),
            Some(b"") => Ok(()),
            Some(b"[DONE]") => {
                self.is_over = true;
                Ok(())
            }
            Some(line) => self.hear(line, lines),
        };
        self.fault = heard.err();
    }

    /// Takes a piece of the answer, or all of it.
    fn hear(&mut self, chunk: &[u8], lines: &mut EventLines) -> Result<(), Failure> {
        let chunk: Chunk = serde_json::from_slice(chunk)
            .map_err(|error| Failure::new(format!("its answer is not that of a model: {error}")))?;
        if let Some(error) = chunk.error {
            let words = error.get("message").and_then(Value::as_str).map(str::to_owned);
            let words = words.unwrap_or_else(|| error.to_string());
            return Err(Failure::new(format!("it says: {words}")));
        }
        // Some count in every chunk what there was by then.
        self.usage = chunk.usage.filter(Value::is_object).or(self.usage.take());
        for Choice { delta, message, finish_reason } in chunk.choices.unwrap_or_default() {
            let reason = finish_reason.filter(|reason| !reason.is_empty());
            self.reason = reason.map(|reason| short(&reason)).or(self.reason.take());
            self.has_message |= message.is_some();
            // Some say all of it beside each piece.
            let Some(delta) = delta.or(message) else { continue };
            let mut calls = delta.tool_calls.into_iter().flatten();
            if let Some(Call { function: Some(Function { name: Some(name) }) }) = calls.next() {
                self.tool.get_or_insert_with(|| short(&name));
            }
            if let Some(text) = delta.reasoning_content.or(delta.reasoning) {
                say("reasoning", &text, lines);
            }
            if let Some(text) = delta.content.map(Content::into_text) {
                let (before, _) = lines.content();
                if before.len() + text.len() > KEPT_MAX {
                    return Err(too_long());
                }
                say("content", &text, lines);
            }
        }
        Ok(())
    }

    /// Counts what the model has used, once.
    fn count(&mut self, lines: &mut EventLines) {
        if let Some(used) = self.usage.take() {
            let usage = json!({
                "event": "usage",
                "input_tokens": whole(&used["prompt_tokens"]),
                "output_tokens": whole(&used["completion_tokens"]),
            });
            lines.push(format!("{usage}\n").as_bytes());
        }
    }
}

/// Says a text, in pieces of which none is too long for an event.
fn say(event: &str, mut text: &str, lines: &mut EventLines) {
    while !text.is_empty() {
        let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE_BYTES_MAX));
        let line = json!({ "event": event, "text": piece });
        lines.push(format!("{line}\n").as_bytes());
        text = rest;
    }
}

/// Cuts a word of the model for a message.
fn short(word: &str) -> String {
    word.chars().take(WORD_CHARS).collect()
}

fn too_long() -> Failure {
    Failure::new(format!("its answer is longer than {KEPT_MAX} bytes"))
}

/// A piece of an answer, or all of it. Other keys are for others.
#[derive(Debug, Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    delta: Option<Delta>,
    message: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta {
    content: Option<Content>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Debug, Deserialize)]
struct Call {
    function: Option<Function>,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: Option<String>,
}

/// A text, or one in parts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a text, or of another kind.
#[derive(Debug, Deserialize)]
struct Part {
    text: Option<String>,
}

impl Content {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => parts.into_iter().filter_map(|part| part.text).collect(),
        }
    }
}

/// Reads a count; what is none is 0, because the answer counts whatever is said beside it.
fn whole(count: &Value) -> u64 {
    let rounded = || count.as_f64().map(|count| count.max(0.0).round());
    count.as_u64().or_else(|| format!("{:.0}", rounded()?).parse().ok()).unwrap_or_default()
}

/// The longest piece of a text in an event: each of its bytes may become six, as in `\u0001`.
const PIECE_BYTES_MAX: usize = 32 << 10;

/// How long the end of an answer that is wrong is waited for.
const END_TIME: Duration = Duration::from_secs(5);

/// How much of a word of the model is in a message.
const WORD_CHARS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(chat: &Chat, input: Value) -> Result<Value, Failure> {
        let body = chat.request(&input.into())?;
        Ok(serde_json::from_str(&body).expect("JSON"))
    }

    #[test]
    fn a_count_is_read_however_it_is_written() {
        for (count, right) in [
            (json!(7), 7),
            (json!(7.0), 7),
            (json!(-1), 0),
            (json!(null), 0),
            (json!("7"), 0),
            (json!(18_446_744_073_709_551_615_u64), u64::MAX),
        ] {
            assert_eq!(whole(&count), right, "{count}");
        }
    }

    #[test]
    fn a_request_streams_and_says_what_the_file_says() {
        let chat = Chat {
            name: "m".into(),
            system: Some("be brief".into()),
            temperature: Some(0.5),
            max_tokens: Some(9),
        };
        let right = json!({
            "model": "m",
            "messages": [
                { "role": "system", "content": "be brief" },
                { "role": "user", "content": "hi" },
            ],
            "stream": true,
            "stream_options": { "include_usage": true },
            "temperature": 0.5,
            "max_tokens": 9,
        });
        assert_eq!(request(&chat, json!("hi")).expect("a request"), right);
    }
}
