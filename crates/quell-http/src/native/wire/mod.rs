//! The native API on the wire: pure functions from and to JSON.

mod cancel_many;
mod components;
mod log;
mod millis;
mod misfit;
mod object;
mod pausing;
mod read;
mod request;
mod response;
mod stops;
mod tree;

pub(crate) use cancel_many::{
    CancelRuns, CancelRunsAnswer, Meant, NOT_STORED, RUNS_MAX, RunStop, TWO_KINDS,
};
pub(crate) use components::{ComponentList, component_bytes};
pub(crate) use log::{LogPage, event_text, sse_event};
pub(crate) use millis::Millis;
pub(crate) use pausing::{PauseAnswer, PauseObject, PauseRun, ResumeRun};
pub(crate) use read::read;
pub(crate) use request::{CancelRun, SetLimits, StartRun};
pub(crate) use response::{
    CancelAnswer, Detail, Health, LimitsAnswer, QueuePlace, RunList, RunObject, RunSummary, Tool,
    component_of,
};
pub(crate) use stops::{StopList, StopObject, abandoned_by, stop_bytes};
pub(crate) use tree::{TreePage, TreeRow};
