//! What the tests share.

mod bodies;
mod lab;
mod seeds;
mod witness;

pub(crate) use bodies::{chain, ignorant, listener, naive, spin_for};
pub(crate) use lab::{Lab, body_runtime, bounded, config, ms, now, secs, soon, within};
pub(crate) use seeds::{Seed, Servo, seeds};
pub(crate) use witness::{Gate, Inside, Witness};
