//! [`Append`] is an append of the writer that is under way.

use std::time::Instant;

use quell_core::store::{BoxFuture, StoreError};

use crate::journal::Entry;

/// An append that is under way.
pub(super) struct Append<R> {
    pub(super) entries: Vec<Entry<R>>,
    pub(super) are_stops: bool,
    /// When the store counts as in trouble if it is still under way.
    pub(super) slow_at: Instant,
    pub(super) future: BoxFuture<'static, Result<(), StoreError>>,
}
