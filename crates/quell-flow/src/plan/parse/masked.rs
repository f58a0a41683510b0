//! [`masked`] is the text of a plan as messages may show it: with stars in the place of comments
//! and of the values of `env`, which may be secrets.
//!
//! A line of `env` that is indented too little is a key of the step. So behind an `env` no value of
//! an unknown key is shown.
//!
//! A message shows the line of its place, and a line may hold more than the fault. Every byte that
//! is shown stays in its place, so that the caret does.

use super::keys::{BRANCH_KEYS, PLAN_KEYS};
use super::tree::{Key, Node, Value};
use crate::guess::guess;
use crate::plan::excerpt::LINE_ENDS;
use crate::plan::format::PlanFormat;

/// Hides the values below every key `env`, also a misspelt one, keys there that are no names of
/// variables, and what follows each of them up to the next key or value: the tree does not say
/// where one ends. Below an `env` without a value the values beside it are hidden: they may be
/// variables that are not indented; and so are those of unknown keys of steps that come later.
/// Hides comments, too.
pub(super) fn masked(text: &str, root: &Node, format: PlanFormat) -> String {
    let mut places = Places::default();
    places.add(root, Within::Step);
    places.all.sort_unstable();
    places.hidden.sort_unstable();
    places.hidden.dedup();
    let (mut shown, mut done) = (String::with_capacity(text.len()), 0);
    for at in places.hidden {
        let next = places.all.partition_point(|place| *place <= at);
        let end = places.all.get(next).copied().unwrap_or(text.len());
        shown.push_str(text.get(done..at).unwrap_or_default());
        hide(text.get(at..end).unwrap_or_default(), &mut shown);
        done = end;
    }
    shown.push_str(text.get(done..).unwrap_or_default());
    if format == PlanFormat::Json { shown } else { without_comments(&shown) }
}

/// Hides all behind a `#` to the end of its line. One within quotes begins no comment, but where a
/// text in quotes begins may be many lines before.
fn without_comments(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive(LINE_ENDS) {
        let (before, comment) = line.split_at(line.find('#').map_or(line.len(), |at| at + 1));
        shown.push_str(before);
        hide(comment, &mut shown);
    }
    shown
}

/// Yields a key as messages may say it, by the text that they may show.
pub(super) fn named<'k>(key: &'k Key, shown: &str) -> &'k str {
    let shown = shown.get(key.at..).unwrap_or_default().trim_start_matches(QUOTES);
    if shown.starts_with('*') { variable(&key.name) } else { &key.name }
}

/// Yields the name of a variable as messages may say it: a key that is no name may have the value
/// in it, as `A=b` or `A:b`.
pub(super) fn variable(key: &str) -> &str {
    if is_variable(key) { key } else { "…" }
}

/// Where the keys and values of a tree begin, and those that are hidden.
#[derive(Default)]
struct Places {
    all: Vec<usize>,
    hidden: Vec<usize>,
    /// Whether a key `env` has come.
    has_env: bool,
}

/// What a value is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// It is a plan or a step, or a list of steps.
    Step,
    /// It is the value of another key.
    Plan,
    /// It is the value of `env`, of a key beside one without a value, or of an unknown key behind
    /// one.
    Env,
    /// It is in the value of `env`.
    Variable,
}

impl Within {
    const fn is_hidden(self) -> bool {
        matches!(self, Self::Env | Self::Variable)
    }

    /// Yields what the value of a key is in, unless the key is `env`.
    fn below(self, key: &str) -> Self {
        match self {
            Self::Env | Self::Variable => Self::Variable,
            Self::Step if STEPS_KEYS.contains(&key) => Self::Step,
            Self::Step | Self::Plan => Self::Plan,
        }
    }
}

impl Places {
    /// Adds those of a value. Recurses as deep as the text nests, which the parsers bound.
    fn add(&mut self, node: &Node, within: Within) {
        self.all.push(node.at);
        let of_items = if within == Within::Env { Within::Variable } else { within };
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| self.add(item, of_items)),
            Value::Table(entries) => self.add_entries(entries, within),
            _ if within.is_hidden() => self.hidden.push(node.at),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
        }
    }

    fn add_entries(&mut self, entries: &[(Key, Node)], within: Within) {
        let mut is_beside = false;
        for (key, value) in entries {
            self.all.push(key.at);
            self.hidden.extend(variable_in(key, value).filter(|_| within == Within::Step));
            let is_env = !within.is_hidden() && has_env(&key.name);
            let is_stray = within == Within::Step && self.has_env && !is_of_plans(&key.name);
            let is_shown = is_variable(&key.name) || !is_beside && is_dashed(&key.name);
            let is_shown = match within {
                Within::Step | Within::Plan => !is_stray && !is_env || is_shown,
                Within::Env => is_variable(&key.name),
                Within::Variable => false,
            };
            if !is_shown {
                self.hidden.push(key.at);
            }
            let is_scalar = !matches!(value.value, Value::List(_) | Value::Table(_));
            let is_hidden = is_env || is_stray || is_beside && is_scalar;
            self.add(value, if is_hidden { Within::Env } else { within.below(&key.name) });
            is_beside |= is_env && matches!(value.value, Value::Null);
            self.has_env |= is_env;
        }
    }
}

/// Adds a text with stars in the place of all but quotes, brackets, commas, white space and the
/// dash before an item.
fn hide(text: &str, shown: &mut String) {
    for (nth, line) in text.split_inclusive('\n').enumerate() {
        let rest = line.trim_start();
        let dash = (nth > 0 && rest.starts_with("- ")).then(|| line.len() - rest.len());
        for (at, char) in line.char_indices() {
            if char.is_ascii_whitespace() || "\"'{}[],".contains(char) || dash == Some(at) {
                shown.push(char);
            } else {
                shown.extend(std::iter::repeat_n('*', char.len_utf8()));
            }
        }
    }
}

/// Yields the place of the first word of a command if a shell would take it for a variable,
/// `NAME=value`.
fn variable_in(key: &Key, value: &Node) -> Option<usize> {
    let Value::List(words) = &value.value else { return None };
    let word = words.first().filter(|_| key.name == "run")?;
    let Value::Text(text) = &word.value else { return None };
    let (name, _) = text.split_once('=')?;
    (!name.is_empty() && is_variable(name)).then_some(word.at)
}

/// Tells whether plans or steps have a key.
fn is_of_plans(key: &str) -> bool {
    PLAN_KEYS.contains(&key) || BRANCH_KEYS.contains(&key)
}

/// Tells whether the values below a key are variables of an environment.
fn is_env(key: &str) -> bool {
    let begins = key.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case("env"));
    key != "env_clear" && (begins || guess(key, ENV_WORDS).is_some())
}

/// Tells whether a key, or a word in one, is `env`: a key may have the value in it, as in
/// `env:A=b` or `env A=b`.
fn has_env(key: &str) -> bool {
    let is_of_word = |char: char| char.is_alphanumeric() || "_-".contains(char);
    is_env(key) || key.split(|char| !is_of_word(char)).any(is_env)
}

/// Tells whether a key is two or three words as those of other tools: `timeout-minutes`.
fn is_dashed(key: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    key.split('-').all(is_word) && (2..=3).contains(&key.split('-').count())
}

/// Tells whether a key is the name of a variable, and nothing else is in it.
fn is_variable(key: &str) -> bool {
    let is_of_names = |char: char| char.is_ascii_alphanumeric() || char == '_';
    key.chars().all(is_of_names) && !key.starts_with(|first: char| first.is_ascii_digit())
}

/// The key, and what other tools call it.
const ENV_WORDS: [&str; 5] = ["env", "environment", "variables", "vars", "secrets"];

/// The quotes around keys.
const QUOTES: [char; 2] = ['"', '\''];

/// The keys of plans and steps whose values are plans or steps.
const STEPS_KEYS: [&str; 10] = [
    "steps",
    "sequence",
    "branches",
    "then",
    "else",
    "routes",
    "members",
    "workflow",
    "on_failure",
    "on_stop",
];

#[cfg(test)]
mod tests {
    use super::super::{json, toml, yaml};
    use super::*;

    #[test]
    fn the_values_of_env_are_stars_and_nothing_else_moves() {
        for (format, text, right) in [
            (
                PlanFormat::Yaml,
                "- { env: { A: 'hush', B: it's }, run: [x] } # env: y\n- { env: { C: 7 } }",
                "- { env: { A: '****', B: **'* }, run: [x] } # **** *\n- { env: { C: * } }",
            ),
            (
                PlanFormat::Yaml,
                "- env:\n    A: grüße # b\n    B: |\n      x-y\n      - z\n- run: [x]",
                "- env:\n    A: ******* * *\n    B: |\n      ***\n      - *\n- run: [x]",
            ),
            (PlanFormat::Yaml, "run: [A=b, C=d]", "run: [***, C=d]"),
            (PlanFormat::Yaml, "evn: [A=b]\nenv: c\nname: env", "evn: [***]\nenv: *\nname: env"),
            (
                PlanFormat::Toml,
                "[[s]]\nenvironment.A = 'b'\nenv.'C' = \"\"\"\nd}\n\"\"\"\n[[s]]\nx = 1\n",
                "[[s]]\nenvironment.A = '*'\nenv.'C' = \"\"\"\n*}\n\"\"\"\n[[s]]\nx = 1\n",
            ),
            (
                PlanFormat::Json,
                r#"{"env": {"A": "b\"c", "D": {"E": true}}, "run": ["x"]}"#,
                r#"{"env": {"A": "**"*", "D": {"*"* ****}}, "run": ["x"]}"#,
            ),
        ] {
            let root = match format {
                PlanFormat::Toml => toml::parse(text),
                PlanFormat::Json => json::parse(text),
                PlanFormat::Yaml => yaml::parse(text),
            };
            assert_eq!(masked(text, &root.expect(text), format), right);
        }
    }
}
