//! What is kept of threads and of their runs, also of those that were deleted.

mod beginning;
mod card;
mod elsewhere;
mod final_body;
mod finals;
mod ground;
mod hidden;
mod holding;
#[cfg(test)]
mod model;
mod row;
mod settle;
mod table;
mod thread;
mod tracked;
mod undo;

pub(crate) use card::Card;
pub(crate) use elsewhere::{Elsewhere, Left, Mark};
pub(crate) use final_body::{FinalBody, Unmade};
pub(crate) use finals::{FINAL_TTL, Final, Finals};
pub(crate) use ground::{Ground, to_base};
pub(crate) use hidden::Hidden;
pub(crate) use table::{Full, Threads};
pub(crate) use thread::Thread;
pub(crate) use tracked::{Tracked, Within};

#[cfg(test)]
pub(crate) use tracked::tests::within;
