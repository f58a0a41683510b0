//! [`quoted`]: what messages quote of a value that is harmless as a rule, such as a time or a path;
//! the line of the file below a message shows the same of it.

use std::net::Ipv6Addr;

use quell_flow::excerpt;

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

/// Quotes a value in a message that has an excerpt of it.
pub(crate) fn with_quoted(message: &str, text: &str) -> String {
    match (excerpt(text), quoted(text)) {
        (whole, shown) if whole == shown => message.to_owned(),
        (whole, shown) => message.replace(&whole, &shown),
    }
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
    end.map_or(line, |at| &line[..=at])
}

/// Yields the begin of an address that is shown: without a user and password, and without what in
/// its path may be a secret. A host that is no name, as `user:password`, may be one.
pub(crate) fn address_begin(text: &str) -> &str {
    let schemes = ["http://", "https://"];
    let Some(scheme) = schemes.iter().find(|scheme| text.starts_with(*scheme)) else { return "" };
    let rest = &text[scheme.len()..];
    let is_of_host = |char: char| char.is_ascii_alphanumeric() || ".-[]:".contains(char);
    let host = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    let port = host.rsplit_once(':').map_or("", |(_, port)| port.trim_end_matches(']'));
    // Only an address has brackets.
    let bare = host.strip_prefix('[').and_then(|host| host.split(']').next());
    let is_address = bare.is_none_or(|host| host.parse::<Ipv6Addr>().is_ok());
    let is_port = host.ends_with(']') || port.bytes().all(|byte| byte.is_ascii_digit());
    if !host.chars().all(is_of_host) || !is_port || !is_address || rest.contains('@') {
        return scheme;
    }
    let path = &rest[host.len()..rest.find('?').map_or(rest.len(), |at| at + 1)];
    let words = path.split_inclusive(['/', '?']);
    let words = words.take_while(|word| is_plain(word.trim_end_matches(['/', '?'])));
    &text[..scheme.len() + host.len() + words.map(str::len).sum::<usize>()]
}

/// Tells whether a key, or the name of a variable, looks like words and not like a secret: each has
/// small letters or capitals alone, but for its first letter, and few digits.
pub(crate) fn is_plain(name: &str) -> bool {
    let is_word = |word: &str| {
        let letters: Vec<u8> = word.bytes().filter(|byte| !byte.is_ascii_digit()).collect();
        let rest = letters.get(1..).unwrap_or_default();
        word.len() <= WORD_BYTES_MAX
            && word.len() - letters.len() <= WORD_DIGITS_MAX
            && letters.iter().all(u8::is_ascii_alphabetic)
            && (rest.iter().all(u8::is_ascii_lowercase)
                || letters.iter().all(u8::is_ascii_uppercase))
    };
    name.len() <= NAME_BYTES_MAX && name.split(['_', '-']).all(is_word)
}

/// The longest name that is shown, its longest word, and the most digits in one.
const NAME_BYTES_MAX: usize = 64;
pub(crate) const WORD_BYTES_MAX: usize = 16;
const WORD_DIGITS_MAX: usize = 3;

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
            ("ftp://hush", "…"),
            ("-----BEGIN KEY-----hush", "-----…"),
            ("x\nhush", "x…"),
            ("", ""),
        ] {
            assert_eq!(quoted(text), right, "{text}");
            let message = format!("invalid `{}`; expected x", excerpt(text));
            assert_eq!(with_quoted(&message, text), format!("invalid `{right}`; expected x"));
        }
    }
}
