//! [`shown`] is a part of a text that cannot be parsed, as messages may show it.
//!
//! Nobody can tell what a word of such a text belongs to: each may be of a secret. So none is shown
//! but the keys of plans, which are the same in every plan.

use super::fault::Fault;
use super::keys::{BRANCH_KEYS, PLAN_KEYS};
use super::kinds::{LOOP_KEYS, TEAM_KEYS, TEAM_MODES};
use super::options::{PARALLEL_KEYS, POLICIES, RETRY_KEYS};
use super::shape::COMMAND_KEYS;
use super::tree::Key;
use super::waits::WAIT_KEYS;
use crate::excerpt::SAMPLES;
use crate::plan::expression::{FILTERS, TESTS};

/// Yields the signs, white spaces and keys of plans of a text, with `…` in the place of each other
/// word.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for part in text.split_inclusive(is_sign) {
        let (word, sign) = part.split_at(part.rfind(is_sign).unwrap_or(part.len()));
        shown.push_str(if word.is_empty() || is_harmless(word) { word } else { "…" });
        shown.push_str(sign);
    }
    shown
}

/// Tells whether this stands between words.
pub(super) fn is_sign(char: char) -> bool {
    char.is_whitespace() || ":[]{},\"'=|>.".contains(char)
}

/// Makes the fault of a key which its table has already. It is named if it is one of plans.
pub(super) fn duplicate(key: &Key) -> Fault {
    if is_harmless(&key.name) {
        return Fault::new(key.at, format!("duplicate key `{}`", key.name));
    }
    Fault::new(key.at, "duplicate key")
}

/// Tells whether a word is a key of plans, or the dash before an item.
pub(super) fn is_harmless(word: &str) -> bool {
    word.chars().all(|char| char == '-')
        || [&PLAN_KEYS[..], &BRANCH_KEYS, &PARALLEL_KEYS, &RETRY_KEYS, &LOOP_KEYS, &TEAM_KEYS]
            .iter()
            .any(|keys| keys.contains(&word))
}

/// Tells whether a word is one that messages say themselves, in quotes or with capitals. Numbers of
/// two digits are no secrets, nor are so many seconds.
pub(super) fn is_ours(word: &str) -> bool {
    let number = word.strip_suffix('s').unwrap_or(word);
    is_harmless(word)
        || ((1..=2).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit()))
        || [&OURS[..], &CHOICES, &SAMPLES].iter().any(|words| words.contains(&word))
        || [&WAIT_KEYS[..], &COMMAND_KEYS, &FILTERS, &TESTS, &POLICIES, &TEAM_MODES]
            .iter()
            .any(|words| words.contains(&word))
}

/// Names that plans may read, operators, languages, and words of examples.
const OURS: [&str; 46] = [
    "input", "output", "index", "last", "task", "results", "round", "error", "cause", "ended",
    "failed", "ok", "values", "default", "sh", "c", "dir", "m", "months", "defined", "make", "srv",
    "data", "opt", "bin", "tool", "quell", "toml", "json", "yaml", "TOML", "JSON", "YAML", "NUL",
    "A", "B", "C", "M", "and", "or", "not", "else", "log", "tee", "build", "deploy",
];

/// Values of options.
const CHOICES: [&str; 10] = [
    "fail",
    "accept",
    "skip",
    "partial",
    "go_on",
    "cancel",
    "let_finish",
    "detach",
    "settled",
    "decided",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_text_that_cannot_be_parsed_keys_and_signs_are_shown() {
        for (text, right) in [
            ("- { name: a, run: [x, 'y z'] }", "- { name: …, run: […, '… …'] }"),
            ("  env:A=b # it's", "  env:…=… … …'…"),
            ("[steps.env]\t", "[steps.env]\t"),
            (
                "\"retry\": {\"attempts\": 3, \"on_max\": --x}",
                "\"retry\": {\"attempts\": …, \"on_max\": …}",
            ),
            ("--- |-", "--- |-"),
            ("", ""),
        ] {
            assert_eq!(shown(text), right);
        }
    }
}
