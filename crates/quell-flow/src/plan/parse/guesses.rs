//! [`Guesses`] bounds the work of the guesses about one plan.

use std::cell::Cell;

use crate::guess::guess;

/// Counts the words that are compared for guesses, of all faults of a plan together. There may be
/// a hundred faults, and as many names as a plan has steps for each.
#[derive(Default)]
pub(super) struct Guesses {
    compared: Cell<usize>,
}

impl Guesses {
    /// As [`guess`], until so many words have been compared; one list of names may go beyond it.
    pub(super) fn guess<'a>(
        &self,
        name: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> Option<&'a str> {
        if self.are_over() {
            return None;
        }
        guess(name, known.inspect(|_| self.count()))
    }

    /// Counts a word.
    pub(super) fn count(&self) {
        self.compared.set(self.compared.get() + 1);
    }

    /// Tells whether no further word is to be compared.
    pub(super) fn are_over(&self) -> bool {
        self.compared.get() >= COMPARED_MAX
    }
}

/// How many words are compared.
const COMPARED_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_words_are_compared_and_one_list_to_its_end() {
        let guesses = Guesses::default();
        let nearest = |()| guesses.guess("wakl", std::iter::repeat_n("walk", 40_000));
        assert_eq!([(); 4].map(nearest), [Some("walk"), Some("walk"), Some("walk"), None]);
        assert_eq!(guesses.compared.get(), 120_000);
    }
}
