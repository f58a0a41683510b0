//! Records as they are written into a file. It runs in the task of the caller: the thread that
//! writes has only to bind texts.

use quell_core::store::{Record, StoreError};
use quell_durable::Write;

use crate::{event_row, plain, share};

/// Writes the texts of a batch, and counts their bytes. A plain report is stored as its output,
/// and events that follow one another share a row.
///
/// # Errors
///
/// Fails if one is too large.
pub(crate) fn encode(batch: Vec<Record>) -> Result<(Vec<Write>, usize), StoreError> {
    let (mut writes, bytes) = quell_durable::encode(batch, plain::is_plain, event_row::text_of)?;
    share::share(&mut writes);
    Ok((writes, bytes))
}

/// What is large of a run, by its number in the table `large`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Large {
    Spec = 0,
    Input = 1,
    Paused = 2,
    Report = 3,
    Annotations = 4,
    Answer = 5,
    Partial = 6,
    Summary = 7,
}
