//! The native API on the wire: pure functions from and to JSON.

mod millis;
mod misfit;
mod pausing;
mod read;
mod request;
mod response;

pub(crate) use millis::Millis;
pub(crate) use pausing::{PauseAnswer, PauseObject, PauseRun, ResumeRun};
pub(crate) use read::read;
pub(crate) use request::{CancelRun, SetLimits, StartRun};
pub(crate) use response::{
    CancelAnswer, Detail, Health, LimitsAnswer, QueuePlace, RunList, RunObject, RunSummary, Tool,
    sse_event,
};
