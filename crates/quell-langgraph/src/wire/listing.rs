//! [`Listing`]: which part of a list is shown, in which order, and which keys of each row.

use std::collections::BTreeSet;

use quell::Payload;

use crate::wire::create::{choice, given, typed};
use crate::wire::exact::{Keys, written};
use crate::wire::refusal::Refusal;
use crate::wire::search::{LIMIT, LIMIT_MAX};

/// Which part of a list is shown.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) limit: usize,
    pub(crate) offset: usize,
    /// The key after which rows are sorted; the first one that may be, if none is given.
    pub(crate) by: &'static str,
    is_ascending: bool,
    select: BTreeSet<String>,
}

impl Listing {
    /// Reads the keys of a search, whose rows may be sorted by some keys and have these.
    pub(crate) fn read<const N: usize>(
        body: &Keys,
        orders: [&'static str; N],
        row: &[&str],
    ) -> Result<Self, Refusal> {
        let select: Vec<String> = typed(body, "select", SELECT)?.unwrap_or_default();
        if select.iter().any(|key| !row.contains(&key.as_str())) {
            return Err(Refusal::invalid(format!("select: {SELECT}: {}", row.join(", "))));
        }
        let select = BTreeSet::from_iter(select);
        let (limit, offset) = part(body)?;
        let is_ascending = choice(body, "sort_order", ["desc", "asc"])? == "asc";
        let by = choice(body, "sort_by", orders)?;
        Ok(Self { limit, offset, by, is_ascending, select })
    }

    /// Sorts rows by a key of each, and yields the part that is shown, and how many rows there are.
    pub(crate) fn part<T, K: Ord>(
        &self,
        mut rows: Vec<T>,
        key: impl Fn(&T) -> K,
    ) -> (Vec<T>, usize) {
        rows.sort_by_cached_key(&key);
        if !self.is_ascending {
            rows.reverse();
        }
        let total = rows.len();
        (rows.into_iter().skip(self.offset).take(self.limit).collect(), total)
    }

    /// Keeps the keys of a row that are selected.
    pub(crate) fn selected(&self, row: Payload) -> Payload {
        if self.select.is_empty() {
            return row;
        }
        let mut keys: Keys = row.parse().unwrap_or_default();
        keys.retain(|key, _| self.select.contains(key));
        written(&keys)
    }
}

/// Reads which part of a list is shown: how many rows, and behind how many others.
pub(crate) fn part(body: &Keys) -> Result<(usize, usize), Refusal> {
    let limit = typed(body, "limit", LIMIT)?.unwrap_or(10);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Refusal::invalid(format!("limit: {LIMIT}")));
    }
    let offset = typed(body, "offset", "must be a whole number")?.unwrap_or(0);
    Ok((limit, offset))
}

/// Reads a key that may be given and names one of some things.
pub(crate) fn named<T>(
    body: &Keys,
    key: &str,
    read: fn(&str) -> Result<T, Refusal>,
) -> Result<Option<T>, Refusal> {
    let Some(value) = given(body, key) else { return Ok(None) };
    // A value that is not text is not an id either.
    read(&value.parse::<String>().unwrap_or_default()).map(Some)
}

const SELECT: &str = "must be a list of keys of a row";
