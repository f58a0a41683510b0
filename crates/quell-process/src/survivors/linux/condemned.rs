//! [`condemn`]: marks whose processes are suspended as soon as a look meets them.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// From here on, until this is dropped, what carries the mark is suspended as soon as a look meets
/// it, so that it starts nothing more before it is killed.
pub(crate) fn condemn(mark: &str) -> Condemned {
    condemned().push(mark.into());
    Condemned(mark.into())
}

/// A mark whose processes are to be killed.
#[must_use = "dropped, what is met is not suspended any more"]
pub(crate) struct Condemned(Box<str>);

impl Drop for Condemned {
    fn drop(&mut self) {
        let mut all = condemned();
        if let Some(place) = all.iter().position(|mark| *mark == self.0) {
            all.swap_remove(place);
        }
    }
}

/// Yields the marks whose processes are to be killed.
pub(super) fn condemned() -> MutexGuard<'static, Vec<Box<str>>> {
    static CONDEMNED: Mutex<Vec<Box<str>>> = Mutex::new(Vec::new());
    CONDEMNED.lock().unwrap_or_else(PoisonError::into_inner)
}
