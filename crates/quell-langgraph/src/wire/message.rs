//! [`Origin`]: the text of a run as a message, in the values and in the modes `messages` and
//! `messages-tuple` (contract, section 8).

use quell::{Payload, Usage};
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
        self.chunk(text, None, &[])
    }

    /// Writes the begin of a tool call as a piece of the message, and where it comes from.
    pub(crate) fn tool_piece(self, call: &str, name: &str, input: &Payload) -> Payload {
        // Without an index no reader takes two calls for pieces of one.
        let chunk = json!({
            "id": call, "name": name, "args": args(input).as_json(), "index": null,
            "type": "tool_call_chunk",
        });
        self.chunk("", None, &[chunk])
    }

    /// Writes what was used as a piece of the message, and where it comes from.
    pub(crate) fn usage_piece(self, used: Usage) -> Payload {
        self.chunk("", Some((used.input_tokens, used.output_tokens)), &[])
    }

    fn chunk(self, text: &str, tokens: Option<(u64, u64)>, calls: &[Value]) -> Payload {
        let mut chunk = self.plain("AIMessageChunk", text, tokens);
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

    /// Writes the whole message.
    pub(crate) fn message(self, parts: &Parts<'_>) -> Payload {
        let mut message = self.plain("ai", parts.text, parts.tokens);
        if parts.is_cut {
            message["response_metadata"] = json!({ "truncated": true });
        }
        let call = |tool: &ToolNote| {
            let call = json!({ "id": &*tool.call, "name": &*tool.name, "type": "tool_call" });
            with(call, "args", &args(&tool.input))
        };
        let calls: Vec<Payload> = parts.tools.iter().map(call).collect();
        with_all(message, Keys::from([("tool_calls".to_owned(), written(&calls))]))
    }

    fn plain(self, kind: &str, text: &str, tokens: Option<(u64, u64)>) -> Value {
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
            "id": self.id(),
            "invalid_tool_calls": [],
            "usage_metadata": usage,
        })
    }
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
