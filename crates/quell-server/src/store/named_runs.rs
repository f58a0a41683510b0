//! [`run_ids`]: how commands read the id of a run.

use clap::builder::{StringValueParser, TypedValueParser};

/// Reads the id of a run, or what it begins with.
pub(crate) fn run_ids() -> impl TypedValueParser<Value = String> {
    not_empty(
        "is empty, as a variable that is not set is; expected the id of a run, which `quell runs` \
         lists",
    )
}

/// Reads the name of a node.
pub(super) fn node_names() -> impl TypedValueParser<Value = String> {
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
