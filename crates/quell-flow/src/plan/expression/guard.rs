//! [`guarded`] bounds the operators and the nesting of an expression, and adds guards to it.
//!
//! The parser of the language recurses once per operator, and some operators repeat or copy their
//! operands. So this module reads the text before the parser does, and the text that is evaluated
//! has guards: `a ~ b` becomes `a|_weigh(1) ~ b|_weigh(1)`, and `a * b` becomes
//! `a|_number() * b|_number()`. A filter binds closer than every operator, so that a guard at the
//! end of an operand is part of it; its brackets end it where a word follows without a space, as in
//! `2*'a'or b`. The step of a slice has a guard around all of it, because the language panics at a
//! negative one. A slice of a text is a copy, charged at the end of its operand.

use std::ops::Range;

use super::token::{self, Between, Last};
use crate::limits;

/// The filter that spends the weight of a value from the budget.
pub(super) const WEIGH: &str = "_weigh";

/// The filter that refuses everything but numbers.
pub(super) const NUMBER: &str = "_number";

/// The filter that refuses the step of a slice below 1.
pub(super) const STEP: &str = "_step";

/// The filter that spends the length of a text for each slice of it.
pub(super) const COPIED: &str = "_copied";

/// Yields the text with its guards.
///
/// # Errors
///
/// Yields a message if it has too many operators, or nests too deep.
pub(super) fn guarded(text: &str) -> Result<String, String> {
    Scan::of(text, false).map(|scan| scan.guarded(text))
}

/// Finds the slices and indexes of an expression.
///
/// # Errors
///
/// As [`guarded`].
pub(super) fn brackets(text: &str) -> Result<Brackets, String> {
    Scan::of(text, false).map(|scan| scan.brackets)
}

/// Finds the end of the expression at the beginning of a text: the place of its `}}`, without a
/// sign before it, and the place behind the `}}`. None if it has no end.
///
/// # Errors
///
/// As [`guarded`].
pub(super) fn end(text: &str) -> Result<Option<Ending>, String> {
    Scan::of(text, true).map(|scan| scan.ending)
}

/// The slices and indexes of an expression.
#[derive(Debug, Default)]
pub(super) struct Brackets {
    /// What replaces one byte each, to make a call of a slice: `a[b:]` becomes `a(b,0)`.
    pub(super) calls: Vec<(usize, &'static str)>,
    /// The indexes with their brackets.
    pub(super) indexes: Vec<Range<usize>>,
}

/// Where an expression within a template ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// The end of the expression.
    pub(super) at: usize,
    /// The place behind the `}}`.
    pub(super) after: usize,
    /// Whether white space behind it is left out.
    pub(super) trims: bool,
}

/// An open bracket, or the whole text.
#[derive(Debug, Default)]
struct Group {
    /// Whether its content is an argument of a filter, a key, or an index.
    is_given: bool,
    /// The end of the present operand so far; none before it begins.
    operand: Option<usize>,
    /// The number of slices of the operand.
    slices: usize,
    /// The operator before the operand.
    before: Option<Between>,
    /// The guards of operands that are joined by operators that copy.
    chain: Vec<usize>,
    /// The place of the bracket, if it is that of an index or a slice.
    index: Option<usize>,
    /// The colons of a slice, and whether the part before each is empty.
    colons: Vec<(usize, bool)>,
}

/// A guard that is added to the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    /// The operand must be a number.
    Number,
    /// The weight of the operand is spent so many times.
    Weigh(usize),
    /// The length of the operand is spent so many times: once per slice.
    Copied(usize),
    /// The step of a slice begins.
    StepBegins,
    /// It ends, and must be positive.
    StepEnds,
}

#[derive(Debug)]
struct Scan {
    operators: usize,
    groups: Vec<Group>,
    /// The guards and their places.
    guards: Vec<(usize, Guard)>,
    brackets: Brackets,
    ending: Option<Ending>,
}

impl Scan {
    fn of(text: &str, in_template: bool) -> Result<Self, String> {
        let mut scan = Self {
            operators: 0,
            groups: vec![Group::default()],
            guards: vec![],
            brackets: Brackets::default(),
            ending: None,
        };
        let bytes = text.as_bytes();
        let (mut at, mut last, mut is_text) = (0, Last::Nothing, false);
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
            let len = token::len(rest, last == Last::Dot);
            let (token, end) = (&rest[..len], at + len);
            if is_text {
                token::check_behind_text(token)?;
            }
            is_text = matches!(byte, b'"' | b'\'');
            last = scan.token(token, end, last)?;
            at = end;
        }
        scan.end_item();
        // The sort is stable: the guard of an operand comes before that of the step that it ends.
        scan.guards.sort_by_key(|(at, _)| *at);
        Ok(scan)
    }

    /// Takes a token, and yields what it is to the next one.
    fn token(&mut self, token: &[u8], end: usize, last: Last) -> Result<Last, String> {
        match token {
            b"(" | b"[" | b"{" => {
                self.count()?;
                let is_given = last == Last::Operand || token == b"{";
                if self.groups.len() > limits::EXPRESSION_NESTING_MAX {
                    let max = limits::EXPRESSION_NESTING_MAX;
                    return Err(format!("brackets nest too deep; expected at most {max} levels"));
                }
                let index = (token == b"[" && last == Last::Operand).then_some(end - 1);
                self.groups.push(Group { is_given, index, ..Group::default() });
                Ok(Last::Nothing)
            }
            b")" | b"]" | b"}" => {
                let is_empty = self.group().operand.is_none();
                self.end_item();
                if self.groups.len() > 1
                    && let Some(group) = self.groups.pop()
                {
                    self.end_index(&group, end - 1, is_empty);
                }
                Ok(self.operand(end))
            }
            b"|" => {
                self.count()?;
                self.end_slices();
                if let Some(operand) = self.group().operand {
                    self.guards.push((operand, Guard::Weigh(1)));
                }
                Ok(Last::Name)
            }
            b"." => self.count().map(|()| Last::Dot),
            // The name of an argument: a name takes no guard.
            b"=" => {
                self.group().operand = None;
                Ok(Last::Nothing)
            }
            b"," | b":" => {
                let is_empty = self.group().operand.is_none();
                self.end_item();
                if token == b":" && self.group().index.is_some() {
                    self.group().colons.push((end - 1, is_empty));
                }
                Ok(Last::Nothing)
            }
            _ if last == Last::Dot || last == Last::Name => match token {
                // `is not`: the name of the test follows.
                b"not" if last == Last::Name => Ok(Last::Name),
                _ => Ok(self.operand(end)),
            },
            // The first half of `not in`, or the beginning of an operand.
            b"not" => self.count().map(|()| last),
            // Where an operand must begin, a sign or the stars of arguments are part of it, and
            // every other word is a name.
            b"-" | b"*" | b"**" if last == Last::Nothing => self.count().map(|()| Last::Nothing),
            [b'a'..=b'z', ..] if last == Last::Nothing => Ok(self.operand(end)),
            b"is" => {
                self.end_slices();
                self.count().map(|()| Last::Name)
            }
            b"and" | b"or" | b"if" | b"else" => self.between(Between::Logic),
            b"*" => self.between(Between::Numbers),
            b"+" | b"~" | b"<" | b">" | b"==" | b"!=" | b"<=" | b">=" | b"in" => {
                self.between(Between::Values)
            }
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

    /// Adds the guard for the slices of an operand.
    fn end_slices(&mut self) {
        let group = self.group();
        let slices = std::mem::take(&mut group.slices);
        if let (Some(end), 1..) = (group.operand, slices) {
            self.guards.push((end, Guard::Copied(slices)));
        }
    }

    fn end_operand(&mut self, after: Option<Between>) {
        self.end_slices();
        let next = self.guards.len();
        let group = self.group();
        let Some(end) = group.operand.take() else { return };
        let sides = [group.before, after];
        if sides.contains(&Some(Between::Numbers)) {
            self.guards.push((end, Guard::Number));
        } else if group.is_given || sides.contains(&Some(Between::Values)) {
            group.chain.push(next);
            self.guards.push((end, Guard::Weigh(1)));
        }
    }

    /// Ends a chain of operators that copy. Each copies the result of those before it, so that each
    /// operand is spent once per operand of the chain.
    fn end_chain(&mut self) {
        let chain = std::mem::take(&mut self.group().chain);
        for guard in &chain {
            self.guards[*guard].1 = Guard::Weigh(chain.len().max(1));
        }
    }

    /// Ends an index or a slice, if the closing bracket is that of one; `is_empty` is about its
    /// last part.
    fn end_index(&mut self, group: &Group, close: usize, is_empty: bool) {
        let Some(open) = group.index else { return };
        let [_, rest @ ..] = &*group.colons else {
            return self.brackets.indexes.push(open..close + 1);
        };
        self.group().slices += 1;
        if let ([(colon, _), ..], false) = (rest, is_empty) {
            self.guards.push((colon + 1, Guard::StepBegins));
            self.guards.push((close, Guard::StepEnds));
        }
        let colons = group.colons.iter();
        let calls = &mut self.brackets.calls;
        calls.push((open, "("));
        calls.push((close, if is_empty { "0)" } else { ")" }));
        calls.extend(colons.map(|(at, empty)| (*at, if *empty { "0," } else { "," })));
    }

    fn guarded(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + self.guards.len() * 12);
        let mut done = 0;
        for (at, guard) in &self.guards {
            out.push_str(&text[done..*at]);
            done = *at;
            match guard {
                Guard::Number => out.extend(["|", NUMBER, "()"]),
                Guard::Weigh(times) => out.extend(["|", WEIGH, "(", &times.to_string(), ")"]),
                Guard::Copied(times) => out.extend(["|", COPIED, "(", &times.to_string(), ")"]),
                Guard::StepBegins => out.push('('),
                Guard::StepEnds => out.extend([")|", STEP]),
            }
        }
        out.push_str(&text[done..]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_guarded_where_an_operator_makes_much_of_them() {
        for (text, expected) in [
            ("a", "a"),
            ("a.b and not c", "a.b and not c"),
            ("a * -b", "a|_number() * -b|_number()"),
            ("'x' * 2 ** 3", "'x'|_number() * 2|_number() ** 3"),
            ("2*'a'or b", "2|_number()*'a'|_number()or b"),
            ("a ~ b ~ 'c}}'", "a|_weigh(3) ~ b|_weigh(3) ~ 'c}}'|_weigh(3)"),
            ("a + 1 and b == 2e+3", "a|_weigh(2) + 1|_weigh(2) and b|_weigh(2) == 2e+3|_weigh(2)"),
            ("a|sum(start=b)", "a|_weigh(1)|sum(start=b|_weigh(1))"),
            ("a|join(b ~ c)", "a|_weigh(1)|join(b|_weigh(2) ~ c|_weigh(2))"),
            ("x is not defined", "x is not defined"),
            ("in--3in-a", "in--3|_weigh(2)in-a|_weigh(2)"),
            ("a|max(*b)", "a|_weigh(1)|max(*b|_weigh(1))"),
            ("a.in not in b.0.5[c]", "a.in|_weigh(2) not in b.0.5[c|_weigh(1)]|_weigh(2)"),
            ("(a * b)[1:2]", "(a|_number() * b|_number())[1|_weigh(1):2|_weigh(1)]|_copied(1)"),
            ("a[:: 1 - b ]", "a[::( 1|_weigh(2) - b|_weigh(2) )|_step]|_copied(1)"),
            (
                "a[::b[::-1]]",
                "a[::(b[::(-1|_weigh(1))|_step]|_copied(1)|_weigh(1))|_step]|_copied(1)",
            ),
            ("{a: b}[1::]", "{a|_weigh(1): b|_weigh(1)}[1|_weigh(1)::]|_copied(1)"),
            ("a[1:][2:]", "a[1|_weigh(1):][2|_weigh(1):]|_copied(2)"),
            (
                "a[:b] is c or a[:]|d",
                "a[:b|_weigh(1)]|_copied(1) is c or a[:]|_copied(1)|_weigh(1)|d",
            ),
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
