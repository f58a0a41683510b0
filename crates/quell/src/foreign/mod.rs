//! Code that is not ours: how it is called, where it runs, what it is told.

mod calls;
pub(crate) mod couriers;
mod span;
mod waiting;

pub(crate) use calls::{Barred, catch_panic, is_barred, release, run, wake, wake_all};
pub(crate) use span::{RunSpan, in_span};
pub(crate) use waiting::until;
