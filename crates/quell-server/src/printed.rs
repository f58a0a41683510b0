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
    // What no reader takes for a number is text: `7e12345` may be the id of a commit.
    let is_json = is_shallow && serde_json::from_str::<Value>(text).is_ok();
    let value = if is_json { Payload::from_json_text(&in_one_line(text)).ok() } else { None };
    Ok(value.unwrap_or_else(|| text.into()))
}

/// Takes the white space out of JSON that is between its values: each is as it is spelt, and no
/// digit is lost.
fn in_one_line(json: &str) -> String {
    let (mut is_text, mut is_escaped) = (false, false);
    let stays = |char: &char| {
        let is_quote = *char == '"' && !is_escaped;
        is_escaped = is_text && *char == '\\' && !is_escaped;
        is_text ^= is_quote;
        is_text || !char.is_ascii_whitespace()
    };
    json.chars().filter(stays).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_kept_as_it_was_printed() {
        let said =
            |text: &str| output("it", (text.as_bytes(), text.len() as u64), ("", 0)).unwrap();
        for text in [
            "1.10",
            "18446744073709551616",
            r#"{"id":123456789012345678901234567890,"a":0.10000000000000000555}"#,
            r#"[1,{"b":1,"a":" \\\" b \\\\"},1.0]"#,
        ] {
            assert_eq!(said(&format!("  {text}\n")).as_json(), text);
        }
        let spaced = "{\n  \"a b\" : [ 1.50 ,\t\" \\\\\" , \" \\\" \" ]\n}";
        assert_eq!(said(spaced).as_json(), r#"{"a b":[1.50," \\"," \" "]}"#);
        for text in ["no JSON", "7e12345", r#"{"commit":7e12345}"#] {
            assert_eq!(said(&format!("{text}\n")).as_text().as_deref(), Some(text));
        }
    }
}
