//! Code that is not ours: how it is called, where it runs, what it is told.

mod calls;
pub(crate) mod couriers;
mod trace;

pub(crate) use calls::{Barred, catch_panic, is_barred, release, run, tell, wake};
