//! [`is_variable`] and [`variable_of`]: how variables are named, and set before a program.

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
