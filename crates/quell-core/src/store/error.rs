//! [`StoreError`]: what goes wrong with a store.

use std::sync::Arc;

use crate::RunId;
use crate::store::{Epoch, Unreadable};

/// What goes wrong with a store.
///
/// Some are refusals: the records contradict what is stored, and will do so again
/// ([`is_refusal`](Self::is_refusal)). The others are trouble of the store itself. In both cases
/// nothing of the append was acknowledged. After a refusal nothing of it is stored; after trouble
/// it is all stored or nothing is, perhaps only later: a read says which once an append that came
/// after it was answered without trouble.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no room for it.
    #[error("the disk is full: make room on it, then try again ({what})")]
    Full {
        /// What the store says.
        what: String,
    },
    /// Reading or writing failed.
    #[error("the store could not be read or written: {what}")]
    Io {
        /// What the store says.
        what: String,
    },
    /// It may not be written.
    #[error("the store may not be written: give this user the right to write it ({what})")]
    ReadOnly {
        /// What the store says.
        what: String,
    },
    /// It takes no writes from anybody: a standby, or set to be read only. Once it does, the store
    /// goes on.
    #[error(
        "the database takes no writes: name the server that does if this one is a standby, or take \
         back what has it read only, such as default_transaction_read_only ({what})"
    )]
    TakesNoWrites {
        /// What the database says.
        what: String,
    },
    /// No file can be made in its folder, and the store needs one there.
    #[error(
        "this user may not make files in the folder of the store: allow it, or name a place in \
         another folder ({what})"
    )]
    NoFilesHere {
        /// The folder, and what the system says.
        what: String,
    },
    /// What is stored is damaged.
    #[error(
        "the store is damaged: put a backup in its place, and before that remove FILE-wal and \
         FILE-shm if it is a file ({what})"
    )]
    Corrupt {
        /// What was found.
        what: String,
    },
    /// What is stored cannot be understood, although it is not damaged.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The file of the store has several names, and so it could be opened twice.
    #[error(
        "the file of the store has several names: remove the other hard links, or name a copy \
         ({what})"
    )]
    SeveralNames {
        /// The file, and how many names it has.
        what: String,
    },
    /// A file that belongs to somebody else stands where the store needs one.
    #[error("a file is in the way of the store: move it elsewhere ({what})")]
    InTheWay {
        /// The file, and what it is.
        what: String,
    },
    /// A newer release has written it. It was not changed.
    #[error(
        "the store has schema {found}, this release knows those up to {known}: use the release \
         that wrote it, or a newer one"
    )]
    NewerSchema {
        /// Its schema.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// An older release has written it, and it is only to be read. It was not changed.
    #[error(
        "the store has schema {found}, this release reads {known}: have a process of this release \
         open it, which brings it there, or read it with the release that wrote it"
    )]
    OlderSchema {
        /// Its schema.
        found: u32,
        /// The one that is read.
        known: u32,
    },
    /// It is something else than a store. It was not changed.
    #[error("this is no store of quell: name another one ({what})")]
    Foreign {
        /// What it seems to be.
        what: String,
    },
    /// The file is no empty one, and holds no store: the log that belongs beside it is not there,
    /// or not whole. It was not changed.
    #[error(
        "this file holds no store. If it was copied from a store in use, its `{log}` belongs \
         beside it; copy a live store with `quell store backup`"
    )]
    NoLog {
        /// The name of the log.
        log: String,
    },
    /// What is to be read is not there. It was not made.
    #[error("there is no such store: name one that is there ({what})")]
    Missing {
        /// The file, or the schema of which database.
        what: String,
    },
    /// There is nothing at this place, and nothing can be made there.
    #[error("there is no such place for a store: make its folder first ({what})")]
    NoPlace {
        /// The place.
        what: String,
    },
    /// Another process has it, or another engine of this one.
    #[error("the store is in use{}: end that first, or name another", holder(*by))]
    Locked {
        /// The number of the process that has it, if it is known.
        by: Option<u32>,
    },
    /// Another process has the database of the store, or another engine of this one.
    #[error("the store is in use by {by}: end that first, or name another")]
    InUse {
        /// What the database says of it.
        by: String,
    },
    /// Another process has opened the store meanwhile: this one writes nothing any more.
    #[error("another process has taken the store over: end this one ({what})")]
    Superseded {
        /// What was found.
        what: String,
    },
    /// The database is away. Once it is back, the store goes on.
    #[error("the database cannot be reached: see that it runs, and where ({what})")]
    Unreachable {
        /// What was tried, and what came of it.
        what: String,
    },
    /// The server of the database has no connection left. Once it has, the store goes on.
    #[error(
        "the database has no connection left: raise max_connections of its server, or the limit \
         of the role, or end who has them ({what})"
    )]
    NoConnection {
        /// Where, what the server says, and how many are needed.
        what: String,
    },
    /// The database lets nobody in with this name and password, or there is no such database.
    #[error("the database lets nobody in like that: {what}")]
    Denied {
        /// What to do, and what the database says.
        what: String,
    },
    /// Where the database is cannot be understood.
    #[error("the address cannot be read: {what}")]
    Address {
        /// What to do, and which part of it, without any password.
        what: String,
    },
    /// An option with which it is opened does not fit.
    #[error("the store cannot be opened with these options: {what}")]
    Options {
        /// Which one, and what to do.
        what: String,
    },
    /// A setting on which durability rests was not taken.
    #[error("the setting {setting} of the store is {found}, and must be {wanted}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: String,
    },
    /// It was closed.
    #[error("the store is closed")]
    Closed,
    /// This member of a cluster may not write any more: others may have taken over its runs.
    #[error("the lease of node {node} was lost: start it again, others may have its runs")]
    LeaseLost {
        /// The name of the member.
        node: Arc<str>,
    },
    /// A record is over its bound.
    #[error("{what} of {bytes} bytes is over the bound of {bytes_max}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size in bytes.
        bytes: usize,
        /// The bound in bytes.
        bytes_max: usize,
    },
    /// The write is of an attempt whose run another one has taken over (I35).
    #[error("run {run} belongs to epoch {current}, a write of epoch {epoch} is refused")]
    Fenced {
        /// The run.
        run: RunId,
        /// The epoch of the write.
        epoch: Epoch,
        /// The epoch of the run.
        current: Epoch,
    },
    /// There is no such run.
    #[error("run {run} is not stored")]
    Unknown {
        /// The run.
        run: RunId,
    },
    /// There is such a run already.
    #[error("run {run} is stored already")]
    Exists {
        /// The run.
        run: RunId,
    },
    /// The run has ended: nothing changes it any more.
    #[error("run {run} has ended")]
    Ended {
        /// The run.
        run: RunId,
    },
    /// The run has not ended, so it is not quiescent, nor can it or what it is in be forgotten.
    #[error("run {run} has not ended")]
    Live {
        /// The run.
        run: RunId,
    },
    /// There is an event with this number already.
    #[error("event {seq} of run {root} is stored already")]
    SeqTaken {
        /// The root.
        root: RunId,
        /// The number.
        seq: u64,
    },
    /// The idempotency key was claimed by another run (I37).
    #[error("the key was claimed by run {run}")]
    KeyClaimed {
        /// The run that has it.
        run: RunId,
        /// Whether it stands for the same payload.
        is_same_payload: bool,
        /// Whether that run was forgotten since.
        is_forgotten: bool,
    },
    /// The lane of the run has another one, on this node or another, and the new one does not wait
    /// for that: see [`LaneRule`](crate::store::LaneRule).
    #[error("lane {lane} has run {run}")]
    LaneBusy {
        /// The lane.
        lane: Arc<str>,
        /// The run that has it, or waits for it.
        run: RunId,
    },
}

impl StoreError {
    /// Tells whether the records contradict what is stored, or a bound: trying again changes
    /// nothing.
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::TooLarge { .. }
                | Self::Fenced { .. }
                | Self::Unknown { .. }
                | Self::Exists { .. }
                | Self::Ended { .. }
                | Self::Live { .. }
                | Self::SeqTaken { .. }
                | Self::KeyClaimed { .. }
                | Self::LaneBusy { .. }
        )
    }
}

fn holder(by: Option<u32>) -> String {
    by.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}
