//! [`StoreEntry`]: where runs are kept, and how much of what is over, `[store]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quell_flow::PlanError;
use serde::Deserialize;

use super::file::Config;
use crate::quoted::of_path;
use crate::store::Keep;
use crate::times;

/// `[store]`. Without a path, here or on the command line, runs are in memory only.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StoreEntry {
    /// The file, which is made if it is missing.
    path: Option<PathBuf>,
    /// How long ended runs are kept.
    #[serde(deserialize_with = "times::deserialize_kept")]
    keep: Option<Duration>,
    /// How many ended runs are kept.
    keep_runs: Option<u64>,
    /// How many MiB are kept.
    keep_mib: Option<u64>,
}

impl Config {
    /// Yields the file in which runs are kept, if they are, and how much of what is over: what the
    /// command line says, and else what the file says, each by itself.
    pub(crate) fn store(&self, path: Option<&Path>, keep: Keep) -> (Option<PathBuf>, Keep) {
        let StoreEntry { path: own, keep: time, keep_runs, keep_mib } = &self.store;
        let own = own.as_ref().map(|path| self.folder.join(path));
        let of_file = Keep { time: *time, runs: *keep_runs, mib: *keep_mib };
        (path.map(Path::to_owned).or(own), keep.or(of_file))
    }

    /// Tells whether the file names a store.
    pub(super) const fn has_store(&self) -> bool {
        self.store.path.is_some()
    }

    /// Says that no store can be where the file has it, or that there is none of which to keep
    /// something. `is_asked` tells whether the command line names one.
    pub(super) fn store_fault(&self, is_asked: bool) -> Option<PlanError> {
        if is_asked {
            return None;
        }
        let (path, keep) = self.store(None, Keep::default());
        let Some(path) = path else {
            let is_lost = self.is_lost(&["store", "path"]);
            let words = "`path` is missing; expected the file of the store, such as \
                         `path = \"runs.db\"`";
            let is_wanted = keep != Keep::default() && !is_lost;
            return is_wanted.then(|| self.bare_fault(&["store"], words.to_owned()));
        };
        let words = fault_of(&path)?;
        Some(self.fault(&["store", "path"], &of_path(&path.display().to_string(), words)))
    }
}

/// Says why no store can be at a path, as far as one can see without making it.
fn fault_of(path: &Path) -> Option<&'static str> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let is_folder = folder.unwrap_or(Path::new(".")).is_dir();
    match path.file_name() {
        _ if path.is_dir() => Some("is a folder; expected a file in it, such as `runs.db`"),
        None => Some("names no file; expected one such as `runs.db`"),
        Some(_) if !is_folder => Some("no such folder; make it first"),
        Some(_) => None,
    }
}
