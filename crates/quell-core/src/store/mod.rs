//! What is stored of runs: records, what is read back, and the port to whatever keeps them.
//!
//! It stands in the core so that a store depends on the vocabulary and not on the engine: a store
//! is built, tested and published without it. [`Store`] is the port; a store passes the suite that
//! the `quell` crate publishes (feature `test-util`, `quell::testing::store`).

mod bytes;
mod ended;
mod error;
mod hold;
mod implied;
mod lane_rule;
mod omitted;
mod page;
mod pause;
mod port;
mod record;
mod stored;
mod subtree;
mod tree_now;
mod unreadable;

pub use ended::EndedTree;
pub use error::StoreError;
pub use hold::StoredHold;
pub use implied::ImpliedEvents;
pub use lane_rule::LaneRule;
pub use omitted::Omitted;
pub use page::{Cursor, Page, Pages};
pub use pause::{StoredPause, StoredSoFar};
pub use port::{BoxFuture, Store};
pub use record::{Accepted, Claim, ClaimedKey, Epoch, Record, StopAccepted};
pub use stored::{Checkpoint, RunRecord};
pub use subtree::Subtree;
pub use tree_now::{RunNow, TreeAsk, TreeNow};
pub use unreadable::{Stored, Unreadable};
