//! What a [`Reader`] notes: faults and warnings, of each as many as the bound.

use super::fault::Fault;
use super::reader::Reader;
use crate::limits;

impl Reader<'_> {
    /// Yields a part, or notes its fault and yields a stand-in.
    pub(super) fn noted<T: Default>(&mut self, part: Result<T, Fault>) -> T {
        part.unwrap_or_else(|fault| {
            self.note(fault);
            T::default()
        })
    }

    /// Notes a fault and goes on.
    pub(super) fn note(&mut self, mut fault: Fault) {
        let others = std::mem::take(&mut fault.others);
        if !self.is_full() && (!fault.is_consequence || self.faults.is_empty()) {
            self.faults.push(fault);
        }
        for other in others {
            self.note(other);
        }
    }

    /// Tells whether no further fault is noted, so that nothing more need be read.
    pub(super) fn is_full(&self) -> bool {
        self.faults.len() >= limits::PLAN_FAULTS_MAX
    }

    /// Notes what is no fault, unless there are too many already.
    pub(super) fn warn(&mut self, warning: Fault) {
        if !self.has_enough_warnings() {
            self.warnings.push(warning);
        }
    }

    /// Tells whether no further warning is noted.
    pub(super) fn has_enough_warnings(&self) -> bool {
        self.warnings.len() >= limits::PLAN_FAULTS_MAX
    }
}
