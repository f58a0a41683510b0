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
//! What is left out: more than one run and one stop of it, pauses, bodies that never end (those are
//! abandoned by name when the lease lapses), and the clocks of hosts, since none of them is asked.
//! An attempt that goes on starts within the step that decides it. A process hears at once what
//! became of its transaction, unless it is frozen. A stop counts as acknowledged once its row is
//! there.

mod effects;
mod proofs;
mod search;
mod steps;
mod stops;
mod world;
