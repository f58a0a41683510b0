//! What a component emits: the one vocabulary that every adapter renders.
//!
//! The life of runs, steps, members and tool calls is in the engine's own events; this is what
//! bodies add to them.

use quell::{Payload, RunContext, Written};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Something that a component emits.
///
/// # Examples
///
/// ```
/// use quell_flow::Emit;
///
/// let payload = Emit::content("hello ").to_payload();
/// assert_eq!(Emit::read(&payload), Some(Emit::content("hello ")));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "emit", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Emit {
    /// A piece of the answer's text.
    Content {
        /// The text; the answer is all of them, one after the other.
        text: String,
    },
    /// A model is asked.
    ModelStarted {
        /// The model's id.
        model: String,
        /// Who serves it.
        provider: String,
    },
    /// The model has answered.
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
        values: Value,
    },
    /// What one node changed in the state.
    Updates {
        /// The node.
        node: String,
        /// Its changes.
        values: Value,
    },
    /// Anything else.
    Custom {
        /// The value.
        data: Value,
    },
}

/// A line of a process, as `quell-process` emits it.
#[derive(Deserialize)]
struct Said {
    stream: String,
    line: String,
    #[serde(default)]
    split: bool,
}

impl Emit {
    /// Makes a piece of text.
    pub fn content(text: impl Into<String>) -> Self {
        Self::Content { text: text.into() }
    }

    /// Makes anything else.
    pub fn custom(data: impl Into<Value>) -> Self {
        Self::Custom { data: data.into() }
    }

    /// Writes it into the log of the run.
    #[expect(clippy::must_use_candidate, reason = "as with `RunContext::emit`, most do not ask")]
    pub fn send(&self, ctx: &RunContext) -> Written {
        ctx.emit(self.to_payload())
    }

    /// Writes it as an event's payload.
    pub fn to_payload(&self) -> Payload {
        // Its keys are strings and its numbers finite: it always is JSON.
        Payload::json(self).unwrap_or_else(|_| Payload::from(Value::Null))
    }

    /// Reads it back; none for what a body emitted in words of its own.
    ///
    /// A line that a process wrote on stdout, `{"stream":"stdout","line":"…"}`, is a piece of the
    /// answer's text.
    pub fn read(payload: &Payload) -> Option<Self> {
        payload.parse().ok().or_else(|| {
            let said: Said = payload.parse().ok()?;
            let end = if said.split { "" } else { "\n" };
            (said.stream == "stdout").then(|| Self::Content { text: said.line + end })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_program_is_a_piece_of_the_text() {
        for (line, text) in [
            (r#"{"stream":"stdout","line":"hi"}"#, Some("hi\n")),
            (r#"{"stream":"stdout","line":"hi","split":true}"#, Some("hi")),
            (r#"{"stream":"stderr","line":"hi"}"#, None),
            (r#"{"event":"mine","line":"hi"}"#, None),
        ] {
            let payload: Payload = line.parse::<Value>().expect("JSON").into();
            assert_eq!(Emit::read(&payload), text.map(Emit::content), "{line}");
        }
    }
}
