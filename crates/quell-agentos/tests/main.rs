//! The contract, call by call, in one process and over sockets.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so"
)]

/// Answers of two clients at one moment, and through another node.
mod answered_at_once;
/// A log that has no more of the beginning.
mod behind_gaps;
/// What cancels a run, and what remains of it.
mod cancel;
/// An answer that is sent again.
mod continued_again;
/// What starts a run, streams it and reads it.
mod create;
/// What there is, and what there is none of.
mod discovery;
/// What is described.
mod document;
/// Runs that go on from ended ones.
mod follow_up;
/// What a run gets of the earlier ones of its session.
mod history;
/// Ids of callers, twice.
mod identity;
/// Whatever clients send.
mod load;
/// What is lost is marked.
mod marks;
/// What is shown of a run is in the run.
mod memory;
mod nodes;
/// Runs of another node that somebody deletes.
mod nodes_deleted;
/// Clients whose own node ends.
mod nodes_left;
/// A later run with the id of one that is kept.
mod nodes_same_id;
/// A tree of another node, of which some parts have ended.
mod nodes_trees;
/// Runs that wait for an answer.
mod pausing;
/// Steps of plans that wait for an answer.
mod pausing_steps;
/// Cancel against completion.
mod races;
/// Whoever reads a run, in any process and through any node, is told the same.
mod readers;
/// What is refused, and in which words.
mod refusals;
/// Runs that are only in the store.
mod restart;
/// A stream that goes on after its client was away.
mod resume;
/// Clients that come back to what was continued.
mod resume_continued;
/// Room for answers.
mod room;
/// What sessions there are, and which runs they have.
mod sessions;
/// Sessions that are renamed and deleted.
mod sessions_changed;
/// Sessions of runs that are only in the store, or on another node.
mod sessions_stored;
/// Over sockets: clients that vanish.
mod sockets;
/// What a store has to do with answers.
mod stored;
mod support;
/// What upstream gets wrong.
mod upstream;
/// Web sockets.
mod web_sockets;
/// Clients of web sockets that come back.
mod web_sockets_back;
/// What a web socket costs.
mod web_sockets_bounds;
/// Clients of web sockets that come back to what was continued over one.
mod web_sockets_continued;
