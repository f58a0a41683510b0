//! Folders that go away, and records.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use quell_core::store::{Accepted, Epoch, Record, StopAccepted, Store};
use quell_core::{
    Cause, CauseKind, Counts, EventKind, Payload, RunEvent, RunId, RunKind, RunReport, RunRow,
    RunStatus, StopMode,
};

/// A folder that is removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("quell-sqlite-{}-{nth}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Names what stands beside a file.
pub(crate) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Runs a future to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(crate) fn epoch(store: &impl Store) -> Epoch {
    Epoch::new(store.boot(), 1)
}

pub(crate) fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

pub(crate) fn accept(run: RunId, epoch: Epoch) -> Record {
    let mut accepted = Accepted::new(run, RunKind::Agent, "a run".into(), epoch, at());
    accepted.input = Some(Payload::from("x".repeat(100)));
    Record::Accepted(Box::new(accepted))
}

pub(crate) fn event(run: RunId, epoch: Epoch, seq: u64) -> Record {
    let kind = EventKind::Emitted(Payload::from(seq));
    Record::Event { epoch, event: RunEvent::new(seq, run, run, at(), kind) }
}

pub(crate) fn stop(run: RunId, epoch: Epoch) -> Record {
    let mut cause = Cause::new(CauseKind::UserRequest, at(), run);
    cause.message = Some("enough".into());
    let stop = StopAccepted::new(run, epoch, StopMode::Cooperative, Arc::new(cause));
    Record::StopAccepted(Box::new(stop))
}

pub(crate) fn end(run: RunId, epoch: Epoch, status: RunStatus) -> Record {
    let mut row = RunRow::new(run, RunKind::Agent, "a run".into(), status, at());
    row.quiescent = true;
    let report = Arc::new(RunReport::new(vec![row], Counts::default()));
    Record::Ended { run, epoch, report, rollback: true }
}

pub(crate) fn state(run: RunId, epoch: Epoch, lane: &str, state: u64) -> Record {
    let (lane, state) = (lane.into(), Payload::from(state));
    Record::Checkpoint { lane, run, epoch, state, at: at() }
}
