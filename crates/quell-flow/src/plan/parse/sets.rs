//! [`sets`] finds values in the words of a command: of variables, options and headers.

use crate::plan::variable::program_of;

/// Tells whether a line of a shell, or an argument, may have a value that is a secret behind a
/// name: `A=b`, `--key=b`, `Key: b`, or a password in an address.
pub(super) fn sets(line: &str) -> bool {
    let is_address = || program_of(line).len() == line.find("://").map_or(0, |at| at + 1);
    let is_option_of =
        |(option, value): (&str, &str)| option.starts_with('-') && value.contains(':');
    (may_set(line) && !is_address())
        || line.split_whitespace().any(has_value)
        || line.split_whitespace().zip(line.split_whitespace().skip(1)).any(is_option_of)
}

/// Tells whether a word may set a variable, `A=b` or `A:b`, before a program.
pub(super) fn may_set(word: &str) -> bool {
    program_of(word).ends_with(['=', ':'])
}

fn has_value(word: &str) -> bool {
    let is_name = |name: &str| {
        let name = name.rsplit(['/', '"', '\'', ';', '(']).next().unwrap_or_default();
        let name = name.trim_start_matches('-');
        let is_of_names = |char: char| char.is_ascii_alphanumeric() || "_-.".contains(char);
        !name.is_empty() && name.chars().all(is_of_names)
    };
    let is_set = word.split_once('=').is_some_and(|(name, value)| {
        // A comparison sets nothing.
        is_name(name) && !value.starts_with('=')
    });
    let is_header = word.strip_suffix(':').is_some_and(is_name);
    let has_password = word.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
    is_set || is_header || has_password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_behind_names_are_found_in_words_and_lines() {
        for line in [
            "A=b",
            "A:b",
            "~/A=b",
            "make CC=b",
            "docker run -eA=b",
            "--api-key=b",
            "--env=A=b",
            "export A=b; make",
            "x && \"A=b\" y",
            "Authorization: b",
            "curl http://a:b@c/d",
            "curl -u a:b c",
        ] {
            assert!(sets(line), "{line}");
        }
        for line in ["make all", "{{ input.a == 1 }}", "test a = b", "http://a/b", "x a>=1", "-x"] {
            assert!(!sets(line), "{line}");
        }
    }
}
