//! [`Unsaid`] knows the words that the text of a plan hides, so that no message says one.
//!
//! A message about one place may name what stands at another: a step by its name, or a key behind
//! it. Every message passes here before it becomes an error.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::excerpt::words;

/// The words that a text hides: those of its hidden keys and values that it shows nowhere.
#[derive(Debug, Default)]
pub(crate) struct Unsaid(BTreeSet<Box<str>>);

impl Unsaid {
    /// Takes the words that are hidden somewhere, the text as messages may show it, and which words
    /// are those of our messages.
    pub(crate) fn of(
        mut hidden: BTreeSet<Box<str>>,
        shown: &str,
        is_ours: impl Fn(&str) -> bool,
    ) -> Self {
        for word in words(shown) {
            hidden.remove(word);
            // A number without a unit is answered with one.
            if word.bytes().all(|byte| byte.is_ascii_digit()) {
                hidden.remove(format!("{word}s").as_str());
            }
        }
        hidden.retain(|word| !is_ours(word));
        Self(hidden)
    }

    /// Yields a message with `…` in the place of each of the words. Out of quotes, plain ones and
    /// numbers are those of our sentences.
    pub(crate) fn left_out(&self, message: String) -> String {
        if self.0.is_empty() {
            return message;
        }
        let (mut said, mut begin, mut is_quoted) = (String::with_capacity(message.len()), 0, false);
        for word in words(&message) {
            let at = word.as_ptr() as usize - message.as_ptr() as usize;
            let (before, after) = (&message[begin..at], &message[at + word.len()..]);
            is_quoted ^= before.matches('`').count() % 2 == 1;
            said.push_str(before);
            begin = at + word.len();
            let is_plain = || word.bytes().all(|byte| byte.is_ascii_lowercase());
            let is_count = || word.bytes().all(|byte| byte.is_ascii_digit());
            let is_ours = !is_quoted && (is_plain() || is_count());
            let is_cut = after.starts_with('…');
            let escaped = word.get(1..).filter(|_| before.ends_with('\\'));
            if !is_ours
                && (self.has(word, is_cut) || escaped.is_some_and(|it| self.has(it, is_cut)))
            {
                said.push('…');
                begin += if is_cut { '…'.len_utf8() } else { 0 };
            } else {
                said.push_str(word);
            }
        }
        said.push_str(&message[begin..]);
        said
    }

    /// Tells whether a word is one of these, or may be the begin of one.
    fn has(&self, word: &str, is_cut: bool) -> bool {
        let from = (Bound::Included(word), Bound::Unbounded);
        let next = || self.0.range::<str, _>(from).next();
        self.0.contains(word) || (is_cut && next().is_some_and(|next| next.starts_with(word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_hidden_and_nowhere_shown_is_left_out_of_a_message() {
        let hidden = words("one hush2 hush run 2 shown").map(Into::into).collect();
        let unsaid = Unsaid::of(hidden, "shown: *", |word| word == "run");
        for (message, right) in [
            ("step `hush` has `run`", "step `…` has `run`"),
            ("expected one of `one`, `shown-2`", "expected one of `…`, `shown-…`"),
            ("did you mean `steps[\"a hush\"].x`?", "did you mean `steps[\"a …\"].x`?"),
            ("in `a hus…`; hush of hush2", "in `a …`; hush of …"),
            (r"`a\thush\u{1b}hush`", r"`a\…\u{1b}…`"),
            ("hushed `hushed`", "hushed `hushed`"),
        ] {
            assert_eq!(unsaid.left_out(message.to_owned()), right);
        }
    }
}
