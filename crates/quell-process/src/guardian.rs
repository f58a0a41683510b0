//! A guardian: a process that dies after its embedder, and ends what that leaves behind.
//!
//! An embedder that is killed (SIGKILL, out of memory, an abort) cannot end its programs. So it
//! starts a small process that reads a pipe: which programs begin, which have ended. The system
//! closes the pipe when the embedder dies, however it dies, and the guardian ends the rest: SIGTERM
//! to each group and to what carries its mark, 500 ms later SIGKILL until nothing is left.
//!
//! A program is announced by its mark before it is started, so that there is no moment at which
//! nobody knows it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::survivors;

/// Has every program of this process guarded from now on. The guardian is started with the first
/// program, and again if it dies.
///
/// The command starts a process that calls [`guard`] with its stdin. Without this, programs outlive
/// an embedder that is killed.
///
/// # Examples
///
/// ```no_run
/// use std::process::Command;
///
/// let mut guardian = Command::new("/proc/self/exe");
/// guardian.arg("guard");
/// let _guarded = quell_process::guarded_by(guardian);
/// // Runs with processes; in the process that the command starts:
/// quell_process::guard(std::io::stdin().lock());
/// ```
#[must_use = "dropped, nothing is guarded any more"]
pub fn guarded_by(command: Command) -> Guarded {
    let mut command = command;
    // A group of its own: a Ctrl-C at the terminal is for the embedder.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    lock().command = Some(command);
    Guarded(())
}

/// Programs are guarded until this is dropped, which waits until the guardian has ended what is
/// left.
#[derive(Debug)]
pub struct Guarded(());

impl Drop for Guarded {
    fn drop(&mut self) {
        let guardian = {
            let mut state = lock();
            state.command = None;
            state.guardian.take()
        };
        if let Some((mut child, pipe)) = guardian {
            drop(pipe);
            // It is our own child; an error means that somebody else has reaped it.
            let _ = child.wait();
        }
    }
}

/// Reads which programs begin and end, and ends those that are left when there is no more to read.
/// Blocks until nothing is left, or for 10 s after that.
///
/// Signals that ask to end are the caller's to ignore: the embedder is told by them as well.
///
/// # Examples
///
/// ```
/// quell_process::guard(&b""[..]);
/// ```
pub fn guard(input: impl BufRead) {
    let mut programs = BTreeMap::new();
    for line in input.lines() {
        // A pipe that cannot be read says no more than one that was closed.
        let Ok(line) = line else { break };
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some(BEGINS), Some(mark), None) => {
                programs.insert(mark.to_owned(), Program::default());
            }
            (Some(BEGINS), Some(mark), Some(group)) => {
                let group = group.parse().ok().and_then(Pid::from_raw);
                let began = group.and_then(survivors::began);
                programs.insert(mark.to_owned(), Program { group, began });
            }
            (Some(ENDED), Some(mark), _) => drop(programs.remove(mark)),
            _ => {}
        }
    }
    end(&programs);
}

/// A program that was started.
#[derive(Debug, Default)]
struct Program {
    /// Its group, once that is known.
    group: Option<Pid>,
    /// When its leader began.
    began: Option<u64>,
}

impl Program {
    /// Yields the group, unless its number means another one by now.
    fn group(&self) -> Option<Pid> {
        let group = self.group?;
        let leader = survivors::began(group);
        (leader.is_none() || leader == self.began).then_some(group)
    }
}

fn end(programs: &BTreeMap<String, Program>) {
    let kill_at = Instant::now() + TERM_WAIT;
    let mut signals = [Signal::TERM, Signal::CONT].as_slice();
    let mut condemned = Vec::new();
    while !programs.is_empty() && Instant::now() < kill_at + KILL_WAIT {
        let is_late = Instant::now() >= kill_at;
        if is_late && condemned.is_empty() {
            condemned.extend(programs.keys().map(|mark| survivors::condemn(mark)));
        }
        let groups: Vec<_> =
            programs.iter().map(|(mark, program)| (program.group(), &**mark)).collect();
        let found = survivors::find_each(&groups);
        let is_over =
            found.as_ref().is_some_and(|all| all.iter().all(survivors::Survivors::is_empty));
        if is_over {
            return;
        }
        if is_late {
            signals = &[Signal::KILL];
        }
        for signal in signals {
            for (group, _) in &groups {
                // One that is gone cannot be signalled.
                let _ = group.map(|group| kill_process_group(group, *signal));
            }
            found.iter().flatten().for_each(|survivors| survivors.signal(*signal));
        }
        signals = &[];
        thread::sleep(LOOK_PAUSE);
    }
}

/// Says that a program is about to be started.
pub(crate) fn announce(mark: &str) {
    tell(mark, News::Announced);
}

/// Says that a program was started, and in which group.
pub(crate) fn started(mark: &str, group: Pid) {
    tell(mark, News::Started(group.as_raw_pid()));
}

/// Says that nothing is left of a program, or that it was not started.
pub(crate) fn ended(mark: &str) {
    tell(mark, News::Ended);
}

fn tell(mark: &str, news: News) {
    let mut state = lock();
    if state.command.is_none() {
        return;
    }
    match news {
        News::Ended => drop(state.programs.remove(mark)),
        news => drop(state.programs.insert(mark.to_owned(), news)),
    }
    let line = news.line(mark);
    let is_told = match &mut state.guardian {
        Some((_, pipe)) => pipe.write_all(line.as_bytes()).is_ok(),
        None => false,
    };
    if !is_told && let Err(error) = state.start() {
        tracing::warn!(%error, "no guardian: a kill of this process would leave its programs");
    }
}

/// What has become of a program.
#[derive(Clone, Copy, Debug)]
enum News {
    Announced,
    Started(i32),
    Ended,
}

impl News {
    fn line(self, mark: &str) -> String {
        match self {
            Self::Started(group) => format!("{BEGINS} {mark} {group}\n"),
            Self::Announced => format!("{BEGINS} {mark}\n"),
            Self::Ended => format!("{ENDED} {mark}\n"),
        }
    }
}

/// What this process tells its guardian.
struct State {
    command: Option<Command>,
    guardian: Option<(Child, ChildStdin)>,
    /// What was started and has not ended, by mark: for another guardian.
    programs: BTreeMap<String, News>,
}

impl State {
    /// Starts a guardian, in place of one that is dead or does not read, and tells it everything.
    fn start(&mut self) -> io::Result<()> {
        if let Some((mut old, _)) = self.guardian.take() {
            old.kill()?;
            old.wait()?;
        }
        let Some(command) = &mut self.command else { return Ok(()) };
        let mut child = command.spawn()?;
        let mut pipe = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let known: String = self.programs.iter().map(|(mark, news)| news.line(mark)).collect();
        pipe.write_all(known.as_bytes())?;
        // From here on nobody waits for it: one that does not read is replaced.
        rustix::io::ioctl_fionbio(&pipe, true)?;
        self.guardian = Some((child, pipe));
        Ok(())
    }
}

fn lock() -> MutexGuard<'static, State> {
    static STATE: Mutex<State> =
        Mutex::new(State { command: None, guardian: None, programs: BTreeMap::new() });
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program begins: its mark, then its group once that is known.
const BEGINS: &str = "begins";

/// Nothing is left of a program.
const ENDED: &str = "ended";

/// How long what is left may take to end after SIGTERM.
const TERM_WAIT: Duration = Duration::from_millis(500);

/// How long to go on killing.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// The pause between two looks at what is left.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
