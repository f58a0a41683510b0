//! [`parse_input`] reads the input of the command line.

use quell::{JSON_LEVELS_MAX, JsonError, Payload, check_json};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::shown_word::shown_word;

/// Reads the JSON of `--input`. A message shows of it what looks like words.
pub(crate) fn parse_input(text: &str) -> Result<Payload, String> {
    if let Err(error @ (JsonError::TooDeep(_) | JsonError::HalfCharacter)) =
        check_json(text, JSON_LEVELS_MAX)
    {
        return Err(error.to_string());
    }
    Payload::from_json_text(text).map_err(|error| {
        let place = serde_json::from_str::<IgnoredAny>(text).err();
        let error = place.map_or_else(|| error.to_string(), |place| place.to_string());
        // What a shell leaves of `--input hello` and of `--input "hello"`.
        let is_word = !text.trim_start().starts_with(['{', '[', '"']);
        let hint = if is_word { input_of_word(text) } else { OF_SHELLS.to_owned() };
        format!("expected JSON: {error}{hint}")
    })
}

/// What a shell takes away of `--input {"a": 1}`.
const OF_SHELLS: &str = "; keys and texts stand in double quotes, and all of it in single ones, \
                         for the shell: --input '{\"topic\": \"tea\"}'";

/// Shows a word as JSON, and `key=value` as an object, without what may be a secret.
fn input_of_word(text: &str) -> String {
    let shown = |value: Value| value.to_string().replace('\'', r"'\''");
    let word = |text: &str| if text.contains('=') { "…".to_owned() } else { shown_word(text) };
    let is_key =
        |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let object = match text.split_once('=') {
        Some((key, value)) if is_key(key) => {
            format!(", and an object --input '{}'", shown(json!({ key: word(value) })))
        }
        _ => String::new(),
    };
    format!("; a text would be --input '{}'{object}", shown(word(text).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_is_a_word_is_shown_as_json() {
        let says = |input: &str| parse_input(input).expect_err(input);
        assert!(
            says("hello").contains(r#"a text would be --input '"hello"'"#),
            "{}",
            says("hello")
        );
        let quoted = says("'hello'");
        assert!(quoted.contains(r#"--input '"'\''hello'\''"'"#), "{quoted}");
        let object = says("topic=tea");
        assert!(object.contains(r#"and an object --input '{"topic":"tea"}'"#), "{object}");
        let says_place = says("{\"a\": }");
        assert!(!says_place.contains("a text would be"), "{says_place}");
        assert!(says_place.contains("expected value at line 1 column 7"), "{says_place}");
    }

    #[test]
    fn an_input_that_may_be_a_secret_is_not_shown() {
        for (input, says) in [
            ("2hUsh-3", "a text would be --input '\"…\"'"),
            (
                "token=2hUsh-3",
                "a text would be --input '\"…\"', and an object --input '{\"token\":\"…\"}'",
            ),
            ("{token:2hUsh-3}", "key must be a string"),
            (
                "{token:2hUsh-3}",
                "keys and texts stand in double quotes, and all of it in single ones",
            ),
        ] {
            let said = parse_input(input).expect_err(input);
            assert!(said.contains(says) && !said.contains("hUsh"), "{said}");
        }
    }
}
