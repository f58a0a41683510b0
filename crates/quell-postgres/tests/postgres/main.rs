//! The store in PostgreSQL, with real servers that are stopped and sessions that are killed.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic, and tells one story from its beginning to its end"
)]

// The suite that every store passes.
mod conforms;
// Stores and records.
mod fixture;
