//! The contract's words: pure functions from what the engine says, and from what a client sends.

mod answer;
mod refusal;
mod request;
mod run;

pub(crate) use answer::{cancel_message, queued};
pub(crate) use refusal::Refusal;
pub(crate) use request::{RunRequest, parse_uuid};
pub(crate) use run::{
    OwnerObject, ResultBody, RunObject, TeamObject, WorkflowObject, result_of, seconds, status_word,
};
