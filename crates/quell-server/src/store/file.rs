//! [`StoreFile`]: the file of a store, of which a run is found that is to change.

use std::path::Path;

use quell::RunId;
use quell::store::RunRecord;
use quell_flow::excerpt;

use super::kept_runs::{KeptRuns, beginning};
use super::place::Place;

/// The file of a store, open to be read.
pub(super) struct StoreFile(KeptRuns);

impl StoreFile {
    /// Opens a file. It is not made, and not changed.
    ///
    /// # Errors
    ///
    /// Fails with what to do about it.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        KeptRuns::open(Place::File(path.to_owned())).map(Self)
    }

    /// Finds a root by its id as its caller knows it, or by what the UUID of no other root begins
    /// with: at least [`DIGITS_MIN`] digits, since what is done with it changes it.
    ///
    /// # Errors
    ///
    /// As [`KeptRuns::run`]; and if the run is a part of another one.
    pub(super) fn root(&self, text: &str) -> Result<RunRecord, String> {
        let get = |run| self.0.reader.get(run).map_err(|error| self.0.told(&error));
        let shown = excerpt(text);
        if let Some(found) = get(RunId::from_text(text))? {
            if found.accepted.parent.is_none() {
                return Ok(found);
            }
            let root = found.accepted.root;
            return Err(format!("run `{shown}` is a part of `{root}`; expected that"));
        }
        let digits = text.chars().filter(|c| *c != '-').count();
        let Some(range) = beginning(text).filter(|_| digits >= DIGITS_MIN) else {
            return Err(self.0.no_run(&shown));
        };
        let found = self.0.roots(range)?;
        match found.len() {
            0 => Err(self.0.no_run(&shown)),
            1 => get(found[0].run())?.ok_or_else(|| self.0.no_run(&shown)),
            _ => Err(self.0.several(&shown, found.iter().map(RunRecord::run))),
        }
    }
}

/// The fewest digits that stand for a run which is changed.
const DIGITS_MIN: usize = 4;
