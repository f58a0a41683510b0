//! What is stored of runs: the port [`Store`], its records, and a store in memory.
//!
//! A store that outlives the process is in a crate of its own, as `quell-sqlite`.

mod admit;
mod memory;
mod tables;

pub use memory::MemoryStore;
pub use quell_core::store::{
    Accepted, BoxFuture, Checkpoint, Claim, ClaimedKey, Cursor, EndedTree, Epoch, ImpliedEvents,
    LaneRule, Omitted, Page, Pages, Record, RunNow, RunRecord, StopAccepted, Store, StoreError,
    Stored, StoredHold, StoredPause, StoredSoFar, Subtree, TreeAsk, TreeNow, Unreadable,
};
