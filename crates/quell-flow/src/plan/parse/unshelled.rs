//! [`warn`] finds what only a shell reads in a command without one, and in its folder.

use super::fault::Fault;
use super::reader::Reader;
use super::scripts::{is_shell, program};
use super::shell::word;
use super::tree::Node;
use crate::excerpt::excerpt;
use crate::harmless::may_set;

/// Warns of the first sign of a shell, and of each word that a shell would expand, in a command
/// that runs none; and of a folder that no shell expands.
pub(super) fn warn(reader: &mut Reader<'_>, parts: &[Node], folder: Option<&Node>) {
    if let Some(folder) = folder {
        warn_of_folder(reader, folder);
    }
    let words: Vec<&str> = parts.iter().map(word).collect();
    let reads = |word: &&str| is_shell(program(word)) || OTHER_SHELLS.contains(&program(word));
    if words.iter().any(reads) {
        return;
    }
    warn_of_sign(reader, parts, &words);
    let expanded = arguments_of(words.iter().copied(), &EXPANDERS);
    for (at, word) in words.iter().enumerate().filter(|(_, word)| is_expanded(word)) {
        if reader.has_enough_warnings() {
            return;
        }
        let right = match at {
            0 => "the path itself, such as `/opt/bin/tool`",
            _ if expanded[at] => continue,
            _ => "the value itself, such as `{{ input.dir }}`",
        };
        let word = excerpt(word);
        let message = format!(
            "nothing expands `{word}` without a shell; expected {right}, or a shell: \
             `[\"sh\", \"-c\", \"… {word} …\"]`"
        );
        reader.warn(Fault::new(parts[at].at, message).of("run"));
    }
}

/// Warns of the first sign of a shell that is neither the value of an option nor a text that its
/// program takes. A sign at the end joins nothing.
fn warn_of_sign(reader: &mut Reader<'_>, parts: &[Node], words: &[&str]) {
    let taken = arguments_of(words.iter().copied(), &TAKERS);
    let is_value = |at: usize| words[at - 1].starts_with('-') && words[at - 1] != "-";
    let is_last = |at: usize| at + 1 == words.len() && !LAST.contains(&words[at]);
    let is_sign = |at: usize| SIGNS.contains(&words[at]) && !is_value(at) && !is_last(at);
    let Some(at) = (1..words.len()).find(|at| is_sign(*at) && !taken[*at]) else { return };
    let of_program = words.iter().find(|word| !may_set(word));
    let (sign, program) = (words[at], excerpt(of_program.map_or("", |word| program(word))));
    let message = format!(
        "no shell reads `{sign}`, it is an argument of `{program}` like others; expected a shell: \
         `[\"sh\", \"-c\", \"… {sign} …\"]`"
    );
    reader.warn(Fault::new(parts[at].at, message).of("run"));
}

/// Warns of a folder that begins with what only a shell would expand.
fn warn_of_folder(reader: &mut Reader<'_>, node: &Node) {
    let folder = word(node);
    if folder == "~" || is_expanded(folder) {
        let message = format!(
            "nothing expands `{}`; expected the path itself, such as `/srv/data` or \
             `{{{{ input.dir }}}}`",
            excerpt(folder)
        );
        reader.warn(Fault::new(node.at, message).of("cwd"));
    }
}

/// Tells of each word whether it is one of so many arguments behind a program that are texts for
/// it.
fn arguments_of<'a>(words: impl Iterator<Item = &'a str>, programs: &[(&str, usize)]) -> Vec<bool> {
    // The first word that is beyond the arguments of the programs so far.
    let mut end = 0;
    let is_argument = words.enumerate().map(|(at, word)| {
        let is_argument = at < end;
        let name = program(word);
        if let Some((_, count)) = programs.iter().find(|(program, _)| *program == name) {
            end = end.max(count.saturating_add(at + 1));
        }
        is_argument
    });
    is_argument.collect()
}

/// Tells whether a word is `~/…`, `$NAME` or `${NAME}` with nothing but a path behind it.
fn is_expanded(word: &str) -> bool {
    if word.starts_with("~/") {
        return true;
    }
    let Some(name) = word.strip_prefix('$') else { return false };
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (name, rest) = match name.strip_prefix('{') {
        Some(inside) => inside.split_once('}').unwrap_or_default(),
        // `$G` and `$NF` are programs of `sed` and `awk`.
        None => name.split_at(name.find(|c| !is_letter(c)).unwrap_or(name.len())),
    };
    let is_name = name.len() > 2
        && name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.chars().all(|c| is_letter(c) && !c.is_ascii_lowercase());
    is_name && (rest.is_empty() || rest.starts_with('/')) && !word.contains(char::is_whitespace)
}

/// The signs of a shell that are often written as words.
const SIGNS: [&str; 9] = ["|", "||", "&&", ";", ">", ">>", "<", "2>&1", "&"];

/// Those of them that a line of a shell may end with.
const LAST: [&str; 3] = [";", "2>&1", "&"];

/// Programs beside the shells of POSIX that read such signs, or hand them to a shell.
const OTHER_SHELLS: [&str; 18] = [
    "ssh",
    "su",
    "runuser",
    "sg",
    "script",
    "xonsh",
    "elvish",
    "fish",
    "csh",
    "tcsh",
    "nu",
    "cmd",
    "cmd.exe",
    "powershell",
    "pwsh",
    "watch",
    "adb",
    "tmux",
];

/// Programs that take signs as texts, and among how many of their arguments.
const TAKERS: [(&str, usize); 6] = [
    ("grep", 1),
    ("tr", 2),
    ("expr", usize::MAX),
    ("test", usize::MAX),
    ("[", usize::MAX),
    ("find", usize::MAX),
];

/// Programs that expand variables themselves.
const EXPANDERS: [(&str, usize); 1] = [("envsubst", usize::MAX)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_words_behind_a_program_are_texts_for_it() {
        let words = ["x", "grep", "|", "|", "tr", "a", "b", "c"].repeat(2);
        let found = arguments_of(words.into_iter(), &TAKERS);
        let once = [false, false, true, false, false, true, true, false];
        assert_eq!(found, once.repeat(2));
    }
}
