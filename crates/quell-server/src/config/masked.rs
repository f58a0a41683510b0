//! [`masked`]: the text of a configuration as messages may show it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::access::is_surely_variable;

/// Yields a text with stars instead of what may be a secret: values of headers and of variables,
/// values of keys that are named like secrets or should be tables, what should be the name of a
/// variable and may be none, users, passwords and queries of addresses. Every other byte stays in
/// its place.
///
/// The file is to name variables instead. But a mistake is shown with its line, and may be that.
pub(super) fn masked(text: &str, root: &DeTable<'_>) -> String {
    let mut shown = text.as_bytes().to_vec();
    mask_table(root, Values::Shown, &mut shown);
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

/// Yields how long the key at the begin of a line is, or the name of a table; 0 if none is there. A
/// key has no capitals: it may be a line of a secret in base64, which ends in `=`.
fn key_len(line: &str) -> usize {
    let is_table = line.trim_start().starts_with('[');
    let name = line.trim_start_matches([' ', '\t', '[']);
    let is_letter = |char: char| char.is_ascii_lowercase() || is_table && char.is_ascii_uppercase();
    let is_of_name = |char: char| is_letter(char) || char.is_ascii_digit() || ".-_".contains(char);
    let rest = name.trim_start_matches(is_of_name);
    let is_named = is_table || rest.trim_start().starts_with(['=', ':']);
    if is_named { line.len() - rest.len() } else { 0 }
}

/// Which values are hidden.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Values {
    Shown,
    /// But for those that are names of variables.
    NoNames,
    Hidden,
}

/// Recurses as deep as the parser allows.
fn mask_table(table: &DeTable<'_>, values: Values, shown: &mut [u8]) {
    for (key, value) in table {
        let key = key.get_ref().as_ref();
        let within = values.max(of_key(key));
        match value.get_ref() {
            // What its components are called says nothing of what they hold.
            DeValue::Table(components) if COMPONENTS.contains(&key) => {
                for (id, entry) in components {
                    let is_table = entry.get_ref().as_table().is_some();
                    let within = if is_table { within } else { within.max(of_key(id.get_ref())) };
                    mask(entry, within, within, shown);
                }
            }
            _ => {
                let direct = if TABLES.contains(&key) { Values::Hidden } else { within };
                mask(value, direct, within, shown);
            }
        }
        if ADDRESSES.contains(&key) {
            mask_address(value, shown);
        }
    }
}

fn of_key(key: &str) -> Values {
    if FOREIGN.contains(&key) || is_of_secret(key) {
        Values::Hidden
    } else if key.ends_with("_env") {
        Values::NoNames
    } else {
        Values::Shown
    }
}

/// Hides a value or its items as `direct`, those in its tables as `within`.
fn mask(value: &Spanned<DeValue<'_>>, direct: Values, within: Values, shown: &mut [u8]) {
    let span = value.span();
    match (value.get_ref(), direct) {
        (DeValue::Table(table), _) => mask_table(table, within, shown),
        (DeValue::Array(items), _) => {
            items.iter().for_each(|item| mask(item, direct, within, shown));
        }
        (DeValue::String(text), Values::NoNames) if is_surely_variable(text) => {}
        (DeValue::String(text), Values::Shown) if text.contains("://") => {
            mask_address(value, shown);
        }
        (_, Values::Shown) => {}
        // Its quotes remain.
        (DeValue::String(_), _) => hide(shown, span.start + 1..span.end.saturating_sub(1)),
        _ => hide(shown, span),
    }
}

/// Hides the user and the password of an address, and its query.
fn mask_address(value: &Spanned<DeValue<'_>>, shown: &mut [u8]) {
    let Range { start, end } = value.span();
    let end = end.saturating_sub(1);
    let whole = shown.get(start..end).unwrap_or_default();
    let query = whole.iter().position(|byte| *byte == b'?').map_or(end, |at| start + at);
    let before = &whole[..query.saturating_sub(start).min(whole.len())];
    let host = before.windows(3).position(|bytes| bytes == b"://").map_or(0, |at| at + 3);
    // A password may have a slash, and an `@` of its own.
    let user = before[host..].iter().rposition(|byte| *byte == b'@');
    if let Some(len) = user {
        hide(shown, start + host..start + host + len);
    }
    hide(shown, query + 1..end);
}

/// Puts stars in the place of all but the ends of lines.
fn hide(shown: &mut [u8], place: Range<usize>) {
    let bytes = shown.get_mut(place).unwrap_or_default();
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b'*');
}

/// Tells whether a value with these keys may be a secret, or have one in it.
pub(super) fn may_be_secret(keys: &[String]) -> bool {
    let is_near = |key: &String| {
        let key = key.as_str();
        of_key(key) != Values::Shown || ADDRESSES.contains(&key) || TABLES.contains(&key)
    };
    keys.iter().any(is_near)
}

/// Tells whether a key is named as a secret is, and not as the variable or file that has it.
fn is_of_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let names = ["auth", "bearer", "credential", "key", "pass", "pwd", "secret", "token"];
    let elsewhere = ["_env", "_file", "_ms"];
    names.iter().any(|name| key.contains(name))
        && !elsewhere.iter().any(|end| key.ends_with(end))
        && !["keys", "tokens", "max_tokens"].contains(&key.as_str())
}

/// Keys of tables. A text in the place of one may be what belongs into it.
const TABLES: [&str; 4] = ["env", "keys", "model", "tokens"];

/// Keys of tables whose own keys have any name, and values for others.
const FOREIGN: [&str; 2] = ["env", "headers"];

/// Keys of tables whose own keys are ids.
const COMPONENTS: [&str; 3] = ["agents", "teams", "workflows"];

/// Keys of addresses.
const ADDRESSES: [&str; 3] = ["url", "cancel", "public_url"];

/// The signs that say how a line is read, and white space.
const STRUCTURE: &str = " \t\r\n\"'=,:{}[]#";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_stars_and_nothing_else_moves() {
        for (text, right) in [
            ("headers = { a = \"hush\", b = 17 }", "headers = { a = \"****\", b = ** }"),
            ("[model.headers]\nx = \"grüße\"", "[model.headers]\nx = \"*******\""),
            ("key = \"hush\"\nkey_env = \"KEY\"", "key = \"****\"\nkey_env = \"KEY\""),
            ("env = { API_KEY = 'hush', A = 'b' }", "env = { API_KEY = '****', A = '*' }"),
            ("api_keys = ['hush', 1.5]\npwd = 12", "api_keys = ['****', ***]\npwd = **"),
            ("max_tokens = 0\ntoken_life_ms = 1", "max_tokens = 0\ntoken_life_ms = 1"),
            ("[agents.monkey]\nrun = 'make'", "[agents.monkey]\nrun = 'make'"),
            ("[agents]\nkey = 'hush'\na = 'b'", "[agents]\nkey = '****'\na = 'b'"),
            ("teams = ['key']\nagents = 'a'", "teams = ['key']\nagents = 'a'"),
            ("run = ['a', 'pg://b:c@d']", "run = ['a', 'pg://***@d']"),
            ("public_url = 'http://a:b@c'", "public_url = 'http://***@c'"),
            ("key_env = 'ghp_16Ab'\nsecret_env = 'a1'", "key_env = '********'\nsecret_env = '**'"),
            ("key_env = 'my_key'\nsecret_env = 7", "key_env = 'my_key'\nsecret_env = *"),
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
            ("model = { name = 'm' }\nenv.A = 'b'", "model = { name = 'm' }\nenv.A = '*'"),
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
            ("key = \"hush\nc2Vj==\"\n", "key = \"****\n****==\"\n"),
            ("[Agents.A1\n", "[Agents.A1\n"),
            ("a = \"\"\"x\"\"\"\nb = 1\n\"ü\" = 1", "a = \"\"\"*\"\"\"\nb = *\n\"**\" = *"),
        ] {
            assert_eq!(masked_lines(text), right);
        }
    }
}
