//! The durable store of quell in one file.
//!
//! [`SqliteStore`] keeps the records of runs ([`quell_core::store`]) in SQLite, for one process at
//! a time. An append is acknowledged after the disk has it: many callers share one transaction, and
//! nobody waits for more of them to come.
//!
//! - **One process.** A second one that opens the file is refused, with the number of the first.
//!   The lock is one of the system, on a companion file `NAME.lock`, so it ends with the process.
//!   [`check`] and [`backup`] read a file that another process has.
//! - **Durable.** The log of SQLite is flushed before an append is acknowledged
//!   ([`Synchronous::Full`]). Settings are read back after they are set.
//! - **Stops first.** An append that holds nothing but stops overtakes others, and cuts a
//!   transaction that has grown large.
//! - **Readers never wait for the writer,** nor it for them: they have connections of their own.
//!
//! The files `NAME-wal` and `NAME-shm` belong to it while it is open, and after a crash until it is
//! opened again: who copies the file by hand copies `NAME-wal` with it, or uses [`backup`].

mod accept;
mod apply;
mod bind;
mod connect;
mod encode;
mod fault;
mod options;
mod place;
mod queue;
mod read;
mod readers;
mod row;
mod schema;
mod store;
mod upkeep;
mod wal;
mod writer;

pub use options::{SqliteOptions, Synchronous};
pub use store::{Committed, SqliteStore};
pub use upkeep::{backup, check};
