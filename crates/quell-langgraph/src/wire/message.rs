//! [`Origin`]: the text of a run as a message, in the modes `messages` and `messages-tuple`
//! (contract, section 8).

use serde_json::{Value, json};

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
    pub(crate) fn piece(self, text: &str) -> Value {
        let mut message = self.message("AIMessageChunk", text);
        message["tool_call_chunks"] = json!([]);
        json!([message, self.metadata()])
    }

    /// Writes the whole message, and where it comes from.
    pub(crate) fn whole(self, text: &str) -> Value {
        json!([self.message("ai", text), self.metadata()])
    }

    /// Writes the whole message in a list, marked if something of it is missing.
    pub(crate) fn complete(self, text: &str, is_cut: bool) -> Value {
        let mut message = self.message("ai", text);
        if is_cut {
            message["response_metadata"] = json!({ "truncated": true });
        }
        json!([message])
    }

    /// Writes the metadata of the message under its id.
    pub(crate) fn announced(self) -> Value {
        json!({ self.id(): { "metadata": self.metadata() } })
    }

    fn message(self, kind: &str, text: &str) -> Value {
        json!({
            "content": text,
            "additional_kwargs": {},
            "response_metadata": {},
            "type": kind,
            "name": null,
            "id": self.id(),
            "tool_calls": [],
            "invalid_tool_calls": [],
            "usage_metadata": null,
        })
    }
}
