//! The shared state of one run, and what happens to it.

pub(crate) mod cancel;
pub(crate) mod cascade;
pub(crate) mod children;
pub(crate) mod deferred;
pub(crate) mod detach;
pub(crate) mod flags;
pub(crate) mod implied;
mod node;
pub(crate) mod report;
mod state;
pub(crate) mod step;
pub(crate) mod wait;
pub(crate) mod write;

pub(crate) use node::Node;
pub(crate) use state::{Link, RareState, Reader, State};
