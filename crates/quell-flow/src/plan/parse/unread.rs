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
        let is_deeper = format != PlanFormat::Toml && indent_of(line) > self.indent;
        is_deeper || !begins_part(line, format)
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
