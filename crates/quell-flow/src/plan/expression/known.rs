//! [`unknown`] names a filter or a test that is not there, with what was probably meant.

use minijinja::{Error, ErrorKind};

use super::cut::is_word;
use super::token;
use crate::excerpt::{excerpt, listed};
use crate::guess::guess;

/// Lists the messages of all filters, tests and functions of an expression that are not there, each
/// once. The syntax of the expression is right.
pub(crate) fn all_unknown(text: &str) -> Vec<String> {
    let words = words(text);
    let mut found: Vec<String> = Vec::new();
    for (nth, (word, next)) in words.iter().enumerate() {
        let mut before = words[..nth].iter().rev().map(|(word, _)| *word);
        let message = match (before.next(), before.next()) {
            (Some("|"), _) => of_known("filter", word, &FILTERS),
            (Some("is"), _) if *word != "not" => of_known("test", word, &TESTS),
            (Some("not"), Some("is")) => of_known("test", word, &TESTS),
            (Some("."), _) => None,
            _ if *next == Some('(') && is_word(word) && !OPERATORS.contains(word) => {
                Some(no_function(word))
            }
            _ => None,
        };
        found.extend(message.filter(|message| !found.contains(message)));
    }
    found
}

/// Splits an expression into its tokens, each with what comes next but white space.
fn words(text: &str) -> Vec<(&str, Option<char>)> {
    let (mut words, mut rest, mut last) = (Vec::new(), text.trim_start(), "");
    while !rest.is_empty() {
        let (word, after) = rest.split_at(token::len(rest.as_bytes(), last == "."));
        rest = after.trim_start();
        words.push((word, rest.chars().next()));
        last = word;
    }
    words
}

/// Yields the message of an unknown filter or test; none for another error.
pub(super) fn unknown(error: &Error) -> Option<String> {
    let (what, known) = match error.kind() {
        ErrorKind::UnknownFilter => ("filter", &FILTERS[..]),
        ErrorKind::UnknownTest => ("test", &TESTS[..]),
        ErrorKind::UnknownFunction => {
            let name = error.detail()?.strip_suffix(" is unknown")?;
            return Some(no_function(name));
        }
        _ => return None,
    };
    // "filter NAME is unknown"
    let name = error.detail()?.strip_prefix(what)?.strip_suffix("is unknown")?.trim();
    of_known(what, name, known)
}

/// Yields the message of a name that is none of the known ones.
fn of_known(what: &str, name: &str, known: &[&str]) -> Option<String> {
    if known.contains(&name) {
        return None;
    }
    let found = excerpt(name);
    Some(match guess(name, known.iter().copied()) {
        Some(meant) => format!("unknown {what} `{found}`; did you mean `{meant}`?"),
        None => {
            format!("unknown {what} `{found}`; expected one of {}", listed(known.iter().copied()))
        }
    })
}

fn no_function(name: &str) -> String {
    format!("unknown function `{}`; there are none", excerpt(name))
}

/// Words of the language that a bracket may follow.
const OPERATORS: [&str; 7] = ["and", "or", "not", "if", "else", "in", "is"];

/// The filters that a text can call.
pub(crate) const FILTERS: [&str; 26] = [
    "abs", "bool", "default", "first", "float", "int", "join", "last", "length", "lines", "list",
    "lower", "max", "min", "quote", "replace", "reverse", "round", "sort", "split", "string",
    "sum", "tojson", "trim", "unique", "upper",
];

/// The tests that a text can call.
pub(crate) const TESTS: [&str; 11] = [
    "boolean",
    "defined",
    "endingwith",
    "integer",
    "mapping",
    "none",
    "number",
    "sequence",
    "startingwith",
    "string",
    "undefined",
];

#[cfg(test)]
mod tests {
    use minijinja::Value;

    use super::super::evaluate::defined;
    use super::*;
    use crate::PLAN_TEMPLATES;

    /// Yields the name that an example of the page shows, its expression, and what that yields.
    fn examples() -> Vec<(String, String, String)> {
        let rows = PLAN_TEMPLATES.lines().filter(|line| line.starts_with("| `"));
        rows.filter_map(|row| {
            let row = row.replace("\\|", "\0");
            let cells: Vec<_> = row.split('|').map(|cell| cell.trim().replace('\0', "|")).collect();
            let code = |at: usize| {
                let cell: &String = cells.get(at)?;
                Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned())
            };
            let (example, yields) = (code(1)?, code(2)?);
            let (_, called) = example.rsplit_once(" | ").or(example.rsplit_once(" is "))?;
            let is_of_name = |c: char| !c.is_alphanumeric();
            let name = called.split(is_of_name).next()?.to_owned();
            Some((name, example, yields))
        })
        .collect()
    }

    #[test]
    fn the_page_has_each_filter_and_test_with_an_example_that_is_right() {
        let examples = examples();
        let names: Vec<&str> = examples.iter().map(|(name, ..)| name.as_str()).collect();
        let known: Vec<&str> = FILTERS.iter().chain(&TESTS).copied().collect();
        assert_eq!(names, known);
        for (_, example, yields) in &examples {
            let scope = Value::from_pairs([("input", 1)]);
            let found = defined(&format!("({example}) | tojson"), &scope).expect(example);
            let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect(text);
            assert_eq!(json(&found.to_string()), json(yields), "{example}");
        }
    }

    #[test]
    fn what_is_unknown_is_named_with_a_guess() {
        let words = |text: &str| {
            let refused = defined(text, &Value::from(())).expect_err(text);
            refused.into_words()
        };
        assert_eq!(words("1 | trm"), "unknown filter `trm`; did you mean `trim`?");
        assert_eq!(words("range(9)"), "unknown function `range`; there are none");
        assert_eq!(words("1 is defned"), "unknown test `defned`; did you mean `defined`?");
        let all = all_unknown(
            "a.range(1) | trm('|x', f()) | trm if (b is not odd and g (1)) else not (c) | upper",
        );
        let begins = [
            "unknown filter `trm`; did",
            "unknown function `f`",
            "unknown test `odd`",
            "unknown function `g`",
        ];
        assert_eq!(all.len(), 4, "{all:?}");
        assert!(all.iter().zip(begins).all(|(one, begin)| one.starts_with(begin)), "{all:?}");
        let all = words("1 | frobnicate");
        assert!(
            all.starts_with("unknown filter `frobnicate`; expected one of `abs`, `bo"),
            "{all}"
        );
    }
}
