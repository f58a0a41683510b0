//! [`Earlier`] is what a run has of attempts that were in earlier processes: their usage counts for
//! its budget, its partial output has what they emitted, and its report the rows of what has ended
//! below it.

use quell_core::{Counts, Payload, RunRow, Usage};

use crate::node::State;
use crate::spec::counted;

/// What a run has of attempts that were in earlier processes.
#[derive(Debug, Default)]
pub(crate) struct Earlier {
    /// What it and those below it have used.
    pub(crate) used: Usage,
    /// Those below it, in pre-order, without the run itself.
    pub(crate) rows: Vec<RunRow>,
    /// Those below it that have no row.
    pub(crate) omitted: Counts,
    /// What its body has emitted.
    pub(crate) emitted: Vec<Payload>,
}

impl Earlier {
    /// Yields what the tree is charged for it.
    pub(crate) fn bytes(&self) -> usize {
        let of = |said: &Option<Payload>| said.as_ref().map_or(0, |said| counted(said.bytes_max()));
        let of_row = |row: &RunRow| {
            let said = [&row.output, &row.partial, &row.summary].into_iter().map(of).sum::<usize>();
            let texts = row.error.iter().chain(&row.cleanup_errors).map(|text| text.len());
            size_of::<RunRow>() + row.name.len() + said + texts.sum::<usize>()
        };
        let emitted = self.emitted.iter().map(|said| counted(said.bytes_max()) + PLACE_BYTES);
        self.rows.iter().map(of_row).sum::<usize>() + emitted.sum::<usize>()
    }

    /// Counts all rows as omitted: there is no room for them. False if there is none.
    pub(crate) fn omit_rows(&mut self) -> bool {
        let had_any = !self.rows.is_empty();
        for row in std::mem::take(&mut self.rows) {
            self.omitted.add(row.status);
        }
        had_any
    }

    /// Tells whether something of it is kept besides the sum of what was used.
    pub(crate) fn has_any(&self) -> bool {
        !self.rows.is_empty() || self.omitted.total() > 0 || !self.emitted.is_empty()
    }
}

/// What a payload of a list costs besides its text.
const PLACE_BYTES: usize = size_of::<Payload>();

impl State {
    /// Yields what the run has of attempts that were in earlier processes, besides their usage.
    pub(crate) fn earlier(&self) -> Option<&Earlier> {
        self.extra.as_ref()?.pausing.as_ref()?.earlier.as_deref()
    }
}
