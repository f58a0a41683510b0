//! [`in_words`]: what is wrong with a value of a body, by its field and without words of a parser.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Says what is wrong with a body that is JSON and does not fit, from the error of its parser.
pub(super) fn in_words(body: &[u8], error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&place).unwrap_or(&message);
    let said = ["invalid type: ", "invalid value: "].iter().find_map(|begin| {
        let (found, expected) = message.strip_prefix(begin)?.rsplit_once(", expected ")?;
        Some(format!("expected {}, found {}", plain(expected), plain(found)))
    });
    match (field_at(body, end_of(body, error)), said) {
        (Some(field), Some(said)) => format!("`{field}`: {said}"),
        (None, Some(said)) => said,
        // Of an object in a field: which key of it is missing, or is none.
        (Some(field), None) => format!("`{field}`: {message}"),
        (None, None) => message.to_owned(),
    }
}

/// Yields up to where the parser had read.
fn end_of(body: &[u8], error: &serde_json::Error) -> usize {
    let before = body.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    before.map(<[u8]>::len).sum::<usize>() + error.column()
}

/// Yields the path of the field whose value ends there or goes on; none between the fields of the
/// body. It has two keys at most: nothing that is asked for is deeper.
fn field_at(body: &[u8], end: usize) -> Option<String> {
    let text = str::from_utf8(body).ok()?;
    let (key, value) = key_at(text, text, end)?;
    match key_at(text, value, end) {
        Some((inner, _)) => Some(format!("{key}.{inner}")),
        None => Some(key.into_owned()),
    }
}

/// Yields the key and the value of an object in which a place of the body is.
fn key_at<'a>(body: &str, object: &'a str, end: usize) -> Option<(Cow<'a, str>, &'a str)> {
    let fields: BTreeMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(object).ok()?;
    fields.into_iter().map(|(key, value)| (key, value.get())).find(|(_, value)| {
        let begin = value.as_ptr() as usize - body.as_ptr() as usize;
        (begin..=begin + value.len()).contains(&end)
    })
}

/// Writes a kind of value as JSON has it. What a caller has sent stays as it was.
fn plain(kind: &str) -> Cow<'_, str> {
    let named = match kind {
        "map" | "a map" => "an object",
        "sequence" | "a sequence" => "a list",
        "unit" | "null" => "null",
        "a boolean" => "true or false",
        "u64" | "u32" | "usize" => "a whole number from 0 on",
        "i8" => "a whole number from -128 to 127",
        _ if kind.starts_with("struct ") => "an object",
        _ => "",
    };
    if !named.is_empty() {
        return named.into();
    }
    let of = |begin: &str| kind.strip_prefix(begin)?.strip_suffix('`');
    if let Some(number) = of("integer `").or_else(|| of("floating point `")) {
        return format!("the number {number}").into();
    }
    if let Some(word) = of("boolean `") {
        return word.into();
    }
    match kind.strip_prefix("string ") {
        Some(text) => format!("the text {text}").into(),
        None => kind.into(),
    }
}

#[cfg(test)]
mod tests {
    use crate::native::wire::read::Body;
    use crate::native::wire::{CancelRun, SetLimits, StartRun, read};

    fn told<T: Body>(body: &str) -> String {
        read::<T>(body.as_bytes()).err().expect("it does not fit").detail().to_owned()
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_by_its_field_and_what_it_is_to_be() {
        for (body, right) in [
            (r#"{"component": "agent/a", "id": 1}"#, "`id`: expected a string, found the number 1"),
            (
                "{\"component\": \"agent/a\",\n \"session\": [1.5],\n \"input\": {}}",
                "`session`: expected a string, found a list",
            ),
            (
                r#"{"component": "agent/a", "lane": {"key": true}}"#,
                "`lane.key`: expected a string, found true",
            ),
            (
                r#"{"component": "agent/a", "lane": "l"}"#,
                "`lane`: expected an object, found the text \"l\"",
            ),
            (
                r#"{"component": "agent/a", "labels": {"a": 1.5}}"#,
                "`labels.a`: expected a string, found the number 1.5",
            ),
            (
                r#"{"timeout_ms": "soon", "component": "agent/a"}"#,
                "`timeout_ms`: expected a whole number of milliseconds, from 0, found the text \
                 \"soon\"",
            ),
            (r#"{"component": "agent/a", "lane": {}}"#, "`lane`: missing field `key`"),
            (
                r#"{"component": "agent/a", "priority": 200}"#,
                "`priority`: expected a whole number from -128 to 127, found the number 200",
            ),
            ("{}", "missing field `component`"),
        ] {
            assert_eq!(told::<StartRun>(body), right, "{body}");
        }
        assert_eq!(
            told::<CancelRun>(r#"{"rollback": "yes"}"#),
            "`rollback`: expected true or false, found the text \"yes\""
        );
        let negative = told::<SetLimits>(r#"{"idle_ms": -1}"#);
        assert!(negative.starts_with("`idle_ms`: expected a whole number of"), "{negative}");
        assert!(negative.ends_with("found the number -1"), "{negative}");
    }
}
