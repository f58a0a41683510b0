//! [`OpenStore`]: the store of this process, from its opening to its closing: a file that it has
//! for itself, or a database on which it is one of several nodes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use quell::store::{Page, RunRecord, Store, StoreError};
use quell::{
    Engine, EngineConfig, HeldAttempts, Recovered, Recovery, RunId, RunRef, Shutdown, Work, limits,
};
use quell_flow::path_text;
use quell_postgres::PostgresNode;
use quell_process::{TakenOver, let_go, take_over};
use quell_report::text::{printable, span};
use quell_sqlite::SqliteStore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::begun;
use super::ended::{end_programs, forget_doubt_if_none_is_left};
use super::left_behind::{BEFORE, Failed, words};
use super::node::NodeArgs;
use super::place::Place;
use crate::signals::Signals;

/// The store of this process.
#[derive(Debug)]
pub(crate) struct OpenStore {
    pub(super) place: Place,
    pub(super) store: Arc<dyn Store>,
    /// The same, if this process is one of several.
    pub(super) node: Option<Arc<PostgresNode>>,
    /// What the guardians of this process hold.
    guard: PathBuf,
    /// What is said of a store that has begun where something stood.
    begun: Option<String>,
    /// Whether the programs of processes before are known to have ended, until the other nodes have
    /// been told.
    pub(super) untold: Mutex<Option<bool>>,
}

impl OpenStore {
    /// Opens the file, and makes it if there is none. Blocks the thread while it reads what a
    /// process that was killed has left.
    ///
    /// # Errors
    ///
    /// Fails with what to do about it: somebody has the file, it is no store, it is damaged, it
    /// cannot be written. None of these changes it.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        Self::of_file(path).map_err(|error| {
            let told = Place::File(path.to_owned()).told(&error);
            if matches!(error, StoreError::NoFilesHere { .. }) {
                format!("{told}; {FILES}")
            } else {
                told
            }
        })
    }

    /// As [`open`](Self::open), with the error itself.
    pub(super) fn of_file(path: &Path) -> Result<Self, StoreError> {
        let (place, store) = (Place::File(path.to_owned()), SqliteStore::open(path)?);
        let begun = begun::words(&place, store.begun());
        // By each name of the store it is the same file.
        let own = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let guard = beside(&own, GUARD);
        let untold = Mutex::default();
        Ok(Self { place, store: Arc::new(store), node: None, guard, begun, untold })
    }

    /// Joins the servers on a database.
    ///
    /// # Errors
    ///
    /// Fails with what to do about it: the database cannot be reached, lets nobody in, may lose
    /// what it has acknowledged, or has what is none of ours; somebody has the name, or has all of
    /// it alone; there is no place for what guardians hold. Fails with a signal, too.
    pub(crate) async fn join(node: NodeArgs, signals: &mut Signals) -> Result<Self, NotOpened> {
        let guard = node.guard()?;
        let opened = tokio::select! {
            biased;
            signal = signals.next() => {
                let name = signal.as_str();
                let words = format!("{name}: the database had not answered; nothing was started");
                return Err(words.into());
            }
            opened = PostgresNode::open(node.options()) => opened,
        };
        let opened = Arc::new(opened.map_err(|error| NotOpened::of(&error, node.told(&error)))?);
        let (place, store) = (Place::Database(node.database), Arc::clone(&opened) as _);
        Ok(Self { place, store, node: Some(opened), guard, begun: None, untold: Mutex::default() })
    }

    /// Lets an engine keep its runs here.
    pub(crate) fn engine(&self, config: EngineConfig) -> EngineConfig {
        match &self.node {
            Some(node) => config.node(Arc::clone(node)),
            None => config.store(self.port()),
        }
    }

    /// Yields the store, for what reads it while the engine writes.
    pub(crate) fn port(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// Decides the runs that an earlier process has left behind: they fail, unless they were
    /// stopped, or are paused and stay so, and but for those that are to go on, which are held.
    /// Yields lines for the user, if there is anything to say; what it waits for is said at once.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store, or with a signal.
    pub(crate) async fn recover(
        &self,
        engine: &Engine,
        signals: &mut Signals,
        say: impl Fn(&str),
        going_on: impl FnMut(&RunRecord) -> Option<Recovery> + Send,
    ) -> Result<(HeldAttempts, Vec<String>), NotOpened> {
        let (have_ended, late) = self.take_over(signals, say).await?;
        let (recovered, held, failed) = self.decide(engine, signals, going_on).await?;
        if have_ended {
            self.forget_rolled_back(engine).await.map_err(|error| self.trouble(&error))?;
        }
        // Runs that other nodes have may be in doubt. Those are told, so that the next process need
        // not know; or they are not, and it has to.
        if self.untold.lock().is_none() {
            let forgotten = forget_doubt_if_none_is_left(&*self.store).await;
            forgotten.map_err(|error| self.trouble(&error))?;
        }
        let before = self.begun.iter().cloned().chain(late);
        Ok((held, before.chain(words(&recovered, &failed, BEFORE)).collect()))
    }

    /// As [`recover`](Self::recover), with one run that is to go on. Yields it, paused or not.
    ///
    /// # Errors
    ///
    /// As [`recover`](Self::recover); and with why the run does not go on.
    pub(crate) async fn go_on(
        &self,
        engine: &Engine,
        signals: &mut Signals,
        say: impl Fn(&str),
        (wanted, how): (RunId, Recovery),
    ) -> Result<(RunRef, Vec<String>), String> {
        let mut how = Some(how);
        let going_on = |run: &RunRecord| how.take_if(|_| run.run() == wanted);
        let (_, late) = self.take_over(signals, say).await?;
        let (mut recovered, held, failed) = self.decide(engine, signals, going_on).await?;
        held.start();
        let Recovered { resumed, paused, .. } = &mut recovered;
        let found = [resumed, paused].into_iter().find_map(|runs| {
            let place = runs.iter().position(|run| run.id() == wanted)?;
            Some(runs.remove(place))
        });
        match found {
            Some(run) => {
                Ok((run, late.into_iter().chain(words(&recovered, &failed, BEFORE)).collect()))
            }
            None => Err(self.why_not(wanted, &recovered).await),
        }
    }

    /// Waits until the guardian of the process before has ended what that had left: what goes on
    /// starts the same programs again (I19), and tells the other nodes. Yields whether all of it is
    /// known to have ended, and then the store has none of it any more; and words if it takes too
    /// long.
    ///
    /// # Errors
    ///
    /// Fails if nothing tells about that guardian, with the trouble of the store, or with a signal.
    async fn take_over(
        &self,
        signals: &mut Signals,
        say: impl Fn(&str),
    ) -> Result<(bool, Option<String>), NotOpened> {
        let have_ended = async {
            let mut taken = pin!(take_over(&self.guard, GUARDIAN_WAIT));
            if let Ok(have_ended) = timeout(GUARDIAN_SILENCE, &mut taken).await {
                return have_ended;
            }
            let most = span(GUARDIAN_WAIT);
            say(&format!("waiting for programs of the process before to end, {most} at most"));
            taken.await
        };
        let have_ended = tokio::select! {
            biased;
            have_ended = have_ended => have_ended,
            signal = signals.next() => {
                let name = signal.as_str();
                let words = format!(
                    "{name}: programs of the process before were still being ended; nothing was \
                     started"
                );
                return Err(words.into());
            }
        };
        let unlocked = |error| format!("{} cannot be locked: {error}", path_text(&self.guard));
        let taken = have_ended.map_err(unlocked)?;
        let have_ended = taken == TakenOver::Ended;
        let own = if self.is_shared() { Some(self.tell(have_ended, signals).await?) } else { None };
        match taken {
            TakenOver::Ended => {
                let ended = end_programs(&*self.store, own.as_deref()).await;
                ended.map_err(|error| self.trouble(&error)).map(|()| (true, None))
            }
            TakenOver::Late => {
                let words = format!(
                    "programs of the process before have not ended within {}, and may run beside \
                     those that are started again",
                    span(GUARDIAN_WAIT)
                );
                Ok((false, Some(words)))
            }
            _ => Ok((false, None)),
        }
    }

    async fn decide(
        &self,
        engine: &Engine,
        signals: &mut Signals,
        going_on: impl FnMut(&RunRecord) -> Option<Recovery> + Send,
    ) -> Result<(Recovered, HeldAttempts, Failed), NotOpened> {
        let mut failed = Failed::default();
        let recovered = engine.recover_held(failed.or_fail(going_on));
        let (recovered, held) = tokio::select! {
            biased;
            signal = signals.next() => {
                let name = signal.as_str();
                let words = format!("{name}: the store was still being read; nothing was started");
                return Err(words.into());
            }
            recovered = recovered => recovered.map_err(|error| self.trouble(&error))?,
        };
        Ok((recovered, held, failed))
    }

    /// Says what is wrong with the store at the start.
    pub(super) fn trouble(&self, error: &StoreError) -> NotOpened {
        NotOpened::of(error, self.place.told(error))
    }

    /// Forgets what was rolled back and has left nothing but programs, which the guardian of the
    /// process before has ended, and what has ended with that process. Otherwise it stays, since
    /// work of it may execute still (I36). So does what the store refuses to forget: a run of it
    /// cannot be read.
    async fn forget_rolled_back(&self, engine: &Engine) -> Result<(), StoreError> {
        let mut page = Page::first(limits::STORE_PAGE_MAX);
        loop {
            let read = self.store.recover(page).await?;
            let ended = read.items.iter().flatten().filter(|run| run.status.is_terminal());
            for run in ended {
                let rows = run.report.iter().flat_map(|report| &report.rows);
                let mut left = rows.flat_map(|row| &row.abandoned);
                // What is stored still is a program of another node, or none that is known to end.
                let is_stored = run.holds.iter().any(|hold| hold.what == Work::Process);
                if is_stored || !left.all(|left| has_ended(left.what)) {
                    continue;
                }
                match engine.forget_stored(run.run()).await {
                    Err(error) if !error.is_refusal() => return Err(error),
                    _ => {}
                }
            }
            let Some(next) = read.next else { return Ok(()) };
            page = Page::first(limits::STORE_PAGE_MAX).after(next);
        }
    }

    /// Says why a run does not go on that was to.
    async fn why_not(&self, run: RunId, recovered: &Recovered) -> String {
        if let Some((_, error)) = recovered.refused.iter().find(|(id, _)| *id == run) {
            return format!("the run does not go on: {error}");
        }
        match self.store.get(run).await {
            Ok(Some(record)) => match (record.row().cause, record.status) {
                (Some(cause), status) => {
                    let cause = printable(&cause.to_string()).into_owned();
                    format!("the run was stopped before ({cause}): it has ended, {status}")
                }
                (None, status) => format!("the run does not go on: it is {status}"),
            },
            Ok(None) => "the run does not go on: it is no longer in the store".to_owned(),
            Err(error) => self.place.told(&error),
        }
    }

    /// Ends the engine of a run that has ended or is left paused, waits until the run is stored,
    /// as long as the engine does, and closes the store. Yields a note if the run is not stored.
    pub(crate) async fn close_after(self, engine: &Engine, run: &RunRef) -> Option<String> {
        let report = engine.shutdown(Shutdown::default()).await;
        let note = match run.stored().now_or_never() {
            Some(Ok(())) if report.unstored == 0 => None,
            Some(Ok(())) => Some("some events of the run are not known to be stored".to_owned()),
            Some(Err(error)) => Some(not_stored(&self.place, &error)),
            None => Some(not_stored(&self.place, &"the disk does not answer")),
        };
        self.close().await;
        note
    }

    /// Waits until the file is free, unless its disk does not answer. The engine has shut down: the
    /// next process waits for no programs of this one, unless some may be left.
    pub(crate) async fn close(self) {
        // A panic there is told by its hook, and the store is closed all the same.
        let _ = spawn_blocking(let_go).await;
        // What it could not write was told to those whose it is.
        let _ = timeout(limits::STORE_WAIT, self.store.close()).await;
    }
}

/// Why a store was not opened, in words for the user.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// The database cannot be reached, or takes no writes. The same may go well later.
    Away(String),
    /// Something has to be mended first.
    Refused(String),
}

impl NotOpened {
    fn of(error: &StoreError, words: String) -> Self {
        match error {
            StoreError::Unreachable { .. }
            | StoreError::NoConnection { .. }
            | StoreError::TakesNoWrites { .. } => Self::Away(words),
            _ => Self::Refused(words),
        }
    }
}

impl From<String> for NotOpened {
    fn from(words: String) -> Self {
        Self::Refused(words)
    }
}

impl From<NotOpened> for String {
    fn from(not_opened: NotOpened) -> Self {
        let (NotOpened::Away(words) | NotOpened::Refused(words)) = not_opened;
        words
    }
}

/// Tells whether work has ended once the process is gone that did it, and its guardian.
const fn has_ended(what: Work) -> bool {
    matches!(what, Work::Body | Work::Hook | Work::Blocking | Work::Process)
}

fn not_stored(place: &Place, why: &dyn std::fmt::Display) -> String {
    let words = format!("{place}: the run is not stored: {why}");
    printable(&words).into_owned()
}

/// Tells whether a path is the file of a store, or one of those that stand beside it, also if it is
/// not there yet.
pub(crate) fn is_part_of(store: &Path, path: &Path) -> bool {
    let place = |path: &Path| {
        let found = path.canonicalize().ok();
        found.or_else(|| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            Some(folder.unwrap_or(Path::new(".")).canonicalize().ok()?.join(path.file_name()?))
        })
    };
    let (Some(store), Some(path)) = (place(store), place(path)) else { return false };
    ["", "-wal", "-shm", ".lock", GUARD].into_iter().any(|end| path == beside(&store, end))
}

/// Yields the name of what stands beside a file.
pub(super) fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(end);
    name.into()
}

/// What a store is made of, for whoever may make no files.
const FILES: &str = "a store is made of FILE, FILE.lock and FILE.guard, and of FILE-wal and \
                     FILE-shm while it is open";

/// The end of the name of the file that guardians hold. It stays, empty.
const GUARD: &str = ".guard";

/// How long the guardian of the process before is waited for. It needs 10.5 s at most.
const GUARDIAN_WAIT: Duration = Duration::from_secs(15);

/// After which part of that the user is told what takes so long.
const GUARDIAN_SILENCE: Duration = Duration::from_secs(1);
