//! [`StripedLock`]: a fixed number of locks, shared by all ids.

use std::array;

use quell::RunId;

/// A fixed number of locks, shared by all ids: an id always has the same lock.
///
/// A task that holds one must not take another one: two ids may have the same.
///
/// # Examples
///
/// ```
/// use std::sync::Mutex;
/// use quell::RunId;
/// use quell_http::StripedLock;
///
/// let locks = StripedLock::<Mutex<()>>::default();
/// let id = RunId::from_text("r-1");
/// let held = locks.of(id).lock().unwrap();
/// assert!(locks.of(id).try_lock().is_err());
/// drop(held);
/// ```
#[derive(Debug)]
pub struct StripedLock<L> {
    locks: [L; LOCKS],
}

impl<L> StripedLock<L> {
    /// Yields the lock of an id.
    pub fn of(&self, id: RunId) -> &L {
        let bytes = id.as_uuid().into_bytes();
        // The last bytes are random in UUIDs of versions 4, 5 and 7, the ones that we make.
        &self.locks[usize::from(bytes[14] ^ bytes[15]) % LOCKS]
    }
}

impl<L: Default> Default for StripedLock<L> {
    fn default() -> Self {
        Self { locks: array::from_fn(|_| L::default()) }
    }
}

/// The number of locks.
const LOCKS: usize = 64;
