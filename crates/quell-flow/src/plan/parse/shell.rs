//! [`warn`] finds templates in the script of a shell that are not quoted.

use super::fault::Fault;
use super::reader::Reader;
use super::scripts::{ENV, Scripts, Sort, unsure_option};
use super::tree::{Node, Value};
use crate::plan::expression::{Exposed, exposed};

/// Warns of every template in the script of a command, `sh -c SCRIPT` or `ssh HOST SCRIPT`, or in
/// its input if that is the script, whose value the shell would read as part of the script.
pub(super) fn warn(reader: &mut Reader<'_>, parts: &[Node], input: Option<&Node>) {
    let words: Vec<&str> = parts.iter().map(word).collect();
    let Some(scripts) = Scripts::of(&words) else {
        if let Some((shell, at)) = unsure_option(&words) {
            let message = format!(
                "`{shell}` may take the value for an option, such as `-c`, which makes a script of \
                 the next word; expected `--` before it"
            );
            reader.warn(Fault::new(parts[at].at, message).of("run"));
        }
        return;
    };
    match (&scripts.words, input) {
        (Some(places), _) => {
            for at in places.clone() {
                let end = parts.get(at + 1).map(|next| next.at);
                warn_of(reader, (&parts[at], end), &scripts, "run");
            }
        }
        (None, Some(input)) => warn_of(reader, (input, None), &scripts, "input"),
        (None, None) => {}
    }
}

/// Warns of the templates in one text of a script, which ends before a place.
fn warn_of(
    reader: &mut Reader<'_>,
    (node, end): (&Node, Option<usize>),
    scripts: &Scripts<'_>,
    key: &str,
) {
    let mut from = node.at;
    for (inside, exposed) in exposed(word(node), scripts.sort != Sort::Foreign) {
        // Each search may take as long as the word is.
        if reader.has_enough_warnings() {
            return;
        }
        let place = reader.place_of(inside, from, end);
        from = place.map_or(from, |place| place + inside.len());
        let quoted = |inside: &str| reader.names.quoted(&format!("{{{{ {inside} }}}}"), node.at);
        let message = message(inside, exposed, scripts, quoted);
        let fault = reader.names.fault(place.unwrap_or(node.at), message);
        reader.warn(fault.of(key));
    }
}

fn message(
    inside: &str,
    exposed: Exposed,
    scripts: &Scripts<'_>,
    quoted: impl Fn(&str) -> String,
) -> String {
    let (template, shell) = (quoted(inside), scripts.shell);
    let (is_remote, is_stdin) = (scripts.sort == Sort::Remote, scripts.words.is_none());
    let place = match scripts.sort {
        _ if is_stdin => format!("in the `input` of `{shell}`, its script"),
        Sort::Remote => format!("in what `{shell}` runs"),
        Sort::Foreign if shell == ENV => "in what `env -S` splits".to_owned(),
        Sort::Posix | Sort::Foreign => format!("in the script of `{shell}`"),
    };
    let variable = "a variable of `env`, which the script reads as `\"$NAME\"`";
    // Variables do not reach another host.
    let or_variable = if is_remote { String::new() } else { format!(", or {variable}") };
    match exposed {
        Exposed::Bare => {
            bare(&template, &place, scripts, || quoted(&format!("{} | quote", grouped(inside))))
        }
        Exposed::Requoted => format!(
            "`{template}` within quotes {place}: `quote` brings quotes of its own, which end those \
             around it; expected it outside of quotes{or_variable}"
        ),
        Exposed::InDocument => {
            let right = match (is_stdin, is_remote) {
                (false, _) => format!("`input` of the step{or_variable}"),
                (true, false) => variable.to_owned(),
                (true, true) => "it outside of here-documents".to_owned(),
            };
            format!(
                "`{template}` in a here-document {place}, where quotes are text: the shell may \
                 read its value as part of the script; expected {right}"
            )
        }
        Exposed::InBackticks => format!(
            "`{template}` within backticks {place}: one in its value ends them; expected `$(…)` in \
             their place"
        ),
        Exposed::InArithmetic => {
            let right = quoted(&format!("{} | int", grouped(unquoted(inside))));
            format!(
                "`{template}` in arithmetic {place}, where quotes are text: the shell may run what \
                 its value says; expected `{right}`"
            )
        }
        Exposed::InComment => format!(
            "`{template}` in a comment {place}, which a line break in its value ends; expected it \
             outside of comments"
        ),
        Exposed::Escaped => format!(
            "`{template}` behind a backslash {place}, which takes the first quote of `quote`; \
             expected no backslash before it"
        ),
    }
}

/// Words the message about a template whose value has no quotes, or not those of the shell.
fn bare(template: &str, place: &str, scripts: &Scripts<'_>, right: impl Fn() -> String) -> String {
    let variable = format!("a variable of `env` with `{template}`, which the script reads");
    let reads = "reads its value as part of the script";
    match scripts.sort {
        Sort::Foreign if scripts.shell == ENV => format!(
            "`{template}` {place}, by quotes that are not those of `quote`: its value may become \
             several words; expected each word by itself in `run`, without `-S`"
        ),
        Sort::Foreign => format!(
            "`{template}` {place}: the shell {reads}, by quotes that are not those of `quote`; \
             expected {variable}"
        ),
        Sort::Remote => format!(
            "`{template}` {place}: the shell there {reads}; expected `{}`, outside of quotes",
            right()
        ),
        Sort::Posix => format!(
            "`{template}` {place}: the shell {reads}; expected `{}`, outside of quotes, or \
             {variable} as `\"$NAME\"`",
            right()
        ),
    }
}

/// Takes away `| quote` at the end of an expression.
fn unquoted(inside: &str) -> &str {
    let before = inside.strip_suffix("quote").and_then(|rest| rest.trim_end().strip_suffix('|'));
    before.unwrap_or(inside).trim_end()
}

/// Puts an expression into brackets if a filter would take only the end of it.
fn grouped(inside: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_.[]\"'|".contains(c);
    if inside.chars().all(is_plain) { inside.to_owned() } else { format!("({inside})") }
}

/// Yields a word of a command; an empty one of what is no text.
pub(super) fn word(part: &Node) -> &str {
    match &part.value {
        Value::Text(text) => text,
        _ => "",
    }
}
