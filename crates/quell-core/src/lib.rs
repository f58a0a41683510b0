//! The rules of quell: what a run is, how it ends, and what may happen to it in between.
//!
//! This crate holds the vocabulary ([`RunStatus`], [`Cause`], [`Disposition`], [`RunReport`] …)
//! and the run lifecycle as one pure state machine, [`lifecycle::Lifecycle`]. It knows no clock,
//! task, lock or I/O: an instant is always an argument, and every decision is a return value.
//! The `quell` crate drives it; embedders depend on `quell`, which re-exports what they need.

mod by_key;
mod cause;
pub mod cluster;
mod disposition;
mod error;
mod event;
mod filter;
mod id;
mod kind;
pub mod lifecycle;
pub mod limits;
mod new_limits;
mod payload;
mod report;
mod status;
mod stop;
pub mod store;
mod usage;
#[cfg(feature = "serde")]
mod wall;

pub use by_key::{ByKey, Entries};
pub use cause::{Cause, CauseKind};
pub use disposition::Disposition;
pub use error::{PayloadError, Stopped};
pub use event::{EventKind, HookOutcome, RunEvent, ToolOutcome};
pub use filter::{RunFacts, RunFilter};
pub use id::RunId;
pub use kind::{Annotations, Labels, RunKind, StopDelivery};
pub use new_limits::{LimitsOutcome, NewLimits};
pub use payload::{JSON_LEVELS_MAX, JsonError, Payload, check_json};
pub use report::{Abandoned, Counts, RunReport, RunRow, Work};
pub use status::RunStatus;
pub use stop::{CancelRequest, StopMode};
pub use usage::{Budget, Usage};
