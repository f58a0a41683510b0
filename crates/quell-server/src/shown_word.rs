//! [`shown_word`]: what messages show of a wrong command line.

use std::ffi::OsString;
use std::net::SocketAddr;

use quell_flow::plain_begin;

use crate::shell_word::shell_word;

/// Yields a word of a command line as messages show it: all of it if it looks like words, the name
/// of what it sets, `NAME=…`, and otherwise `…`. Nothing is known of a word in a wrong place.
pub(crate) fn shown_word(word: &str) -> String {
    if is_shown(word) {
        return word.to_owned();
    }
    match word.split_once('=') {
        Some((name, _)) if !name.is_empty() && is_shown(name) => format!("{name}=…"),
        _ if word.starts_with("--") => "--…".to_owned(),
        _ => "…".to_owned(),
    }
}

/// Tells whether a word looks like words, or is a number or an address to listen on.
fn is_shown(word: &str) -> bool {
    word.is_empty() || is_of_words(word) || word.parse::<SocketAddr>().is_ok()
}

/// Tells whether a text looks like words, as a path and an option do.
pub(crate) fn is_of_words(text: &str) -> bool {
    plain_begin(text).len() == text.len() && text.lines().count() < 2
}

/// Writes a command line whose first word is `quell`. What stands behind the name of a secret is
/// one.
pub(crate) fn shown(words: &[OsString]) -> String {
    let mut before = String::new();
    let word = |word: &OsString| {
        let word = word.to_string_lossy();
        let is_secret = is_shown(&word) && !is_of_words(&format!("{before} {word}"));
        let is_value = !before.is_empty() && is_of_words(&before) && is_secret;
        let is_address = word.parse::<SocketAddr>().is_ok();
        let shown = if is_value && !is_address { "…".to_owned() } else { shown_word(&word) };
        before = word.into_owned();
        if shown.contains('…') { shown } else { shell_word(&shown) }
    };
    let words: Vec<String> = words.iter().skip(1).map(word).collect();
    format!("quell {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_look_like_words_is_not_shown() {
        for (word, right) in [
            ("make", "make"),
            ("--timeout", "--timeout"),
            ("./a.toml", "./a.toml"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("", ""),
            ("API_KEY=hush", "API_KEY=…"),
            ("--api-key=hush", "--api-key=…"),
            ("ok=2hUsh", "ok=…"),
            ("2hUsh=x", "…"),
            ("--2hUsh-3", "--…"),
            ("2hUsh", "…"),
            ("u:hush", "…"),
            ("make\nx", "…"),
        ] {
            assert_eq!(shown_word(word), right, "{word}");
        }
        let line = |words: &[&str]| shown(&words.iter().map(OsString::from).collect::<Vec<_>>());
        for (words, right) in [
            (&["quell", "run", "--", "ls", "-l"][..], "quell run -- ls -l"),
            (&["quell", "run", "--", "x", "--token", "hush"], "quell run -- x --token …"),
            (&["quell", "run", "--", "curl", "-u", "ann:hush"], "quell run -- curl -u …"),
            (&["quell", "serve", "--listen", "[::1]:80"], "quell serve --listen '[::1]:80'"),
        ] {
            assert_eq!(line(words), right);
        }
    }
}
