//! [`Policy`] decides a parallel step from what has ended so far.
//!
//! A policy is a pure function. It reads no clock, starts nothing and stops nothing: it is asked
//! once before anything runs, once after every branch that ends and once when its deadline is over,
//! if it has one; the first decision that it makes is final. Whatever ends later is ignored.
//! The idea is Loom's: a parallel step is a scope with a *joiner*.

mod decision;
mod policy;
mod rules;
mod so_far;

pub use decision::{Decision, QuorumUnreachable, Verdict};
pub use policy::Policy;
pub use so_far::{End, Ended, SoFar};
