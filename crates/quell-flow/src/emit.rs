//! What a component emits: the one vocabulary that every adapter renders.
//!
//! The life of runs, steps, members and tool calls is in the engine's own events; this is what
//! bodies add to them.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;

use quell::{Payload, RunContext, Written};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::limits::NEXT_MAX;

/// Something that a component emits. Values are kept as they are spelt: no digit of a number is
/// lost.
///
/// # Examples
///
/// ```
/// use quell_flow::Emit;
///
/// let payload = Emit::content("hello ").to_payload();
/// assert_eq!(Emit::read(&payload), Some(Emit::content("hello ")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Emit {
    /// A piece of the answer's text.
    Content {
        /// The text; the answer is all of them, one after the other.
        text: String,
    },
    /// A piece of the thoughts of a model, which are not part of the answer.
    Reasoning {
        /// The text.
        text: String,
    },
    /// A model is asked.
    #[serde(rename = "model.started")]
    ModelStarted {
        /// The model's id.
        model: String,
        /// Who serves it.
        provider: String,
    },
    /// The model has answered.
    #[serde(rename = "model.ended")]
    ModelEnded {
        /// The model's id.
        model: String,
        /// Who serves it.
        provider: String,
        /// Tokens read.
        input_tokens: u64,
        /// Tokens written.
        output_tokens: u64,
    },
    /// The whole state after a step.
    Values {
        /// The state.
        values: Payload,
    },
    /// What one node changed in the state.
    Updates {
        /// The node.
        node: String,
        /// Its changes.
        values: Payload,
    },
    /// A step of a component that has nodes has ended, or its first one begins: what comes next,
    /// and the whole state, unless it is what was said before. Contracts with checkpoints keep it
    /// as one; see [`Nodes`](crate::Nodes).
    Step {
        /// The whole state; none if it has not changed.
        values: Option<Payload>,
        /// The nodes that come next, at once; none if there are none. At most 10,000
        /// ([`NEXT_MAX`](crate::limits::NEXT_MAX)): with more it is no step for who reads it.
        next: Vec<String>,
    },
    /// Anything else.
    Custom {
        /// The value.
        data: Payload,
    },
}

impl Emit {
    /// Makes a piece of text.
    pub fn content(text: impl Into<String>) -> Self {
        Self::Content { text: text.into() }
    }

    /// Makes anything else.
    pub fn custom(data: impl Into<Value>) -> Self {
        Self::Custom { data: data.into().into() }
    }

    /// Writes it into the log of the run.
    #[expect(clippy::must_use_candidate, reason = "as with `RunContext::emit`, most do not ask")]
    pub fn send(&self, ctx: &RunContext) -> Written {
        ctx.emit(self.to_payload())
    }

    /// Writes it as an event's payload.
    pub fn to_payload(&self) -> Payload {
        // Its keys are strings: it always is JSON.
        Payload::json(self).unwrap_or_else(|_| Payload::from(Value::Null))
    }

    /// Reads it back; none for what a body emitted in words of its own.
    ///
    /// A line that a process wrote on stdout, `{"stream":"stdout","line":"…"}`, is a piece of the
    /// answer's text.
    pub fn read(payload: &Payload) -> Option<Self> {
        Self::read_soon(payload.as_json()).or_else(|| Self::read_any(payload.as_json()))
    }

    /// Reads what most are, in one pass; none also for what only [`read_any`](Self::read_any)
    /// understands, as one that has a key of another kind with a value of another type.
    fn read_soon(json: &str) -> Option<Self> {
        if !MOST.iter().any(|most| json.starts_with(most)) {
            return None;
        }
        let said: Said<'_> = serde_json::from_str(json).ok()?;
        Some(match &*said.event?.0 {
            "content" => Self::Content { text: said.text? },
            "reasoning" => Self::Reasoning { text: said.text? },
            "model.started" => Self::ModelStarted { model: said.model?, provider: said.provider? },
            "model.ended" => Self::ModelEnded {
                model: said.model?,
                provider: said.provider?,
                input_tokens: said.input_tokens?,
                output_tokens: said.output_tokens?,
            },
            _ => return None,
        })
    }

    fn read_any(json: &str) -> Option<Self> {
        // Each event of a run is read several times: nothing is copied that is not kept.
        let said: BTreeMap<Text<'_>, &RawValue> = serde_json::from_str(json).ok()?;
        let spelt = |key| said.get(key).copied();
        let Some(Text(kind)) = read(spelt("event")) else {
            let Text(stream) = read(spelt("stream"))?;
            let line: String = read(spelt("line"))?;
            let split = spelt("split");
            let is_split = if split.is_some() { read(split)? } else { false };
            let end = if is_split { "" } else { "\n" };
            return (stream == "stdout").then(|| Self::Content { text: line + end });
        };
        Some(match &*kind {
            "content" => Self::Content { text: read(spelt("text"))? },
            "reasoning" => Self::Reasoning { text: read(spelt("text"))? },
            "model.started" => Self::ModelStarted {
                model: read(spelt("model"))?,
                provider: read(spelt("provider"))?,
            },
            "model.ended" => Self::ModelEnded {
                model: read(spelt("model"))?,
                provider: read(spelt("provider"))?,
                input_tokens: read(spelt("input_tokens"))?,
                output_tokens: read(spelt("output_tokens"))?,
            },
            "values" => Self::Values { values: read(spelt("values"))? },
            "updates" => {
                Self::Updates { node: read(spelt("node"))?, values: read(spelt("values"))? }
            }
            "step" => {
                let values = read(spelt("values")).filter(|values: &Payload| !values.is_null());
                let next: Vec<String> = read(spelt("next"))?;
                (next.len() <= NEXT_MAX).then_some(Self::Step { values, next })?
            }
            "custom" => Self::Custom { data: read(spelt("data"))? },
            _ => return None,
        })
    }
}

fn read<'a, T: Deserialize<'a>>(spelt: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(spelt?.get()).ok()
}

/// What a piece of text, or a call of a model, says of itself.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    event: Option<Text<'a>>,
    text: Option<String>,
    model: Option<String>,
    provider: Option<String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

/// How most begin, as they are written here.
const MOST: [&str; 3] = [r#"{"event":"content""#, r#"{"event":"reasoning""#, r#"{"event":"model."#];

/// A text of which nothing is copied, unless it is spelt with escapes.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_values_as_they_are_spelt() {
        let exact = Payload::from_json_text(r#"{"n":1e400,"x":[0.1000,-18446744073709551617]}"#);
        let exact = exact.expect("JSON");
        let (model, provider, node) = ("m".to_owned(), "p".to_owned(), "n".to_owned());
        let started = Emit::ModelStarted { model: model.clone(), provider: provider.clone() };
        for emit in [
            Emit::content("hi"),
            Emit::Reasoning { text: "hm".to_owned() },
            started,
            Emit::ModelEnded { model, provider, input_tokens: 3, output_tokens: 4 },
            Emit::Values { values: exact.clone() },
            Emit::Updates { node, values: exact.clone() },
            Emit::Step { values: Some(exact.clone()), next: vec!["a".to_owned()] },
            Emit::Step { values: None, next: Vec::new() },
            Emit::Custom { data: exact },
            Emit::Custom { data: Value::Null.into() },
        ] {
            assert_eq!(Emit::read(&emit.to_payload()), Some(emit.clone()), "{emit:?}");
        }
        for other in [
            r#"{"event":"values"}"#,
            r#"{"event":"content","text":1}"#,
            r#"{"event":"step","next":"slow"}"#,
            r#"{"event":"nobody","knows":1}"#,
            r#"{"event":1,"text":"hi"}"#,
            r#"["event"]"#,
        ] {
            let payload = Payload::from_json_text(other).expect("JSON");
            assert_eq!(Emit::read(&payload), None, "{other}");
        }
    }

    #[test]
    fn what_else_an_object_has_changes_nothing() {
        for (more, is_known) in [
            (r#"{"event":"content","text":"hi","node":1}"#, true),
            (r#"{"event":"content","text":"hi","model":3,"input_tokens":"x"}"#, true),
            (r#"{"event":"content","text":"no","text":"hi"}"#, true),
            (r#"{"text":"hi", "event":"content"}"#, true),
            (r#"{"event":"content","text":null}"#, false),
            (r#"{"event":"content","event":"mine","text":"hi"}"#, false),
            (r#"["content","hi",null,null,null,null]"#, false),
        ] {
            let payload = Payload::from_json_text(more).expect("JSON");
            assert_eq!(Emit::read(&payload), is_known.then(|| Emit::content("hi")), "{more}");
        }
    }

    #[test]
    fn a_step_names_so_many_nodes_and_no_more() {
        let step = |next| Emit::Step { values: None, next: vec!["a".to_owned(); next] };
        assert_eq!(Emit::read(&step(NEXT_MAX).to_payload()), Some(step(NEXT_MAX)));
        assert_eq!(Emit::read(&step(NEXT_MAX + 1).to_payload()), None);
    }

    #[test]
    fn a_line_of_a_program_is_a_piece_of_the_text() {
        for (line, text) in [
            (r#"{"stream":"stdout","line":"hi"}"#, Some("hi\n")),
            (r#"{"stream":"stdout","line":"hi","split":true}"#, Some("hi")),
            (r#"{"stream":"stdout","line":"hi","split":null}"#, None),
            (r#"{"stream":"stderr","line":"hi"}"#, None),
            (r#"{"event":"mine","line":"hi"}"#, None),
        ] {
            let payload: Payload = line.parse::<Value>().expect("JSON").into();
            assert_eq!(Emit::read(&payload), text.map(Emit::content), "{line}");
        }
    }
}
