//! [`Dialect`]: what a document says alike of all operations.

use serde_json::Value;

/// What the document of a contract says alike of all its operations.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// Yields the name of an id in the document, of a path of the router and the id's name in that.
    pub parameter: fn(&str, &str) -> String,
    /// Yields the schema of an id, by its name in the router.
    pub schema: fn(&str) -> Value,
    /// Yields the tag of a path.
    pub tag: fn(&str) -> &'static str,
    /// Yields what a refusal with this status contains: its content types, each with its schema.
    pub refusal: fn(u16) -> Value,
    /// Yields which credentials an operation asks for.
    pub security: fn() -> Value,
    /// The statuses with which every operation may refuse.
    pub always: &'static [u16],
    /// Whether each path is also served with a slash at its end. The document has it without.
    pub has_slashes: bool,
}
