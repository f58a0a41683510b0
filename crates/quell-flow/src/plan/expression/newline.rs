//! [`compared`] finds what is compared with a text, and
//! [`has_quote_inside`] texts that end at a quote within them. Both read tokens, not syntax.

use std::ops::Range;

use super::language::strict;
use super::paths::{self, Path};
use super::token;

/// A path that is compared with a text.
#[derive(Debug)]
pub(crate) struct Compared<'a> {
    pub(crate) path: Path,
    /// What is compared, as it is written: `a.stdout == "x"`.
    pub(crate) whole: &'a str,
    /// Where the path is in it.
    pub(crate) place: Range<usize>,
    /// Where the text is in it, with its quotes.
    pub(crate) literal: Range<usize>,
    /// The text itself.
    pub(crate) text: String,
}

impl Compared<'_> {
    /// Tells whether the text is not empty and does not end with a newline.
    pub(crate) fn lacks_newline(&self) -> bool {
        !self.text.is_empty() && !self.text.ends_with('\n')
    }
}

/// Finds the paths that an expression compares, with `==` or `!=`, with a text in quotes.
pub(crate) fn compared(text: &str) -> Vec<Compared<'_>> {
    let tokens = Tokens::of(text);
    let signs = (0..tokens.all.len()).filter(|at| matches!(tokens.get(*at), "==" | "!="));
    let found = signs.filter_map(|sign| {
        let (path, literal) = match tokens.path_before(sign) {
            Some(begin) => (begin..sign, sign + 1),
            None => (sign + 1..tokens.path_end(sign + 1)?, sign.checked_sub(1)?),
        };
        let (begin, end) = (path.start.min(literal), path.end.max(literal + 1));
        let is_alone = tokens.begins(begin) && tokens.ends(end);
        let value = text_of(tokens.get(literal)).filter(|_| is_alone)?;
        let (whole, path) = (tokens.place(begin..end)?, tokens.place(path)?);
        let literal = tokens.place(literal..literal + 1)?;
        let within = |place: &Range<usize>| place.start - whole.start..place.end - whole.start;
        let (place, literal) = (within(&path), within(&literal));
        let (path, whole) = (parsed(&text[path])?, &text[whole]);
        Some(Compared { path, whole, place, literal, text: value })
    });
    found.collect()
}

/// Yields the path that an expression is, if it is nothing else.
pub(crate) fn as_path(text: &str) -> Option<Path> {
    let tokens = Tokens::of(text);
    (tokens.path_end(0)? == tokens.all.len()).then(|| parsed(text)).flatten()
}

/// Tells whether a text in quotes is followed at once by a word or by another text: `'it's fine'`.
pub(crate) fn has_quote_inside(text: &str) -> bool {
    let tokens = Tokens::of(text);
    let pairs = tokens.all.iter().zip(tokens.all.iter().skip(1));
    { pairs }.any(|(one, next)| {
        let goes_on = |first: char| first.is_alphanumeric() || "_'\"".contains(first);
        is_text(&text[one.clone()])
            && one.end == next.start
            && text[next.clone()].starts_with(goes_on)
    })
}

/// The tokens of an expression.
struct Tokens<'a> {
    text: &'a str,
    all: Vec<Range<usize>>,
}

impl<'a> Tokens<'a> {
    fn of(text: &'a str) -> Self {
        let (bytes, mut all, mut at) = (text.as_bytes(), Vec::<Range<usize>>::new(), 0);
        while at < bytes.len() {
            if bytes[at].is_ascii_whitespace() {
                at += 1;
                continue;
            }
            let is_after_dot = all.last().is_some_and(|last| &text[last.clone()] == ".");
            let end = at + token::len(&bytes[at..], is_after_dot);
            all.push(at..end);
            at = end;
        }
        Self { text, all }
    }

    /// Yields a token; an empty one beyond both ends.
    fn get(&self, at: usize) -> &'a str {
        self.all.get(at).map_or("", |range| &self.text[range.clone()])
    }

    /// Yields where tokens stand in the text.
    fn place(&self, tokens: Range<usize>) -> Option<Range<usize>> {
        let (first, last) =
            (self.all.get(tokens.start)?, self.all.get(tokens.end.checked_sub(1)?)?);
        Some(first.start..last.end)
    }

    /// Yields the end of the path that begins at a token.
    fn path_end(&self, begin: usize) -> Option<usize> {
        let mut at = begin + 1;
        if !is_word(self.get(begin)) {
            return None;
        }
        loop {
            at += match (self.get(at), self.get(at + 1), self.get(at + 2)) {
                (".", key, _) if is_word(key) => 2,
                ("[", key, "]") if is_text(key) => 3,
                _ => return Some(at),
            };
        }
    }

    /// Yields the begin of the path that ends before a token.
    fn path_before(&self, end: usize) -> Option<usize> {
        let mut at = end.checked_sub(1)?;
        loop {
            if self.get(at) == "]" {
                let key = at.checked_sub(2).filter(|open| self.get(*open) == "[")?;
                at = key.checked_sub(1).filter(|_| is_text(self.get(key + 1)))?;
            } else if !is_word(self.get(at)) {
                return None;
            } else if at > 1 && self.get(at - 1) == "." {
                at -= 2;
            } else {
                return Some(at);
            }
        }
    }

    /// Tells whether an operand of a comparison may begin at a token.
    fn begins(&self, at: usize) -> bool {
        let before = at.checked_sub(1).map_or("", |before| self.get(before));
        matches!(before, "" | "(" | "[" | "," | ":" | "and" | "or" | "not" | "if" | "else")
    }

    /// Tells whether an operand of a comparison may end before a token.
    fn ends(&self, at: usize) -> bool {
        matches!(self.get(at), "" | ")" | "]" | "}" | "," | ":" | "and" | "or" | "if" | "else")
    }
}

fn is_text(token: &str) -> bool {
    token.starts_with(['"', '\''])
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

/// Yields the text that a token is, without its quotes.
fn text_of(token: &str) -> Option<String> {
    let value = is_text(token).then(|| strict().compile_expression(token).ok()?.eval(()).ok());
    value.flatten()?.as_str().map(str::to_owned)
}

fn parsed(text: &str) -> Option<Path> {
    paths::of(text).ok()?.pop_first()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_compared_with_a_text_without_a_newline_is_found() {
        for (text, whole) in [
            ("a.b == 'x'", Some("a.b == 'x'")),
            ("c and a[\"b c\"].d!='x' or e", Some("a[\"b c\"].d!='x'")),
            ("('x' == a.b)", Some("'x' == a.b")),
            ("a.b == 'x\\n'", None),
            ("a.b == ''", None),
            ("a.b | trim == 'x'", None),
            ("'x' == a.b | trim", None),
            ("c ~ a.b == 'x'", None),
            ("a.b == 'x' ~ c", None),
            ("a.b == c", None),
            ("a[0].b == 'x'", None),
            ("a.b < 'x'", None),
        ] {
            let mut found = compared(text);
            found.retain(Compared::lacks_newline);
            assert_eq!(found.first().map(|found| found.whole), whole, "{text}");
            assert!(found.iter().all(|found| found.whole[found.place.clone()].starts_with('a')));
        }
        assert_eq!(as_path(" a[\"b c\"].d ").unwrap(), ["a", "b c", "d"]);
        assert_eq!(as_path("a.b | trim"), None);
    }

    #[test]
    fn a_quote_within_a_text_is_found() {
        for yes in ["'it's fine'", "a == 'it''s'", "\"a \"b\" c\""] {
            assert!(has_quote_inside(yes), "{yes}");
        }
        for no in ["'it is'", "'a' and 'b'", "'it\\'s'", "\"it's\"", "'a'~'b'", "x'"] {
            assert!(!has_quote_inside(no), "{no}");
        }
    }
}
