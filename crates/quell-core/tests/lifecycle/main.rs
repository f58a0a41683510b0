//! Rung 1: the lifecycle alone, as a pure function.
//!
//! - [`history`]: random histories of what may happen to a run, as data.
//! - [`world`]: plays one, keeping books of its own, and writes down what it sees.
//! - [`ancestor`]: a run above that stops.
//! - [`seen`]: what was written down.
//! - [`requests`], [`ends`]: the promises, each a function over what was written down.
//! - [`histories`]: many histories against every promise; inputs without any discipline.
//! - [`pairs`]: inputs whose order, or whose number, must not matter.
//! - [`pauses`]: a run between two attempts.
//! - [`after_step`]: how requests of different urgency merge, as a table.

mod after_step;
mod ancestor;
mod ends;
mod every_end;
mod hearing;
mod histories;
mod history;
mod pairs;
mod pauses;
mod requests;
mod seen;
mod world;
