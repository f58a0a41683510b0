//! What the tests share, besides what `quell-test-support` has.

mod asking;
mod bodies;
mod book;
mod durable;
mod lab;
mod reopened;
mod shaky;

pub(crate) use asking::{Captured, asks, clerk, paused, stop, submit_asking};
pub(crate) use bodies::{chain, ignorant, listener, naive, slow, spin_for};
pub(crate) use book::{Book, hook_outcomes};
pub(crate) use durable::{durable, full, started, started_as};
pub(crate) use lab::{Lab, body_runtime, bounded, config, now};
pub(crate) use quell_test_support::{
    Flow, Gate, Inside, Seed, Servo, Valve, Witness, is_repeat, ms, secs, seeds, soon, within,
};
pub(crate) use reopened::Reopened;
pub(crate) use shaky::{Fault, Shaky};
