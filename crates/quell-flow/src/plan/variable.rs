//! How variables are named and set: [`is_variable`], [`variable_of`], [`is_env`].

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
