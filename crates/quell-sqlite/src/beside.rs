//! [`beside`] names what stands beside the file of a store.

use std::path::{Path, PathBuf};

/// Yields the name of a companion of a file.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
