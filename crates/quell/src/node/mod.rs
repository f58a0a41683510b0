//! What a run is: its shared state, its place in the tree, what is written of it, and its report.

mod candidate;
pub(crate) mod children;
mod control;
pub(crate) mod earlier;
pub(crate) mod flags;
pub(crate) mod forgotten;
pub(crate) mod hook;
pub(crate) mod implied;
pub(crate) mod kept_holds;
mod lane_turns;
mod last_poll;
mod leaving;
mod node;
pub(crate) mod outputs;
pub(crate) mod pausing;
mod records;
pub(crate) mod report;
mod shared;
mod state;
mod stored;
mod stored_spec;
mod there;
mod undecided;
pub(crate) mod wait;
pub(crate) mod write;

pub(crate) use control::{Control, Link, Linked, by_token};
pub(crate) use node::Node;
pub(crate) use shared::{Closing, Shared};
pub(crate) use state::{Piece, RareState, Reader, Rollback, Site, State, TokenLink};
pub(crate) use stored::UNSTORED_MAX;
pub(crate) use stored_spec::StoredSpec;
