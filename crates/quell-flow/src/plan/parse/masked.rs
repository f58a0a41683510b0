//! [`Masked`] is the text of a plan as messages may show it: a value is shown only if its key is
//! one that its table has. All else may be a secret, as values of `env` and comments may: it is
//! stars.
//!
//! A line of `env` that is indented too little, or that stands below a misspelt key, is so no
//! exception. A message shows the line of its place, and a line may hold more than the fault. Every
//! byte that is shown stays in its place, so that the caret does.

use super::fields::meant;
use super::keys::{BRANCH_KEYS, PLAN_KEYS};
use super::kinds::{LOOP_KEYS, TEAM_KEYS};
use super::options::{PARALLEL_KEYS, RETRY_KEYS};
use super::tree::{Key, Node, Value};
use super::unread::is_harmless;
use crate::plan::excerpt::LINE_ENDS;
use crate::plan::format::PlanFormat;
use crate::plan::variable::{is_variable, variable_of};

/// A text as messages may show it, and what it does not show.
pub(super) struct Masked {
    pub(super) shown: String,
    /// The places of keys and values that are stars, in order.
    hidden: Vec<usize>,
    /// The places of values that no message quotes, in order.
    unquoted: Vec<usize>,
}

impl Masked {
    /// Hides values, keys that may have one in them, and what follows each of them up to the next
    /// key or value: the tree does not say where one ends. Hides comments, too.
    pub(super) fn of(text: &str, root: &Node, format: PlanFormat) -> Self {
        let mut places = Places::default();
        places.add(root, Within::Table(&PLAN_KEYS));
        let Places { mut all, mut hidden, mut unquoted } = places;
        all.sort_unstable();
        unquoted.sort_unstable();
        hidden.sort_unstable();
        hidden.dedup();
        let (mut shown, mut done) = (String::with_capacity(text.len()), 0);
        for at in &hidden {
            let next = all.partition_point(|place| place <= at);
            let end = all.get(next).copied().unwrap_or(text.len());
            shown.push_str(text.get(done..*at).unwrap_or_default());
            hide(text.get(*at..end).unwrap_or_default(), &mut shown);
            done = end;
        }
        shown.push_str(text.get(done..).unwrap_or_default());
        let shown = if format == PlanFormat::Json { shown } else { without_comments(&shown) };
        Self { shown, hidden, unquoted }
    }

    /// Yields a key as messages may say it.
    pub(super) fn named<'k>(&self, key: &'k Key) -> &'k str {
        if self.hidden.binary_search(&key.at).is_ok() { variable(&key.name) } else { &key.name }
    }

    /// Yields a message about what is at a place, without what may not be quoted: it ends at the
    /// first word in quotes that is no key of plans.
    pub(super) fn message(&self, at: usize, mut message: String) -> String {
        if self.unquoted.binary_search(&at).is_ok() {
            let is_quoted = |(nth, word): &(usize, &str)| nth % 2 == 1 && !is_harmless(word);
            let first = message.split('`').enumerate().find(is_quoted);
            if let Some(len) = first.map(|(_, word)| word.as_ptr().addr() - message.as_ptr().addr())
            {
                message.truncate(len);
                message.push_str("…`");
            }
        }
        message
    }
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

/// Yields the name of a variable as messages may say it: a key that is no name may have the value
/// in it, as `A=b` or `A:b`.
pub(super) fn variable(key: &str) -> &str {
    if is_variable(key) { key } else { "…" }
}

/// Where the keys and values of a tree begin.
#[derive(Default)]
struct Places {
    all: Vec<usize>,
    hidden: Vec<usize>,
    unquoted: Vec<usize>,
}

/// What belongs in a place.
#[derive(Clone, Copy)]
enum Within {
    /// A table with these keys.
    Table(&'static [&'static str]),
    /// Steps, or one.
    Steps,
    /// The options of a parallel step, or its branches.
    Parallel,
    /// A program and its arguments.
    Command,
    /// A value, or a list of them.
    Values,
    /// What a step takes: a text, or any values, which may be secrets.
    Input,
    /// Variables.
    Env,
    /// The value of a variable.
    Variable,
    /// Nothing that is known: the value of an unknown key.
    Unknown,
    /// What is in such a value.
    Below,
}

impl Within {
    /// Yields what belongs to a key that its table has.
    fn of(key: &str) -> Self {
        match key {
            "steps" | "sequence" | "branches" | "then" | "else" | "routes" | "members"
            | "on_failure" | "on_stop" => Self::Steps,
            "run" => Self::Command,
            "parallel" => Self::Parallel,
            "retry" => Self::Table(&RETRY_KEYS),
            "loop" => Self::Table(&LOOP_KEYS),
            "team" => Self::Table(&TEAM_KEYS),
            "workflow" => Self::Table(&PLAN_KEYS),
            "env" => Self::Env,
            "input" | "default" | "on_branch_timeout" => Self::Input,
            _ => Self::Values,
        }
    }

    /// Yields the keys of a table in the place.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Table(keys) => keys,
            Self::Steps => &BRANCH_KEYS,
            Self::Parallel => &PARALLEL_KEYS,
            _ => &[],
        }
    }

    /// Yields what a value is in that has an unknown key, or that is an item of a list.
    const fn inside(self) -> Self {
        match self {
            Self::Input | Self::Env | Self::Variable => Self::Variable,
            Self::Unknown | Self::Below => Self::Below,
            _ => Self::Unknown,
        }
    }

    /// Tells whether a scalar is hidden.
    const fn hides(self, value: &Value) -> bool {
        match self {
            Self::Env | Self::Variable | Self::Unknown | Self::Below => true,
            Self::Table(_) | Self::Steps | Self::Parallel => matches!(value, Value::Text(_)),
            Self::Command | Self::Values | Self::Input => false,
        }
    }

    /// Tells whether a key is shown.
    fn shows_key(self, key: &str) -> bool {
        match self {
            Self::Variable | Self::Below => is_harmless(key),
            Self::Input | Self::Env | Self::Unknown => is_variable(key),
            _ => self.keys().contains(&key) || is_variable(key) || is_dashed(key),
        }
    }
}

impl Places {
    /// Adds those of a value. Recurses as deep as the text nests, which the parsers bound.
    fn add(&mut self, node: &Node, within: Within) {
        self.all.push(node.at);
        if matches!(within, Within::Unknown | Within::Below) {
            self.unquoted.push(node.at);
        }
        match (&node.value, within) {
            (Value::Table(entries), _) => self.add_entries(entries, within),
            (Value::List(words), Within::Command) => self.add_command(words),
            (Value::List(items), _) => self.add_items(items, within),
            // What stands there is a comment at most.
            (Value::Null, _) => {}
            (Value::Text(line), Within::Command) if has_variable(line) => self.hidden.push(node.at),
            (value, _) if within.hides(value) => self.hidden.push(node.at),
            _ => {}
        }
    }

    fn add_entries(&mut self, entries: &[(Key, Node)], within: Within) {
        let mut is_beside = false;
        for (key, value) in entries {
            self.all.push(key.at);
            if !within.shows_key(&key.name) {
                self.hidden.push(key.at);
            }
            // A variable that is not indented may have the name of a key.
            let is_scalar = !matches!(value.value, Value::List(_) | Value::Table(_));
            let is_known = within.keys().contains(&key.name.as_str());
            let is_shown = is_known && !(is_beside && is_scalar);
            self.add(value, if is_shown { Within::of(&key.name) } else { within.inside() });
            is_beside |= matches!(value.value, Value::Null) && is_env(&key.name);
        }
    }

    fn add_items(&mut self, items: &[Node], within: Within) {
        for item in items {
            let of_item = match (within, &item.value) {
                (Within::Steps | Within::Parallel, Value::Table(_)) => Within::Steps,
                (Within::Values, _) => Within::Values,
                _ => within.inside(),
            };
            self.add(item, of_item);
        }
    }

    /// Adds the words of a command. Those before the program may be variables.
    fn add_command(&mut self, words: &[Node]) {
        let mut is_before = true;
        for word in words {
            is_before &= matches!(&word.value, Value::Text(word) if variable_of(word).is_some());
            self.add(word, if is_before { Within::Variable } else { Within::Values });
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

/// Tells whether a line of a shell sets a variable.
pub(super) fn has_variable(line: &str) -> bool {
    line.split_whitespace().any(|word| variable_of(word).is_some())
}

/// Tells whether a key is meant to be `env`.
fn is_env(key: &str) -> bool {
    key == "env" || meant(key, &["env"]).is_some()
}

/// Tells whether a key is two or three words as those of other tools: `timeout-minutes`.
fn is_dashed(key: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    key.split('-').all(is_word) && (2..=3).contains(&key.split('-').count())
}

#[cfg(test)]
mod tests {
    use super::super::{json, toml, yaml};
    use super::*;

    #[test]
    fn a_value_is_shown_if_its_key_is_one_of_its_table_and_nothing_else_moves() {
        for (format, text, right) in [
            (
                PlanFormat::Yaml,
                "steps: [{ env: { A: 'hush', B: it's }, run: [x] }] # env: y",
                "steps: [{ env: { A: '****', B: **'* }, run: [x] }] # **** *",
            ),
            (
                PlanFormat::Yaml,
                "on_stop:\n- env:\n    A: grüße # b\n    B: |\n      x-y\n      - z\n- run: [x]",
                "on_stop:\n- env:\n    A: ******* * *\n    B: |\n      ***\n      - *\n- run: [x]",
            ),
            (PlanFormat::Yaml, "steps: { run: [A=b, C=d, e] }", "steps: { run: [***, ***, e] }"),
            (PlanFormat::Yaml, "evn: [A=b]\nenv: c\nname: env", "evn: [***]\nenv: *\nname: env"),
            (PlanFormat::Yaml, "steps:\n- env:\n- A=b\n- 7", "steps:\n- env:\n- ***\n- *"),
            (
                PlanFormat::Yaml,
                "steps:\n- retry: { attempts: 2, A: b }\n  loop: c\n  parallel: 3",
                "steps:\n- retry: { attempts: 2, A: * }\n  loop: *\n  parallel: 3",
            ),
            (
                PlanFormat::Yaml,
                "setps:\n- name: a\n  B: c\n  run: [x]\nname: p",
                "setps:\n- name: *\n  ** *\n  run: [*]\nname: p",
            ),
            (
                PlanFormat::Yaml,
                "steps:\n- input: { a: b }\n  needs: [c]\n  if: d\n  parallel: [{ run: [e] }]",
                "steps:\n- input: { a: * }\n  needs: [c]\n  if: d\n  parallel: [{ run: [e] }]",
            ),
            (
                PlanFormat::Toml,
                "[[steps]]\nenvironment.A = 'b'\nenv.'C' = \"\"\"\nd}\n\"\"\"\n[[steps]]\nx = 1\n",
                "[[steps]]\nenvironment.A = '*'\nenv.'C' = \"\"\"\n*}\n\"\"\"\n[[steps]]\nx = *\n",
            ),
            (
                PlanFormat::Json,
                r#"{"steps": [{"env": {"A": "b\"c", "D": {"E": true}}, "run": ["x"]}]}"#,
                r#"{"steps": [{"env": {"A": "**"*", "D": {"*"* ****}}, "run": ["x"]}]}"#,
            ),
        ] {
            let root = match format {
                PlanFormat::Toml => toml::parse(text),
                PlanFormat::Json => json::parse(text),
                PlanFormat::Yaml => yaml::parse(text),
            };
            assert_eq!(Masked::of(text, &root.expect(text), format).shown, right);
        }
    }
}
