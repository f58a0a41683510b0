//! [`SqliteOptions`]: how a store is set up.

/// How a store is set up. Every option has a default.
///
/// # Examples
///
/// ```
/// use quell_sqlite::{SqliteOptions, Synchronous};
///
/// let mut options = SqliteOptions::default();
/// options.synchronous = Synchronous::Normal;
/// assert_eq!(options.readers, 4);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// What has to be on the disk before an append is acknowledged. Defaults to
    /// [`Synchronous::Full`].
    pub synchronous: Synchronous,
    /// Records that are taken at once and wait to be written. Defaults to 65,536, and as many of
    /// stops that overtake. When there are more, appends wait in their order. Zero counts as 1.
    pub queue_records_max: usize,
    /// Bytes of those records. Defaults to 64 MiB. One append that is larger is taken alone. Zero
    /// takes one append at a time.
    pub queue_bytes_max: usize,
    /// Connections that read, each with a thread. Defaults to 4. Zero counts as 1. One of them, if
    /// there are several, is for other reads than lists of runs.
    pub readers: usize,
    /// Bytes of the file. Defaults to no bound. An append for which there is no room fails with
    /// [`Full`](quell_core::store::StoreError::Full). Zero leaves no room for anything.
    pub bytes_max: Option<u64>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Full,
            queue_records_max: 65_536,
            queue_bytes_max: 64 << 20,
            readers: 4,
            bytes_max: None,
        }
    }
}

/// What has to be on the disk before an append is acknowledged.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_sqlite::Synchronous::default(), quell_sqlite::Synchronous::Full);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Synchronous {
    /// Everything: what was acknowledged survives a loss of power.
    #[default]
    Full,
    /// Nothing: what was acknowledged survives the end of the process, and of what it had
    /// acknowledged last before a loss of power some may be missing. Several times as fast on disks
    /// that are slow to flush.
    Normal,
}

impl Synchronous {
    /// Yields the setting of SQLite.
    pub(crate) const fn setting(self) -> (&'static str, &'static str) {
        match self {
            Self::Full => ("full", "2"),
            Self::Normal => ("normal", "1"),
        }
    }
}
