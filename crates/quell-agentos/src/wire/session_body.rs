//! [`new_name`] and [`to_delete`]: the bodies of requests that change sessions (contract,
//! section 10).

use axum::http::StatusCode;
use quell_http::{JSON_LEVELS_MAX, check_json};
use serde_json::{Value, json};

use crate::wire::refusal::{Refusal, missing, too_long};
use crate::wire::session_query::kind_of;

/// Reads the new name of a session, of so many bytes at most.
///
/// # Errors
///
/// Fails with what is wrong with the body.
pub(crate) fn new_name(body: &[u8], max: usize) -> Result<String, Refusal> {
    let fault =
        match object(body)?.and_then(|mut body| body.get_mut("session_name").map(Value::take)) {
            None => missing("body", "session_name"),
            Some(Value::String(name)) if name.len() <= max => return Ok(name),
            Some(Value::String(_)) => too_long(&["body", "session_name"], max),
            Some(other) => no_text(&json!(["body", "session_name"]), &other),
        };
    Err(Refusal::invalid(vec![fault]))
}

/// Reads the ids of the sessions that are to be deleted. Each has a type, which says nothing else.
///
/// # Errors
///
/// Fails with all that is wrong with the body.
pub(crate) fn to_delete(body: &[u8]) -> Result<Vec<String>, Refusal> {
    let Some(body) = object(body)? else {
        let fault =
            json!({ "type": "missing", "loc": ["body"], "msg": "Field required", "input": null });
        return Err(Refusal::invalid(vec![fault]));
    };
    let (mut faults, mut ids) = (Vec::new(), Vec::new());
    for (nth, id) in list(&body, "session_ids", &mut faults).iter().enumerate() {
        match id {
            Value::String(id) => ids.push(id.clone()),
            other => faults.push(no_text(&json!(["body", "session_ids", nth]), other)),
        }
    }
    let kinds = list(&body, "session_types", &mut faults);
    for (nth, kind) in kinds.iter().enumerate() {
        let loc = ["body", "session_types", &nth.to_string()];
        faults.extend(kind_of(&loc, kind.as_str().unwrap_or_default()).err());
    }
    if !faults.is_empty() {
        return Err(Refusal::invalid(faults));
    }
    if ids.len() != kinds.len() {
        let text = "Session IDs and session types must have the same length";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
    }
    Ok(ids)
}

/// Reads a body that is an object; none if it is empty, or something else.
fn object(body: &[u8]) -> Result<Option<Value>, Refusal> {
    if body.len() > BYTES_MAX {
        return Err(Refusal::too_large());
    }
    if body.is_empty() {
        return Ok(None);
    }
    let text = str::from_utf8(body).ok().filter(|text| check_json(text, JSON_LEVELS_MAX).is_ok());
    let read = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let fault = || {
        let msg = "JSON decode error";
        let fault = json!({ "type": "json_invalid", "loc": ["body"], "msg": msg, "input": {} });
        Refusal::invalid(vec![fault])
    };
    read.ok_or_else(fault).map(|value| Some(value).filter(Value::is_object))
}

/// Yields the items of a list, which has from one to so many as there may be.
fn list<'a>(body: &'a Value, key: &str, faults: &mut Vec<Value>) -> &'a [Value] {
    let fault = match body.get(key) {
        Some(Value::Array(items)) if (1..=ITEMS_MAX).contains(&items.len()) => return items,
        Some(Value::Array(items)) => {
            let (word, text) = if items.is_empty() {
                ("too_short", "at least 1 item".to_owned())
            } else {
                ("too_long", format!("at most {ITEMS_MAX} items"))
            };
            let msg = format!("List should have {text} after validation, not {}", items.len());
            json!({ "type": word, "loc": ["body", key], "msg": msg, "input": [] })
        }
        Some(_) => {
            let msg = "Input should be a valid list";
            json!({ "type": "list_type", "loc": ["body", key], "msg": msg, "input": null })
        }
        None => missing("body", key),
    };
    faults.push(fault);
    &[]
}

fn no_text(loc: &Value, input: &Value) -> Value {
    let input = if input.is_object() || input.is_array() { &Value::Null } else { input };
    let msg = "Input should be a valid string";
    json!({ "type": "string_type", "loc": loc, "msg": msg, "input": input })
}

/// The largest body.
const BYTES_MAX: usize = 256 << 10;

/// Sessions that one request may delete.
pub(crate) const ITEMS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_refused_in_upstreams_words() {
        let table = [
            (&b""[..], "missing"),
            (b"{}", "missing"),
            (b"[\"a\"]", "missing"),
            (b"{bad", "json_invalid"),
            (b"{\"session_name\": 5}", "string_type"),
            (b"{\"session_name\": null}", "string_type"),
            (b"{\"session_name\": \"12345\"}", "string_too_long"),
        ];
        for (body, word) in table {
            let refusal = new_name(body, 4).unwrap_err();
            assert_eq!((refusal.status.as_u16(), &refusal.detail[0]["type"]), (422, &json!(word)));
        }
        assert_eq!(new_name(b"{\"session_name\": \"\", \"x\": 1}", 4), Ok(String::new()));
        let table = [
            (json!(null), 422, "missing"),
            (json!({ "session_ids": [], "session_types": ["agent"] }), 422, "too_short"),
            (json!({ "session_ids": [5], "session_types": ["agent"] }), 422, "string_type"),
            (json!({ "session_ids": "a", "session_types": ["agent"] }), 422, "list_type"),
            (json!({ "session_ids": ["a"], "session_types": ["odd"] }), 422, "enum"),
            (
                json!({ "session_ids": vec!["a"; 1_001], "session_types": ["team"] }),
                422,
                "too_long",
            ),
        ];
        for (body, status, word) in table {
            let refusal = to_delete(body.to_string().as_bytes()).unwrap_err();
            let told = (refusal.status.as_u16(), &refusal.detail[0]["type"]);
            assert_eq!(told, (status, &json!(word)), "{body}");
        }
        let body = json!({ "session_ids": ["a"], "session_types": ["agent", "team"] }).to_string();
        assert_eq!(to_delete(body.as_bytes()).unwrap_err().status, 400);
        let body = json!({ "session_ids": ["a", "b"], "session_types": ["agent", "team"] });
        assert_eq!(to_delete(body.to_string().as_bytes()), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(to_delete(&vec![b' '; BYTES_MAX + 1]).unwrap_err().status, 413);
    }
}
