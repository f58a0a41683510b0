//! What several engines on one store decide together: [`Cluster`] is the port to it.

mod asked;
mod forgotten;
mod lanes;
mod port;
mod slots;

pub use asked::{ActAnswer, Answer, Asked, AskedStop, StopToCome, TakenOver};
pub use forgotten::ForgottenWork;
pub use lanes::{Placed, TurnAsk};
pub use port::{Cluster, LogWatch};
pub use slots::{SlotShare, SlotsAsked, SlotsHeld, SlotsShared, share};
