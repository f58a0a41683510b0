//! Parallel steps: branches that run side by side until a policy has decided and all have ended.
//!
//! [`Parallel`] and [`Branch`] are what a caller declares, `options` what it can ask for, `drive`
//! runs the branches, and [`Settled`] with its [`BranchRow`]s is what remains.

mod branch;
mod counting;
mod delivery;
mod drive;
mod event;
mod limiter;
mod needs;
mod options;
mod pace;
mod partial;
mod settled;
mod stages;
mod step;
mod summary;
mod terms;
mod texts;

pub use branch::Branch;
pub(crate) use drive::Driven;
pub use limiter::Limiter;
pub use options::{OnCancelled, OnLoser, OnTimeout, StartNext};
pub use settled::{BranchRow, CountedAs, Settled, StepSummary};
pub use step::Parallel;
