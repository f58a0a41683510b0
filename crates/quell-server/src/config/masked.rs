//! [`masked`]: the text of a configuration as messages may show it.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::access::is_variable;

/// Yields a text with stars instead of what may be a secret: values of headers, values of keys that
/// are named like secrets or should be tables, what should be the name of a variable and is none,
/// and the queries of addresses. Every other byte stays in its place.
///
/// The file is to name variables instead. But a mistake is shown with its line, and may be that.
pub(super) fn masked(text: &str, root: &DeTable<'_>) -> String {
    let mut shown = text.as_bytes().to_vec();
    mask_table(root, Texts::Shown, &mut shown);
    // Characters are replaced whole.
    String::from_utf8(shown).unwrap_or_default()
}

/// Yields a text that cannot be read as messages may show it: of each line the key before `=`, the
/// name of a table, and the signs that make the structure; stars instead of all else.
pub(super) fn masked_lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut is_within_text = false;
    for line in text.split_inclusive('\n') {
        let key = if is_within_text { 0 } else { key_len(line) };
        for (at, char) in line.char_indices() {
            if at < key || STRUCTURE.contains(char) {
                shown.push(char);
            } else {
                shown.extend(std::iter::repeat_n('*', char.len_utf8()));
            }
        }
        let is_turned = |quotes| line.matches(quotes).count() % 2 == 1;
        is_within_text ^= is_turned("\"\"\"") || is_turned("'''");
    }
    shown
}

/// Yields how long the key at the begin of a line is, or the name of a table; 0 if none is there.
fn key_len(line: &str) -> usize {
    let name = line.trim_start_matches([' ', '\t', '[']);
    let is_of_name = |char: char| char.is_ascii_alphanumeric() || ".-_".contains(char);
    let rest = name.trim_start_matches(is_of_name);
    let is_named = line.trim_start().starts_with('[') || rest.trim_start().starts_with(['=', ':']);
    if is_named { line.len() - rest.len() } else { 0 }
}

/// Which texts are hidden.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Texts {
    Shown,
    /// But for those that are names of variables.
    NoNames,
    Hidden,
}

/// Recurses as deep as the parser allows.
fn mask_table(table: &DeTable<'_>, texts: Texts, shown: &mut [u8]) {
    for (key, value) in table {
        let key = key.get_ref();
        let of_key = if key == "headers" || is_of_secret(key) {
            Texts::Hidden
        } else if key.ends_with("_env") {
            Texts::NoNames
        } else {
            Texts::Shown
        };
        let within = texts.max(of_key);
        let direct = if TABLES.contains(&key.as_ref()) { Texts::Hidden } else { within };
        mask(value, direct, within, shown);
        if ["url", "cancel"].contains(&key.as_ref()) {
            mask_address(value, shown);
        }
    }
}

/// Hides texts that are a value or its items as `direct`, those in its tables as `within`.
fn mask(value: &Spanned<DeValue<'_>>, direct: Texts, within: Texts, shown: &mut [u8]) {
    match value.get_ref() {
        DeValue::Table(table) => mask_table(table, within, shown),
        DeValue::Array(items) => items.iter().for_each(|item| mask(item, direct, within, shown)),
        DeValue::String(text)
            if direct == Texts::Hidden || direct == Texts::NoNames && !is_variable(text) =>
        {
            let span = value.span();
            // Its quotes remain.
            hide(shown.get_mut(span.start + 1..span.end.saturating_sub(1)).unwrap_or_default());
        }
        _ => {}
    }
}

/// Hides the user and the password of an address, and its query.
fn mask_address(value: &Spanned<DeValue<'_>>, shown: &mut [u8]) {
    let span = value.span();
    let whole = shown.get_mut(span.start..span.end.saturating_sub(1)).unwrap_or_default();
    let end = whole.iter().position(|byte| *byte == b'?').unwrap_or(whole.len());
    let (before, query) = whole.split_at_mut(end);
    hide(query.get_mut(1..).unwrap_or_default());
    let host = before.windows(3).position(|bytes| bytes == b"://").map_or(0, |at| at + 3);
    // A password may have a slash, and an `@` of its own.
    if let Some(at) = before[host..].iter().rposition(|byte| *byte == b'@') {
        hide(&mut before[host..host + at]);
    }
}

/// Puts stars in the place of all but the ends of lines.
fn hide(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b'*');
}

/// Tells whether a value with these keys may be a secret, or have one in it.
pub(super) fn may_be_secret(keys: &[String]) -> bool {
    let is_near = |key: &String| {
        let key = key.as_str();
        ["headers", "url", "cancel"].contains(&key)
            || TABLES.contains(&key)
            || key.ends_with("_env")
            || is_of_secret(key)
    };
    keys.iter().any(is_near)
}

/// Tells whether a key is named as a secret is, and not as the variable or file that has it.
fn is_of_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let names = ["auth", "key", "password", "secret", "token"];
    let elsewhere = ["_env", "_file", "s"];
    names.iter().any(|name| key.contains(name)) && !elsewhere.iter().any(|end| key.ends_with(end))
}

/// Keys of tables. A text in the place of one may be what belongs into it.
const TABLES: [&str; 4] = ["env", "keys", "model", "tokens"];

/// The signs that say how a line is read, and white space.
const STRUCTURE: &str = " \t\r\n\"'=,:{}[]#";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_stars_and_nothing_else_moves() {
        for (text, right) in [
            ("headers = { a = \"hush\", b = 1 }", "headers = { a = \"****\", b = 1 }"),
            ("[model.headers]\nx = \"grüße\"", "[model.headers]\nx = \"*******\""),
            ("key = \"hush\"\nkey_env = \"KEY\"", "key = \"****\"\nkey_env = \"KEY\""),
            ("env = { API_KEY = 'hush', A = 'b' }", "env = { API_KEY = '****', A = 'b' }"),
            ("url = \"http://a/b?c=hush\"", "url = \"http://a/b?******\""),
            ("cancel = \"http://a:b@c/d@e\"", "cancel = \"http://*******@e\""),
            ("url = \"http://a:b/c@d?e@f\"", "url = \"http://*****@d?***\""),
            ("url = \"http://a/b\"", "url = \"http://a/b\""),
            ("key_env = \"sk-1\"", "key_env = \"****\""),
            (
                "headers_env = { a = \"A_1\", b = \"sk 1\" }",
                "headers_env = { a = \"A_1\", b = \"****\" }",
            ),
            ("headers_env = \"a: b\"", "headers_env = \"****\""),
            ("model = 'hush'\nkeys = ['hush']", "model = '****'\nkeys = ['****']"),
            ("env = \"A=b\"\ntokens = 'a'", "env = \"***\"\ntokens = '*'"),
            ("model = { name = 'm' }\nenv.A = 'b'", "model = { name = 'm' }\nenv.A = 'b'"),
            ("url = \"?\"\ncancel = ''", "url = \"?\"\ncancel = ''"),
            ("[[tokens]]\nissuer = \"me\"", "[[tokens]]\nissuer = \"me\""),
            ("run = [\"a?b\", \"c\"]", "run = [\"a?b\", \"c\"]"),
        ] {
            let root = DeTable::parse(text).expect("TOML").into_inner();
            assert_eq!(masked(text, &root), right);
        }
    }

    #[test]
    fn of_what_cannot_be_read_keys_and_structure_are_shown() {
        for (text, right) in [
            ("[agents.a-b\n", "[agents.a-b\n"),
            ("grace = 5s # x\nsk-1\n", "grace = ** # *\n****\n"),
            ("  headers = { a = \"hush }\nb", "  headers = { * = \"**** }\n*"),
            ("authorization: Bearer hu.sh\r\n", "authorization: ****** *****\r\n"),
            ("a = '''\nhush\n'''\nb", "a = '''\n****\n'''\n*"),
            ("a = \"\"\"x\"\"\"\nb = 1\n\"ü\" = 1", "a = \"\"\"*\"\"\"\nb = *\n\"**\" = *"),
        ] {
            assert_eq!(masked_lines(text), right);
        }
    }
}
