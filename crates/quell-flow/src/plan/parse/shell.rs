//! [`warn`] finds templates in the script of a shell that are not quoted.

use std::ops::Range;

use super::fault::Fault;
use super::reader::Reader;
use super::tree::{Node, Value};
use crate::excerpt::excerpt;
use crate::plan::expression::{Exposed, exposed};

/// Warns of every template in the script of a command, `sh -c SCRIPT` or `ssh HOST SCRIPT`, whose
/// value the shell would read as part of the script.
pub(super) fn warn(reader: &mut Reader<'_>, parts: &[Node]) {
    let words: Vec<&str> = parts.iter().map(word).collect();
    let Some((shell, scripts)) = scripts(&words) else { return };
    for at in scripts {
        let end = parts.get(at + 1).map(|next| next.at);
        let mut from = parts[at].at;
        for (inside, exposed) in exposed(words[at]) {
            // Each search may take as long as the word is.
            if reader.has_enough_warnings() {
                return;
            }
            let place = reader.place_of(inside, from, end);
            from = place.map_or(from, |place| place + inside.len());
            let message = message(inside, exposed, shell);
            reader.warn(Fault::new(place.unwrap_or(parts[at].at), message).of("run"));
        }
    }
}

fn message(inside: &str, exposed: Exposed, shell: &str) -> String {
    let template = excerpt(&format!("{{{{ {inside} }}}}"));
    let shell = excerpt(shell);
    let variable = "a variable of `env`, which the script reads as `\"$NAME\"`";
    match exposed {
        Exposed::Bare if shell == SSH => {
            let right = excerpt(&format!("{{{{ {} | quote }}}}", grouped(inside)));
            format!(
                "`{template}` in what `{SSH}` runs: the shell there reads its value as part of \
                 the script; expected `{right}`, outside of quotes"
            )
        }
        Exposed::Bare => {
            let right = excerpt(&format!("{{{{ {} | quote }}}}", grouped(inside)));
            format!(
                "`{template}` in the script of `{shell}`: the shell reads its value as part of \
                 the script; expected `{right}`, outside of quotes, or a variable of `env` with \
                 `{template}`, which the script reads as `\"$NAME\"`"
            )
        }
        Exposed::Requoted => format!(
            "`{template}` within quotes in the script of `{shell}`: `quote` brings quotes of its \
             own, which end those around it; expected it outside of quotes, or {variable}"
        ),
        Exposed::InDocument => format!(
            "`{template}` in a here-document in the script of `{shell}`, where quotes are text: \
             the shell may read its value as part of the script; expected `input` of the step, or \
             {variable}"
        ),
    }
}

/// Finds the shell of a command, and the places of its script. The shell may be the argument of
/// another program, such as `env`.
fn scripts<'a>(words: &[&'a str]) -> Option<(&'a str, Range<usize>)> {
    let names = words.iter().map(|word| program(word)).enumerate();
    let mut shells = names.filter(|(_, name)| *name == SSH || is_shell(name)).take(SHELLS_TRIED);
    shells.find_map(|(at, name)| {
        if name == SSH {
            return Some((name, at + 1 + remote_of(&words[at + 1..])?..words.len()));
        }
        let at = at + 1 + script_of(&words[at + 1..])?;
        Some((name, at..at + 1))
    })
}

/// Finds what runs on the host among the arguments of `ssh`: all that follows its name.
fn remote_of(arguments: &[&str]) -> Option<usize> {
    let mut at = 0;
    while let Some(options) = arguments.get(at)?.strip_prefix('-') {
        at += 1;
        // The value of an option follows, unless it is in the same word.
        at += usize::from(options.len() == 1 && SSH_VALUES.contains(options));
    }
    (at + 1 < arguments.len()).then_some(at + 1)
}

/// Finds the script among the arguments of a shell: the first that is no option, if one of the
/// options is `-c`.
fn script_of(arguments: &[&str]) -> Option<usize> {
    let (mut at, mut has_script) = (0, false);
    while let Some(options) = arguments.get(at)?.strip_prefix(['-', '+']) {
        at += 1;
        if let Some(long) = options.strip_prefix('-') {
            // The value of a long option follows.
            at += usize::from(LONG_WITH_VALUES.contains(&long));
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

/// Yields the name of a program, without its folder.
pub(super) fn program(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

pub(super) fn is_shell(name: &str) -> bool {
    SHELLS.contains(&name)
}

/// Yields a word of a command; an empty one of what is no text.
pub(super) fn word(part: &Node) -> &str {
    match &part.value {
        Value::Text(text) => text,
        _ => "",
    }
}

/// How many words that are names of shells are tried as the shell: each takes a look at all options
/// behind it.
const SHELLS_TRIED: usize = 8;

/// The shells whose quotes are those of POSIX.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ksh", "ash", "mksh"];

/// The long options of these shells whose value is the next argument.
const LONG_WITH_VALUES: [&str; 3] = ["rcfile", "init-file", "emulate"];

/// Runs its arguments, one text, by the shell of another host.
const SSH: &str = "ssh";

/// The options of `ssh` that have a value.
const SSH_VALUES: &str = "BbcDEeFIiJLlmOoPpQRSWw";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_the_first_argument_behind_the_options() {
        for (words, at) in [
            (&["sh", "-c", "x"][..], Some(2..3)),
            (&["/bin/bash", "-euo", "pipefail", "-c", "x", "y"], Some(4..5)),
            (&["bash", "-ec", "-x", "x"], Some(3..4)),
            (&["bash", "--norc", "-c", "x"], Some(3..4)),
            (&["bash", "--rcfile", "rc", "-c", "x"], Some(4..5)),
            (&["bash", "--init-file", "rc", "-ec", "x"], Some(4..5)),
            (&["zsh", "--emulate", "sh", "-c", "x"], Some(4..5)),
            (&["bash", "-c", "--", "x"], Some(3..4)),
            (&["env", "A=1", "sh", "-c", "x"], Some(4..5)),
            (&["ssh", "-p", "22", "-i", "key", "-oA=b", "me@host", "x", "y"], Some(7..9)),
            (&["ssh", "host"], None),
            (&["sh", "x", "-c"], None),
            (&["sh", "-c"], None),
            (&["make", "-c", "x"], None),
        ] {
            assert_eq!(scripts(words).map(|(_, at)| at), at, "{words:?}");
        }
    }
}
