//! What happens to a run: it is submitted, stepped, stopped, detached, and cleaned up after.

pub(crate) mod cancel;
pub(crate) mod cascade;
mod causes;
mod counted;
pub(crate) mod deferred;
pub(crate) mod detach;
mod end;
mod give_back;
pub(crate) mod hold;
pub(crate) mod hooks;
mod limits;
pub(crate) mod pause;
pub(crate) mod restore;
mod step;
pub(crate) mod submit;
pub(crate) mod trace;

pub(crate) use step::StopOrigin;
