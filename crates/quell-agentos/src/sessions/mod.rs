//! What sessions there are (contract, section 10).

mod find;
mod session;

pub(crate) use find::{Found, find, list};
pub(crate) use session::Session;
