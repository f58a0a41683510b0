//! The commands of a running server: what it executes, and stops of that. They ask its native API.

mod answers;
mod cancel;
mod client;
mod command;
mod follow;
mod keys;
mod logs;
mod nodes;
mod not_done;
mod one_run;
mod pausing;
mod profile;
mod ps;
mod server_args;
mod strip;
mod top;
mod tree;
mod watch;

pub(crate) use command::{ClientCommand, run};
pub(crate) use nodes::list_nodes;
pub(crate) use server_args::ServerArgs;
