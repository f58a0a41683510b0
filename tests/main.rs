//! The promises of quell, one module per guarantee. Numbers as in `I9` are those of the invariants.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic, and tells one story from its beginning to its end"
)]

// What the tests share: engines under test, seeds, witnesses.
mod support;

// Rung 2: random trees and commands, with `Lifecycle` as oracle, under a paused clock.
mod model;

// I1 to I5: the tree ends from the leaves, and says the truth about what still runs.
mod tree;
// I6 and I7: requests merge; one cause, modes that rise, deadlines that shrink.
mod requests;
// I8: what may start after a stop, and what may not.
mod fence;
// I9, I21, I22, I25, D5, I30: two things at once, thousands of times; one answer each.
mod races;
// I10 to I13, D8: deadlines, idle limits, one grace for a tree, shields.
mod time;
// I10 to I12, I21, I23, I25, I39: timeouts and idle limits that change while a run has them.
mod limits_changed;
// I2, I14: large trees, due times, and several who stop the same tree.
mod turns;
// I12, I14, I27: everything works while every worker is blocked by user code.
mod blocked;
// I15: who is told, who is dropped, who is blamed.
mod onstop;
// I15: a stop and the first words of a body about stops.
mod hearing;
// I15, I17, I19, I20, I28: what bodies do with a stop, and what remains of them.
mod execution;
// I18: tool calls.
mod tools;
// I16: stop hooks.
mod hooks;
// I16: hooks that run at every end, with a stop or without one.
mod everyend;
// I4, I8, I12, I16: the time that they have.
mod endtime;
// I3, I7, I12, I16: hooks that are not going to run are told of at once.
mod unrun;
// I4, I16: by what names and sites reports tell of hooks and other work.
mod named;
// I34, I35: several engines on one store.
mod nodes;
// I24, I34, T5 to T7: pauses, answers and new limits of runs that another engine has.
mod nodes_acts;
// I34, T14: what one engine is asked about runs that another one on the same store has.
mod nodes_asked;
// I4, I19, I24, I34: what an engine that ends gives up, and others begin.
mod nodes_drained;
// I38, I39: engines on a shared store that end, are dropped, or have a cluster that goes wrong.
mod nodes_ending;
// I4, I36: nodes of which somebody has said that they are gone for good.
mod nodes_forgotten;
// I37: repeats that meet a take-over of the run that they repeat.
mod nodes_repeats;
// I14, I34, T13: runs that have the id of one that another engine on their store has.
mod nodes_same_id;
// I4, I34: what is asked of a run that was read, when a later one of its id is there.
mod nodes_meant;
// I4: programs of nodes that have come back, and say what they know of them.
mod nodes_returned;
// I4, I36: lanes that several engines share.
mod nodes_lanes;
// I36: lanes of engines that are lost, come back, or end.
mod nodes_lanes_lost;
// I30, I34, I35, I38: engines that lose their lease, and what was under way then.
mod nodes_lost;
// I27, I37: roots that their store refuses while they wait.
mod refused_waiting;
// I38: what was on its way into the store of a root that it refuses.
mod unaccepted;
// I4, I34, I35: the protocol of nodes as a model, with and without each of its guards.
mod nodes_model;
// I27: limits that engines on one store keep together.
mod nodes_quotas;
// I6, I22, I34: stops that one engine remembers for runs that another one on its store accepts.
mod nodes_reserved;
// I4, I34: take-overs that are interrupted, repeated, or come at once.
mod nodes_taken;
// I40: what engines on one store show of a run that one of them has.
mod nodes_truth;
// I17: the one poll that a parent has left when its children have ended.
mod lastpoll;
// I15, I16: hooks and the scopes around them.
mod cleanup;
// I7, I21 to I23: requests for runs that have not started, are not known, or are over.
mod edges;
// What is counted and measured, against a witness that knows what happened.
mod metrics;
// I24: runs that wait for an answer.
mod pausing;
// I14, I24, I35, I38, I39: what of a pause is refused, and what remains of it.
mod asked;
// I4, I19, T13: work that does not end with its process, in a store and after a crash.
mod outliving;
// I25: the one way to survive a parent.
mod detach;
// I25, I30: a tree that leaves while others write, read and stop.
mod leaving;
// I21, I27, I36, I39: lanes, slots and due times, with every id given twice.
mod admission;
// I24, T13: what a run has used, and what has ended below it, counts on in a later process.
mod earlier;
// T13, I37: what a run that goes on in a later process keeps, and how often one does.
mod going_on;
// I21, I33, I36: what a run gives back, when, and who has it next.
mod handover;
// I36: what becomes of a run whose lane is busy, and of those whose place it takes.
mod lanes;
// I26, I37, I39: idempotency keys, in every state of their run and after it.
mod claims;
// I34 to I37: the suite that every store passes, and stores that break a promise.
mod store;
// I6, I34, I38: what an engine with a store writes, and what waits for it.
mod journal;
// I24, I34: pauses of an engine with a store.
mod stored_pauses;
// T5 to T7, T13, I24, I34 to I36: runs that were paused when their process ended.
mod paused_before;
// I17, I24, T13: what a run has to show when it is paused, in later processes too.
mod so_far;
// I17, T13: what runs have emitted, over restarts.
mod emitted;
// I4, I36: what a process has left of which a part has no row, or cannot be read.
mod left_over;
// I3, I30, I34, I35: what is told of runs that are left to the next process, and of their times.
mod leftpaused;
// T13, I38: what had a due time and has no start in the store has never begun.
mod due;
// T13, I34, I35: what an engine makes of the runs that an earlier process has left behind.
mod recovery;
// T14, I34: what leaves a store by age, number and bytes, and what never does.
mod pruning;
// I37, I38: what holds while the store is in trouble.
mod doubt;
// I35, I36: states of lanes, and what takes them back.
mod saving;
// I6, I22: stops that are remembered in a scope.
mod scopes;
// I21, I27, I36, I39: limits of running and of queued runs, in all, per kind, component and owner.
mod limits;
// I4, I26: what goes wrong when the report is final, and the second of two panics.
mod late;
// Spans of `tracing`: what is inside that of a run, and what it says of the run.
mod spans;
// I26: a panic anywhere is one run's failure.
mod isolation;
// I14, I26: every place where foreign code runs, by every call that it can make there.
mod foreign;
// I29 to I32: events and their readers.
mod events;
// What the pages of the manual say of JSON is what the source says.
mod pages;
// I33 and I30: any number of waiters and readers, each told.
mod waiting;
// I2, I6, I39: cancellation tokens, in both directions.
mod tokens;
// I8, I17, I22, I29: every bound, and what happens when it is reached.
mod bounds;
// I5, I25: what runs use up, and the budgets that stop them.
mod usage;
// I38: the end of an engine.
mod shutdown;
// I38: who drops the last handle of an engine, and where.
mod lastengine;
// I39: what is kept, for how long, and that nothing else is.
mod retention;
// I22, I29, I39: bytes, and the share of each owner.
mod memory;
// I22: what front ends keep with a run.
mod annotations;
// Ten thousand deep, a hundred thousand wide, on little stack.
mod scale;
// I24, I34: plans that are paused when their process ends.
mod planpauses;
// I8, I9, I12, I17: random plans, stopped at random.
mod plans;
// I4, I9, I12, I30, I32, I39: random trees in random weather, for as long as one likes.
mod soak;
// I21, I25, I29, I30, I38, I39: what the words of the public functions promise besides.
mod promises;
// I2, I5, I12, I15, I17, I22, I25, I27, I28, I30, I31, I38: sentences of the documentation.
mod words;
// What the types promise at compile time.
mod surface;
// What the code base promises about itself.
mod tidy;
