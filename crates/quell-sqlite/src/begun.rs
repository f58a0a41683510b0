//! [`Begun`]: what stood in the place of a store that has just begun.

/// What stood in the place of a store that has begun with its opening.
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("quell-begun-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("runs.db");
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use quell_core::store::Store;
/// use quell_sqlite::{Begun, SqliteStore};
///
/// let store = SqliteStore::open(&path)?;
/// assert_eq!(store.begun(), Some(Begun::New));
/// store.close().await?;
/// let store = SqliteStore::open(&path)?;
/// assert_eq!(store.begun(), None, "it was there");
/// store.close().await?;
/// // Somebody removes it, or empties it.
/// std::fs::remove_file(&path).unwrap();
/// assert_eq!(SqliteStore::open(&path)?.begun(), Some(Begun::AfterAnother));
/// # Ok::<(), quell_core::store::StoreError>(())
/// # }).unwrap();
/// # std::fs::remove_dir_all(&folder).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Begun {
    /// Nothing, or what a process has left that was killed before its store had begun.
    New,
    /// A file without anything in it, in which no store had been: somebody may have made it for
    /// this one.
    InEmptyFile,
    /// What stands beside a store, of which the file is gone or empty: all that was in it is lost,
    /// unless somebody meant to begin anew.
    AfterAnother,
}
