//! The protocol of nodes as a model: every interleaving of two nodes and one run, from a search by
//! hand, breadth first.
//!
//! [`world`] has the state: the rows of the database, and what each process knows. [`steps`] and
//! [`stops`] have what may happen next, and [`effects`] what it changes; each step names the
//! function or the statement that it stands for, and is as atomic as that is. [`search`] visits
//! every state once, and says whether a promise is broken, by the shortest story, or whether a
//! state has no way to a decided one. [`proofs`] asks: nothing is broken by the protocol as it is,
//! and something without each of its guards.
//!
//! Nothing is bounded but time: processes crash, freeze, go on and come back as often as they like,
//! transactions are aborted, answers are lost. A lease has three instants, the last of which is for
//! stopping. Boots and epochs are kept as ranks, so that the states are finitely many.
//!
//! [`lanes`] is a model of its own, of one lane and a run of it on each node, and so is [`slots`],
//! of a limit of all nodes, and [`released`], of a run that a node gives up while a stop of it is
//! asked for: [`lane_proofs`], [`slot_proofs`] and [`released_proofs`] ask the same of these, by
//! [`small_search`].
//!
//! What is left out: more than one run and one stop of it, pauses, bodies that never end (those are
//! abandoned by name when the lease lapses), and the clocks of hosts, since none of them is asked;
//! that a node leaves, or is drained; pauses, answers and limits that are asked for; stops for runs
//! to come; nodes that are forgotten; and logs. Of these each has tests of its own, in
//! `nodes_drained`, `nodes_acts`, `nodes_reserved` and `nodes_forgotten`, and on a server in
//! `quell-postgres`, where transactions meet in every order that matters (`raced`).
//! An attempt that goes on starts within the step that decides it. A process hears at once what
//! became of its transaction, unless it is frozen. A stop counts as acknowledged once its row is
//! there.

mod effects;
mod lane_proofs;
mod lanes;
mod proofs;
mod released;
mod released_proofs;
mod search;
mod slot_proofs;
mod slots;
mod small_search;
mod steps;
mod stops;
mod world;
