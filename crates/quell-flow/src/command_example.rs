//! [`command_example`] writes a command line as the list that it should be.

use crate::harmless::{Behind, parts};

/// Writes a command line as a list of a program and its arguments: its words, or a shell if the
/// line needs one. It is an example for a message: a line that is long or has templates, or whose
/// program may be a secret, yields one of another command, and other words that may be secrets are
/// `…`.
///
/// # Examples
///
/// ```
/// use quell_flow::command_example;
///
/// assert_eq!(command_example("make all"), r#"["make", "all"]"#);
/// assert_eq!(command_example("make -u ann:hush"), r#"["make", "-u", "…"]"#);
/// assert_eq!(command_example("make | cat"), r#"["sh", "-c", "make | cat"]"#);
/// ```
pub fn command_example(line: &str) -> String {
    let is_short = line.chars().nth(LINE_CHARS_MAX).is_none();
    let is_plain = !line.trim().is_empty() && !line.contains("{{");
    if !(is_short && is_plain) || line.contains(char::is_control) {
        return r#"["make", "all"]"#.to_owned();
    }
    let mut shown = String::new();
    for (part, is_shown) in parts(line, Behind::Nothing) {
        shown.push_str(if is_shown { part } else { "…" });
    }
    if shown.starts_with('…') {
        return r#"["make", "all"]"#.to_owned();
    }
    if line.contains(SHELL) {
        return format!("{:?}", ["sh", "-c", &shown]);
    }
    format!("{:?}", shown.split_whitespace().collect::<Vec<_>>())
}

/// The longest line that is quoted, in characters.
const LINE_CHARS_MAX: usize = 80;

/// The characters that mean something to a shell.
const SHELL: [char; 13] = ['|', '&', ';', '<', '>', '$', '`', '\'', '"', '\\', '*', '(', '#'];
