//! What is wrong with the syntax of a template or an expression, and of one that may be a secret.

use super::fault::Fault;
use super::hints::hint;
use super::names::Names;
use crate::excerpt::{excerpt, first_line, listed, unquoted};
use crate::limits;
use crate::plan::expression::{self, FILTERS, TESTS, is_template};

impl Names {
    /// Makes the faults of a template or an expression, of which the language has found the first:
    /// those of each expression in it, and of the names that it reads.
    pub(super) fn bad_parts(&self, what: &str, text: &str, words: &str, at: usize) -> Fault {
        let insides = if is_template(text) { expression::expressions(text) } else { vec![text] };
        if insides.is_empty() || self.unbracketed(text, at).is_some() {
            return self.bad(what, text, words, at);
        }
        let (mut found, mut names) = (Vec::new(), expression::Names::new());
        for inside in &insides {
            // Each makes a message of the text, and no more than these are shown.
            if found.len() >= limits::PLAN_FAULTS_MAX {
                break;
            }
            let Err(words) = expression::check(inside) else {
                names.append(&mut expression::names(inside).unwrap_or_default());
                continue;
            };
            let shown = match insides.len() {
                1 => text.to_owned(),
                _ => format!("{{{{ {} }}}}", inside.trim()),
            };
            let is_unknown = words.starts_with("unknown");
            let unknown = if is_unknown { expression::all_unknown(inside) } else { Vec::new() };
            let all = if unknown.is_empty() { vec![words] } else { unknown };
            found.extend(all.iter().map(|words| self.bad(what, &shown, words, at)));
            names.append(&mut expression::names(inside).unwrap_or_default());
        }
        if !found.is_empty() {
            found.extend(self.check_names(&names, text, at).err());
        }
        let all = found.into_iter().reduce(Fault::and);
        all.unwrap_or_else(|| self.bad(what, text, words, at))
    }

    /// Makes the fault of a template or an expression, with the words of the language. Of one that
    /// may be a secret it says what sort of fault that is.
    pub(super) fn bad(&self, what: &str, text: &str, words: &str, at: usize) -> Fault {
        let message = self.unbracketed(text, at).unwrap_or_else(|| {
            let hint = if is_template(text) { hint(&insides(text)) } else { hint(text) };
            if self.is_secret(at) {
                return format!("bad {what} `…`: {}{hint}", sort_of(words));
            }
            let text = if is_template(text) { braced(text) } else { text.to_owned() };
            let is_known = words.starts_with("unknown");
            // What the language says may quote a long text; a list of ours is whole.
            let words = if is_known { words.to_owned() } else { first_line(words) };
            format!("bad {what} `{}`: {words}{hint}", excerpt(&text))
        });
        self.fault(at, message)
    }
}

/// Says what sort of fault the language has found, without a word of the text.
fn sort_of(words: &str) -> String {
    let one_of = |known: &[&str]| format!("; expected one of {}", listed(known.iter().copied()));
    match words {
        _ if words.starts_with("unknown filter") => format!("unknown filter{}", one_of(&FILTERS)),
        _ if words.starts_with("unknown test") => format!("unknown test{}", one_of(&TESTS)),
        _ if words.starts_with("unknown function") => "unknown function; there are none".to_owned(),
        _ if SYNTAX.iter().any(|begin| words.starts_with(begin)) => unquoted(words, |_| false),
        _ => "it has no value".to_owned(),
    }
}

/// Yields the templates of a text, with `…` in the place of what stands around them. One that is
/// not closed may take in what was meant to stand behind it.
fn braced(text: &str) -> String {
    let around = |part: &str| match part {
        "" => "",
        part if part.trim().is_empty() => " ",
        _ => "…",
    };
    let mut parts = text.trim().split("{{");
    let mut shown = around(parts.next().unwrap_or_default()).to_owned();
    for part in parts {
        shown.push_str("{{");
        match part.split_once("}}") {
            Some((inside, rest)) => shown.extend([inside, "}}", around(rest)]),
            None => shown.push_str(around(part)),
        }
    }
    shown
}

/// Yields what is between the braces of a template, also of one that has a fault.
fn insides(template: &str) -> String {
    let inside = |part: &str| part.split("}}").next().unwrap_or_default().to_owned();
    template.split("{{").skip(1).map(inside).collect::<Vec<_>>().join(" ")
}

/// How the words about a syntax begin. They name signs and sorts of words, and none of the text.
const SYNTAX: [&str; 5] = ["unexpected", "brackets nest", "too many operators", "`{%`", "`{#`"];
