//! What is on the wire: pure functions from requests, and to answers.

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
