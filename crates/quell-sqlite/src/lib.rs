//! The durable store of quell in one file.
//!
//! [`SqliteStore`] keeps the records of runs ([`quell_core::store`]) in SQLite, for one process at
//! a time. An append is acknowledged after the disk has it: many callers share one transaction, and
//! nobody waits for more of them to come.
//!
//! - **One process.** A second one that opens the file is refused, with the number of the first.
//!   The lock is one of the system, on a companion file `NAME.lock`, so it ends with the process.
//!   A file with several hard links is refused: by another name it would have another log.
//!   [`SqliteReader`], [`check`] and [`backup`] read a file that another process has.
//! - **Durable.** The log of SQLite is flushed before an append is acknowledged
//!   ([`Synchronous::Full`]). Settings are read back after they are set.
//! - **Stops first.** An append that holds nothing but stops overtakes others, and cuts a
//!   transaction that has grown large. It overtakes neither the acceptance of its run, nor an
//!   earlier stop of it, nor what another epoch has written of it.
//! - **Each for itself.** An append that fails takes no other with it, and code of others that
//!   panics (a waker, a subscriber of `tracing`) ends no thread of a store.
//! - **Readers never wait for the writer,** nor it for them: they have connections of their own.
//!   While another process reads for long, the log of SQLite grows.
//!
//! The example `paused_run` (`cargo run -p quell-sqlite --example paused_run`) is a whole program
//! with a store, from its opening to its closing: it recovers, saves a state, pauses, resumes, and
//! goes on from what it has saved.
//!
//! The files `NAME-wal` and `NAME-shm` belong to it while it is open, and after a crash until it is
//! opened again: who copies the file by hand copies `NAME-wal` with it, or uses [`backup`].

mod accept;
mod apply;
mod begun;
mod beside;
mod bind;
mod connect;
mod encode;
mod end;
mod ended;
mod event_row;
mod fault;
mod forget;
mod gate;
mod hold;
mod list;
mod options;
mod place;
mod plain;
mod read;
mod readers;
mod row;
mod schema;
mod share;
mod sqlite_reader;
mod store;
mod threads;
mod unreadable;
mod upkeep;
mod visit;
mod wal;
mod watch;
mod writer;

pub use begun::Begun;
pub use options::{SqliteOptions, Synchronous};
pub use quell_durable::Committed;
pub use sqlite_reader::SqliteReader;
pub use store::SqliteStore;
pub use upkeep::{backup, check};
