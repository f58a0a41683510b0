//! [`masked_lines`]: the text of a configuration that cannot be read, as messages may show it.

use quell_flow::{guess, is_env};

use super::masked::STRUCTURE;
use super::mistaken::OF_CONFIGURATIONS;

/// Yields a text that cannot be read as messages may show it: of each line the key before `=`, the
/// name of a table, and the signs that make the structure; stars instead of all else.
pub(super) fn masked_lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut open = None;
    for line in text.split_inclusive('\n') {
        let key = if open.is_some() { 0 } else { key_len(line) };
        for (at, char) in line.char_indices() {
            if at < key || STRUCTURE.contains(char) {
                shown.push(char);
            } else {
                shown.extend(std::iter::repeat_n('*', char.len_utf8()));
            }
        }
        open = open_behind(line, open);
    }
    shown
}

/// Yields how much of the begin of a line is shown, the name of a table or a key; 0 if none is
/// there.
fn key_len(line: &str) -> usize {
    let name = line.trim_start_matches([' ', '\t', '[']);
    let len = if line.trim_start().starts_with('[') { table_len(name) } else { word_len(name) };
    if len == 0 { 0 } else { line.len() - name.len() + len }
}

/// Yields how long the name of a table is, or its begin up to `env`: what stands behind may be a
/// value. It begins as a table of a configuration does: within a list it may be any word.
fn table_len(name: &str) -> usize {
    let is_of_name = |char: char| char.is_ascii_alphanumeric() || ".-_".contains(char);
    let whole = &name[..name.len() - name.trim_start_matches(is_of_name).len()];
    let first = whole.split('.').next().unwrap_or_default();
    if guess(first, OF_CONFIGURATIONS).is_none() {
        return 0;
    }
    let mut end = 0;
    let env = whole.split_inclusive('.').find_map(|part| {
        end += part.len();
        let key = part.trim_end_matches('.');
        is_env(key).then_some(end - (part.len() - key.len()))
    });
    env.unwrap_or(whole.len())
}

/// Yields how long the first word of a key is. It has no capitals: it may be a line of a secret in
/// base64, which ends in `=`. Only the key of a variable has a hyphen, or that of a header.
fn word_len(key: &str) -> usize {
    let is_letter = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
    let after = key.trim_start_matches(|char| is_letter(char) || char == '.');
    let is_key = after.trim_start().starts_with(['=', ':']);
    if is_key { key.find(|char| !is_letter(char)).unwrap_or(key.len()) } else { 0 }
}

/// Yields the quotes that are open behind a line. Others end with it.
fn open_behind(line: &str, mut open: Option<&'static str>) -> Option<&'static str> {
    let mut rest = line;
    while let Some(char) = rest.chars().next() {
        let mut len = char.len_utf8();
        match open {
            Some(quotes) if rest.starts_with(quotes) => (open, len) = (None, quotes.len()),
            Some(quotes) if char == '\\' && quotes.starts_with('"') => {
                len += rest[len..].chars().next().map_or(0, char::len_utf8);
            }
            Some(_) => {}
            None if char == '#' => break,
            None => {
                open = QUOTES.into_iter().find(|quotes| rest.starts_with(quotes));
                len = open.map_or(len, str::len);
            }
        }
        rest = &rest[len..];
    }
    open.filter(|quotes| quotes.len() > 1)
}

/// Those that may have lines between them come first.
const QUOTES: [&str; 4] = ["\"\"\"", "'''", "\"", "'"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_cannot_be_read_keys_and_structure_are_shown() {
        for (text, right) in [
            ("[agents.a-b\n", "[agents.a-b\n"),
            ("grace = 5s # x\nsk-1\n", "grace = ** # *\n****\n"),
            ("  headers = { a = \"hush }\nb", "  headers = { * = \"**** }\n*"),
            ("authorization: Bearer hu.sh\r\n", "authorization: ****** *****\r\n"),
            ("a = '''\nhush\n'''\nb", "a = '''\n****\n'''\n*"),
            ("key = \"hush\nc2Vj==\"\n", "key = \"****\n****==\"\n"),
            ("[Agents.A1\n", "[Agents.A1\n"),
            ("a = \"\"\"x\"\"\"\nb = 1\n\"ü\" = 1", "a = \"\"\"*\"\"\"\nb = *\n\"**\" = *"),
            ("model.url = 'x'", "model**** = '*'"),
        ] {
            assert_eq!(masked_lines(text), right);
        }
    }

    #[test]
    fn of_variables_no_key_that_may_have_the_value_in_it_is_shown() {
        for (text, right) in [
            ("env.b-c = x\nenv.b.c = x", "******* = *\nenv**** = *"),
            ("[agents.a.env]\nb-c = x", "[agents.a.env]\n*** = *"),
            ("[agents.a.env.b-c]\nd.e = x", "[agents.a.env****]\nd** = *"),
            ("[agents.a.environment.b]", "[agents.a.environment**]"),
            ("env = [\n [hush],\n [[hush]]", "env = [\n [****],\n [[****]]"),
            ("env = {\n \"b=c\" = x,\n b-c: x", "env = {\n \"*=*\" = *,\n ***: *"),
            ("a = \"\"\"\n'''\nb = c\n\"\"\"\nb = c", "a = \"\"\"\n'''\n* = *\n\"\"\"\nb = *"),
            ("a = \"\"\"\n\\\"\"\"\nb = c", "a = \"\"\"\n*\"\"\"\n* = *"),
            ("# '''\na = '''\nb = c", "# '''\na = '''\n* = *"),
            ("a = \"'''\"\nb = '\\'\nb = c", "a = \"'''\"\nb = '*'\nb = *"),
        ] {
            assert_eq!(masked_lines(text), right);
        }
    }
}
