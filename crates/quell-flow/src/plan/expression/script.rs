//! [`Script`]: where in the script of a POSIX shell its quotes and here-documents are.

use std::collections::VecDeque;

/// What stands around a place of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Around {
    /// None of these.
    Nothing,
    /// Quotes, single or double.
    Quotes,
    /// A here-document.
    Document,
    /// Backticks, with or without others in them.
    Backticks,
    /// `$((…))` or `((…))`.
    Arithmetic,
    /// A comment.
    Comment,
    /// No quotes, but a backslash before it.
    Backslash,
}

/// Reads a script piece by piece, and knows what stands around the end of what was read.
///
/// It finds quotes, comments, `$(…)`, backticks and here-documents, as far as scripts in plans have
/// them. What it does not know, such as the single brackets of `case`, it takes as words.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// What was opened and not closed, the innermost last.
    open: Vec<Open>,
    /// The here-documents that begin with the next line.
    next: VecDeque<Document>,
    /// The here-document at the end, and its last line so far.
    inside: Option<(Document, String)>,
    is_comment: bool,
    /// Whether a backslash ends what was read, which takes the next character.
    is_escape: bool,
    /// The last character before the place, if there is one.
    before: Option<char>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Single,
    Double,
    Bracket,
    Arithmetic,
    /// A bracket in arithmetic.
    Inner,
    Backtick,
}

/// How a here-document ends.
#[derive(Debug)]
struct Document {
    word: String,
    /// Whether tabs may stand before the word.
    has_tabs: bool,
}

impl Script {
    /// Tells what stands around the end of what was read.
    pub(super) fn around(&self) -> Around {
        match self.open.last() {
            _ if self.inside.is_some() => Around::Document,
            _ if self.is_comment => Around::Comment,
            _ if self.open.contains(&Open::Backtick) => Around::Backticks,
            Some(Open::Single | Open::Double) => Around::Quotes,
            Some(Open::Arithmetic | Open::Inner) => Around::Arithmetic,
            _ if self.is_escape => Around::Backslash,
            _ => Around::Nothing,
        }
    }

    /// Reads a value, which is taken to have its own quotes in balance.
    pub(super) fn value(&mut self) {
        // A line with a value in it ends no here-document, and a value begins no comment.
        (self.before, self.is_escape) = (Some('\0'), false);
        if let Some((_, line)) = &mut self.inside {
            line.push('\0');
        }
    }

    /// Reads a text.
    pub(super) fn text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            self.is_escape = false;
            let length = match c {
                _ if self.inside.is_some() => self.line(rest),
                '\n' => self.newline(),
                _ if self.is_comment => 1,
                _ => self.token(c, rest),
            };
            let (read, left) = rest.split_at(rest.floor_char_boundary(length.max(c.len_utf8())));
            self.before = read.chars().next_back();
            rest = left;
        }
    }

    /// Reads a line of a here-document, or the rest of it, and yields its length.
    fn line(&mut self, rest: &str) -> usize {
        let Some((document, line)) = &mut self.inside else { return 0 };
        let Some(end) = rest.find('\n') else {
            line.push_str(rest);
            return rest.len();
        };
        line.push_str(&rest[..end]);
        let found = if document.has_tabs { line.trim_start_matches('\t') } else { &**line };
        if found == document.word {
            self.inside = self.next.pop_front().map(|document| (document, String::new()));
        } else {
            line.clear();
        }
        end + 1
    }

    fn newline(&mut self) -> usize {
        self.is_comment = false;
        let is_quoted = matches!(self.open.last(), Some(Open::Single | Open::Double));
        if !is_quoted && let Some(document) = self.next.pop_front() {
            self.inside = Some((document, String::new()));
        }
        1
    }

    /// Reads what begins with a character, and yields its length.
    fn token(&mut self, c: char, rest: &str) -> usize {
        let last = self.open.last().copied();
        match (last, c) {
            (Some(Open::Single), '\'')
            | (Some(Open::Double), '"')
            | (Some(Open::Backtick), '`')
            | (Some(Open::Bracket | Open::Inner), ')') => drop(self.open.pop()),
            (Some(Open::Arithmetic), ')') => {
                self.open.pop();
                if rest.starts_with("))") {
                    return 2;
                }
                // It was a bracket with another one in it.
                self.open.push(Open::Bracket);
            }
            (Some(Open::Single), _) => {}
            (_, '\\') => {
                self.is_escape = rest.len() == 1;
                return rest.chars().take(2).map(char::len_utf8).sum();
            }
            (_, '`') => self.open.push(Open::Backtick),
            (_, '$') if rest.starts_with("$((") => {
                self.open.push(Open::Arithmetic);
                return 3;
            }
            (_, '$') if rest.starts_with("$(") => {
                self.open.push(Open::Bracket);
                return 2;
            }
            (Some(Open::Double), _) => {}
            (_, '\'') => self.open.push(Open::Single),
            (_, '"') => self.open.push(Open::Double),
            (Some(Open::Arithmetic | Open::Inner), '(') => self.open.push(Open::Inner),
            (_, '(') if rest.starts_with("((") => {
                self.open.push(Open::Arithmetic);
                return 2;
            }
            (_, '(') => self.open.push(Open::Bracket),
            (_, '#') => {
                let begins = |before: char| before.is_whitespace() || ";(|&".contains(before);
                self.is_comment = self.before.is_none_or(begins);
            }
            (_, '<') if rest.starts_with("<<<") => return 3,
            (_, '<') if rest.starts_with("<<") && !self.open.contains(&Open::Arithmetic) => {
                return 2 + self.document(&rest[2..]);
            }
            _ => {}
        }
        1
    }

    /// Reads the word that ends a here-document, and yields its length. After `<<` in arithmetic of
    /// other shells, `((1 << 2))`, there may be a number.
    fn document(&mut self, rest: &str) -> usize {
        let has_tabs = rest.starts_with('-');
        let begin = usize::from(has_tabs);
        let begin =
            begin + rest[begin..].len() - rest[begin..].trim_start_matches([' ', '\t']).len();
        let is_end = |c: char| c.is_whitespace() || ";|&()<>".contains(c);
        let end = rest[begin..].find(is_end).map_or(rest.len(), |end| begin + end);
        let word = rest[begin..end].replace(['\'', '"', '\\'], "");
        if word.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            self.next.push_back(Document { word, has_tabs });
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a script in which `@` stands for a value, and tells what stands around each.
    fn around(script: &str) -> Vec<Around> {
        let mut all = Vec::new();
        let mut read = Script::default();
        for (nth, text) in script.split('@').enumerate() {
            if nth > 0 {
                all.push(read.around());
                read.value();
            }
            read.text(text);
        }
        all
    }

    #[test]
    fn quotes_are_around_what_is_between_them() {
        use Around::{Nothing as N, Quotes as Q};
        for (script, right) in [
            ("a @ '@' \"@\" @", &[N, Q, Q, N][..]),
            (r#"a \' @ "\"@" '\' @"#, &[N, Q, N]),
            ("a \"$(b @ '@')@\" @", &[N, Q, Q, N]),
            ("a \"`b`@\"", &[Q]),
            ("a 'it'\\''s @' @", &[Q, N]),
            ("# it's\n@ x#'@' @#'@'", &[N, Q, N, Q]),
            ("(a; (b @)) '@'", &[N, Q]),
            ("a 'b\nc @\n' @", &[Q, N]),
            ("ü \"ü@\" @", &[Q, N]),
        ] {
            assert_eq!(around(script), right, "{script}");
        }
    }

    #[test]
    fn quotes_protect_nothing_in_backticks_arithmetic_comments_and_behind_a_backslash() {
        use Around::{
            Arithmetic as A, Backslash as B, Backticks as T, Comment as C, Nothing as N,
            Quotes as Q,
        };
        for (script, right) in [
            (r"a \@ \\@ \\\@ \$@ '\'@ @", &[B, N, B, N, N, N][..]),
            ("a `b @ $(c @) '@'` @", &[T, T, T, N]),
            ("a $((@ + (1 + @) + $(b @))) @", &[A, A, N, N]),
            ("((@ > 1)) && b @", &[A, N]),
            ("((a); (b @); c @) @ '@'", &[N, N, N, Q]),
            ("a # @\n@ '# @'", &[C, N, Q]),
        ] {
            assert_eq!(around(script), right, "{script}");
        }
    }

    #[test]
    fn a_here_document_ends_with_its_word_on_a_line_of_its_own() {
        use Around::{Document as D, Nothing as N, Quotes as Q};
        for (script, right) in [
            ("cat <<EOF\n@\nEOF\n@", &[D, N][..]),
            ("cat <<'EOF' | tr @\n'@\n EOF\nEOF@\nEOF\n@", &[N, D, D, N]),
            ("cat <<-EOF\n\t@\n\tEOF\n@", &[D, N]),
            ("a << A <<B\n@\nA\n@\nB\n@", &[D, D, N]),
            ("a <<< b\n@ $((1 << 2))\n@", &[N, N]),
            ("a $((1 << (n) << n)) '@' $(b)\n@", &[Q, N]),
            ("a \"$(cat <<E\n@\nE\n) @\"", &[D, Q]),
            ("cat <<EOF\n@", &[D]),
        ] {
            assert_eq!(around(script), right, "{script}");
        }
    }
}
