//! `quell serve`: every contract on one port, from the first check to the exit code.
//!
//! Bodies run on one runtime; HTTP, streams and signals on another, so that a body that blocks its
//! worker delays no request. At the end nothing is joined.

mod access;
mod app;
mod backlog;
mod command;
mod connections;
mod counted;
mod demo;
mod dialect;
mod gate;
mod held;
mod idle;
mod leftover;
mod lent;
mod listed_nodes;
mod log;
mod metrics;
mod nodes;
mod origin;
mod page;
mod published;
mod renewal;
mod site;
mod socket;
mod stderr;
mod streams;
mod tls;
mod trace_parent;
mod traces;

pub(crate) use command::serve;
