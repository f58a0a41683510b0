//! The service, what one caller sees of it, and the clients that follow a run.

mod batches;
mod below;
mod cancel_outcome;
mod elsewhere;
mod find;
mod for_stop;
mod guard;
mod holds;
mod last_event;
mod leaving;
mod log;
mod not_done;
mod pausing;
mod reading;
mod service;
mod stop_followed;
mod view;

pub use batches::Batch;
pub use cancel_outcome::{CancelOutcome, StopNotStored};
pub(crate) use find::is_known_as_accepted;
pub use guard::{DisconnectGuard, OnDisconnect, Waiting};
pub use not_done::NotDone;
pub use reading::{Reading, TreeSaid};
pub use service::Service;
pub use view::{NATIVE, View};
