//! [`hide`] and [`show_signs`] write stars in the place of what messages do not show.

use super::unread::{is_harmless, is_sign};
use crate::excerpt::LINE_ENDS;
use crate::harmless::{Behind, parts, parts_of_expression};

/// Adds a text with stars in the place of all words that are no keys of plans. Behind a `#` all is
/// a comment, to the end of the line.
pub(super) fn show_signs(text: &str, shown: &mut String) {
    for line in text.split_inclusive(LINE_ENDS) {
        let (before, comment) = line.split_at(line.find('#').map_or(line.len(), |at| at + 1));
        let is_end = |char| is_sign(char) || char == '#';
        for part in before.split_inclusive(is_end) {
            let (word, sign) = part.split_at(part.rfind(is_end).unwrap_or(part.len()));
            if is_harmless(word) {
                shown.push_str(word);
            } else {
                hide(word, shown);
            }
            shown.push_str(sign);
        }
        hide(comment, shown);
    }
}

/// Adds the written text of a command, or of words behind this in one, with stars in the place of
/// those that may be secrets.
pub(super) fn show_words(text: &str, behind: Behind, shown: &mut String) {
    show_parts(parts(text, behind), shown);
}

/// Adds the written text of an expression, with stars in the place of what may be a secret.
pub(super) fn show_expression(text: &str, is_quoted: bool, shown: &mut String) {
    show_parts(parts_of_expression(text, is_quoted).into_iter(), shown);
}

fn show_parts<'t>(parts: impl Iterator<Item = (&'t str, bool)>, shown: &mut String) {
    for (part, is_shown) in parts {
        if is_shown {
            shown.push_str(part);
        } else {
            hide(part, shown);
        }
    }
}

/// Adds a text with stars in the place of all but quotes, brackets, commas, white space and the
/// dash before an item.
pub(super) fn hide(text: &str, shown: &mut String) {
    for (nth, line) in text.split_inclusive('\n').enumerate() {
        let rest = line.trim_start();
        let dash = (nth > 0 && rest.starts_with("- ")).then(|| line.len() - rest.len());
        for (at, char) in line.char_indices() {
            if char.is_ascii_whitespace() || "\"'{}[],".contains(char) || dash == Some(at) {
                shown.push(char);
            } else {
                shown.extend(std::iter::repeat_n('*', char.len_utf8()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_keys_and_values_no_word_is_shown_but_keys_of_plans() {
        for (text, right) in [
            ("]\n[steps.hush.env] = >- # run: x\n- y", "]\n[steps.****.env] = >- # **** *\n- *"),
            ("[x.\"a hush\".retry]", "[*.\"* ****\".retry]"),
            (": !hush {", ": ***** {"),
        ] {
            let mut shown = String::new();
            show_signs(text, &mut shown);
            assert_eq!(shown, right);
        }
    }
}
