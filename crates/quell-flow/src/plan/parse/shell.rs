//! [`warn`] finds templates in the script of a shell that are not quoted.

use super::fault::Fault;
use super::reader::Reader;
use super::tree::{Node, Value};
use crate::plan::excerpt::excerpt;
use crate::plan::expression::unquoted;

/// Warns of every template in the script of a command, `sh -c SCRIPT`, whose value the shell would
/// read as part of the script.
pub(super) fn warn(reader: &mut Reader<'_>, parts: &[Node]) {
    let words: Vec<&str> = parts.iter().map(word).collect();
    let Some((shell, at)) = script(&words) else { return };
    let end = parts.get(at + 1).map(|next| next.at);
    let mut from = parts[at].at;
    for inside in unquoted(words[at]) {
        let place = reader.place_of(inside, from, end);
        from = place.map_or(from, |place| place + inside.len());
        let template = excerpt(&format!("{{{{ {} }}}}", inside.trim()));
        let right = excerpt(&format!("{{{{ {} | quote }}}}", grouped(inside.trim())));
        let message = format!(
            "`{template}` in the script of `{}`: the shell reads its value as part of the script; \
             expected `{right}`, outside of quotes, or a variable of `env` with `{template}`, \
             which the script reads as `\"$NAME\"`",
            excerpt(shell)
        );
        reader.warn(Fault::new(place.unwrap_or(parts[at].at), message).of("run"));
    }
}

/// Finds the shell of a command, and the place of its script. The shell may be the argument of
/// another program, such as `env`.
fn script<'a>(words: &[&'a str]) -> Option<(&'a str, usize)> {
    words.iter().enumerate().find_map(|(at, program)| {
        let name = program.rsplit('/').next().filter(|name| SHELLS.contains(name))?;
        Some((name, at + 1 + script_of(&words[at + 1..])?))
    })
}

/// Finds the script among the arguments of a shell: the first that is no option, if one of the
/// options is `-c`.
fn script_of(arguments: &[&str]) -> Option<usize> {
    let (mut at, mut has_script) = (0, false);
    while let Some(options) = arguments.get(at)?.strip_prefix(['-', '+']) {
        at += 1;
        if options.starts_with('-') {
            continue;
        }
        has_script |= options.contains('c');
        // The name of an option follows.
        at += usize::from(options.contains(['o', 'O']));
    }
    (has_script && at < arguments.len()).then_some(at)
}

/// Puts an expression into brackets if a filter would take only the end of it.
fn grouped(inside: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_.[]\"'|".contains(c);
    if inside.chars().all(is_plain) { inside.to_owned() } else { format!("({inside})") }
}

fn word(part: &Node) -> &str {
    match &part.value {
        Value::Text(text) => text,
        _ => "",
    }
}

/// The shells whose quotes are those of POSIX.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ksh", "ash", "mksh"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_the_first_argument_behind_the_options() {
        for (words, at) in [
            (&["sh", "-c", "x"][..], Some(2)),
            (&["/bin/bash", "-euo", "pipefail", "-c", "x", "y"], Some(4)),
            (&["bash", "-ec", "-x", "x"], Some(3)),
            (&["bash", "--norc", "-c", "x"], Some(3)),
            (&["env", "A=1", "sh", "-c", "x"], Some(4)),
            (&["sh", "x", "-c"], None),
            (&["sh", "-c"], None),
            (&["make", "-c", "x"], None),
        ] {
            assert_eq!(script(words).map(|(_, at)| at), at, "{words:?}");
        }
    }
}
