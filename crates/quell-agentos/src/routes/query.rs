//! The query of a request.

/// Yields a parameter of a query; one that is empty counts as absent.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let found = pairs.filter(|(key, value)| key == name && !value.is_empty()).last();
    found.map(|(_, value)| value.into_owned())
}
