//! [`Masked`] is the text of a plan as messages may show it: a value is shown only if its key is
//! one that its table has. All else may be a secret, as values of `env` and comments may: it is
//! stars.
//!
//! A line of `env` that is indented too little, or that stands below a misspelt key, is so no
//! exception. A message shows the line of its place, and a line may hold more than the fault. Every
//! byte that is shown stays in its place, so that the caret does.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::fault::Fault;
use super::fields::meant;
use super::keys::PLAN_KEYS;
use super::stars::{hide, show_expression, show_signs, show_words};
use super::tree::{Key, Node, Value};
use super::unread::{is_harmless, is_ours};
use super::within::Within;
use crate::excerpt::{LINE_ENDS, without_quoted, words};
use crate::harmless::Behind;
use crate::plan::unsaid::Unsaid;
use crate::plan::variable::{is_env, variable_of};

/// A text as messages may show it, and what it does not show.
pub(super) struct Masked {
    pub(super) shown: String,
    /// The places of keys and values that are stars, in order.
    hidden: Vec<usize>,
    /// The places of values that no message quotes, in order.
    unquoted: Vec<usize>,
    /// Those of them whose texts have several lines.
    folded: BTreeSet<usize>,
    /// The words that no message says, wherever it is about.
    pub(super) unsaid: Arc<Unsaid>,
}

impl Masked {
    /// Shows the keys and values that may be shown, of a text its first line. Of all else it shows
    /// keys of plans and signs, as of a text that cannot be parsed; of a value that is hidden not
    /// even these.
    pub(super) fn of<'t>(text: &'t str, root: &'t Node) -> Self {
        let mut places = Places::of(text);
        places.add(root, Within::Table(&PLAN_KEYS));
        let Places { mut all, mut unquoted, folded, hidden: words, said, .. } = places;
        // A key with a dot and its table begin in one place, of which the last one counts.
        all.sort_unstable_by_key(|place| (place.at, place.shown));
        unquoted.sort_unstable();
        let (mut shown, mut done) = (String::with_capacity(text.len()), 0);
        for (nth, place) in all.iter().enumerate() {
            let next = all.get(nth + 1).map_or(text.len(), |next| next.at);
            let end = match place.shown {
                Shown::Nothing => next,
                Shown::UpTo(end) | Shown::Words(end, _) | Shown::Expression(end, _) => {
                    end.clamp(place.at, next)
                }
                Shown::Signs => place.at,
            };
            show_signs(text.get(done..place.at).unwrap_or_default(), &mut shown);
            let part = text.get(place.at..end).unwrap_or_default();
            match place.shown {
                Shown::Nothing => hide(part, &mut shown),
                Shown::Words(_, behind) => show_words(part, behind, &mut shown),
                Shown::Expression(_, is_quoted) => show_expression(part, is_quoted, &mut shown),
                Shown::UpTo(_) | Shown::Signs => shown.push_str(part),
            }
            done = end;
        }
        show_signs(text.get(done..).unwrap_or_default(), &mut shown);
        let hidden = all.iter().filter(|place| place.shown == Shown::Nothing);
        let mut hidden: Vec<usize> = hidden.map(|place| place.at).collect();
        hidden.dedup();
        let unsaid =
            Arc::new(Unsaid::of(words, &shown, |word| is_ours(word) || said.contains(word)));
        Self { shown, hidden, unquoted, folded, unsaid }
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

    /// Yields the message of a fault without what may not be said.
    pub(super) fn message(&self, fault: Fault) -> String {
        let mut message = match self.unquoted.binary_search(&fault.at) {
            Ok(_) if !fault.is_bare => without_quoted(&fault.message, is_harmless, is_ours),
            Ok(_) | Err(_) => fault.message,
        };
        if self.folded.contains(&fault.at) {
            message.push_str(FOLDED);
        }
        self.unsaid.left_out(message)
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
    /// The harmless words before an offset, of a command or of what is behind this in it.
    Words(usize, Behind),
    /// Names and plain literals before an offset, of an expression that has quotes around it.
    Expression(usize, bool),
    /// Nothing, up to the next key or value: the tree does not say where each ends.
    Nothing,
}

/// Where the keys and values of a tree begin.
struct Places<'a> {
    text: &'a str,
    all: Vec<Place>,
    unquoted: Vec<usize>,
    folded: BTreeSet<usize>,
    /// The words of what is hidden, all or in part.
    hidden: BTreeSet<Box<str>>,
    /// The names of variables that commands set: of these messages hide the values.
    said: BTreeSet<&'a str>,
}

impl<'a> Places<'a> {
    const fn of(text: &'a str) -> Self {
        Self {
            text,
            all: Vec::new(),
            unquoted: Vec::new(),
            folded: BTreeSet::new(),
            hidden: BTreeSet::new(),
            said: BTreeSet::new(),
        }
    }

    /// Adds those of a value. Recurses as deep as the text nests, which the parsers bound.
    fn add(&mut self, node: &'a Node, within: Within) {
        let is_hidden_word = matches!(within, Within::Word) && within.hides(&node.value);
        if is_hidden_word || matches!(within, Within::Unknown | Within::Below) {
            self.unquoted.push(node.at);
        }
        let shown = match (&node.value, within) {
            // What stands in the place of null is a comment at most.
            (Value::Table(_) | Value::List(_) | Value::Null, _) => Shown::Signs,
            (value, _) if within.hides(value) => Shown::Nothing,
            (_, Within::Command) => self.words(node, Behind::Nothing),
            (_, Within::Prose) => self.words(node, Behind::Word),
            (_, Within::Input) => self.words(node, Behind::Braces),
            (Value::Text(text), Within::Expression) => self.expression(node, text),
            _ => self.first_line(node),
        };
        self.push(node, shown);
        match (&node.value, within) {
            (Value::Table(entries), _) => self.add_entries(entries, within),
            (Value::List(words), Within::Command) => self.add_command(words),
            (Value::List(items), _) => self.add_items(items, within),
            _ => {}
        }
    }

    /// Adds a value of which this is shown.
    fn push(&mut self, node: &Node, shown: Shown) {
        if let (Value::Text(text), true) = (&node.value, shown != Shown::Signs) {
            self.hidden.extend(words(text).map(Into::into));
        }
        self.all.push(Place { at: node.at, shown });
    }

    /// Yields what is shown of a word, or of a line, that stands behind this in a command.
    fn words(&mut self, node: &Node, behind: Behind) -> Shown {
        match self.first_line(node) {
            Shown::UpTo(end) => Shown::Words(end, behind),
            shown => shown,
        }
    }

    fn expression(&mut self, node: &Node, text: &str) -> Shown {
        let quote = self.text.get(node.at..).and_then(|written| written.chars().next());
        let is_quoted = quote.is_some_and(|it| matches!(it, '"' | '\'') && !text.starts_with(it));
        match self.first_line(node) {
            Shown::UpTo(end) => Shown::Expression(end, is_quoted),
            shown => shown,
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
            self.folded.insert(node.at);
        }
        Shown::UpTo(node.at + escaped_end(line).unwrap_or(line.len()))
    }

    /// Tells whether a value has lines of its own, as `|` and `>` begin, and its key takes a word.
    /// Such lines may be others than those that were meant.
    fn is_folded(&self, key: &str, node: &Node) -> bool {
        let before = self.text.get(..node.at).unwrap_or_default().trim_end_matches(' ');
        let above = before.trim_end_matches(LINE_ENDS);
        let sign =
            above.trim_end_matches(|char: char| "+-".contains(char) || char.is_ascii_digit());
        above.len() < before.len() && sign.ends_with(['|', '>']) && key != LONG_KEY
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

    fn add_entries(&mut self, entries: &'a [(Key, Node)], within: Within) {
        let mut is_beside = false;
        for (key, value) in entries {
            let is_known = within.keys().contains(&key.name.as_str());
            let is_null = value.is_null();
            // A value behind a comma instead of a colon is a key without a value.
            let is_named = is_known || (within.shows_key(&key.name) && !is_null);
            let shown = if is_named { self.name(key) } else { Shown::Nothing };
            self.hidden.extend(words(&key.name).filter(|_| !is_named).map(Into::into));
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
            let is_folded = matches!(
                of_value,
                Within::Values | Within::Prose | Within::Reference | Within::Word
            ) && self.is_folded(&key.name, value);
            self.folded.extend(is_folded.then_some(value.at));
            self.add(value, if is_folded { Within::Unknown } else { of_value });
            is_beside |= is_null && is_env(&key.name);
        }
    }

    fn add_items(&mut self, items: &'a [Node], within: Within) {
        for item in items {
            let of_item = match (within, &item.value) {
                (Within::Steps | Within::Parallel, Value::Table(_)) => Within::Steps,
                (Within::Values | Within::Prose | Within::Reference, _) => within,
                _ => within.inside(),
            };
            self.add(item, of_item);
        }
    }

    /// Adds the words of a command.
    fn add_command(&mut self, words: &'a [Node]) {
        let mut behind = Behind::Nothing;
        for node in words {
            match node.value {
                Value::List(_) => {
                    self.add(node, Within::Unknown);
                    continue;
                }
                Value::Table(_) | Value::Null => {
                    self.add(node, Within::Values);
                    continue;
                }
                _ => {}
            }
            let shown = self.words(node, behind);
            self.push(node, shown);
            if let Value::Text(word) = &node.value {
                self.said.extend(variable_of(word));
                behind = behind.and(word);
            } else {
                behind = Behind::Word;
            }
        }
    }
}

/// Finds the first end of a line that is written as an escape, in a text in double quotes.
fn escaped_end(written: &str) -> Option<usize> {
    let ends = ["n", "r", "u000a", "u000d", "x0a", "x0d", "u0000000a", "u0000000d"];
    let is_end = |at: &usize| {
        let escape = written[at + 1..].chars().take(9).collect::<String>().to_ascii_lowercase();
        ends.iter().any(|end| escape.starts_with(end))
    };
    let escapes = written.match_indices('\\').map(|(at, _)| at);
    escapes.filter(|_| written.starts_with('"')).find(is_end)
}

/// What may be wrong with a text that is no word.
const FOLDED: &str = "; it has several lines: check its quotes and the indentation";

/// A key whose value may be long, as those of expressions may.
const LONG_KEY: &str = "description";

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
