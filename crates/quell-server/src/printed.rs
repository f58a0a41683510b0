//! [`output`]: the output of a component that said no result.

use quell::{Failure, Payload, check_json, limits};
use serde_json::Value;

/// Reads an output from what was printed, and how much that was: a JSON value if it is one,
/// otherwise text without white space at its end, in which `U+FFFD` replaces bytes that are not
/// UTF-8. If that is nothing but white space, it is the text of the events `content`.
///
/// # Errors
///
/// Fails if what it is made of is not kept as a whole.
pub(crate) fn output(
    what: &str,
    (kept, bytes): (&[u8], u64),
    (content, content_bytes): (&str, u64),
) -> Result<Payload, Failure> {
    let is_whole = |what: &str, bytes: u64, kept: usize| {
        if bytes <= kept as u64 {
            return Ok(());
        }
        Err(Failure::new(format!("{what} has {bytes} bytes, and {kept} of them are kept")))
    };
    is_whole(what, bytes, kept.len())?;
    let text = String::from_utf8_lossy(kept);
    let text = text.trim_end();
    if text.is_empty() && content_bytes > 0 {
        is_whole("its text", content_bytes, content.len())?;
        return Ok(content.into());
    }
    let is_shallow = check_json(text, limits::OUTPUT_LEVELS_MAX).is_ok();
    let value = is_shallow.then(|| serde_json::from_str(text).ok()).flatten();
    Ok(value.unwrap_or_else(|| Value::String(text.to_owned())).into())
}
