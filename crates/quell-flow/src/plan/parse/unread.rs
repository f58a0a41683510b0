//! [`masked_unread`] is the text of a plan that cannot be read, as messages may show it.

use super::fault::Fault;
use super::masked::{QUOTES, hide, is_env, is_of_plans, named};
use super::tree::Key;
use crate::plan::excerpt::excerpt;
use crate::plan::format::PlanFormat;

/// As [`masked`](super::masked::masked), of a text that cannot be read: hides all from a key `env`
/// to the next line that begins with a key of plans and is indented as its line, or less; in TOML
/// to the next line that begins a table of plans. A line within brackets or quotes ends nothing.
pub(super) fn masked_unread(text: &str, format: PlanFormat) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut hidden: Option<Unread> = None;
    // TOML is read from its begin: a quote behind `env` may be of a text that began before.
    let mut whole = Signs::default();
    let mut after = text;
    for line in text.split_inclusive('\n') {
        after = &after[line.len()..];
        let is_within = hidden.as_mut().is_some_and(|value| value.has(line, format));
        let is_within = is_within || hidden.is_some() && whole.is_open();
        if !is_within && begins_part(line, format) {
            hidden = None;
        }
        let key = if is_within { None } else { EnvKey::find(line, after, format) };
        let begin = if hidden.is_some() { Some(0) } else { key.map(|key| key.end) };
        let (before, inside) = line.split_at(begin.unwrap_or(line.len()));
        shown.push_str(before);
        hide(inside, &mut shown);
        if let Some(key) = key.filter(|key| hidden.is_none() || !key.is_comment) {
            let indent = hidden.map_or(isize::MAX, |value| value.indent);
            let mut value = Unread::new(key, line, format);
            value.indent = value.indent.min(indent);
            if !key.is_comment {
                // The quote at the end of the key.
                value.read(line[key.end..].trim_start_matches(QUOTES), format);
            }
            hidden = Some(value);
        } else if let Some(value) = &mut hidden {
            value.read(line, format);
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
    let name = named(key, &masked_unread(text, format));
    Fault::new(key.at, format!("duplicate key `{}`", excerpt(name)))
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
    fn new(key: EnvKey, line: &str, format: PlanFormat) -> Self {
        let before = line[..key.begin].trim_end_matches(QUOTES);
        // The keys beside one that is behind the dash of an item stand where it does.
        let is_of_item = format == PlanFormat::Yaml && before.chars().all(|c| " -".contains(c));
        let indent = match isize::try_from(before.len()) {
            // All that stands behind a comment may be a key beside it.
            _ if key.is_comment => isize::MAX,
            Ok(indent) if is_of_item => indent,
            _ => indent_of(line),
        };
        Self { indent, signs: Signs::default(), is_empty: !key.is_comment }
    }

    /// Tells whether a line is within the value, whatever it begins with.
    fn has(&mut self, line: &str, format: PlanFormat) -> bool {
        if line.trim().is_empty() {
            return true;
        }
        if self.is_empty {
            self.indent = self.indent.min(indent_of(line) - 1);
        }
        let is_deeper = format != PlanFormat::Toml && indent_of(line) > self.indent;
        self.signs.is_open() || is_deeper && !self.signs.is_over
    }

    /// Reads a line of the value, or what is behind the key.
    fn read(&mut self, text: &str, format: PlanFormat) {
        // The signs of a text of lines may be there, too.
        let is_sign = |char: char| char.is_whitespace() || ":=|>+-".contains(char);
        // What begins with `#` is a comment, or behind a quote.
        self.is_empty &= text.split('#').next().is_none_or(|text| text.chars().all(is_sign));
        if format != PlanFormat::Toml && !self.signs.is_over {
            self.signs.read(text, format);
        }
    }
}

/// The brackets and quotes that are open.
#[derive(Default)]
struct Signs {
    brackets: usize,
    quote: Option<&'static str>,
    /// A value of JSON has come to its end.
    is_over: bool,
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
                self.is_over = self.brackets <= 1 && is_end(&rest[len..], format);
                self.brackets = self.brackets.saturating_sub(1);
            }
            if self.is_over {
                break;
            }
            (rest, last) = (&rest[len..], char);
        }
        // A text with one quote ends with its line.
        if format == PlanFormat::Toml && self.quote.is_some_and(|quote| quote.len() == 1) {
            self.quote = None;
        }
    }
}

/// Tells whether a value of JSON ends before a text. Behind a quote that is missing, it does not.
fn is_end(text: &str, format: PlanFormat) -> bool {
    let text = text.trim_start();
    format == PlanFormat::Json && (text.is_empty() || text.starts_with([',', '}', ']']))
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

/// Tells whether a line begins a part of a plan: with one of its keys, in TOML with the header of a
/// table. A tab at its begin is a mistake, and what it stands for is not known.
fn begins_part(line: &str, format: PlanFormat) -> bool {
    let signs = if format == PlanFormat::Toml { " [\"'" } else { " -?[{\"'" };
    let begin = line.trim_start_matches(|char| signs.contains(char));
    let is_of_key = |char: char| char.is_ascii_lowercase() || char == '_';
    let (key, rest) = begin.split_at(begin.find(|char| !is_of_key(char)).unwrap_or(begin.len()));
    let rest = rest.trim_start_matches(QUOTES);
    is_of_plans(key)
        && match format {
            PlanFormat::Toml => {
                line.trim_start().starts_with('[') && rest.trim_start().starts_with([']', '.'])
            }
            PlanFormat::Json => rest.trim_start().starts_with(':'),
            PlanFormat::Yaml => rest
                .strip_prefix(':')
                .is_some_and(|value| value.is_empty() || value.starts_with(char::is_whitespace)),
        }
}

/// A key `env` in a line.
#[derive(Clone, Copy)]
struct EnvKey {
    begin: usize,
    end: usize,
    /// Nothing is before it but signs, or the last of them is one between keys.
    is_bare: bool,
    is_comment: bool,
}

impl EnvKey {
    /// Finds the first in a line. A word with escapes may be it.
    fn find(line: &str, after: &str, format: PlanFormat) -> Option<Self> {
        let is_table = line.trim_start().starts_with('[');
        // The first word of those that may be one key, `environment variables`; the last word.
        let (mut first, mut last): (Option<Self>, Option<Self>) = (None, None);
        let mut word = Self { begin: 0, end: 0, is_bare: true, is_comment: false };
        let (mut before, mut has_quote) = (' ', false);
        for (at, char) in line.char_indices().chain([(line.len(), '\n')]) {
            word.end = at;
            if is_of_word(char) {
                before = char;
                continue;
            }
            let text = &line[word.begin..at];
            if !text.is_empty() {
                last = is_env_word(text).then_some(word);
                first = first.or(last);
                word.is_bare &= text.bytes().all(|byte| byte == b'-');
            }
            let rest = line.get(at + char.len_utf8()..).unwrap_or_default();
            let is_sign = |key: &Self| match char {
                // `env A=b` of a shell, too.
                ':' | '=' => true,
                '.' => key.is_bare || is_dotted(rest, format),
                _ => false,
            };
            if let Some(key) = first.filter(is_sign) {
                return Some(key);
            }
            if last.is_some() && is_table && char == ']' {
                return last;
            }
            has_quote |= QUOTES.contains(&char);
            word.is_comment &= !has_quote;
            word.is_comment |= !has_quote && is_comment(char, before, format);
            if !char.is_whitespace() && !QUOTES.contains(&char) {
                (first, last) = (None, None);
                word.is_bare = (word.is_bare && "?[(".contains(char))
                    || ",{]}".contains(char)
                    || char == '.' && is_dotted(rest, format);
            }
            (word.begin, before) = (at + char.len_utf8(), char);
        }
        let key = last.filter(|key| !key.is_comment)?;
        goes_on_below(key.is_bare || is_table, line, after, format).then_some(key)
    }
}

fn is_of_word(char: char) -> bool {
    char.is_alphanumeric() || "_-\\".contains(char)
}

fn is_env_word(word: &str) -> bool {
    is_env(word) || ["\\u", "\\U", "\\x"].iter().any(|escape| word.contains(escape))
}

/// Tells whether the dot before a text is one between keys, and does not end a sentence.
fn is_dotted(rest: &str, format: PlanFormat) -> bool {
    let rest = if format == PlanFormat::Toml { rest.trim_start() } else { rest };
    rest.strip_prefix(QUOTES).unwrap_or(rest).starts_with(is_of_word)
}

/// Tells whether the value of the word at the end of a line, without a sign, may be on the lines
/// after it. What has no key may be an item, as in `run: [sh, env]`.
fn goes_on_below(is_bare: bool, line: &str, after: &str, format: PlanFormat) -> bool {
    let Some(next) = after.lines().find(|line| !line.trim().is_empty()) else {
        return false;
    };
    let begin = next.trim();
    let is_item = line.trim_start().starts_with('-') && indent_of(next) <= indent_of(line);
    let is_next = is_item && (begin.starts_with('-') || begins_part(next, format));
    let is_value = is_bare && !is_next && !begin.chars().all(|c| "]}, ".contains(c));
    is_value || begin.starts_with([':', '='])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_behind_env_is_stars_in_a_text_that_cannot_be_read() {
        for (format, text, right) in [
            (
                PlanFormat::Yaml,
                "- env:\n    A: b\n\n    C: d\n- run: x\n- { evn: { A: b } }\nY: z\n- name: z",
                "- env*\n    ** *\n\n    ** *\n- run: x\n- { evn* { ** * } }\n** *\n- name: z",
            ),
            (
                PlanFormat::Json,
                "{\"env\": {\n\"A\": \"b\"\n},\n\"run\": 1}",
                "{\"env\"* {\n\"*\"* \"*\"\n},\n\"run\": 1}",
            ),
            (
                PlanFormat::Toml,
                "[steps.env]\nA = 'b'\n[[steps]]\nrun = 1\nenv = { A = 'b' }\nc = 2\n[if]\nd = 1",
                "[steps.env]\n* * '*'\n[[steps]]\nrun = 1\nenv * { * * '*' }\n* * *\n[if]\nd = 1",
            ),
        ] {
            assert_eq!(masked_unread(text, format), right);
        }
    }
}
