//! [`run_ids`], [`node_names`] and [`statuses`] read what a command line names, and [`in_path`]
//! writes an id.

use std::fmt::Write as _;

use clap::builder::{PossibleValuesParser, StringValueParser, TypedValueParser};
use quell::RunStatus;

/// Reads the id of a run, or what it begins with.
pub(crate) fn run_ids() -> impl TypedValueParser<Value = String> {
    not_empty(
        "is empty, as a variable that is not set is; expected the id of a run, which `quell ps` \
         lists, of a server, or `quell runs`, of a store",
    )
}

/// Reads the name of a node.
pub(crate) fn node_names() -> impl TypedValueParser<Value = String> {
    not_empty(
        "is empty, as a variable that is not set is; expected the name of a node, which `quell \
         nodes` lists",
    )
}

fn not_empty(words: &'static str) -> impl TypedValueParser<Value = String> {
    StringValueParser::new().try_map(
        move |value: String| {
            if value.trim().is_empty() { Err(words) } else { Ok(value) }
        },
    )
}

/// Reads how a run stands.
pub(crate) fn statuses() -> impl TypedValueParser<Value = RunStatus> {
    PossibleValuesParser::new(RunStatus::ALL.map(RunStatus::as_str)).try_map(|name| {
        let named = RunStatus::ALL.into_iter().find(|status| status.as_str() == name);
        named.ok_or("no status")
    })
}

/// Writes an id as a part of a path.
pub(crate) fn in_path(id: &str) -> String {
    let mut text = String::new();
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(byte.into());
            }
            byte => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}
