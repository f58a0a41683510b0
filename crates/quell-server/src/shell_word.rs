//! [`shell_word`]: a word of a command line that is shown, and may be copied into a shell.

use quell_report::text::printable;

/// Yields a word as a POSIX shell reads it: in single quotes, unless it is plain. What would steer
/// a terminal is escaped, and then is no longer what the word was.
pub(crate) fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    printable(&format!("'{}'", word.replace('\'', "'\\''"))).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_a_shell_would_change_is_quoted() {
        for plain in ["make", "agent/writer", "--timeout=30s", "127.0.0.1:80", "häuser.toml"] {
            assert_eq!(shell_word(plain), plain);
        }
        for (word, quoted) in [
            ("", "''"),
            ("a b", "'a b'"),
            ("$(touch x)", "'$(touch x)'"),
            ("a;b", "'a;b'"),
            ("it's", "'it'\\''s'"),
            ("~/x", "'~/x'"),
            ("*.toml", "'*.toml'"),
            ("a\nb", "'a\\nb'"),
        ] {
            assert_eq!(shell_word(word), quoted);
        }
    }
}
