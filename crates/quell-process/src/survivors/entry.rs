//! What `/proc` says about one process.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::condemned;
use crate::survivors::MARKS;

/// A process that was alive.
pub(super) struct Entry {
    pub(super) id: i32,
    pub(super) group: i32,
    /// When it began, in ticks. Together with the id it is unique.
    pub(super) began: u64,
    marks: Option<Box<str>>,
    /// Whether it may be about to have an environment: it has none and is no kernel thread.
    pub(super) is_bare: bool,
    /// Whether its environment is not known although it could be read: no thread lived for long
    /// enough.
    pub(super) is_elusive: bool,
}

impl Entry {
    /// Reads a process; none if it is dead, or gone. Fails if the system has no room for it.
    pub(super) fn read(id: i32) -> io::Result<Option<Self>> {
        let Some(stat) = Stat::read(id)?.filter(|stat| !stat.is_dead()) else { return Ok(None) };
        let Stat { group, began, is_kernel_thread, .. } = stat;
        let mut environment = Environment::read(format!("/proc/{id}/environ"))?;
        if !is_kernel_thread && !environment.is_known() {
            // Perhaps its first thread has ended, just now or long ago: others may run.
            let again = Stat::read(id)?.filter(|stat| stat.began == began && !stat.is_dead());
            let Some(again) = again else { return Ok(None) };
            if again.is_first_thread_dead() {
                environment = Environment::of_threads(id)?;
            }
        }
        let is_bare = !is_kernel_thread && matches!(environment, Environment::Empty);
        let is_elusive = matches!(environment, Environment::Elusive);
        let marks = environment.marks();
        Ok(Some(Self { id, group, began, marks, is_bare, is_elusive }))
    }

    pub(super) fn has(&self, mark: &str) -> bool {
        self.marks.iter().flat_map(|marks| marks.split(',')).any(|own| own == mark)
    }

    /// Suspends it if it is to be killed.
    pub(super) fn freeze_if_condemned(&self) {
        let is_condemned = self.marks.is_some() && condemned().iter().any(|mark| self.has(mark));
        if is_condemned && let Ok(Some(handle)) = self.open() {
            signal_stray(&handle, Signal::STOP);
        }
    }

    /// Opens a handle to it; none if it is gone, or is a thread.
    pub(super) fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(id) = Pid::from_raw(self.id) else { return Ok(None) };
        let handle = match pidfd_open(id, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // If it is still there after its id was looked up, the handle is its own.
        let is_own = Stat::read(self.id)?.is_some_and(|stat| stat.began == self.began);
        Ok(is_own.then_some(handle))
    }
}

/// Signals a process by its handle.
pub(in crate::survivors) fn signal_stray(stray: &OwnedFd, signal: Signal) {
    let _ = pidfd_send_signal(stray, signal);
}

/// What is known of an environment.
enum Environment {
    Known(Vec<u8>),
    /// There is none, or none yet.
    Empty,
    /// It belongs to another user, or the process is gone.
    Unreadable,
    /// See [`Entry::is_elusive`].
    Elusive,
}

impl Environment {
    fn read(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(match read_if_there(path)? {
            Some(environment) if environment.is_empty() => Self::Empty,
            Some(environment) => Self::Known(environment),
            None => Self::Unreadable,
        })
    }

    /// Reads that of a process whose first thread has ended, by one that is alive. The first one
    /// has nothing any more to tell it by, the others share what it had.
    fn of_threads(id: i32) -> io::Result<Self> {
        let mut last = Self::Elusive;
        // A thread that ends before it is read may have started another behind the listing.
        for _ in 0..THREAD_LOOKS_MAX {
            let threads = match fs::read_dir(format!("/proc/{id}/task")) {
                Err(error) if is_shortage(&error) => return Err(error),
                Err(_) => return Ok(Self::Unreadable),
                Ok(threads) => threads.filter_map(Result::ok),
            };
            for thread in threads {
                let environment = Self::read(thread.path().join("environ"))?;
                // That of a thread which has ended cannot be read either.
                let stat = Stat::read_from(thread.path().join("stat"))?;
                if environment.is_known() {
                    return Ok(environment);
                }
                // One that is about to end has none any more either: another may tell.
                if stat.is_some_and(|it| !it.is_first_thread_dead()) {
                    last = environment;
                }
            }
        }
        Ok(last)
    }

    const fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }

    fn marks(&self) -> Option<Box<str>> {
        let Self::Known(environment) = self else { return None };
        marks(environment)
    }
}

/// Reads a file about a process; none if that is gone, or is nobody's business. Fails if the system
/// has no room for it.
fn read_if_there(path: impl AsRef<Path>) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if is_shortage(&error) => Err(error),
        read => Ok(read.ok()),
    }
}

/// Tells whether something may well be there although it could not be read.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| short.contains(&code))
}

/// What the system says about a process.
pub(super) struct Stat {
    /// The state of the first thread, or of the thread that was asked for.
    state: u8,
    group: i32,
    is_kernel_thread: bool,
    /// How many threads it has, the first one among them, also when that is dead.
    threads: u64,
    pub(super) began: u64,
}

impl Stat {
    /// Reads it; none if there is none. Fails if the system has no room for it.
    pub(super) fn read(id: i32) -> io::Result<Option<Self>> {
        Self::read_from(format!("/proc/{id}/stat"))
    }

    fn read_from(path: impl AsRef<Path>) -> io::Result<Option<Self>> {
        let stat = read_if_there(path)?;
        Ok(stat.and_then(|stat| Self::parse(&stat)))
    }

    /// See `proc_pid_stat(5)`. The second field, a name in parentheses, may contain anything.
    fn parse(stat: &[u8]) -> Option<Self> {
        let name_end = stat.iter().rposition(|byte| *byte == b')')?;
        let mut fields = str::from_utf8(&stat[name_end + 1..]).ok()?.split_ascii_whitespace();
        Some(Self {
            state: *fields.next()?.as_bytes().first()?,
            group: fields.nth(1)?.parse().ok()?,
            is_kernel_thread: fields.nth(3)?.parse::<u64>().ok()? & PF_KTHREAD != 0,
            threads: fields.nth(10)?.parse().ok()?,
            began: fields.nth(1)?.parse().ok()?,
        })
    }

    /// Tells whether nothing of the process executes.
    const fn is_dead(&self) -> bool {
        self.is_first_thread_dead() && self.threads <= 1
    }

    const fn is_first_thread_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

fn marks(environment: &[u8]) -> Option<Box<str>> {
    let mut variables = environment.split(|byte| *byte == 0);
    let marks = variables.find_map(|it| it.strip_prefix(MARKS.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(marks).into())
}

/// How often to look for a thread that lives for long enough to be read.
const THREAD_LOOKS_MAX: usize = 20;

/// A flag of a kernel thread, which has no environment.
const PF_KTHREAD: u64 = 0x20_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_contain_anything() {
        let fields: Vec<_> = (5..=21).map(|nth| nth.to_string()).collect();
        let stat = format!("7 (a) Z (b) S 1 4 {} 99 0\n", fields[..16].join(" "));
        let stat = Stat::parse(stat.as_bytes()).unwrap();
        assert_eq!((stat.state, stat.group, stat.threads, stat.began), (b'S', 4, 19, 99));
        assert!(!stat.is_kernel_thread);
        assert!(Stat::parse(b"7 (a) S 1").is_none() && Stat::parse(b"").is_none());
    }

    #[test]
    fn marks_are_a_list() {
        let marks = marks(b"A=1\0QUELL_PROCESS_IDS=one,two\0B=2\0");
        let process = Entry { id: 1, group: 1, began: 0, marks, is_bare: false, is_elusive: false };
        assert!(process.has("one") && process.has("two") && !process.has("on"));
    }
}
