//! [`hint`] says what is right instead of the syntax of another language, [`braced`] finds
//! an expression that is written as a template, [`of_quotes`] quotes within a text in quotes, and
//! [`two_actions`] two actions in one step.

use super::fault::Fault;
use super::fields::listed;
use super::keys::ACTION_KEYS;
use crate::plan::expression::has_quote_inside;
use crate::plan::format::PlanFormat;

/// Says what is right instead of an operator of other languages. What is in quotes or in round
/// brackets does not count: arguments may have names, `f(a=1)`.
pub(super) fn hint(text: &str) -> &'static str {
    if has_quote_inside(text) {
        return QUOTE_HINT;
    }
    let (mut quote, mut depth) = (None, 0_usize);
    let is_outside = |c: &char| {
        match (quote, *c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(*c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, _) => return depth == 0,
        }
        false
    };
    let mut outside: String = text.chars().filter(is_outside).collect();
    for sign in ["==", "!=", "<=", ">="] {
        outside = outside.replace(sign, " ");
    }
    HINTS.iter().find(|(sign, _)| outside.contains(sign)).map_or("", |(_, hint)| hint)
}

/// Yields what is inside of the braces of a template, if they are all that is around it.
pub(super) fn braced(text: &str) -> Option<&str> {
    let text = text.trim();
    let inside = text.strip_prefix('$').unwrap_or(text).strip_prefix("{{")?.strip_suffix("}}")?;
    Some(inside.trim()).filter(|inside| !inside.contains(['{', '}']))
}

/// Says of a syntax error behind a text in quotes, at the begin of a word, that a quote within the
/// text has ended it: `'it's fine'`.
pub(super) fn of_quotes(fault: Fault, format: PlanFormat, text: &str) -> Fault {
    let (before, after) = text.split_at(text.floor_char_boundary(fault.at));
    let quote = before.chars().next_back().filter(|quote| matches!(quote, '\'' | '"'));
    let Some(quote) = quote.filter(|_| after.starts_with(|next: char| next.is_alphanumeric()))
    else {
        return fault;
    };
    let right = match (format, quote) {
        (PlanFormat::Yaml, '\'') => "`''` for a quote within it, or double quotes around it",
        (PlanFormat::Toml, '\'') => "double quotes around a text with a single quote within it",
        (PlanFormat::Json, _) => "`\\\"` for a quote within it",
        _ => "`\\\"` for a quote within it, or single quotes around it",
    };
    Fault { message: format!("the `{quote}` before this ends the text; expected {right}"), ..fault }
}

/// Says what is right instead of two actions in one step. Of other tools, `if` is a condition.
pub(super) fn two_actions(step: &str, one: &str, other: &str) -> String {
    let right = match (one, other) {
        ("if", action) | (action, "if") => {
            format!(
                "a step with `if` runs the steps in its `then`: write `{action}` in one of these"
            )
        }
        _ => format!("expected exactly one of {}", listed(&ACTION_KEYS)),
    };
    format!("{step} has both `{one}` and `{other}`; {right}")
}

/// Operators of other languages, and what is right.
const HINTS: [(&str, &str); 5] = [
    ("=", "; expected `==`, which compares"),
    ("&&", "; expected `and`"),
    ("||", "; expected `or`"),
    ("!", "; expected `not`"),
    ("?", "; expected `A if B else C`, or `A | default(C)`"),
];

/// What is right instead of a text that ends at a quote within it.
const QUOTE_HINT: &str =
    "; a quote ends the text: expected `\\` before one within it, or the other quotes around it";
