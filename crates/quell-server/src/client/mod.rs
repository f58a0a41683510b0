//! The commands of a running server: what it executes, and stops of that. They ask its native API.

mod answers;
mod cancel;
mod client;
mod command;
mod nodes;
mod not_done;
mod pausing;
mod profile;
mod ps;
mod server_args;

pub(crate) use command::{ClientCommand, run};
pub(crate) use nodes::list_nodes;
pub(crate) use server_args::ServerArgs;
