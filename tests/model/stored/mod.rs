//! Random stories of roots in lanes and queues that are paused, resumed, stopped, taken back, and
//! found again by a later process, on both stores.
//!
//! A [`script`] draws what is done next; [`rules`] say what may be seen after it ([`settle`],
//! [`time`]), and know the engine only by its promises: they have a naive [`queue`], no tasks, no
//! locks and no store. Bodies do what they are told, and [`actors`] note outside of the engine what
//! really runs. The [`stage`] plays each story step by step on an engine with a store ([`stores`]),
//! and compares after each step what is seen, and around each [`crash`] and at the end what is
//! stored ([`compare`]).
//!
//! The clock of the runtime is paused, and a blocking closure keeps it from moving by itself: the
//! threads of a store take their time, and no timer fires before the story says so. What is asked
//! without a wait in between meets an engine that has not gone on; which of two comes first is
//! then known, and so is what follows.

mod actors;
mod compare;
mod crash;
mod met;
mod questions;
mod queue;
mod rules;
mod script;
mod settle;
mod stage;
mod stores;
mod stories;
mod time;
