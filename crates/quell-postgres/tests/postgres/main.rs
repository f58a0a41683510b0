//! The store in PostgreSQL, with real servers that are stopped and sessions that are killed.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic, and tells one story from its beginning to its end"
)]

// A database that is away, or was taken over.
mod away;
// The suite that every store passes.
mod conforms;
// Stores of servers, and what the server says of them.
mod fixture;
// Sessions that are killed under load, and servers that lose their power.
mod kills;
// Writers that remember what they were told.
mod load;
// What is refused when a store is opened, and in which words.
mod open;
