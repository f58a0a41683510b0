//! quell-http from outside: the native API, and what adapters build on.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints its seed"
)]

/// Who may do what.
mod access;
/// Answers that say what they are to.
mod answers;
/// Every sort of bad input, by table.
mod bad_input;
/// HTTP answers while every body worker is blocked.
mod blocked;
/// How much callers may leave behind, all of them and each.
mod bounds;
/// Stops of several runs at once.
mod cancel_many;
/// Runs that are deleted.
mod delete;
/// Clients that go away.
mod disconnect;
/// An application that embeds quell.
mod examples;
/// Lists by owner, lane and time.
mod filters;
/// Tokens that are signed, and are none to take.
mod forged;
/// Streams of runs that the engine has forgotten.
mod forgotten;
/// Keys that issuers publish, and keys that are exchanged.
mod key_sets;
/// What a refused caller lacks.
mod lacks;
/// Runs of one lane.
mod lanes;
/// Clients that leave what another node has, or had.
mod leaving;
/// Limits of runs that change while they work.
mod limits;
/// The log of a run, page by page.
mod log;
/// What is lost is marked.
mod marks;
/// The native API, call by call.
mod native;
/// Runs that another node of the cluster has: stops of them, and waits.
mod nodes;
/// Pauses, answers and new limits of such runs.
mod nodes_acts;
mod nodes_answers;
/// Lanes of several nodes.
mod nodes_lanes;
/// Answers that end with their node.
mod nodes_left;
/// Lists on several nodes.
mod nodes_reads;
mod nodes_repeats;
mod nodes_same_id;
/// Streams and lists of such runs.
/// Stops of runs of another node.
mod nodes_stops;
mod nodes_streams;
/// Requests that are sent twice.
mod once;
/// Open access, and who is turned away from it.
mod open;
/// Parameters that there are not.
mod parameters;
/// Pauses, and their answers.
mod pausing;
/// Cancels against completions.
mod races;
mod repeats;
/// Stops for runs that are not there yet.
mod reserve;
/// Runs that are only in the store.
mod restart;
/// Runs that come while the store is asked for them.
mod restart_finds;
/// Lists of stored runs that change while they are read.
mod restart_lists;
/// What a paused run has to show.
mod so_far;
/// Stops that are under way.
mod stops;
/// What a store has to do with answers.
mod stored;
/// Streams of events and heartbeats.
mod streams;
mod support;
/// What runs have emitted, and for how long that is kept.
mod transcript;
/// Trees, row by row, and what there is to start.
mod tree;
/// What one principal sees through one contract.
mod view;
