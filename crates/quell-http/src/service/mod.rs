//! The service, what one caller sees of it, and the clients that follow a run.

mod guard;
mod service;
mod view;

pub use guard::{DisconnectGuard, OnDisconnect};
pub use service::Service;
pub use view::{CancelOutcome, NATIVE, StopNotStored, View};
