//! [`Guarded`]: what a process tells its guardian, and how it gets another.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::ledger::Ledger;
use super::news::News;
use crate::survivors::MARKS;

/// Has every program of this process guarded from now on. The guardian is started with the first
/// program. One that has died, or cannot be started, is replaced while programs run, each time
/// later (50 ms to 13 s); one that does not read, when the next program starts or ends.
///
/// The command starts a process that calls [`guard`](crate::guard) with its stdin. Without this,
/// programs outlive an embedder that is killed.
///
/// # Examples
///
/// ```no_run
/// use std::env;
/// use std::process::Command;
///
/// // The embedder is its own guardian, when it is started with the word `guard`.
/// if env::args().nth(1).as_deref() == Some("guard") {
///     quell_process::guard(std::io::stdin().lock());
///     return;
/// }
/// let mut guardian = Command::new(env::current_exe().unwrap());
/// guardian.arg("guard");
/// let _guarded = quell_process::guarded_by(guardian);
/// // Here are the runs with processes.
/// ```
#[must_use = "dropped, nothing is guarded any more"]
pub fn guarded_by(command: Command) -> Guarded {
    let mut command = command;
    // A group of its own: a Ctrl-C at the terminal is for the embedder.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    // If this process is one of another engine, that one ends the guardian as well.
    if let Some(marks) = std::env::var_os(MARKS) {
        command.env(MARKS, marks);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    lock().command = Some(command);
    Guarded(())
}

/// Programs are guarded until this is dropped, which waits until the guardian has ended what is
/// left. One that takes longer than 15 s is killed.
#[derive(Debug)]
pub struct Guarded(());

impl Drop for Guarded {
    fn drop(&mut self) {
        let guardian = lock().end();
        if let Some((child, pipe)) = guardian {
            drop(pipe);
            reap(child, END_WAIT);
        }
    }
}

/// Has this process and its guardians hold the file of [`take_over`](crate::take_over) no longer,
/// so that the next process need not wait for what this one does besides. To be called when the
/// engine has shut down, before its store is closed. While a program may be left, nothing changes.
///
/// It blocks until the guardian has ended, which has nothing else to do.
///
/// # Examples
///
/// ```
/// // Nothing is held: it does nothing.
/// quell_process::let_go();
/// ```
pub fn let_go() {
    let guardian = lock().let_go();
    if let Some((child, pipe)) = guardian {
        drop(pipe);
        reap(child, END_WAIT);
    }
}

/// Says that nobody has to know any more what the processes before this one have left: nothing of
/// it is stored that the next process could ask about. To be called when the runs that they had
/// left have been decided, and none of them goes on.
///
/// # Examples
///
/// ```
/// // Nothing is held: it does nothing.
/// quell_process::forget_doubt();
/// ```
pub fn forget_doubt() {
    if let Some(ledger) = &lock().ledger {
        ledger.sure();
    }
}

/// Has this process and its guardians hold a file until each of them has ended.
pub(super) fn hold(file: File, ledger: Option<Ledger>) {
    let mut state = lock();
    if let Some(command) = &mut state.command {
        // A guardian prints nothing: its stdout is how it gets the file.
        command.stdout(file);
        state.ledger = ledger;
    }
}

/// Tells whether programs are guarded.
pub(super) fn is_guarded() -> bool {
    lock().command.is_some()
}

/// Says that a program is about to be started. Dropped, it says that nothing is left of it, or that
/// it was not started.
#[must_use = "dropped, the program is not guarded any more"]
pub(crate) fn announce(mark: &str) -> Announced {
    tell(mark, News::Announced);
    Announced(mark.to_owned())
}

/// A program of which something may be left.
#[derive(Debug)]
pub(crate) struct Announced(String);

impl Drop for Announced {
    fn drop(&mut self) {
        tell(&self.0, News::Ended);
    }
}

/// Says that a program was started, in which group, and when its leader began.
///
/// The caller has not reaped its leader yet: its number is not another's.
pub(crate) fn started(mark: &str, group: Pid, began: Option<u64>) {
    tell(mark, News::Started(group.as_raw_pid(), began));
}

/// Says that the group of a program is gone, and that something else may be left of it, which is
/// known by the mark alone.
pub(crate) fn reaped(mark: &str) {
    tell(mark, News::Announced);
}

fn tell(mark: &str, news: News) {
    let told = lock().tell(mark, news);
    if let Err(error) = told {
        warn(&error);
    }
}

/// Says that nothing is guarded. The caller does not hold the lock: a subscriber is foreign, and
/// may block, or start a program. A panic of it goes no further.
fn warn(error: &io::Error) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        tracing::warn!(%error, "no guardian: a kill of this process would leave its programs");
    }));
}

/// What this process tells its guardian.
pub(super) struct State {
    /// How to start a guardian; none while nothing is guarded.
    pub(super) command: Option<Command>,
    /// What the next process learns, while this one holds the file.
    pub(super) ledger: Option<Ledger>,
    pub(super) guardian: Option<(Child, ChildStdin)>,
    /// How many have died before the programs did, or could not be started for them again.
    pub(super) deaths: u32,
    /// Whether a thread starts another when this one dies.
    pub(super) is_kept: bool,
    /// What was started and has not ended, by mark: for another guardian.
    pub(super) programs: BTreeMap<String, News>,
    /// When to start a guardian again, after one that did not read.
    pub(super) next_start: Option<Instant>,
}

impl State {
    pub(super) const fn new() -> Self {
        Self {
            command: None,
            ledger: None,
            guardian: None,
            deaths: 0,
            is_kept: false,
            programs: BTreeMap::new(),
            next_start: None,
        }
    }

    /// Tells the guardian, or another one everything if there is none that reads.
    pub(super) fn tell(&mut self, mark: &str, news: News) -> io::Result<()> {
        if self.command.is_none() {
            return Ok(());
        }
        match news {
            News::Ended => drop(self.programs.remove(mark)),
            news => drop(self.programs.insert(mark.to_owned(), news)),
        }
        let line = news.line(mark);
        let is_told = match &mut self.guardian {
            // A pipe takes what nobody will read while a program that is being started has it too.
            Some((child, pipe)) => {
                matches!(child.try_wait(), Ok(None)) && pipe.write_all(line.as_bytes()).is_ok()
            }
            None => false,
        };
        let told = if is_told { Ok(()) } else { self.start() };
        if !self.is_kept {
            // Without a thread a death is noticed with the next news.
            let keeper = thread::Builder::new().name("quell-guardian".to_owned());
            self.is_kept = keeper.spawn(keep).is_ok();
        }
        told
    }

    /// Starts a guardian, in place of one that is dead or does not read, and tells it everything.
    ///
    /// Every start and end of a program waits meanwhile, so that a guardian that does not read what
    /// is more than its pipe holds is given up, and another one is not tried at once.
    fn start(&mut self) -> io::Result<()> {
        if let Some((old, _)) = self.guardian.take() {
            reap(old, Duration::ZERO);
        }
        if self.next_start.is_some_and(|next| Instant::now() < next) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.next_start = None;
        let Some(command) = &mut self.command else { return Ok(()) };
        // Before it: the next process would take for ended what may not be.
        self.ledger = self.ledger.take().and_then(Ledger::begun);
        let mut child = command.spawn()?;
        let known: String = self.programs.iter().map(|(mark, news)| news.line(mark)).collect();
        match child.stdin.take().map(|pipe| fill(pipe, known.as_bytes())) {
            Some(Ok(pipe)) => {
                self.guardian = Some((child, pipe));
                Ok(())
            }
            told => {
                reap(child, Duration::ZERO);
                self.next_start = Some(Instant::now() + START_PAUSE);
                Err(told.and_then(Result::err).unwrap_or(io::ErrorKind::BrokenPipe.into()))
            }
        }
    }

    /// Guards nothing any more, and yields the guardian, which ends what it was told of: these
    /// programs mean nothing to the next one.
    pub(super) fn end(&mut self) -> Option<(Child, ChildStdin)> {
        self.command = None;
        self.ledger = None;
        self.programs.clear();
        self.next_start = None;
        self.guardian.take()
    }

    /// Has nobody hold a file any more, and yields the guardian, unless a program may be left. The
    /// next program starts another one, which has none either.
    pub(super) fn let_go(&mut self) -> Option<(Child, ChildStdin)> {
        if !self.programs.is_empty() {
            return None;
        }
        if let Some(command) = &mut self.command {
            command.stdout(Stdio::null());
        }
        if let Some(ledger) = self.ledger.take() {
            ledger.ended();
        }
        self.guardian.take()
    }

    /// Starts another guardian if none lives.
    fn replace(&mut self) -> io::Result<()> {
        // Without programs the next one finds it dead.
        let is_needed = self.living().is_none() && !self.programs.is_empty();
        if is_needed { self.start() } else { Ok(()) }
    }

    /// Yields the guardian that lives.
    pub(super) fn living(&mut self) -> Option<Pid> {
        let (child, _) = self.guardian.as_mut()?;
        matches!(child.try_wait(), Ok(None)).then(|| Pid::from_child(child))
    }

    /// Yields how long to wait before another one is started: each time longer.
    fn next_wait(&mut self) -> Duration {
        self.deaths = self.deaths.saturating_add(1);
        RESTART_WAIT * (1 << (self.deaths - 1).min(RESTART_DOUBLINGS))
    }
}

/// Starts a guardian again and again while there are programs and none lives; blocks the thread.
fn keep() {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        let wait = {
            let mut state = lock();
            match state.living() {
                Some(id) => Err(id),
                // The next program starts one, and has it kept.
                None if state.command.is_none() || state.programs.is_empty() => {
                    state.is_kept = false;
                    return;
                }
                None => Ok(state.next_wait()),
            }
        };
        match wait {
            // Nothing but its death is news; if it was replaced meanwhile, it is gone.
            Err(id) => drop(rustix::io::retry_on_intr(|| waitid(WaitId::Pid(id), options))),
            Ok(wait) => {
                thread::sleep(wait);
                let started = lock().replace();
                if let Err(error) = started {
                    warn(&error);
                }
            }
        }
    }
}

/// Writes to a pipe, and waits for its reader for [`READ_WAIT`] at most. Later writes do not wait:
/// a guardian that does not read is replaced.
fn fill(mut pipe: ChildStdin, mut bytes: &[u8]) -> io::Result<ChildStdin> {
    rustix::io::ioctl_fionbio(&pipe, true)?;
    let until = Instant::now() + READ_WAIT;
    while !bytes.is_empty() {
        match pipe.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                thread::sleep(LOOK_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(pipe)
}

/// Waits until a process of ours has ended, for so long at most; then kills it.
pub(super) fn reap(mut child: Child, wait: Duration) {
    let until = Instant::now() + wait;
    while Instant::now() < until {
        match child.try_wait() {
            Ok(None) => thread::sleep(LOOK_PAUSE),
            // It is our own child; an error means that somebody else has reaped it.
            Ok(Some(_)) | Err(_) => return,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) static STATE: Mutex<State> = Mutex::new(State::new());

/// The pause before the first guardian that replaces a dead one, and how often it doubles.
const RESTART_WAIT: Duration = Duration::from_millis(50);
const RESTART_DOUBLINGS: u32 = 8;

/// The pause between two looks at what is awaited.
pub(super) const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// How long to wait for the guardian at the end: it needs 10.5 s at most.
const END_WAIT: Duration = Duration::from_secs(15);

/// How long a guardian that begins may take to read what its pipe does not hold.
const READ_WAIT: Duration = Duration::from_secs(1);

/// After a guardian that did not read: for how long programs start and end without one.
const START_PAUSE: Duration = Duration::from_secs(30);
