//! How variables are named and set: [`is_variable`], [`variable_of`], [`program_of`], [`is_env`].

use crate::guess::guess;

/// Tells whether this is how variables are named: letters, digits and underscores of ASCII, the
/// first one no digit.
///
/// # Examples
///
/// ```
/// use quell_flow::is_variable;
///
/// assert!(is_variable("API_KEY") && !is_variable("2ND") && !is_variable("A:b"));
/// ```
pub fn is_variable(name: &str) -> bool {
    let is_of_names = |char: char| char.is_ascii_alphanumeric() || char == '_';
    name.chars().all(is_of_names) && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// Yields the name of the variable that a shell would take a word before a program for,
/// `NAME=value`.
///
/// # Examples
///
/// ```
/// use quell_flow::variable_of;
///
/// assert_eq!(variable_of("LANG=C"), Some("LANG"));
/// assert_eq!(variable_of("make"), None);
/// assert_eq!(variable_of("=C"), None);
/// ```
pub fn variable_of(word: &str) -> Option<&str> {
    let (name, _) = word.split_once('=')?;
    (!name.is_empty() && is_variable(name)).then_some(name)
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

/// Tells whether what stands below a key is meant to be variables: the key is `env`, as it is
/// written or misspelt, or what other tools call it.
///
/// # Examples
///
/// ```
/// use quell_flow::is_env;
///
/// assert!(is_env("env") && is_env("evn") && is_env("environment") && is_env("secrets"));
/// assert!(!is_env("env_clear") && !is_env("run"));
/// ```
pub fn is_env(key: &str) -> bool {
    let begins = key.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case("env"));
    let is_foreign = ENV_ELSEWHERE.iter().any(|name| key.eq_ignore_ascii_case(name));
    key != "env_clear" && (begins || is_foreign || guess(key, ["env", "environment"]).is_some())
}

/// What other tools call `env`.
const ENV_ELSEWHERE: [&str; 3] = ["variables", "vars", "secrets"];
