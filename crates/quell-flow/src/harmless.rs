//! What of commands, paths and names of components messages show: words that are surely no secrets.

/// What a word stands behind in a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Behind {
    /// No program: the word may be one.
    Nothing,
    Word,
    /// A word whose value may be a secret: `--token`, `-p`.
    Secret,
    /// A text that is no command: only its templates are shown.
    Braces,
}

impl Behind {
    /// Yields what the next word stands behind.
    pub(crate) fn and(self, word: &str) -> Self {
        let mut behind = self;
        for (part, _) in parts(word, self) {
            behind = behind.and_part(part);
        }
        behind
    }

    fn and_part(self, part: &str) -> Self {
        let word = trimmed(part);
        match self {
            _ if word.is_empty() || self == Self::Braces => self,
            _ if !word.contains('=') && is_secret_name(word) => Self::Secret,
            Self::Nothing if may_set(word) => Self::Nothing,
            _ => Self::Word,
        }
    }
}

/// Splits a line of a command, or a word of one, into parts, and tells of each whether it is shown:
/// white space, templates, and words that are surely no secrets.
pub(crate) fn parts(line: &str, mut behind: Behind) -> impl Iterator<Item = (&str, bool)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let is_space = first.is_whitespace();
        let template = rest.strip_prefix("{{").and_then(|rest| rest.find("}}"));
        let end = match template {
            Some(inside) => inside + 4,
            None => rest
                .char_indices()
                .skip(1)
                .find(|(at, char)| {
                    char.is_whitespace() != is_space || rest[*at..].starts_with("{{")
                })
                .map_or(rest.len(), |(at, _)| at),
        };
        let (part, after) = rest.split_at(end);
        rest = after;
        // A literal in a template may be as secret as the text around it.
        let is_literal = behind == Behind::Braces && part.contains(['"', '\'']);
        let is_plain_inside = || parts_of_expression(part, false).iter().all(|(_, shown)| *shown);
        let is_template = template.is_some() && !is_literal && is_plain_inside();
        let is_shown = is_space || is_template || is_harmless(part, behind);
        if !is_space {
            behind = behind.and_part(part);
        }
        Some((part, is_shown))
    })
}

/// Splits an expression, as it is written, into parts and tells of each whether it is shown: white
/// space, names and signs; of a literal plain words, unless the expression names a secret.
/// `is_quoted` tells that the first quote is one of the file, around the whole.
pub(crate) fn parts_of_expression(text: &str, is_quoted: bool) -> Vec<(&str, bool)> {
    let is_about_secret = is_secret_name(text);
    let mut parts = Vec::new();
    let (mut open, mut last) = (None, None);
    let mut is_first = is_quoted;
    for piece in text.split_inclusive(['"', '\'']) {
        let quote = piece.chars().next_back().filter(|end| matches!(end, '"' | '\''));
        let inside = &piece[..piece.len() - quote.map_or(0, char::len_utf8)];
        for part in inside.split_inclusive(char::is_whitespace) {
            // Of a quote within quotes of the file.
            let word = part.trim_end().trim_end_matches('\\');
            let is_shown = match open {
                Some(_) => is_of_plain_words(word) && !is_about_secret,
                None => is_of_names(word),
            };
            parts.push((part, word.is_empty() || is_shown));
        }
        if let Some(quote) = quote {
            parts.push((&piece[inside.len()..], true));
            // Two of them are one in quotes of the file. Of an empty literal the rest is one then.
            let is_second = inside.is_empty() && last == Some(quote);
            match open {
                _ if is_first || is_second => {}
                Some(begin) if begin == quote => open = None,
                Some(_) => {}
                None => open = Some(quote),
            }
            last = Some(quote).filter(|_| !is_second);
            is_first = false;
        }
    }
    parts
}

/// Yields an expression with `…` in the place of what may be a secret.
pub(crate) fn shown_expression(text: &str) -> String {
    let parts = parts_of_expression(text, false).into_iter();
    parts.map(|(part, is_shown)| if is_shown { part } else { "…" }).collect()
}

/// Tells whether a part of an expression has names and signs alone.
fn is_of_names(part: &str) -> bool {
    let is_sign = |char: char| ".[](){}|,=<>!+*/%~-\\".contains(char);
    part.split(is_sign).all(|name| name.split('_').all(is_name))
}

/// Tells whether a name looks like words, also in one such as `dependsOn`.
pub(crate) fn is_of_words(name: &str) -> bool {
    is_plain(name) || (name.len() <= TEXT_BYTES_MAX && name.split(['_', '-']).all(is_name))
}

/// Tells whether a word may be one of a name, also of one such as `itemCount2`: what is made at
/// random has single letters and digits between others.
fn is_name(word: &str) -> bool {
    let letters = word.trim_end_matches(|char: char| char.is_ascii_digit());
    let digits = word.len() - letters.len();
    let bytes = letters.as_bytes();
    let begins = |two: &&[u8]| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase();
    let words = bytes.windows(2).filter(begins).count() + 1;
    word.len() <= NAME_BYTES_MAX
        && digits <= if letters.is_empty() { NUMBER_DIGITS_MAX } else { WORD_DIGITS_MAX }
        && bytes.iter().all(u8::is_ascii_alphabetic)
        && (words == 1 || bytes.len() >= 2 * words)
}

/// Yields what messages show of a word in the place of a program: all before a space, and up to `=`
/// or `:`. Behind these may be a secret.
///
/// # Examples
///
/// ```
/// use quell_flow::program_of;
///
/// assert_eq!(program_of("/bin/make"), "/bin/make");
/// assert_eq!(program_of("API_KEY=hush"), "API_KEY=");
/// assert_eq!(program_of("curl -u ann:hush"), "curl");
/// ```
pub fn program_of(word: &str) -> &str {
    match word.find(|char: char| char.is_whitespace() || matches!(char, '=' | ':')) {
        Some(at) if word[at..].starts_with(['=', ':']) => &word[..=at],
        Some(at) => &word[..at],
        None => word,
    }
}

/// Tells whether a word may set a variable, `A=b` or `A:b`, before a program.
pub(crate) fn may_set(word: &str) -> bool {
    program_of(word).ends_with(['=', ':'])
}

/// Tells whether a text has the shape of a component's name: `agent/writer`.
pub(crate) fn is_component_name(name: &str) -> bool {
    let is_id = |id: &str| id.chars().all(|char| char.is_alphanumeric() || "_-.".contains(char));
    name.split('/').count() <= 2 && name.split('/').all(is_id)
}

/// Tells whether all words of a text are plain, as those of a path or of a time are.
pub(crate) fn is_of_plain_words(text: &str) -> bool {
    plain_begin(text).len() == text.len()
}

/// Yields the begin of a text in which all words are plain, as those of a path or of a time are:
/// all before the first word that may be a secret.
///
/// # Examples
///
/// ```
/// use quell_flow::plain_begin;
///
/// assert_eq!(plain_begin("1h 30m"), "1h 30m");
/// assert_eq!(plain_begin("curl -u ann:hush h"), "curl -u ");
/// ```
pub fn plain_begin(text: &str) -> &str {
    let shown = parts(text, Behind::Word).take_while(|(_, is_shown)| *is_shown);
    &text[..shown.map(|(part, _)| part.len()).sum()]
}

fn is_harmless(part: &str, behind: Behind) -> bool {
    let word = trimmed(part);
    let is_sign = word.len() <= SIGN_BYTES_MAX
        && word.bytes().all(|byte| byte.is_ascii_punctuation() || byte.is_ascii_digit());
    match behind {
        Behind::Braces => word.is_empty(),
        Behind::Secret => word.is_empty() || is_option(word),
        Behind::Nothing if is_program(word) => true,
        _ if word.starts_with('-') => is_sign || is_option(word),
        _ => is_sign || is_plain_path(word),
    }
}

/// Leaves out the quotes and brackets around a word, and the signs of a shell beside it.
fn trimmed(part: &str) -> &str {
    let word = part.trim_start_matches(['"', '\'', '[', '(']);
    word.trim_end_matches(['"', '\'', ']', ')', ',', ';'])
}

fn is_program(word: &str) -> bool {
    let is_of_names = |char: char| char.is_ascii_alphanumeric() || "._/-".contains(char);
    let is_option = word.starts_with('-');
    !word.is_empty()
        && !is_option
        && word.len() <= PROGRAM_BYTES_MAX
        && word.chars().all(is_of_names)
}

/// Tells whether a word is an option without a value: `-x`, `--word`.
fn is_option(word: &str) -> bool {
    match (word.strip_prefix("--"), word.strip_prefix('-')) {
        (Some(name), _) => is_plain(name),
        (_, Some(letters)) => {
            letters.len() <= LETTERS_MAX && letters.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }
        _ => false,
    }
}

/// Tells whether a word is a plain path, also with a begin that only a shell expands: `~`, `$NAME`,
/// `${NAME}`.
fn is_plain_path(word: &str) -> bool {
    match word.strip_prefix("${").and_then(|rest| rest.split_once('}')) {
        Some((name, rest)) => is_plain(name) && is_plain_text(rest),
        None => is_plain_text(word.strip_prefix(['~', '$']).unwrap_or(word)),
    }
}

/// Tells whether each name of a text, between `/` and `.`, is plain.
fn is_plain_text(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX && text.split(['/', '.']).all(is_plain)
}

/// Tells whether a name looks like words and not like a secret: each of them, between `_` and `-`,
/// is short and has small letters or capitals alone, but for its first letter, and few digits.
///
/// # Examples
///
/// ```
/// use quell_flow::is_plain;
///
/// assert!(is_plain("API_KEY") && is_plain("X-Request-Id") && is_plain("sha256"));
/// assert!(!is_plain("hf_AbCd") && !is_plain("sk-a1b2c3d4") && !is_plain("a b"));
/// ```
pub fn is_plain(name: &str) -> bool {
    name.len() <= TEXT_BYTES_MAX && name.split(['_', '-']).all(is_word)
}

fn is_word(word: &str) -> bool {
    let letters: Vec<u8> = word.bytes().filter(|byte| !byte.is_ascii_digit()).collect();
    let digits = word.len() - letters.len();
    // Capitals and digits are the alphabet of secrets in base32.
    let capitals_max = if digits > 0 { CAPITALS_MAX } else { WORD_BYTES_MAX };
    word.len() <= WORD_BYTES_MAX
        && digits <= if letters.is_empty() { NUMBER_DIGITS_MAX } else { WORD_DIGITS_MAX }
        && letters.iter().all(u8::is_ascii_alphabetic)
        && (letters.iter().skip(1).all(u8::is_ascii_lowercase)
            || (letters.iter().all(u8::is_ascii_uppercase) && word.len() <= capitals_max))
}

/// Tells whether what follows a word may be a secret.
fn is_secret_name(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    VALUED.contains(&word) || SECRETS.iter().any(|name| lower.contains(name))
}

/// Short options whose value is often a secret.
const VALUED: [&str; 6] = ["-p", "-u", "-U", "-H", "-d", "-a"];

/// What the names of secrets have in them.
const SECRETS: [&str; 11] = [
    "auth",
    "bearer",
    "cookie",
    "credential",
    "data",
    "header",
    "key",
    "pass",
    "pwd",
    "secret",
    "token",
];

const PROGRAM_BYTES_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 64;
const WORD_BYTES_MAX: usize = 16;
const CAPITALS_MAX: usize = 8;
const NAME_BYTES_MAX: usize = 32;
const WORD_DIGITS_MAX: usize = 3;
const NUMBER_DIGITS_MAX: usize = 4;
const SIGN_BYTES_MAX: usize = 4;
const LETTERS_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        parts(line, Behind::Nothing).map(|(part, it)| if it { part } else { "…" }).collect()
    }

    #[test]
    fn of_a_command_words_are_shown_that_are_surely_no_secrets() {
        for line in [
            "make all",
            "sleep 5",
            "cargo test --all-targets -q -p",
            "{{ input.program }} {{ steps.a.output }}/x.toml",
            "/opt/Tool-2/bin/x1Y2 > out.txt 2>&1 && echo \"done\";",
            "ls -la ~/src $HOME ${HOME}",
        ] {
            assert_eq!(shown(line), line);
        }
        for (line, right) in [
            ("API_KEY=hush make", "… make"),
            ("x https://h/T0/hush", "x …"),
            ("x postgres:///d?password=hush #hush", "x … …"),
            ("x h/x?key=hush -ua:hush u:hush@h", "x … … …"),
            ("x -HX-Key:hush $K=hush K:=hush hush==", "x … … … …"),
            ("x --token hush -p hush -u -v", "x --token … -p … -u -v"),
            ("x Bearer hush 2hUsh 12345", "x Bearer … … …"),
            ("x {{ input.x }}2hUsh", "x {{ input.x }}…"),
            ("x {{ input.x or '2hUsh' }}", "x …"),
            ("x JBSWY3DPEHPK3PXP", "x …"),
            ("x -phush /K=hush", "x … …"),
        ] {
            assert_eq!(shown(line), right);
        }
    }

    #[test]
    fn of_an_expression_names_and_plain_literals_are_shown() {
        let shown = |text: &str, is_quoted| -> String {
            let parts = parts_of_expression(text, is_quoted);
            parts.into_iter().map(|(part, it)| if it { part } else { "…" }).collect()
        };
        for text in [
            "input.itemCount2 >= 3 and steps['get-all'].output.x | trim == 'done'",
            "not (input.a or input.b) in [1, 2.5]",
            "steps.buildDocs.output[0] ~ \"a b\"",
        ] {
            assert_eq!(shown(text, false), text);
            assert_eq!(shown(&format!("\"{text}\""), true), format!("\"{text}\""));
        }
        for (text, is_quoted, right) in [
            ("input.x == '2hUsh' and y", false, "input.x == '…' and y"),
            ("input.token == 'hush'", false, "input.token == '…'"),
            ("'input.x == ''2hUsh'' or x'", true, "'input.x == ''…'' or x'"),
            ("\"input.x == \\\"2hUsh\\\"\"", true, "\"input.x == \\\"…\"\""),
            ("'2hUsh' == x", false, "'…' == x"),
            ("u:hush@h sk-2hUsh a7Bc9d", false, "………"),
            ("x == 2hUsh", false, "x == …"),
            ("x == '2hUsh", false, "x == '…"),
        ] {
            assert_eq!(shown(text, is_quoted), right, "{text}");
        }
    }

    #[test]
    fn names_of_components_and_paths_have_their_shapes() {
        for name in ["agent/writer", "writer", "team/a.b-c_1", ""] {
            assert!(is_component_name(name), "{name}");
        }
        for name in ["https://u:hush@h/x", "curl -u a:hush h", "A=hush", "a/b/c"] {
            assert!(!is_component_name(name), "{name}");
        }
        assert!(
            is_of_plain_words("/srv/data")
                && is_of_plain_words("~/x")
                && !is_of_plain_words("/srv/A=hush")
        );
    }
}
