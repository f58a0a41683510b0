//! quell: an embeddable engine for runs that stop when told, on time, and say what stopped.
//!
//! An agent run, a team run and a workflow run are *a run with children*. The engine owns the
//! tree, signals every live descendant when a run is asked to stop, gives listeners one grace for
//! the whole tree, drops what does not end, and names what cannot be dropped. See [`manual`].
//! ```
//! # let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
//! # runtime.block_on(async {
//! use std::time::Duration;
//! use quell::{CancelRequest, Engine, Failure, RunContext, RunSpec, RunStatus};
//!
//! async fn search(ctx: RunContext) -> Result<u32, Failure> {
//!     ctx.stopped().await;
//!     Ok(0)
//! }
//!
//! let engine = Engine::new();
//! let run = engine.submit(RunSpec::agent("research"), async |ctx| {
//!     let web = ctx.spawn(RunSpec::step("web"), search);
//!     let papers = ctx.spawn(RunSpec::step("papers"), search);
//!     Ok(web.await? + papers.await?)
//! })?;
//! run.cancel(CancelRequest::because("user pressed stop").grace(Duration::from_secs(2)));
//! let report = run.ended().await;
//! assert_eq!(report.status, RunStatus::Cancelled);
//! engine.shutdown(Duration::from_secs(1)).await;
//! # Ok::<(), quell::SubmitError>(())
//! # }).unwrap();
//! ```

#[cfg(panic = "abort")]
compile_error!(
    "quell needs `panic = \"unwind\"`: a panic must be one run's failure, not all runs'"
);

mod annotate_error;
mod ask_error;
mod body;
pub mod cluster;
mod config;
mod control;
mod detach_error;
mod engine;
mod failure;
mod few;
mod foreign;
mod gate;
mod handle;
mod idempotency;
pub mod join;
mod journal;
mod log;
pub mod manual;
mod marks;
mod metadata;
mod metrics;
#[cfg(all(test, quell_loom))]
mod models;
mod node;
mod pause;
mod queue;
mod run;
mod save_error;
mod spec;
mod step;
mod stop_scope;
pub mod store;
mod stored;
mod stream;
mod sync;
mod tables;
#[cfg(feature = "test-util")]
pub mod testing;
mod time;

pub use annotate_error::AnnotateError;
pub use ask_error::AskError;
pub use body::context::RunContext;
pub use body::tool::ToolCall;
pub use body::work::BlockingContext;
pub use config::{EngineConfig, Limits};
pub use detach_error::DetachError;
pub use engine::Engine;
pub use engine::held_attempts::HeldAttempts;
pub use engine::nodes::Takeover;
pub use engine::prune::StoreRetention;
pub use engine::recover::{Recovered, Recovery, Resumed};
pub use engine::shutdown::{Shutdown, ShutdownReport};
pub use engine::standing::Standing;
pub use engine::stops::{CleaningUp, StopStanding};
pub use failure::{Elapsed, Failure, ForgetError, RunError, RunFailure, SubmitError};
pub use gate::{LaneMark, OnBusy};
pub use handle::{Outcome, RunHandle};
pub use idempotency::IdempotencyKey;
pub use metrics::histogram::Histogram;
pub use metrics::visitor::{Metric, MetricsVisitor, Sample};
pub use node::write::Written;
pub use pause::{Pause, PauseAsked, PauseError, PauseState, ResumeError};
pub use queue::{QueuePosition, RunLimits, Scope, SlotStanding, WaitsFor};
pub use run::RunRef;
pub use save_error::SaveError;
pub use spec::RunSpec;
pub use step::hold::Hold;
pub use stop_scope::StopScope;
pub use stream::EventStream;

pub use quell_core::{
    Abandoned, Annotations, Budget, ByKey, CancelRequest, Cause, CauseKind, Counts, Disposition,
    EventKind, HookOutcome, JSON_LEVELS_MAX, JsonError, Labels, LimitsOutcome, NewLimits, Payload,
    PayloadError, RunEvent, RunFacts, RunFilter, RunId, RunKind, RunReport, RunRow, RunStatus,
    StopDelivery, StopMode, Stopped, ToolOutcome, Usage, Work, check_json, limits,
};

/// The README, so that its code is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
