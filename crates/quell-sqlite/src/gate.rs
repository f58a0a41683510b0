//! [`Gate`]: who may work on the file, so that the log of SQLite is cut without anybody waiting for
//! a reader.
//!
//! Its locks are taken in the order of the fields, each one alone or together with those before it.
//! No code of others runs under them.

use parking_lot::{Mutex, RwLock};

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Held while the log is copied into the file.
    pub(crate) copying: Mutex<()>,
    /// Shared by reads; held alone while no read of ours may hold a part of the log.
    pub(crate) reads: RwLock<()>,
    /// Held during a transaction that writes, and while the log is cut.
    pub(crate) writes: Mutex<()>,
}
