//! [`LogWatch`]: hears of what is new in a log that another member may write.

use std::fmt::Debug;

use crate::store::BoxFuture;

/// Hears of what is new in the log of one root, for one who reads it. It only says that it is time
/// to look: a word may be lost, and one may come although nothing is new.
pub trait LogWatch: Debug + Send {
    /// Waits until there is something new since the last call, or since the watch began.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what comes while nobody waits is yielded by the next call.
    fn heard(&mut self) -> BoxFuture<'_, ()>;

    /// Tells whether words come at present, as far as is known.
    fn is_told(&self) -> bool;
}
