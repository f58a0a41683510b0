//! The web socket of workflows (contract, section 9).

mod act;
mod caller;
mod following;
mod open;
mod session;

pub(super) use open::open;
