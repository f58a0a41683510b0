//! The adapter from the socket to the body.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on says so, and prints its seed"
)]

mod access;
mod answers;
mod assistants;
mod batches;
mod buried;
mod cancels;
mod crons;
mod crons_gone;
mod crons_stored;
mod decided;
mod document;
mod erased;
mod errors;
mod every_route;
mod gaps;
mod gone_meanwhile;
mod halfway;
mod identity;
mod items;
mod items_bounds;
mod late;
mod load;
mod memory;
mod model;
mod nodes;
mod nodes_bases;
mod nodes_brief;
mod nodes_deleted;
mod nodes_gone;
mod nodes_lanes;
mod nodes_left;
mod nodes_owners;
mod nodes_reads;
mod nodes_threads;
mod nodes_values;
mod one_step;
mod pausing;
mod positions;
/// What a run gets that waited behind others.
mod queued;
mod races;
mod receiver;
mod restart;
mod rolled_back;
mod room;
mod runs;
mod sockets;
mod states;
mod steps;
mod steps_told;
mod stored;
mod strategies;
mod support;
mod talk;
mod threads;
mod threads_stored;
mod traces;
mod under_way;
mod undone;
mod webhooks;
mod webhooks_bounds;
mod webhooks_nodes;
mod webhooks_stored;
mod went_on;
mod words;
