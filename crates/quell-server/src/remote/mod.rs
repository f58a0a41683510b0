//! Components that are services elsewhere: a request over HTTP, its answer, and its stop.

mod about;
mod address;
mod answer;
mod asked;
mod caller;
mod cancel;
mod chat;
mod connect;
mod hidden;
mod messages;
mod posting;
mod remote;
mod retry;
mod signs;
mod sse;

pub(crate) use address::{Meant, address, address_of, below, shown};
pub(crate) use caller::{Caller, Secrets};
pub(crate) use cancel::Cancel;
pub(crate) use chat::Chat;
pub(crate) use posting::confirmed;
pub(crate) use remote::Remote;
pub(crate) use sse::Sse;
