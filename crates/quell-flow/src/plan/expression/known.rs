//! [`unknown`] names a filter or a test that is not there, with what was probably meant.

use minijinja::{Error, ErrorKind};

use crate::excerpt::{excerpt, listed};
use crate::guess::guess;

/// Yields the message of an unknown filter or test; none for another error.
pub(super) fn unknown(error: &Error) -> Option<String> {
    let (what, known) = match error.kind() {
        ErrorKind::UnknownFilter => ("filter", &FILTERS[..]),
        ErrorKind::UnknownTest => ("test", &TESTS[..]),
        ErrorKind::UnknownFunction => {
            let name = error.detail()?.strip_suffix(" is unknown")?;
            return Some(format!("unknown function `{}`; there are none", excerpt(name)));
        }
        _ => return None,
    };
    // "filter NAME is unknown"
    let name = error.detail()?.strip_prefix(what)?.strip_suffix("is unknown")?.trim();
    let found = excerpt(name);
    Some(match guess(name, known.iter().copied()) {
        Some(meant) => format!("unknown {what} `{found}`; did you mean `{meant}`?"),
        None => {
            format!("unknown {what} `{found}`; expected one of {}", listed(known.iter().copied()))
        }
    })
}

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
        let all = words("1 | frobnicate");
        assert!(
            all.starts_with("unknown filter `frobnicate`; expected one of `abs`, `bo"),
            "{all}"
        );
    }
}
