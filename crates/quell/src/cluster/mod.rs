//! Several engines on one store: the port [`Cluster`], and how this engine stands to the others.
//!
//! Without a cluster an engine is alone, and nothing here is made.

mod config;
mod lease;
mod member;
pub(crate) mod slots;
#[cfg(test)]
mod together;
mod unplaced;

pub use quell_core::cluster::{
    ActAnswer, Answer, Asked, AskedStop, Cluster, ForgottenWork, LogWatch, OpenStops, Placed,
    RunMeant, SlotShare, SlotsAsked, SlotsHeld, SlotsShared, StopToCome, TakenOver, TurnAsk, share,
};

pub(crate) use member::{Leave, Member, Phase, Watch};
pub(crate) use unplaced::Claim;
