//! [`prefix`]: the prefixes of the routes, which the options set.

/// Spells a prefix with a slash before it and none after it.
pub(super) fn prefix(text: &str) -> String {
    let inner = text.trim_matches('/');
    if inner.is_empty() { String::new() } else { format!("/{inner}") }
}

/// Spells a prefix as a part of a route: braces stand for themselves.
pub(super) fn path(text: &str) -> String {
    prefix(text).replace('{', "{{").replace('}', "}}")
}
