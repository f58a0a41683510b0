//! [`Masked`] is the text of a plan as messages may show it: a value is shown only if its key is
//! one that its table has. All else may be a secret, as values of `env` and comments may: it is
//! stars.
//!
//! A line of `env` that is indented too little, or that stands below a misspelt key, is so no
//! exception. A message shows the line of its place, and a line may hold more than the fault. Every
//! byte that is shown stays in its place, so that the caret does.

use std::rc::Rc;

use super::fields::meant;
use super::keys::{BRANCH_KEYS, PLAN_KEYS};
use super::kinds::{LOOP_KEYS, TEAM_KEYS};
use super::options::{PARALLEL_KEYS, RETRY_KEYS};
use super::tree::{Key, Node, Value};
use super::unread::{is_harmless, is_sign};
use crate::excerpt::{LINE_ENDS, unquoted};
use crate::plan::variable::{is_env, is_variable, program_of, variable_of};

/// A text as messages may show it, and what it does not show.
pub(super) struct Masked {
    pub(super) shown: String,
    /// The places of keys and values that are stars, in order.
    hidden: Vec<usize>,
    /// The places of values that no message quotes, in order.
    unquoted: Vec<usize>,
}

impl Masked {
    /// Shows the keys and values that may be shown, of a text its first line. Of all else it shows
    /// keys of plans and signs, as of a text that cannot be parsed; of a value that is hidden not
    /// even these.
    pub(super) fn of(text: &str, root: &Node) -> Self {
        let mut places = Places { text, all: Vec::new(), unquoted: Vec::new() };
        places.add(root, Within::Table(&PLAN_KEYS));
        let Places { mut all, mut unquoted, .. } = places;
        // A key with a dot and its table begin in one place, of which the last one counts.
        all.sort_unstable_by_key(|place| (place.at, place.shown));
        unquoted.sort_unstable();
        let (mut shown, mut done) = (String::with_capacity(text.len()), 0);
        for (nth, place) in all.iter().enumerate() {
            let next = all.get(nth + 1).map_or(text.len(), |next| next.at);
            let end = match place.shown {
                Shown::Nothing => next,
                Shown::UpTo(end) => end.clamp(place.at, next),
                Shown::Signs => place.at,
            };
            show_signs(text.get(done..place.at).unwrap_or_default(), &mut shown);
            let part = text.get(place.at..end).unwrap_or_default();
            match place.shown {
                Shown::Nothing => hide(part, &mut shown),
                Shown::UpTo(_) | Shown::Signs => shown.push_str(part),
            }
            done = end;
        }
        show_signs(text.get(done..).unwrap_or_default(), &mut shown);
        let hidden = all.iter().filter(|place| place.shown == Shown::Nothing);
        let mut hidden: Vec<usize> = hidden.map(|place| place.at).collect();
        hidden.dedup();
        Self { shown, hidden, unquoted }
    }

    /// Yields a key as messages may say it.
    pub(super) fn named<'k>(&self, key: &'k Key) -> &'k str {
        if self.hidden.binary_search(&key.at).is_ok() { "…" } else { &key.name }
    }

    /// Tells whether a value is stars.
    pub(super) fn hides(&self, at: usize) -> bool {
        self.hidden.binary_search(&at).is_ok()
    }

    /// Yields the places of values of whose words no message names one, in order.
    pub(super) fn secrets(&self) -> Rc<[usize]> {
        let mut all = [self.hidden.as_slice(), &self.unquoted].concat();
        all.sort_unstable();
        all.into()
    }

    /// Yields a message about what is at a place, without what may not be quoted.
    pub(super) fn message(&self, at: usize, message: String) -> String {
        match self.unquoted.binary_search(&at) {
            Ok(_) => unquoted(message, is_harmless),
            Err(_) => message,
        }
    }
}

/// Adds a text with stars in the place of all words that are no keys of plans. Behind a `#` all is
/// a comment, to the end of the line.
fn show_signs(text: &str, shown: &mut String) {
    for line in text.split_inclusive(LINE_ENDS) {
        let (before, comment) = line.split_at(line.find('#').map_or(line.len(), |at| at + 1));
        let is_end = |char| is_sign(char) || char == '#';
        for part in before.split_inclusive(is_end) {
            let (word, sign) = part.split_at(part.rfind(is_end).unwrap_or(part.len()));
            if is_harmless(word) {
                shown.push_str(word);
            } else {
                hide(word, shown);
            }
            shown.push_str(sign);
        }
        hide(comment, shown);
    }
}

/// Where a key or a value begins, and what is shown of it.
struct Place {
    at: usize,
    shown: Shown,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    /// Signs, as of what stands between keys and values.
    Signs,
    /// All before an offset.
    UpTo(usize),
    /// Nothing, up to the next key or value: the tree does not say where each ends.
    Nothing,
}

/// Where the keys and values of a tree begin.
struct Places<'a> {
    text: &'a str,
    all: Vec<Place>,
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

impl Places<'_> {
    /// Adds those of a value. Recurses as deep as the text nests, which the parsers bound.
    fn add(&mut self, node: &Node, within: Within) {
        if matches!(within, Within::Unknown | Within::Below) {
            self.unquoted.push(node.at);
        }
        let shown = match (&node.value, within) {
            // What stands in the place of null is a comment at most.
            (Value::Table(_) | Value::List(_) | Value::Null, _) => Shown::Signs,
            (Value::Text(line), Within::Command) if has_variable(line) => Shown::Nothing,
            (value, _) if within.hides(value) => Shown::Nothing,
            _ => self.first_line(node),
        };
        self.all.push(Place { at: node.at, shown });
        match (&node.value, within) {
            (Value::Table(entries), _) => self.add_entries(entries, within),
            (Value::List(words), Within::Command) => self.add_command(words),
            (Value::List(items), _) => self.add_items(items, within),
            _ => {}
        }
    }

    /// Yields what is shown of a scalar: its first line. Quotes that are not closed take in those
    /// behind, and so the text may begin with another line than what stands first.
    fn first_line(&mut self, node: &Node) -> Shown {
        let written = self.text.get(node.at..node.end).unwrap_or_default().trim_end();
        let line = written.split(LINE_ENDS).next().unwrap_or_default();
        if let Value::Text(text) = &node.value
            && line.len() < written.len()
            && !line.contains(text.split(LINE_ENDS).next().unwrap_or_default())
        {
            self.unquoted.push(node.at);
        }
        Shown::UpTo(node.at + line.len())
    }

    /// Yields what is shown of a key that may be shown: its name, if that is how it is written.
    fn name(&self, key: &Key) -> Shown {
        let written = self.text.get(key.at..).unwrap_or_default();
        let name = written.strip_prefix(['"', '\'']).unwrap_or(written);
        match name.strip_prefix(&key.name) {
            Some(rest) => Shown::UpTo(self.text.len() - rest.len()),
            None => Shown::Signs,
        }
    }

    fn add_entries(&mut self, entries: &[(Key, Node)], within: Within) {
        let mut is_beside = false;
        for (key, value) in entries {
            let is_known = within.keys().contains(&key.name.as_str());
            let is_null = value.is_null();
            // A value behind a comma instead of a colon is a key without a value.
            let is_named = is_known || (within.shows_key(&key.name) && !is_null);
            let shown = if is_named { self.name(key) } else { Shown::Nothing };
            self.all.push(Place { at: key.at, shown });
            // A variable that is not indented may have the name of a key. A number is shown if its
            // key is one that is misspelt.
            let is_scalar = !matches!(value.value, Value::List(_) | Value::Table(_));
            let is_shown = is_known && !(is_beside && is_scalar);
            let is_count = || matches!(value.value, Value::Number(_));
            let is_meant = || meant(&key.name, within.keys()).is_some_and(|key| !is_env(key));
            let of_value = if is_shown {
                Within::of(&key.name)
            } else if !is_known && is_count() && is_meant() {
                Within::Values
            } else {
                within.inside()
            };
            self.add(value, of_value);
            is_beside |= is_null && is_env(&key.name);
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
            is_before &= matches!(&word.value, Value::Text(word) if may_set(word));
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
    may_set(line) || line.split_whitespace().any(|word| variable_of(word).is_some())
}

/// Tells whether a word may set a variable, `A=b` or `A:b`, before a program.
pub(super) fn may_set(word: &str) -> bool {
    program_of(word).ends_with(['=', ':'])
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
    use crate::plan::format::PlanFormat;

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
            assert_eq!(Masked::of(text, &root.expect(text)).shown, right);
        }
    }
}
