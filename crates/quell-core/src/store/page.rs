//! Pages: how much of a list is read at once, and where the next part begins.

use crate::limits;
use crate::store::Omitted;

/// A place in a list. It means something to the store that made it only, and stays valid while the
/// list grows and shrinks.
///
/// # Examples
///
/// ```
/// use quell_core::store::Cursor;
///
/// let cursor = Cursor::from_u64(7);
/// assert_eq!(cursor.as_u64(), 7);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(u64);

impl Cursor {
    /// Takes the number that a store, or somebody who passed it on, gave.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Yields the number, to pass it on.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// Which part of a list is wanted.
///
/// # Examples
///
/// ```
/// use quell_core::store::{Cursor, Page};
///
/// assert_eq!(Page::first(50).limit(), 50);
/// assert_eq!(Page::first(0).limit(), 1);
/// assert_eq!(Page::first(50).after(Cursor::from_u64(7)).begin(), Some(Cursor::from_u64(7)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Page {
    /// What came last in the page before; none for the first.
    after: Option<Cursor>,
    /// How many are wanted.
    limit: usize,
    /// What of them is not.
    omitted: Omitted,
}

impl Page {
    /// Asks for the first so many. Zero counts as 1, more than
    /// [`limits::STORE_PAGE_MAX`] as that.
    pub fn first(limit: usize) -> Self {
        Self {
            after: None,
            limit: limit.clamp(1, limits::STORE_PAGE_MAX),
            omitted: Omitted::Nothing,
        }
    }

    /// Asks for as many behind what a page ended with.
    pub const fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// Asks for records that lack this. Only [`Store::list`](crate::store::Store::list) regards it.
    pub const fn omitting(mut self, omitted: Omitted) -> Self {
        self.omitted = omitted;
        self
    }

    /// Yields what the page before ended with.
    pub const fn begin(&self) -> Option<Cursor> {
        self.after
    }

    /// Yields how many are wanted, within the bounds.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Yields what the records need not have.
    pub const fn omitted(&self) -> Omitted {
        self.omitted
    }
}

/// One part of a list.
///
/// # Examples
///
/// ```
/// use quell_core::store::{Cursor, Pages};
///
/// let ends = [7, 5].map(Cursor::from_u64).to_vec();
/// let all = Pages { items: vec![1, 2], ends, next: None };
/// assert_eq!(all.items.len(), 2);
/// assert_eq!(Pages::<u8>::none().next, None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores make them, and this is all there is")]
pub struct Pages<T> {
    /// What is in it: at most as many as were wanted, and fewer if they have more than
    /// [`limits::STORE_PAGE_BYTES_MAX`] bytes, or if the store has looked through as much as it
    /// does at once. It may be empty although there are more: `next` tells.
    pub items: Vec<T>,
    /// The place behind each item, in their order: a later page may begin there.
    pub ends: Vec<Cursor>,
    /// Where the next part begins; none if this was the last one.
    pub next: Option<Cursor>,
}

impl<T> Pages<T> {
    /// Makes the page of a list of nothing.
    pub const fn none() -> Self {
        Self { items: Vec::new(), ends: Vec::new(), next: None }
    }
}
