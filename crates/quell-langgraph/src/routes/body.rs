//! [`read_json`]: reads the body of a request as JSON.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use quell::Payload;
use quell_http::{JSON_LEVELS_MAX, Upload, View, check_json};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::wire::exact::{Keys, infinite};
use crate::wire::refusal::Refusal;

/// A body of JSON: an object, or a list.
pub(super) struct Read<T = Keys> {
    pub(super) bytes: Bytes,
    /// As they are spelt.
    pub(super) keys: T,
    /// What they take in memory once they are read, about.
    pub(super) weight: usize,
    /// Dropped with this: the body counts as under way until then.
    pub(super) _upload: Upload,
}

/// Reads a body of JSON. Numbers may have any length, since only those of known keys are parsed,
/// but one that is not finite as a double is refused. So is a body that is nested too deeply.
pub(super) async fn read_json(
    view: &View,
    headers: &HeaderMap,
    body: Body,
) -> Result<Read, Refusal> {
    read(view, headers, body, "body: must be an object").await
}

/// As [`read_json`], of a list.
pub(super) async fn read_list(
    view: &View,
    headers: &HeaderMap,
    body: Body,
) -> Result<Read<Vec<Payload>>, Refusal> {
    read(view, headers, body, "body: must be a list").await
}

async fn read<T: DeserializeOwned + Send + 'static>(
    view: &View,
    headers: &HeaderMap,
    body: Body,
    expected: &'static str,
) -> Result<Read<T>, Refusal> {
    let parse = move |bytes: Bytes| async move { parse(&bytes, expected) };
    let ((keys, count), upload) = view.parse_body(headers, body, parse).await?;
    let bytes = upload.bytes().clone();
    let weight = bytes.len() + count * size_of::<Value>() * 2;
    Ok(Read { bytes, keys, weight, _upload: upload })
}

/// Yields the keys or the items of a body, and how many values it has.
fn parse<T: DeserializeOwned>(bytes: &[u8], expected: &'static str) -> Result<(T, usize), Refusal> {
    let count = values_in(bytes);
    if count > VALUES_MAX {
        let text = format!("Request body has more than {VALUES_MAX} values");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    let text = str::from_utf8(bytes).ok();
    let text = text.filter(|text| check_json(text, JSON_LEVELS_MAX).is_ok());
    let text = text.ok_or_else(|| Refusal::invalid("Invalid JSON in request body"))?;
    if let Some(number) = infinite(text) {
        return Err(Refusal::infinite(number));
    }
    let keys = serde_json::from_str(text);
    let keys = keys.map_err(|_| Refusal::invalid(expected))?;
    Ok((keys, count))
}

/// The most values of a body. Each takes many times its text in memory, and the threads of HTTP
/// copy and write it.
const VALUES_MAX: usize = 250_000;

/// Counts the values and keys of a JSON text, without making them; one too many for an empty list.
fn values_in(json: &[u8]) -> usize {
    let (mut count, mut is_text, mut is_escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            b',' | b'[' | b'{' | b':' if !is_text => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use quell_http::Service;

    use super::*;

    #[tokio::test]
    async fn a_body_has_a_bounded_number_of_values_and_text_is_one() {
        assert_eq!(values_in(br#"{"a": [1, 2, "x,[\"{:,"], "b": {"c": null}}"#), 10);
        let service = Service::new(quell::Engine::new(), quell_flow::Catalog::new());
        let view = service.view(crate::options::CONTRACT, quell_http::Principal::anonymous());
        let read =
            |text: String| async { read_json(&view, &HeaderMap::new(), Body::from(text)).await };
        assert!(read(format!(r#"{{"a":[{}1]}}"#, "1,".repeat(VALUES_MAX - 4))).await.is_ok());
        let refusal =
            read(format!(r#"{{"a":[{}1]}}"#, "1,".repeat(VALUES_MAX - 3))).await.err().unwrap();
        assert_eq!(refusal.status, 413);
        let text = read(format!(r#"{{"a":"{}"}}"#, ",[{:".repeat(VALUES_MAX)));
        let text = text.await.ok().unwrap();
        assert!(text.weight < 2 * text.bytes.len(), "{}", text.weight);
    }
}
