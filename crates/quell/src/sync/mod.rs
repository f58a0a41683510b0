//! Locks, atomics and wakers: what a model checker can stand in for.

mod locks;
pub(crate) mod loops;
#[cfg(quell_loom)]
mod modelled;
#[cfg(quell_shuttle)]
mod scheduled;
pub(crate) mod waiters;

pub(crate) use locks::*;
