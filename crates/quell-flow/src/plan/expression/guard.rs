//! Reads the text of an expression as tokens: bounds its operators and its nesting, and puts a
//! guard behind every operand that an operator or a filter could make much of.
//!
//! The parser of the language recurses once per operator, and some of its operators repeat or copy
//! what they are given. So the text is looked at before the parser sees it, and what is evaluated
//! is the text with guards: `a ~ b` becomes `a|_weigh(1) ~ b|_weigh(1)`, and `a * b` becomes
//! `a|_number * b|_number`. A filter binds closer than every operator, so a guard at the end of an
//! operand is part of it.

use crate::limits;

/// The filter that charges an evaluation for a value.
pub(super) const WEIGH: &str = "_weigh";

/// The filter that lets numbers pass alone.
pub(super) const NUMBER: &str = "_number";

/// Yields the text with its guards.
///
/// # Errors
///
/// Yields words if it has too many operators, or nests too deep.
pub(super) fn guarded(text: &str) -> Result<String, String> {
    Scan::of(text, false).map(|scan| scan.guarded(text))
}

/// Finds the end of an expression that begins a text: where its `}}` begins, without the sign
/// before it, and what follows the `}}`. None if it has no end.
///
/// # Errors
///
/// As [`guarded`].
pub(super) fn end(text: &str) -> Result<Option<Ending>, String> {
    Scan::of(text, true).map(|scan| scan.ending)
}

/// Where an expression within a template ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// Where the expression ends.
    pub(super) at: usize,
    /// Where the text goes on.
    pub(super) after: usize,
    /// Whether white space that follows is left out.
    pub(super) trims: bool,
}

/// What stands between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    /// It takes numbers alone: `*`.
    Numbers,
    /// It reads or copies both: `+`, `~`, comparisons.
    Values,
    /// Its operands are numbers, or it fails: `-`, `/`, `//`, `%`, `**`.
    Sums,
    /// It looks at neither: `and`, `or`, `if`, `else`.
    Logic,
    /// It ends an item: `,`, `:`.
    Item,
}

/// A bracket that is open, or the whole.
#[derive(Debug, Default)]
struct Group {
    /// Whether what is inside is given to a filter, is a key, or an index.
    is_given: bool,
    /// Where the operand ends so far; none before it begins.
    operand: Option<usize>,
    /// What stands before the operand.
    before: Option<Between>,
    /// The guards of operands that are joined by operators which copy.
    chain: Vec<usize>,
}

#[derive(Debug)]
struct Scan {
    operators: usize,
    groups: Vec<Group>,
    /// Where a guard goes, and how often the value counts; for zero it has to be a number.
    guards: Vec<(usize, usize)>,
    ending: Option<Ending>,
}

impl Scan {
    fn of(text: &str, in_template: bool) -> Result<Self, String> {
        let mut scan =
            Self { operators: 0, groups: vec![Group::default()], guards: vec![], ending: None };
        let bytes = text.as_bytes();
        let (mut at, mut last) = (0, Last::Nothing);
        while let Some(byte) = bytes.get(at).copied() {
            let rest = &bytes[at..];
            if byte.is_ascii_whitespace() {
                at += 1;
                continue;
            }
            if in_template && scan.groups.len() == 1 {
                let sign = usize::from(matches!(byte, b'-' | b'+'));
                if rest[sign..].starts_with(b"}}") {
                    let (after, trims) = (at + sign + 2, byte == b'-');
                    scan.ending = Some(Ending { at, after, trims });
                    break;
                }
            }
            let len = token_len(rest, last == Last::Dot);
            let end = at + len;
            last = scan.token(&text.as_bytes()[at..end], end, last)?;
            at = end;
        }
        scan.end_item();
        scan.guards.sort_unstable();
        Ok(scan)
    }

    /// Takes a token, and says what it was.
    fn token(&mut self, token: &[u8], end: usize, last: Last) -> Result<Last, String> {
        match token {
            b"(" | b"[" | b"{" => {
                self.count()?;
                let is_given = last == Last::Operand || token == b"{";
                if self.groups.len() > limits::EXPRESSION_NESTING_MAX {
                    let max = limits::EXPRESSION_NESTING_MAX;
                    return Err(format!("brackets nest too deep; expected at most {max} levels"));
                }
                self.groups.push(Group { is_given, ..Group::default() });
                Ok(Last::Nothing)
            }
            b")" | b"]" | b"}" => {
                self.end_item();
                if self.groups.len() > 1 {
                    self.groups.pop();
                }
                Ok(self.operand(end))
            }
            b"|" => {
                self.count()?;
                if let Some(operand) = self.group().operand {
                    self.guards.push((operand, 1));
                }
                Ok(Last::Name)
            }
            b"." => self.count().map(|()| Last::Dot),
            // What stands before it is a name, and takes no guard.
            b"=" => {
                self.group().operand = None;
                Ok(Last::Nothing)
            }
            b"," | b":" => {
                self.end_item();
                Ok(Last::Nothing)
            }
            _ if last == Last::Dot || last == Last::Name => match token {
                // `is not` has its name yet to come.
                b"not" if last == Last::Name => Ok(Last::Name),
                _ => Ok(self.operand(end)),
            },
            b"is" => self.count().map(|()| Last::Name),
            b"and" | b"or" | b"if" | b"else" => self.between(Between::Logic),
            // It begins an operand, or is the half of `not in`.
            b"not" => self.count().map(|()| Last::Nothing),
            b"*" => self.between(Between::Numbers),
            b"+" | b"~" | b"<" | b">" | b"==" | b"!=" | b"<=" | b">=" | b"in" => {
                self.between(Between::Values)
            }
            b"-" if last != Last::Operand => self.count().map(|()| Last::Nothing),
            b"-" | b"/" | b"//" | b"%" | b"**" => self.between(Between::Sums),
            _ => Ok(self.operand(end)),
        }
    }

    fn group(&mut self) -> &mut Group {
        if self.groups.is_empty() {
            self.groups.push(Group::default());
        }
        let last = self.groups.len() - 1;
        &mut self.groups[last]
    }

    fn count(&mut self) -> Result<(), String> {
        self.operators += 1;
        let max = limits::EXPRESSION_OPERATORS_MAX;
        if self.operators <= max {
            return Ok(());
        }
        Err(format!("too many operators; expected at most {max} in one expression"))
    }

    fn operand(&mut self, end: usize) -> Last {
        self.group().operand = Some(end);
        Last::Operand
    }

    /// Ends an operand at an operator.
    fn between(&mut self, what: Between) -> Result<Last, String> {
        self.count()?;
        self.end_operand(Some(what));
        if matches!(what, Between::Logic) {
            self.end_chain();
        }
        self.group().before = Some(what);
        Ok(Last::Nothing)
    }

    fn end_item(&mut self) {
        self.end_operand(Some(Between::Item));
        self.end_chain();
        self.group().before = None;
    }

    fn end_operand(&mut self, after: Option<Between>) {
        let next = self.guards.len();
        let group = self.group();
        let Some(end) = group.operand.take() else { return };
        let sides = [group.before, after];
        if sides.contains(&Some(Between::Numbers)) {
            self.guards.push((end, 0));
        } else if group.is_given || sides.contains(&Some(Between::Values)) {
            group.chain.push(next);
            self.guards.push((end, 1));
        }
    }

    /// Operators that copy copy what those before them have made: each operand counts as often.
    fn end_chain(&mut self) {
        let chain = std::mem::take(&mut self.group().chain);
        for guard in &chain {
            self.guards[*guard].1 = chain.len().max(1);
        }
    }

    fn guarded(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + self.guards.len() * 12);
        let mut done = 0;
        for (at, times) in &self.guards {
            out.push_str(&text[done..*at]);
            done = *at;
            match times {
                0 => out.extend(["|", NUMBER]),
                times => out.extend(["|", WEIGH, "(", &times.to_string(), ")"]),
            }
        }
        out.push_str(&text[done..]);
        out
    }
}

/// What the token before was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Nothing that an operator could follow.
    Nothing,
    /// The end of an operand.
    Operand,
    /// A `.`: what follows is a name, whatever it says.
    Dot,
    /// A `|` or an `is`: the same.
    Name,
}

/// Yields the length of the token that begins here; at least 1.
fn token_len(rest: &[u8], after_dot: bool) -> usize {
    match rest[0] {
        quote @ (b'"' | b'\'') => string_len(rest, quote),
        b'0'..=b'9' => number_len(rest, after_dot),
        byte if is_word(byte) => rest.iter().take_while(|byte| is_word(**byte)).count(),
        // A character that is not ASCII is no token, and is not cut.
        byte if !byte.is_ascii() => rest.iter().take_while(|byte| !byte.is_ascii()).count(),
        _ => match rest.get(..2) {
            Some(b"//" | b"**" | b"==" | b"!=" | b">=" | b"<=") => 2,
            _ => 1,
        },
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn string_len(rest: &[u8], quote: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.iter().enumerate().skip(1) {
        match *byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if byte == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A number may have a fraction, unless it is an index behind a dot, and an exponent with a sign.
fn number_len(rest: &[u8], after_dot: bool) -> usize {
    let has_radix = rest[0] == b'0' && rest.get(1).is_some_and(u8::is_ascii_alphabetic);
    let (mut len, mut has_point) = (1, after_dot || has_radix);
    while let Some(byte) = rest.get(len).copied() {
        let is_sign = matches!(byte, b'+' | b'-')
            && !has_radix
            && matches!(rest[len - 1], b'e' | b'E')
            && rest.get(len + 1).is_some_and(u8::is_ascii_digit);
        let is_point = byte == b'.'
            && !has_point
            && !rest.get(len + 1).is_some_and(|next| next.is_ascii_alphabetic() || *next == b'_');
        if !(is_word(byte) || is_sign || is_point) {
            break;
        }
        has_point |= is_point;
        len += 1;
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_guarded_where_an_operator_makes_much_of_them() {
        for (text, expected) in [
            ("a", "a"),
            ("a.b and not c", "a.b and not c"),
            ("a * -b", "a|_number * -b|_number"),
            ("'x' * 2 ** 3", "'x'|_number * 2|_number ** 3"),
            ("a ~ b ~ 'c}}'", "a|_weigh(3) ~ b|_weigh(3) ~ 'c}}'|_weigh(3)"),
            ("a + 1 and b == 2e+3", "a|_weigh(2) + 1|_weigh(2) and b|_weigh(2) == 2e+3|_weigh(2)"),
            ("a|sum(start=b)", "a|_weigh(1)|sum(start=b|_weigh(1))"),
            ("a|join(b ~ c)", "a|_weigh(1)|join(b|_weigh(2) ~ c|_weigh(2))"),
            ("x is not defined", "x is not defined"),
            ("a.in not in b.0.5[c]", "a.in|_weigh(2) not in b.0.5[c|_weigh(1)]|_weigh(2)"),
            ("(a * b)[1:2]", "(a|_number * b|_number)[1|_weigh(1):2|_weigh(1)]"),
        ] {
            assert_eq!(guarded(text).unwrap(), expected);
        }
    }

    #[test]
    fn an_expression_in_a_template_ends_where_the_language_ends_it() {
        let end = |text| end(text).unwrap().map(|it| (it.at, it.after, it.trims));
        assert_eq!(end(" a }} b"), Some((3, 5, false)));
        assert_eq!(end("{'}}': {}} -}} b"), Some((11, 14, true)));
        assert_eq!(end(" a + }}"), Some((5, 7, false)));
        assert_eq!(end(" a }"), None);
        assert_eq!(end(" '}}"), None);
    }
}
