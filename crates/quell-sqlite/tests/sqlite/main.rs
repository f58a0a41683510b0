//! The store in one file, with real files and processes that are killed.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic, and tells one story from its beginning to its end"
)]

// Appends of each kind.
mod acts;
// A process of its own that writes, and tells on its stdout what was acknowledged.
mod child;
// The suite that every store passes.
mod conforms;
// I34: processes that are killed while the log is copied.
mod copies;
// I34 to I37: engines that are killed, and their successors.
mod crashes;
// How such a process dies.
mod death;
// All that a file holds.
mod dump;
// A store that kills its process.
mod dying;
// An engine in such a process.
mod engine;
// The example says what happens.
mod example;
// What is no store, is damaged, in use, or of another release.
mod files;
// Folders and records.
mod fixture;
// Code of others that panics.
mod foreign;
// Files that are gone while they are open, and how ready a store is.
mod gone;
// How many are killed, and where.
mod killed;
// I34 to I36: processes that are killed while they write.
mod kills;
// Lists of many runs.
mod lists;
// Who has a file, and what stands beside it.
mod place;
// Processes that are killed while they bring a file to the newest schema.
mod migrations;
// I34 to I36: processes that are killed at each point of an append.
mod points;
// T14: processes that are killed while trees leave.
mod pruning;
// A file that is read while somebody has it.
mod reader;
// How reports are stored, and what a refusal leaves.
mod reports;
// Disks that are full, and writes that fail.
mod room;
// Events, of which several have one row.
mod rows;
// What such engines have said.
mod told;
// What many writers and readers do to each other.
mod traffic;
