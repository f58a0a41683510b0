//! [`Few`] is a list that hardly ever holds more than one thing, and then costs no allocation.
//!
//! Every step makes two of them and drops them empty. Here that is inlined; a `SmallVec` takes a
//! call for each, of a run that is stopped 250 instructions in all (callgrind, `cancel_tree`).

/// A list whose first entry is kept in place. Invariant: without a first entry there are no more.
#[derive(Debug)]
pub(crate) struct Few<T> {
    first: Option<T>,
    more: Vec<T>,
}

impl<T> Few<T> {
    pub(crate) const fn new() -> Self {
        Self { first: None, more: Vec::new() }
    }

    pub(crate) fn push(&mut self, entry: T) {
        if self.first.is_none() {
            self.first = Some(entry);
        } else {
            self.more.push(entry);
        }
    }

    /// Takes the entry that was pushed last.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.more.pop().or_else(|| self.first.take())
    }

    /// Takes every entry that is wanted, in one go however many they are, and yields the last; the
    /// others keep their order.
    pub(crate) fn take_all(&mut self, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        let last = self.more.extract_if(.., |entry| is_wanted(entry)).last();
        if !is_wanted(self.first.as_ref()?) {
            return last;
        }
        let next = if self.more.is_empty() { None } else { Some(self.more.remove(0)) };
        let first = std::mem::replace(&mut self.first, next);
        last.or(first)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.more)
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Extend<T> for Few<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, entries: I) {
        entries.into_iter().for_each(|entry| self.push(entry));
    }
}

impl<T> From<T> for Few<T> {
    fn from(first: T) -> Self {
        Self { first: Some(first), more: Vec::new() }
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_taken_from_the_end_or_as_wanted_and_the_others_keep_their_order() {
        for count in 0..5 {
            // Each set of those that are wanted.
            for wanted in 0..1 << 5 {
                let is_wanted = |entry: &u32| wanted & (1 << entry) != 0;
                let mut few = Few::new();
                few.extend(0..count);
                assert_eq!(few.take_all(is_wanted), (0..count).rev().find(is_wanted));
                let left: Vec<_> = (0..count).filter(|entry| !is_wanted(entry)).collect();
                assert_eq!(few.is_empty(), left.is_empty());
                assert_eq!(few.pop(), left.last().copied());
                let rest: Vec<_> = few.into_iter().collect();
                assert_eq!(rest, left[..left.len().saturating_sub(1)]);
            }
        }
    }
}
