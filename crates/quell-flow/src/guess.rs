//! [`guess`] finds the known word that an unknown one is probably meant to be.

/// Yields the known word that is nearest to a text, the first of several; none if no word is near.
///
/// A third of the letters may differ. Case, `_` and `-` do not count. A word of more than 64 bytes
/// is near to none.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_flow::guess("tiemout", ["run", "timeout"]), Some("timeout"));
/// assert_eq!(quell_flow::guess("walk", ["run", "timeout"]), None);
/// ```
pub fn guess<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if found.len() > WORD_BYTES_MAX {
        return None;
    }
    let found = letters(found);
    let near = known.into_iter().filter(|word| word.len() <= WORD_BYTES_MAX).filter_map(|word| {
        let known = letters(word);
        let allowed = found.len().max(known.len()) / 3;
        if found.len().abs_diff(known.len()) > allowed {
            return None;
        }
        let distance = strsim::osa_distance(&found, &known);
        (distance <= allowed).then_some((distance, word))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

fn letters(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// The longest word that is compared, because the comparison takes the product of both lengths.
const WORD_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_guessed_if_a_third_of_it_or_less_differs() {
        let known = ["run", "retry", "timeout", "on_failure", "a"];
        for (found, meant) in [
            ("timeot", Some("timeout")),
            ("tiemout", Some("timeout")),
            ("onFailure", Some("on_failure")),
            ("rum", Some("run")),
            ("RETRY", Some("retry")),
            ("b", None),
            ("walk", None),
            ("", None),
        ] {
            assert_eq!(guess(found, known), meant, "{found}");
        }
        let long = "x".repeat(WORD_BYTES_MAX + 1);
        assert_eq!(guess(&long, [long.as_str()]), None);
    }
}
