//! What several engines on one store decide together: [`Cluster`] is the port to it.

mod asked;
mod forgotten;
mod lanes;
mod log_watch;
mod meant;
mod open_stops;
mod port;
mod slots;

pub use asked::{ActAnswer, Answer, Asked, AskedStop, StopToCome, TakenOver};
pub use forgotten::ForgottenWork;
pub use lanes::{Placed, TurnAsk};
pub use log_watch::LogWatch;
pub use meant::RunMeant;
pub use open_stops::OpenStops;
pub use port::Cluster;
pub use slots::{SlotShare, SlotsAsked, SlotsHeld, SlotsShared, share};
