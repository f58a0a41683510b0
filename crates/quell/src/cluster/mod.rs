//! Several engines on one store: the port [`Cluster`], and how this engine stands to the others.
//!
//! Without a cluster an engine is alone, and nothing here is made.

mod config;
mod lease;
mod member;

pub use quell_core::cluster::{ActAnswer, Answer, Asked, AskedStop, Cluster, LogWatch, TakenOver};

pub(crate) use member::{Member, Phase, Watch};
