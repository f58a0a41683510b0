//! What sessions there are, how they are called, and how they are deleted (contract, section 10).

mod delete;
mod find;
mod history;
mod leaving;
mod names;
mod record;
mod session;

pub(crate) use find::{Found, Sessions};
pub(crate) use history::HistoryOf;
pub(crate) use session::{NAME_BYTES_MAX, Session};
