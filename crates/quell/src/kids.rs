//! The children of a run.

use std::sync::Arc;

use quell_core::{Counts, RunStatus};

use crate::node::Node;

/// The children of a run: the live ones, and those ended ones that have a row in its report. Most
/// runs have none, and pay for a pointer.
#[derive(Default)]
pub(crate) struct Kids(Option<Box<Family>>);

#[derive(Default)]
struct Family {
    slots: Vec<Option<Arc<Node>>>,
    free: Vec<u32>,
    made: u64,
    omitted: Counts,
}

impl Kids {
    /// Links a child, and yields its place: four bytes, for there are never so many.
    pub(crate) fn link(&mut self, child: Arc<Node>) -> u32 {
        let family = self.0.get_or_insert_default();
        family.made += 1;
        if let Some(slot) = family.free.pop() {
            family.slots[slot as usize] = Some(child);
            return slot;
        }
        family.slots.push(Some(child));
        u32::try_from(family.slots.len() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn unlink(&mut self, slot: u32) -> Option<Arc<Node>> {
        let family = self.0.as_mut()?;
        let child = family.slots.get_mut(slot as usize)?.take();
        family.free.push(slot);
        child
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.0.iter().flat_map(|family| family.slots.iter().flatten())
    }

    /// Copies up to `len` children from `from` on; the second value is where to go on.
    pub(crate) fn copy(&self, from: usize, len: usize, to: &mut Vec<Arc<Node>>) -> Option<usize> {
        let slots = &self.0.as_ref()?.slots;
        let end = slots.len().min(from.saturating_add(len));
        to.extend(slots[from.min(end)..end].iter().flatten().map(Arc::clone));
        (end < slots.len()).then_some(end)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|family| family.slots.len() == family.free.len())
    }

    /// Counts a child, and what it has counted, whose row nobody will see.
    pub(crate) fn omit(&mut self, status: RunStatus, below: Option<&Counts>) {
        let omitted = &mut self.0.get_or_insert_default().omitted;
        omitted.add(status);
        omitted.merge(below.copied().unwrap_or_default());
    }

    pub(crate) fn omitted(&self) -> Option<&Counts> {
        self.0.as_ref().map(|family| &family.omitted)
    }

    pub(crate) fn made(&self) -> u64 {
        self.0.as_ref().map_or(0, |family| family.made)
    }

    pub(crate) fn take(&mut self) -> Vec<Option<Arc<Node>>> {
        self.0.take().map(|family| family.slots).unwrap_or_default()
    }
}
