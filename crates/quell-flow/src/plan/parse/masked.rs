//! [`masked`] is the text of a plan as messages may show it: with stars in the place of the values
//! of `env`, which may be secrets.
//!
//! A message shows the line of its place, and a line may hold more than the fault. Every byte that
//! is shown stays in its place, so that the caret does.

use super::fault::Fault;
use super::tree::{Key, Node, Value};
use crate::guess::guess;
use crate::plan::excerpt::excerpt;
use crate::plan::format::PlanFormat;

/// Hides the values below every key `env`, also a misspelt one, keys there that are no names of
/// variables, and what follows each of them up to the next key or value: the tree does not say
/// where one ends. Below an `env` without a value the values beside it are hidden: they may be
/// variables that are not indented.
pub(super) fn masked(text: &str, root: &Node) -> String {
    let mut places = Places::default();
    places.add(root, Within::Plan);
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
    shown
}

/// As [`masked`], of a text that cannot be read: hides all from a key `env` to the next line that
/// is indented as its line, or less; in TOML to the next line that begins a table. A line within
/// brackets or quotes ends nothing.
pub(super) fn masked_unread(text: &str, format: PlanFormat) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut hidden: Option<Unread> = None;
    // TOML is read from its begin: a quote behind `env` may be of a text that began before.
    let mut whole = Signs::default();
    for line in text.split_inclusive('\n') {
        hidden = hidden.and_then(|mut value| {
            let is_open = whole.is_open() || value.signs.is_open();
            (value.goes_on(line, format) || is_open).then_some(value)
        });
        let begin = if hidden.is_some() { Some(0) } else { env_end(line) };
        let (before, inside) = line.split_at(begin.unwrap_or(line.len()));
        shown.push_str(before);
        hide(inside, &mut shown);
        if begin.is_some() {
            let value = hidden.get_or_insert(Unread::new(indent_of(line)));
            // The quote at the end of the key.
            let inside = if begin == Some(0) { inside } else { inside.trim_start_matches(QUOTES) };
            value.read(inside, format);
        }
        if format == PlanFormat::Toml {
            whole.read(line, format);
        }
    }
    shown
}

/// Makes the fault of a key which its table has already. One that is hidden is named only if it is
/// a name of a variable.
pub(super) fn duplicate(key: &Key, text: &str, format: PlanFormat) -> Fault {
    let shown = masked_unread(text, format);
    let shown = shown.get(key.at..).unwrap_or_default().trim_start_matches(QUOTES);
    let name = if shown.starts_with('*') { variable(&key.name) } else { &key.name };
    Fault::new(key.at, format!("duplicate key `{}`", excerpt(name)))
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
}

/// What a value is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// In no `env`.
    Plan,
    /// It is the value of `env`, or of a key beside one without a value.
    Env,
    /// It is in the value of `env`.
    Variable,
}

impl Places {
    /// Adds those of a value. Recurses as deep as the text nests, which the parsers bound.
    fn add(&mut self, node: &Node, within: Within) {
        self.all.push(node.at);
        let below = if within == Within::Plan { within } else { Within::Variable };
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| self.add(item, below)),
            Value::Table(entries) => self.add_entries(entries, within, below),
            _ if within != Within::Plan => self.hidden.push(node.at),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
        }
    }

    fn add_entries(&mut self, entries: &[(Key, Node)], within: Within, below: Within) {
        let mut is_beside = false;
        for (key, value) in entries {
            self.all.push(key.at);
            let is_shown = match within {
                Within::Plan => true,
                Within::Env => is_variable(&key.name),
                Within::Variable => false,
            };
            if !is_shown {
                self.hidden.push(key.at);
            }
            let is_env = within == Within::Plan && is_env(&key.name);
            let is_scalar = !matches!(value.value, Value::List(_) | Value::Table(_));
            let is_hidden = is_env || is_beside && is_scalar;
            self.add(value, if is_hidden { Within::Env } else { below });
            is_beside |= is_env && matches!(value.value, Value::Null);
        }
    }
}

/// What is known of the value of an `env` in a text that cannot be read.
struct Unread {
    /// How far the line of the key is indented; less if its first line is not indented further.
    indent: isize,
    /// Those since the key; none in TOML.
    signs: Signs,
    /// Nothing but a sign has followed the key.
    is_empty: bool,
}

impl Unread {
    fn new(indent: isize) -> Self {
        Self { indent, signs: Signs::default(), is_empty: true }
    }

    /// Tells whether a line that is within nothing is still of the value.
    fn goes_on(&mut self, line: &str, format: PlanFormat) -> bool {
        if line.trim().is_empty() {
            return true;
        }
        if self.is_empty {
            self.indent = self.indent.min(indent_of(line) - 1);
        }
        match format {
            PlanFormat::Toml => !line.trim_start().starts_with('['),
            PlanFormat::Json | PlanFormat::Yaml => indent_of(line) > self.indent,
        }
    }

    /// Reads a line of the value, or what is behind the key.
    fn read(&mut self, text: &str, format: PlanFormat) {
        let is_sign = |char: char| char.is_whitespace() || ":=".contains(char);
        // What begins with `#` is a comment, or behind a quote.
        self.is_empty &= text.split('#').next().is_none_or(|text| text.chars().all(is_sign));
        if format != PlanFormat::Toml {
            self.signs.read(text, format);
        }
    }
}

/// The brackets and quotes that are open.
#[derive(Default)]
struct Signs {
    brackets: usize,
    quote: Option<&'static str>,
}

impl Signs {
    const fn is_open(&self) -> bool {
        self.brackets > 0 || self.quote.is_some()
    }

    /// Reads a line, or its end.
    fn read(&mut self, text: &str, format: PlanFormat) {
        let (mut rest, mut last) = (text, ' ');
        while let Some(char) = rest.chars().next() {
            let mut len = char.len_utf8();
            if let Some(quote) = self.quote {
                if rest.starts_with(quote) {
                    (self.quote, len) = (None, quote_len(rest, quote));
                } else if char == '\\' && quote.starts_with('"') {
                    len += rest[len..].chars().next().map_or(0, char::len_utf8);
                }
            } else if is_comment(char, last, format) {
                break;
            } else if let Some(quote) = quote_at(rest, format)
                // The sign in `it's` is no quote.
                && (format != PlanFormat::Yaml || !last.is_alphanumeric())
            {
                (self.quote, len) = (Some(quote), quote.len());
            } else if "[{".contains(char) {
                self.brackets += 1;
            } else if "]}".contains(char) {
                self.brackets = self.brackets.saturating_sub(1);
            }
            (rest, last) = (&rest[len..], char);
        }
        // A text with one quote ends with its line.
        if format == PlanFormat::Toml && self.quote.is_some_and(|quote| quote.len() == 1) {
            self.quote = None;
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

/// Yields the quote at the begin of a text.
fn quote_at(text: &str, format: PlanFormat) -> Option<&'static str> {
    let quotes = match format {
        PlanFormat::Toml => &["\"\"\"", "'''", "\"", "'"][..],
        PlanFormat::Json => &["\""],
        PlanFormat::Yaml => &["\"", "'"],
    };
    quotes.iter().find(|quote| text.starts_with(**quote)).copied()
}

/// Yields how long the quote at the end of a text is: of three, two more may be of the text.
fn quote_len(rest: &str, quote: &str) -> usize {
    let more = rest[quote.len()..].chars().take(quote.len() - 1);
    quote.len() + more.take_while(|char| quote.starts_with(*char)).count()
}

/// Tells whether a character that is in no quotes begins a comment.
fn is_comment(char: char, before: char, format: PlanFormat) -> bool {
    char == '#'
        && match format {
            PlanFormat::Toml => true,
            PlanFormat::Yaml => before.is_whitespace(),
            PlanFormat::Json => false,
        }
}

/// Tells how many white spaces are at the begin of a line.
fn indent_of(line: &str) -> isize {
    let spaces = line.len() - line.trim_start_matches([' ', '\t']).len();
    isize::try_from(spaces).unwrap_or(isize::MAX)
}

/// Tells whether the values below a key are variables of an environment.
fn is_env(key: &str) -> bool {
    let begins = key.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case("env"));
    key != "env_clear" && (begins || guess(key, ["env", "environment"]).is_some())
}

/// Tells whether a key is the name of a variable, and nothing else is in it.
fn is_variable(key: &str) -> bool {
    let is_of_names = |char: char| char.is_ascii_alphanumeric() || char == '_';
    key.chars().all(is_of_names) && !key.starts_with(|first: char| first.is_ascii_digit())
}

/// Finds the end of the first key `env` in a line. One with escapes may be it.
fn env_end(line: &str) -> Option<usize> {
    let is_table = line.trim_start().starts_with('[');
    let is_of_key = |char: char| char.is_alphanumeric() || "_-\\".contains(char);
    let mut end = 0;
    line.split_inclusive(|char| !is_of_key(char)).find_map(|part| {
        let word = part.trim_end_matches(|char| !is_of_key(char));
        let at = end + word.len();
        end += part.len();
        let is_escaped = ["\\u", "\\U", "\\x"].iter().any(|escape| word.contains(escape));
        if !is_escaped && !is_env(word) {
            return None;
        }
        let rest = line[at..].trim_start_matches(QUOTES).trim();
        // `environment variables:`, and `env A=b` of a shell.
        let sign = rest.trim_start_matches(|char| is_of_key(char) || " \t\"'".contains(char));
        // The sign may be on the next line.
        let is_key = rest.is_empty() || sign.starts_with([':', '=', '.']);
        (is_key || is_table && rest.starts_with(']')).then_some(at)
    })
}

const QUOTES: [char; 2] = ['"', '\''];

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
                "- { env: { A: '****', B: **'* }, run: [x] } # env: y\n- { env: { C: * } }",
            ),
            (
                PlanFormat::Yaml,
                "- env:\n    A: grüße # b\n    B: |\n      x-y\n      - z\n- run: [x]",
                "- env:\n    A: ******* * *\n    B: |\n      ***\n      - *\n- run: [x]",
            ),
            (PlanFormat::Yaml, "evn: [A=b]\nenv: c\nx: env", "evn: [***]\nenv: *\nx: env"),
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
            assert_eq!(masked(text, &root.expect(text)), right);
        }
    }

    #[test]
    fn all_behind_env_is_stars_in_a_text_that_cannot_be_read() {
        for (format, text, right) in [
            (
                PlanFormat::Yaml,
                "- env:\n    A: b\n\n    C: d\n- run: x\n- { evn: { A: b } }\n- y: z",
                "- env*\n    ** *\n\n    ** *\n- run: x\n- { evn* { ** * } }\n- y: z",
            ),
            (
                PlanFormat::Json,
                "{\"env\": {\n\"A\": \"b\"\n},\n\"run\": 1}",
                "{\"env\"* {\n\"*\"* \"*\"\n},\n\"run\": 1}",
            ),
            (
                PlanFormat::Toml,
                "[steps.env]\nA = 'b'\n[[steps]]\nrun = 1\nenv = { A = 'b' }\nc = 2\n[x]\nd = 1",
                "[steps.env]\n* * '*'\n[[steps]]\nrun = 1\nenv * { * * '*' }\n* * *\n[x]\nd = 1",
            ),
        ] {
            assert_eq!(masked_unread(text, format), right);
        }
    }
}
