//! [`hint`] says what is right instead of the syntax of another language, [`braced`] finds
//! an expression that is written as a template, [`of_quotes`] quotes within a text in quotes,
//! [`of_format`] a text in another format, [`two_actions`] two actions in one step, and [`in_env`]
//! keys of a step within its `env`.

use super::fault::Fault;
use super::fields::{Table, listed, table};
use super::keys::{ACTION_KEYS, STEP_KEYS};
use super::tree::Node;
use super::unread;
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

/// Says of a syntax error that the text is one of another format, as far as its first line tells.
pub(super) fn of_format(mut fault: Fault, format: PlanFormat, text: &str) -> Fault {
    let Some((name, extension)) = other_format(format, text) else { return fault };
    let right = format!("; the text looks like {name}, whose files are called `.{extension}`");
    fault.message.push_str(&right);
    fault
}

/// Yields the name and the extension of another format than that of a text, if its first line
/// surely is in that one.
pub(super) fn other_format(format: PlanFormat, text: &str) -> Option<(&'static str, &'static str)> {
    let first = text.trim_start().lines().next().unwrap_or_default();
    let is_yaml = first.contains(": ") || first.ends_with(':');
    match (PlanFormat::guessed(text), format) {
        (PlanFormat::Toml, PlanFormat::Json | PlanFormat::Yaml) => Some(("TOML", "toml")),
        (PlanFormat::Json, PlanFormat::Toml) => Some(("JSON", "json")),
        (PlanFormat::Yaml, PlanFormat::Toml | PlanFormat::Json)
            if is_yaml && first.starts_with(|char: char| char.is_ascii_alphabetic()) =>
        {
            Some(("YAML", "yaml"))
        }
        _ => None,
    }
}

/// Says what is right instead of two actions in one step. Of other tools, `if` is a condition of
/// what stands beside it, and `loop` repeats that.
pub(super) fn two_actions(step: &str, one: &str, other: &str) -> String {
    let has = |kind: &str| kind == one || kind == other;
    let right = match STEPS_OF.iter().find(|(kind, _)| has(kind)) {
        Some((kind, steps)) => {
            let action = if *kind == one { other } else { one };
            format!(
                "a step with `{kind}` runs the steps in its `{steps}`: write `{action}` in one of \
                 these"
            )
        }
        None => format!("expected exactly one of {}", listed(&ACTION_KEYS)),
    };
    format!("{step} has both `{one}` and `{other}`; {right}")
}

/// Kinds of steps that run others, and the keys of these.
const STEPS_OF: [(&str, &str); 4] =
    [("if", "then"), ("loop", "steps"), ("parallel", "branches"), ("route", "routes")];

/// Makes the fault of a step that does nothing because the key that says what it does has become a
/// variable: it stands in its `env`, or in TOML behind the header of that.
pub(super) fn in_env(
    name: &str,
    step: &Table<'_>,
    format: PlanFormat,
    text: &str,
) -> Option<Fault> {
    let env = step.get("env")?;
    let is_of_steps = |key: &str| STEP_KEYS.contains(&key);
    let found = table(env).ok()?.iter().filter(|(key, _)| is_of_steps(&key.name));
    let keys: Vec<&str> = found.clone().map(|(key, _)| key.name.as_str()).collect();
    let (first, _) = found.clone().next()?;
    if !keys.iter().any(|key| ACTION_KEYS.contains(key)) {
        return None;
    }
    let stand = if keys.len() == 1 { "stands" } else { "stand" };
    let keys = listed(&keys);
    let right = match header_of(env, format, text) {
        Some(header) => format!(
            "in the table `{header}`, as a variable; keys of the step come before that header"
        ),
        None => "in its `env`, as a variable; keys of the step stand beside `env`".to_owned(),
    };
    Some(Fault::new(first.at, format!("{name} does nothing; {keys} {stand} {right}")))
}

/// Yields the header of a table in TOML, as messages may show it.
pub(super) fn header_of(table: &Node, format: PlanFormat, text: &str) -> Option<String> {
    let rest = text.get(table.at..).filter(|_| format == PlanFormat::Toml)?;
    let (header, _) = rest.strip_prefix('[')?.split_once(']')?;
    Some(format!("[{}]", unread::shown(header)))
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
