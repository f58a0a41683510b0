//! Looking into `/proc`.

mod adopted;
mod condemned;
mod descent;
mod entry;
mod find;
mod holders;
mod looker;
mod processes;
mod programs;
mod snapshot;
mod stat;

pub(crate) use adopted::is_blind;
pub(crate) use condemned::condemn;
pub(crate) use entry::began;
pub(super) use entry::signal_stray;
pub(crate) use find::{find, find_blocking, find_each};
pub(crate) use holders::holders;
pub(crate) use looker::prepare;
pub(crate) use programs::{Led, lead, new_mark};
