//! [`missing`] says which of the paths that an expression reads is not there.

use minijinja::Value;
use minijinja::value::ValueKind;
use serde_json::json;

use super::cut::below;
use super::paths::{Names, Path};
use crate::excerpt::{excerpt, listed};
use crate::guess::guess;

/// Names every path that is not there, with the keys that there are where it ends; none if all are
/// there, so that something else is undefined.
pub(super) fn missing(names: &Names, scope: &Value) -> Option<String> {
    let all: Vec<String> = names.iter().filter_map(|path| missing_in(path, scope)).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

fn missing_in(path: &Path, scope: &Value) -> Option<String> {
    let (mut value, mut seen) = (scope.clone(), String::new());
    for (at, key) in path.iter().enumerate() {
        let next = value.get_attr(key).ok()?;
        if next.is_undefined() {
            return Some(no_key(&value, &seen, &path[at..]));
        }
        seen = if seen.is_empty() { key.clone() } else { below(&seen, key) };
        value = next;
    }
    None
}

fn no_key(value: &Value, path: &str, keys: &[String]) -> String {
    let (key, path) = (excerpt(&keys[0]), excerpt(path));
    if path == "steps" {
        return format!("step `{key}` has no output here: it did not run, or has not ended");
    }
    if path == "input" && value.is_none() {
        let example = keys.iter().rev().fold(json!("…"), |value, key| json!({ key: value }));
        let example = excerpt(&format!("--input '{example}'"));
        return format!(
            "`input` has no `{key}`: the input is null; `quell run` takes one, such as `{example}`"
        );
    }
    if value.kind() != ValueKind::Map {
        return format!("`{path}` has no `{key}`: it is a {}", value.kind());
    }
    let known: Vec<Value> = value.try_iter().map(Iterator::collect).unwrap_or_default();
    let known = || known.iter().filter_map(Value::as_str);
    match guess(&key, known()) {
        Some(meant) => format!("`{path}` has no `{key}`; did you mean `{}`?", excerpt(meant)),
        None if known().next().is_none() => format!("`{path}` has no `{key}`: it is empty"),
        None => format!("`{path}` has no `{key}`; it has {}", listed(known())),
    }
}
