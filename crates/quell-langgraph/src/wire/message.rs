//! [`Origin`]: the text of a run as a message, in the values and in the modes `messages` and
//! `messages-tuple` (contract, section 8).

use std::borrow::Cow;

use quell::{Payload, ToolOutcome, Usage};
use quell_http::{ToolNote, Transcript};
use serde_json::{Value, json};

use crate::wire::exact::{Keys, finite, with, with_all, written};
use crate::wire::rows::About;

/// Where a message comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) about: &'a About,
    /// The run that was asked for.
    pub(crate) run: &'a str,
    /// The run of its tree that speaks, and its name.
    pub(crate) speaker: &'a str,
    pub(crate) node: &'a str,
}

/// What a whole message says.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    text: &'a str,
    tools: &'a [ToolNote],
    /// The tokens read and written; none if nobody counted.
    tokens: Option<(u64, u64)>,
    /// Whether something of the run is missing.
    is_cut: bool,
}

impl<'a> Parts<'a> {
    /// Makes what a run says with this text, and with its tool calls and what it used.
    pub(crate) fn of(said: &'a Transcript, text: &'a str) -> Self {
        let Usage { input_tokens, output_tokens, .. } = said.usage;
        let of_model = said.model.as_ref().map(|model| (model.input_tokens, model.output_tokens));
        let tokens = if said.usage.tokens() > 0 {
            Some((input_tokens, output_tokens))
        } else {
            of_model.filter(|tokens| *tokens != (0, 0))
        };
        Self { text, tools: &said.tools, tokens, is_cut: said.is_cut }
    }

    /// Makes what is text alone.
    pub(crate) const fn text(text: &'a str) -> Self {
        Self { text, tools: &[], tokens: None, is_cut: false }
    }
}

impl Origin<'_> {
    /// Yields the id of the message of a run: it has one.
    pub(crate) fn id(self) -> String {
        format!("run--{}", self.speaker)
    }

    /// Yields the id of the message before it, which has its tool calls.
    fn calls_id(self) -> String {
        format!("{}--calls", self.id())
    }

    /// Writes the metadata of the message.
    pub(crate) fn metadata(self) -> Value {
        json!({
            "run_id": self.run,
            "thread_id": self.about.thread.to_string(),
            "assistant_id": self.about.assistant.to_string(),
            "graph_id": self.about.graph,
            "langgraph_node": self.node,
        })
    }

    /// Writes a piece of the message, and where it comes from.
    pub(crate) fn piece(self, text: &str) -> Payload {
        self.chunk(&self.id(), text, None, &[])
    }

    /// Writes the begin of a tool call as a piece of the message that has them, and where it comes
    /// from.
    pub(crate) fn tool_piece(self, call: &str, name: &str, input: &Payload) -> Payload {
        // Without an index no reader takes two calls for pieces of one.
        let chunk = json!({
            "id": call, "name": name, "args": args(input).as_json(), "index": null,
            "type": "tool_call_chunk",
        });
        self.chunk(&self.calls_id(), "", None, &[chunk])
    }

    /// Writes how a tool call ended as a message, and where it comes from.
    pub(crate) fn tool_end(self, call: &str, name: Option<&str>, outcome: &ToolOutcome) -> Payload {
        let mut room = usize::MAX;
        self.whole(&self.tool_message(call, name, Some(outcome), (0, &mut room)))
    }

    /// Writes what was used as a piece of the message, and where it comes from.
    pub(crate) fn usage_piece(self, used: Usage) -> Payload {
        self.chunk(&self.id(), "", Some((used.input_tokens, used.output_tokens)), &[])
    }

    fn chunk(self, id: &str, text: &str, tokens: Option<(u64, u64)>, calls: &[Value]) -> Payload {
        let mut chunk = plain(id, "AIMessageChunk", text, tokens);
        chunk["tool_calls"] = json!([]);
        chunk["tool_call_chunks"] = json!(calls);
        self.whole(&chunk.into())
    }

    /// Writes a message, and where it comes from.
    pub(crate) fn whole(self, message: &Payload) -> Payload {
        written(&[message, &self.metadata().into()])
    }

    /// Writes the metadata of a message under its id.
    pub(crate) fn announced(self, id: &str) -> Value {
        json!({ id: { "metadata": self.metadata() } })
    }

    /// Writes what a run said: first its tool calls, if it has some, and what each gave, in the
    /// order in which models are asked with them; its message comes last.
    pub(crate) fn messages(self, parts: &Parts<'_>) -> Vec<Payload> {
        let mut all = Vec::new();
        if !parts.tools.is_empty() {
            let mut room = TOOLS_BYTES_MAX;
            let call = |tool: &ToolNote| {
                let call = json!({ "id": &*tool.call, "name": &*tool.name, "type": "tool_call" });
                with(call, "args", &args_within(&tool.input, &mut room))
            };
            let calls: Vec<_> = parts.tools.iter().map(call).collect();
            all.push(with_calls(plain(&self.calls_id(), "ai", "", None), &calls));
            let mut room = TOOLS_BYTES_MAX;
            let end = |tool: &ToolNote| {
                let room = (tool.left_out, &mut room);
                self.tool_message(&tool.call, Some(&tool.name), tool.outcome.as_ref(), room)
            };
            all.extend(parts.tools.iter().map(end));
        }
        all.push(self.message(parts));
        all
    }

    /// Writes the message of a run, without its tool calls.
    pub(crate) fn message(self, parts: &Parts<'_>) -> Payload {
        let mut message = plain(&self.id(), "ai", parts.text, parts.tokens);
        if parts.is_cut {
            message["response_metadata"] = json!({ "truncated": true });
        }
        with_calls(message, &[])
    }

    /// Writes what a tool call gave as a message, as far as there is room for it: so many bytes of
    /// it are left out already.
    fn tool_message(
        self,
        call: &str,
        name: Option<&str>,
        outcome: Option<&ToolOutcome>,
        (left_out, room): (usize, &mut usize),
    ) -> Payload {
        let (status, content): (_, Cow<'_, str>) = match outcome {
            Some(ToolOutcome::Result(None)) if left_out > 0 => ("success", cut("", left_out)),
            Some(ToolOutcome::Result(None)) => ("success", "".into()),
            Some(ToolOutcome::Result(Some(output))) => match output.as_text() {
                Some(text) => ("success", text),
                None => ("success", finite(output).as_json().to_owned().into()),
            },
            Some(ToolOutcome::Error(words)) => ("error", words.as_ref().into()),
            Some(ToolOutcome::Cancelled) => ("error", "The call was cancelled".into()),
            _ => ("error", "Nobody knows how the call ended".into()),
        };
        let message = json!({
            "content": within(content, room), "additional_kwargs": {}, "response_metadata": {},
            "type": "tool", "name": name,
            "id": format!("{}--result--{call}", self.id()), "tool_call_id": call,
            "artifact": null, "status": status,
        });
        message.into()
    }
}

/// What tools were asked with in one run, and what they gave, stands in the values of its thread up
/// to so many bytes each: a thread is asked with all of it for ever, and has a bound
/// ([`crate::threads`]).
const TOOLS_BYTES_MAX: usize = 256 << 10;

/// Cuts text to the room that is left, and takes that.
fn within<'a>(text: Cow<'a, str>, room: &mut usize) -> Cow<'a, str> {
    if let Some(left) = room.checked_sub(text.len()) {
        *room = left;
        return text;
    }
    let end = (0..=*room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    *room = 0;
    cut(&text[..end], text.len())
}

/// Says how much of something stands there.
fn cut<'a>(kept: &str, bytes: usize) -> Cow<'a, str> {
    let space = if kept.is_empty() { "" } else { " " };
    format!("{kept}{space}[{} of {bytes} bytes]", kept.len()).into()
}

fn with_calls(message: Value, calls: &[Payload]) -> Payload {
    with_all(message, Keys::from([("tool_calls".to_owned(), written(&calls))]))
}

fn plain(id: &str, kind: &str, text: &str, tokens: Option<(u64, u64)>) -> Value {
    let usage = tokens.map(|(input, output)| {
        json!({
            "input_tokens": input, "output_tokens": output,
            "total_tokens": input.saturating_add(output),
        })
    });
    json!({
        "content": text,
        "additional_kwargs": {},
        "response_metadata": {},
        "type": kind,
        "name": null,
        "id": id,
        "invalid_tool_calls": [],
        "usage_metadata": usage,
    })
}

/// Writes the message of a caller.
pub(crate) fn human(text: &str, id: &str) -> Payload {
    let message = json!({
        "content": text, "additional_kwargs": {}, "response_metadata": {}, "type": "human",
        "name": null, "id": id,
    });
    message.into()
}

/// Yields the arguments of a call, which are an object in this contract.
fn args(input: &Payload) -> Payload {
    let input = finite(input);
    if input.as_json().trim_start().starts_with('{') {
        return input;
    }
    if input.is_null() {
        return json!({}).into();
    }
    with(json!({}), "input", &input)
}

/// As [`args`], if there is room for them, which they take.
fn args_within(input: &Payload, room: &mut usize) -> Payload {
    let args = args(input);
    match room.checked_sub(args.len()) {
        Some(left) => *room = left,
        None => return json!({ "left_out": format!("{} bytes", args.len()) }).into(),
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_were_asked_with_stands_there_if_there_is_room() {
        let (mut room, input) = (20, Payload::from(json!({ "a": "12345" })));
        let told: Vec<_> = (0..2).map(|_| args_within(&input, &mut room)).collect();
        assert_eq!(told[0].as_json(), input.as_json());
        assert_eq!(told[1].as_json(), r#"{"left_out":"13 bytes"}"#);
    }

    #[test]
    fn what_tools_gave_stands_there_as_far_as_there_is_room() {
        let mut room = 10;
        let cut: Vec<_> =
            ["12345", "abcd\u{e9}f", "", "x"].map(|text| within(text.into(), &mut room)).into();
        assert_eq!(cut, ["12345", "abcd [4 of 7 bytes]", "", "[0 of 1 bytes]"]);
        assert!(matches!(within("y".into(), &mut 1), Cow::Borrowed("y")));
    }
}
