//! What the durable stores of quell have in common, whatever keeps their records: the [`Queue`] of
//! appends to the one that writes, in which stops overtake; the [`Batch`] of one transaction, in
//! which each append has an answer of its own; and how records become texts and numbers, and those
//! a [`RunRecord`](quell_core::store::RunRecord) again.
//!
//! It is for stores: an embedder opens one of `quell-sqlite` or `quell-postgres`.

mod batch;
mod closing;
mod encode;
mod filter;
mod foreign;
mod keys;
mod lane;
mod numbers;
mod queue;
mod row;
mod standing;
mod tally;

pub use batch::{Batch, Pending, fail, succeed};
pub use closing::Closing;
pub use encode::{Write, encode};
pub use filter::meant;
pub use foreign::catch_panic;
pub use keys::{key_ttl_ms, owner_text};
pub use lane::Job;
pub use numbers::{
    bits, instant, millis, mode_number, number, span, status_number, status_of, usage_text,
};
pub use queue::{Queue, Waited, Waits};
pub use row::{Fields, HoldTexts, Listed, id_of, parsed, read_run, unreadable};
pub use standing::Standing;
pub use tally::{Committed, Tally};
