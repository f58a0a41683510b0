//! [`Chat`]: a model behind an `OpenAI`-compatible endpoint for chats.

use hyper::Response;
use hyper::body::Incoming;
use quell::{Failure, Payload};
use quell_process::EventLines;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::{Form, KEPT_MAX, form_of, next};
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
        let said = messages(input.parse().unwrap_or_default());
        let said =
            said.ok_or_else(|| Failure::new(format!("the input has no message; {RIGHT}")))?;
        let mut body = Map::new();
        body.insert("model".into(), self.name.as_str().into());
        body.insert("messages".into(), system.chain(said).collect());
        body.insert("stream".into(), true.into());
        body.insert("stream_options".into(), json!({ "include_usage": true }));
        body.extend(self.temperature.map(|value| ("temperature".to_owned(), value.into())));
        body.extend(self.max_tokens.map(|most| ("max_tokens".to_owned(), most.into())));
        Ok(Value::Object(body).to_string())
    }

    /// Reads the answer: pieces of text and thoughts become events, and the text is the output.
    ///
    /// # Errors
    ///
    /// Fails if the answer breaks off, is malformed or too long, or if the model says an error.
    pub(super) async fn read(
        response: Response<Incoming>,
        lines: &mut EventLines,
    ) -> Result<Payload, Failure> {
        let (head, mut body) = response.into_parts();
        let mut said = Said::default();
        if form_of(&head.headers)? == Form::Json {
            // An endpoint that does not stream says all at once.
            let mut whole = Vec::new();
            while let Some(data) = next(&mut body).await? {
                whole.extend_from_slice(&data);
                if whole.len() > KEPT_MAX {
                    return Err(too_long());
                }
            }
            said.hear(&whole, lines)?;
            said.is_over = true;
        } else {
            let mut sse = Sse::default();
            while !said.is_over
                && let Some(data) = next(&mut body).await?
            {
                sse.push(&data, |line| said.take(line, lines));
                said.check()?;
                lines.wait_for_readers().await;
                tokio::task::yield_now().await;
            }
            sse.finish(|line| said.take(line, lines));
            said.check()?;
        }
        said.count(lines);
        if said.is_over || said.is_finished {
            return Ok(Value::String(said.text).into());
        }
        Err(Failure::new("its answer ends before it is complete"))
    }
}

/// What a model has said so far.
#[derive(Debug, Default)]
struct Said {
    text: String,
    usage: Option<Value>,
    /// The model has said why it stopped.
    is_finished: bool,
    /// Nothing follows.
    is_over: bool,
    /// What is wrong with a line.
    fault: Option<Failure>,
}

impl Said {
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

    /// Fails with what is wrong.
    fn check(&mut self) -> Result<(), Failure> {
        self.fault.take().map_or(Ok(()), Err)
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
            self.is_finished |= finish_reason.is_some();
            // Some say all of it beside each piece.
            let Some(delta) = delta.or(message) else { continue };
            if let Some(text) = delta.reasoning_content.or(delta.reasoning) {
                say("reasoning", &text, lines);
            }
            if let Some(text) = delta.content {
                if self.text.len() + text.len() > KEPT_MAX {
                    return Err(too_long());
                }
                say("content", &text, lines);
                self.text.push_str(&text);
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

fn say(event: &str, text: &str, lines: &mut EventLines) {
    if !text.is_empty() {
        let line = json!({ "event": event, "text": text });
        lines.push(format!("{line}\n").as_bytes());
    }
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
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
}

/// Reads a count; what is none is 0, because the answer counts whatever is said beside it.
fn whole(count: &Value) -> u64 {
    let rounded = || count.as_f64().map(|count| count.max(0.0).round());
    count.as_u64().or_else(|| format!("{:.0}", rounded()?).parse().ok()).unwrap_or_default()
}

/// Yields the messages of an input: a text, an object with one, or an object with messages.
fn messages(input: Value) -> Option<Vec<Value>> {
    let user = |text: Value| vec![json!({ "role": "user", "content": text })];
    match input {
        Value::String(_) => Some(user(input)),
        Value::Object(mut input) => {
            if let Some(Value::Array(all)) = input.get_mut("messages") {
                return Some(all.iter_mut().map(|one| message(one.take())).collect());
            }
            let text = ["message", "prompt", "input"].iter().find_map(|key| input.remove(*key))?;
            text.is_string().then(|| user(text))
        }
        _ => None,
    }
}

/// Yields a message as a model takes it: one of `LangGraph` says who speaks by its type, and a text
/// alone is that of the user.
fn message(mut said: Value) -> Value {
    if said.is_string() {
        return json!({ "role": "user", "content": said });
    }
    if said.get("role").is_some() {
        return said;
    }
    let role = match said.get("type").and_then(Value::as_str) {
        Some("ai") => "assistant",
        Some("system") => "system",
        _ => "user",
    };
    let content = said.get_mut("content").map(Value::take).unwrap_or_default();
    json!({ "role": role, "content": content })
}

const RIGHT: &str = "expected a text, an object with a text `message`, `prompt` or `input`, or one \
                     with a list `messages`";

#[cfg(test)]
mod tests {
    use super::*;

    fn request(chat: &Chat, input: Value) -> Result<Value, Failure> {
        let body = chat.request(&input.into())?;
        Ok(serde_json::from_str(&body).expect("JSON"))
    }

    #[test]
    fn the_messages_of_every_contract_reach_the_model() {
        let chat = Chat { name: "m".into(), system: None, temperature: None, max_tokens: None };
        let user = |text: &str| json!([{ "role": "user", "content": text }]);
        let parts = json!([{ "type": "text", "text": "hi" }]);
        for (input, right) in [
            (json!("hi"), user("hi")),
            (json!({ "message": "hi", "version": "1" }), user("hi")),
            (json!({ "prompt": "hi" }), user("hi")),
            (json!({ "input": "hi", "n": 1 }), user("hi")),
            (json!({ "messages": ["hi"] }), user("hi")),
            (json!({ "messages": [{ "type": "human", "content": "hi", "id": "1" }] }), user("hi")),
            (
                json!({ "messages": [
                    { "role": "assistant", "content": null, "tool_calls": [] },
                    { "type": "ai", "content": "a" },
                    { "role": "user", "content": parts },
                ] }),
                json!([
                    { "role": "assistant", "content": null, "tool_calls": [] },
                    { "role": "assistant", "content": "a" },
                    { "role": "user", "content": parts },
                ]),
            ),
        ] {
            let body = request(&chat, input.clone()).expect("it has a message");
            assert_eq!(body["messages"], right, "{input}");
        }
        for input in [json!(null), json!(7), json!([]), json!({}), json!({ "message": 1 })] {
            assert!(request(&chat, input.clone()).is_err(), "{input}");
        }
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
