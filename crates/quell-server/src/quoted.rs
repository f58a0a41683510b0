//! [`quoted`]: what messages quote of a value that is harmless as a rule, such as a time or a path;
//! the line of the file below a message shows the same of it.

use std::net::Ipv6Addr;

use quell_flow::{excerpt, is_plain, is_variable, plain_begin};

/// Quotes a value whose key is one of harmless values: all that [`harmless_begin`] yields, and `…`
/// for the rest.
pub(crate) fn quoted(text: &str) -> String {
    let begin = harmless_begin(text);
    let mut short = excerpt(begin);
    if begin.len() < text.trim_end_matches(['\n', '\r']).len() && !short.ends_with('…') {
        short.push('…');
    }
    short
}

/// Says something of a path, which is not named if it is empty.
pub(crate) fn of_path(path: &str, words: &str) -> String {
    match quoted(path) {
        shown if shown.is_empty() => words.to_owned(),
        shown => format!("{shown}: {words}"),
    }
}

/// Quotes a time or a word: all of it if it looks like that, and otherwise `…`. Beside a name or a
/// path it has no letters that only its author knows.
pub(crate) fn quoted_word(text: &str) -> String {
    let is_word = plain_begin(text).len() == text.len() && text.lines().count() < 2;
    if is_word { excerpt(text) } else { "…".to_owned() }
}

/// Tells whether this is how variables are named, and not what keys look like that are put in the
/// place of a name: those have small letters beside capitals or digits.
pub(crate) fn is_surely_variable(name: &str) -> bool {
    let has = |is: fn(&u8) -> bool| name.as_bytes().iter().any(is);
    let is_mixed =
        has(u8::is_ascii_lowercase) && (has(u8::is_ascii_uppercase) || has(u8::is_ascii_digit));
    is_variable(name) && !is_mixed && is_plain(name)
}

/// Yields the begin of a value that is shown although nothing is known of it but its key, which is
/// one of harmless values: its first line, up to the sign of a variable or of a query; of a user
/// with a password the user, and of an address what [`address_begin`] yields. What stands behind
/// may be a secret, in a value that was meant for another key.
pub(crate) fn harmless_begin(text: &str) -> &str {
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    if line.contains("://") {
        return address_begin(line);
    }
    if let Some(dashes) = line.get(..5).filter(|begin| *begin == "-----") {
        return dashes;
    }
    let user = line.split_once('@').and_then(|(user, _)| user.find(':'));
    let end = [line.find(['=', '?']), user].into_iter().flatten().min();
    let begin = end.map_or(line, |at| &line[..=at]);
    // A name and a path are one word, or several plain ones; others are those of a command.
    if line.contains(char::is_whitespace) && plain_begin(line).len() < begin.len() {
        return plain_begin(line).trim_end();
    }
    begin
}

/// Yields the begin of an address that is shown: without a user and password, and without what in
/// its path may be a secret. A host that is no name, as `user:password`, may be one.
pub(crate) fn address_begin(text: &str) -> &str {
    let schemes = ["http://", "https://"];
    let Some(scheme) = schemes.iter().find(|scheme| text.starts_with(*scheme)) else { return "" };
    let rest = &text[scheme.len()..];
    let is_of_host = |char: char| char.is_ascii_alphanumeric() || ".-[]:".contains(char);
    let host = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    if !host.chars().all(is_of_host) || !is_host(host) || rest.contains('@') {
        return scheme;
    }
    let path = &rest[host.len()..rest.find('?').map_or(rest.len(), |at| at + 1)];
    let words = path.split_inclusive(['/', '?']);
    let words = words.take_while(|word| is_plain(word.trim_end_matches(['/', '?'])));
    &text[..scheme.len() + host.len() + words.map(str::len).sum::<usize>()]
}

/// Tells whether a text is a name or an address in brackets, and at most a port.
fn is_host(text: &str) -> bool {
    let (is_name, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((bare, port)) = rest.split_once(']') else { return false };
        (bare.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        (!text[..end].contains(['[', ']']), &text[end..])
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    is_name && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_in_a_harmless_value_is_not_quoted() {
        for (text, right) in [
            ("30s", "30s"),
            ("work/dir\n", "work/dir"),
            ("A=hush", "A=…"),
            ("/opt/A=hush/x", "/opt/A=…"),
            ("plans/x.toml?key=hush", "plans/x.toml?…"),
            ("ann:hush@h", "ann:…"),
            ("ann@h", "ann@h"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("agents:writer:run", "agents:writer:run"),
            ("https://ann:hush@h", "https://…"),
            ("https://h/x", "https://h/x"),
            ("http://[hush]/x", "http://…"),
            ("http://[::1]:80/x", "http://[::1]:80/x"),
            ("http://[::1]/x", "http://[::1]/x"),
            ("http://[::1]hush:80/x", "http://…"),
            ("https://ann:hush", "https://…"),
            ("https://ann:hush:", "https://…"),
            ("https://ann:hush:80/x", "https://…"),
            ("https://h:/x", "https://h:/x"),
            ("ftp://hush", "…"),
            ("-----BEGIN KEY-----hush", "-----…"),
            ("x\nhush", "x…"),
            ("1h 30m", "1h 30m"),
            ("my notes", "my notes"),
            ("curl -u ann:hush h", "curl -u…"),
            ("x --token hush", "x --token…"),
            ("Bearer 2hUsh", "Bearer…"),
            ("", ""),
        ] {
            assert_eq!(quoted(text), right, "{text}");
        }
        for (text, right) in [("30s", "30s"), ("1h 30m", "1h 30m"), ("2hUsh", "…"), ("a\nb", "…")]
        {
            assert_eq!(quoted_word(text), right, "{text}");
        }
    }
}
