//! [`Children`] are the children of a run.

use std::sync::Arc;

use quell_core::{Counts, RunStatus};

use crate::node::Node;

/// The children of a run: the live ones, and those ended ones that have a row in its report. Most
/// runs have none, and pay for a pointer.
#[derive(Default)]
pub(crate) struct Children(Option<Box<ChildList>>);

/// Its 112 bytes, with the allocator's word before them, fill two lines of the cache: in a chain,
/// where each run has one and is made after it, runs then share no line. Eight bytes less, and a
/// cancel of a chain takes a third longer (bench `cancel_tree`, `deep`).
#[derive(Default)]
#[repr(align(16))]
struct ChildList {
    /// The first place is here: in a chain no run has more than one child.
    first: Option<Arc<Node>>,
    /// The places after the first; free where there is none.
    more: Vec<Option<Arc<Node>>>,
    /// Places that are free again.
    free: Vec<u32>,
    /// How many children there ever were: the number of the next one.
    made: u64,
    /// Ended children that have no row, by status.
    omitted: Counts,
}

impl ChildList {
    /// How many places there are, free ones too.
    const fn places(&self) -> usize {
        if self.made == 0 { 0 } else { 1 + self.more.len() }
    }
}

impl Children {
    /// Links a child, and yields its place: four bytes, for there are never so many.
    pub(crate) fn link(&mut self, child: Arc<Node>) -> u32 {
        let list = self.0.get_or_insert_default();
        let places = list.places();
        list.made += 1;
        let slot = list.free.pop().map_or(places, |slot| slot as usize);
        if slot == 0 {
            list.first = Some(child);
        } else if slot == places {
            list.more.push(Some(child));
        } else {
            list.more[slot - 1] = Some(child);
        }
        u32::try_from(slot).unwrap_or(u32::MAX)
    }

    pub(crate) fn unlink(&mut self, slot: u32) -> Option<Arc<Node>> {
        let list = self.0.as_mut()?;
        let child = match slot.checked_sub(1) {
            None => list.first.take(),
            Some(place) => list.more.get_mut(place as usize)?.take(),
        };
        list.free.push(slot);
        child
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.0.iter().flat_map(|list| list.first.iter().chain(list.more.iter().flatten()))
    }

    /// Copies up to `len` children from `from` on; the second value is where to go on.
    pub(crate) fn copy(&self, from: usize, len: usize, to: &mut Vec<Arc<Node>>) -> Option<usize> {
        let list = self.0.as_ref()?;
        if from == 0 {
            to.extend(list.first.clone());
        }
        let end = list.more.len().min(from.saturating_add(len));
        to.extend(list.more[from.min(end)..end].iter().flatten().map(Arc::clone));
        (end < list.more.len()).then_some(end)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|list| list.places() == list.free.len())
    }

    /// Counts a child, and what it has counted, that gets no row in the report.
    pub(crate) fn omit(&mut self, status: RunStatus, below: Option<&Counts>) {
        let omitted = &mut self.0.get_or_insert_default().omitted;
        omitted.add(status);
        omitted.merge(below.copied().unwrap_or_default());
    }

    pub(crate) fn omitted(&self) -> Option<&Counts> {
        self.0.as_ref().map(|list| &list.omitted)
    }

    pub(crate) fn made(&self) -> u64 {
        self.0.as_ref().map_or(0, |list| list.made)
    }

    /// Moves every child out.
    pub(crate) fn take_into(&mut self, to: &mut Vec<Arc<Node>>) {
        if let Some(list) = self.0.take() {
            to.extend(list.first.into_iter().chain(list.more.into_iter().flatten()));
        }
    }
}
