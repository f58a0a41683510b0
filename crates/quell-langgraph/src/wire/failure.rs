//! [`error_object`]: the errors of bodies, their class, and the text that is shown.

use quell_flow::ANSWER_IS_NO;
use quell_http::Overdrawn;
use serde_json::{Value, json};

/// Reads the class and the text off the failure of a body.
///
/// A body names a class by beginning with it: `ValueError: boom`. One that names none is an
/// `Exception`, a panic is `Panic`, the end of the process that had it is `WorkerLost`, the no to a
/// step of a plan that asked for approval is a `RuntimeError`; the frames that `?` adds on the way
/// up are left out.
pub(crate) fn error_object(failure: &str, is_unmasked: bool) -> Value {
    let (class, text) = parts(failure);
    let is_shown = is_unmasked || SHOWN.contains(&class);
    json!({ "error": class, "message": if is_shown { text } else { MASK } })
}

/// The error of a run that was over its time.
pub(crate) fn timeout_object(limit_ms: Option<u64>) -> Value {
    let message = match limit_ms {
        Some(ms) => format!("Run exceeded its time limit of {ms} ms"),
        None => "Run exceeded its time limit".to_owned(),
    };
    json!({ "error": "TimeoutError", "message": message })
}

/// The final body when it could not be made.
pub(crate) fn internal_text() -> String {
    json!({ "__error__": { "error": "Exception", "message": MASK } }).to_string()
}

/// The final body when the run is not over, and this process does not know how it goes on: it has
/// left the run to another node, or the store cannot be read.
pub(crate) fn not_known_text() -> String {
    json!({ "__error__": not_known_object() }).to_string()
}

/// As [`not_known_text`], as a stream says it.
pub(crate) fn not_known_object() -> Value {
    json!({ "error": "HTTPException", "message": "503: The run goes on elsewhere. Join it again." })
}

/// The final body when there is no room for it, and the head has been sent.
pub(crate) fn overdrawn_text(error: &Overdrawn) -> String {
    let message = format!("429: {error}");
    json!({ "__error__": { "error": "HTTPException", "message": message } }).to_string()
}

/// The error of a run that is not there, as join and stream say it.
pub(crate) fn not_found_object() -> Value {
    json!({ "error": "HTTPException", "message": "404: Run not found" })
}

fn parts(failure: &str) -> (&str, &str) {
    let mut text = failure;
    while let Some((_, inner)) =
        text.strip_prefix("run `").and_then(|rest| rest.split_once("` failed: "))
    {
        text = inner;
    }
    if let Some(text) = text.strip_prefix("panicked: ") {
        return ("Panic", text);
    }
    if text.starts_with("worker lost") {
        // The engine's words for a run whose process has ended before it.
        return ("WorkerLost", text);
    }
    if text.strip_suffix(ANSWER_IS_NO).is_some_and(|step| step.is_empty() || step.ends_with(": ")) {
        return ("RuntimeError", ANSWER_IS_NO);
    }
    match text.split_once(": ") {
        Some((class, text)) if is_class(class) => (class, text),
        _ => ("Exception", text),
    }
}

fn is_class(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

const MASK: &str = "An internal error occurred";

/// Classes whose text is shown (contract, section 8).
const SHOWN: [&str; 12] = [
    "ValueError",
    "TypeError",
    "KeyError",
    "AttributeError",
    "RuntimeError",
    "RecursionError",
    "TimeoutError",
    "GraphRecursionError",
    "InvalidUpdateError",
    "EmptyInputError",
    "HTTPException",
    "UserInterrupt",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_of_known_classes_is_shown() {
        let table = [
            ("ValueError: boom", false, "ValueError", "boom"),
            ("ValueError: a: b", false, "ValueError", "a: b"),
            ("run `fail` failed: ValueError: boom", false, "ValueError", "boom"),
            ("run `a` failed: run `b` failed: KeyError: k", false, "KeyError", "k"),
            ("panicked: secret", false, "Panic", MASK),
            ("panicked: secret", true, "Panic", "secret"),
            ("DatabaseError: secret", false, "DatabaseError", MASK),
            ("worker lost: its process ended before the run did", false, "WorkerLost", MASK),
            ("step `ok` failed: the answer is no", false, "RuntimeError", "the answer is no"),
            ("secret: the answer is no", false, "RuntimeError", "the answer is no"),
            ("not the answer is no", false, "Exception", MASK),
            ("disk is full", false, "Exception", MASK),
            ("disk: full", true, "Exception", "disk: full"),
            ("", false, "Exception", MASK),
        ];
        for (failure, is_unmasked, class, text) in table {
            let expected = json!({ "error": class, "message": text });
            assert_eq!(error_object(failure, is_unmasked), expected, "{failure}");
        }
    }

    #[test]
    fn a_timeout_says_its_limit() {
        let error = timeout_object(Some(50));
        assert_eq!(error["message"], "Run exceeded its time limit of 50 ms");
        assert_eq!(error["error"], "TimeoutError");
    }
}
