//! What `/proc` says about one process.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread, retry_on_intr};
use rustix::process::{
    Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal, test_kill_process,
};

use super::condemned::condemned;
use super::programs::{number_of, read_number};
use super::stat::{Stat, Variables, is_shortage, read_if_there};
use crate::survivors::MARKS;

/// A process that was alive.
#[cfg_attr(test, derive(Default))]
pub(super) struct Entry {
    pub(super) id: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// When it began, in ticks. Together with the id it is unique.
    pub(super) began: u64,
    pub(super) marks: Option<Box<str>>,
    /// Perhaps the number of a program, once that is read.
    pub(super) number: Option<u64>,
    pub(super) unknown: Unknown,
    /// How often in a row it was read without an environment, in this look and those before.
    pub(super) bare_reads: u32,
}

/// Why it is not known which marks a process has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It is known, or it is a thread of the kernel.
    #[default]
    No,
    /// The process is ending, and starts nothing any more.
    Over,
    /// It has no environment, and may be about to have one, or never.
    Bare,
    /// It has an environment, in which there is nothing.
    Empty,
    /// No thread of it lived for long enough, or it is about to have an environment, however long
    /// that takes on a busy machine: neither lasts, and it may carry the mark.
    Elusive,
    /// It may be signalled, but its environment must not be read: it is not dumpable.
    Hidden,
    /// It belongs to another user.
    Foreign,
}

impl From<Variables> for Unknown {
    /// Tells what an environment is in which nothing was found.
    fn from(variables: Variables) -> Self {
        match variables {
            Variables::None => Self::Empty,
            Variables::BeingCounted => Self::Elusive,
            Variables::Nowhere if Stat::says_where() => Self::Elusive,
            Variables::Nowhere | Variables::Unknown => Self::Bare,
        }
    }
}

impl Entry {
    /// Reads a process; none if it is dead, or gone. Fails if the system has no room for it.
    pub(super) fn read(id: i32) -> io::Result<Option<Self>> {
        let Some(stat) = Stat::read(id)?.filter(|stat| !stat.is_all_dead()) else {
            return Ok(None);
        };
        let Stat { parent, group, session, began, is_kernel_thread, mut variables, .. } = stat;
        let mut environment = Environment::read(format!("/proc/{id}/environ"))?;
        if !is_kernel_thread && !environment.is_known() {
            // Perhaps its first thread has ended, just now or long ago: others may run.
            let again = Stat::read(id)?.filter(|it| it.began == began && !it.is_all_dead());
            let Some(again) = again else { return Ok(None) };
            if again.is_over() {
                // Those of its first thread, which has none any more.
                variables = Variables::Unknown;
                match Environment::of_threads(id)? {
                    Some(found) => environment = found,
                    None => return Ok(None),
                }
            }
        }
        let unknown = match environment {
            Environment::Empty if is_kernel_thread => Unknown::No,
            Environment::Empty => variables.into(),
            Environment::Elusive => Unknown::Elusive,
            Environment::Forbidden if is_of_own_user(id)? => Unknown::Hidden,
            Environment::Forbidden => Unknown::Foreign,
            Environment::Gone => Unknown::Over,
            Environment::Known(_) => Unknown::No,
        };
        let bare_reads = (unknown == Unknown::Bare).into();
        let marks = environment.marks();
        let number = None;
        Ok(Some(Self { id, parent, group, session, began, marks, number, unknown, bare_reads }))
    }

    /// Reads its number. What had one keeps it, also if it has given it up since, and what had none
    /// when it was not new any more gets none. That of another user's process says nothing:
    /// everybody may take one, and it could not be ended.
    pub(super) fn read_number(&mut self, before: Option<&Self>, is_new: bool) -> io::Result<()> {
        let before = before.filter(|it| it.began == self.began);
        let is_known =
            |it: &&Self| it.number.is_some() || !is_new && it.unknown != Unknown::Foreign;
        self.number = match before.filter(is_known) {
            Some(before) => before.number,
            None if self.unknown == Unknown::Foreign => None,
            None => read_number(self.id)?,
        };
        Ok(())
    }

    /// Counts the reads before this one, if they were of the same process.
    pub(super) fn count(&mut self, before: Option<&Self>) {
        let before = before.filter(|it| it.began == self.began);
        if self.unknown == Unknown::Bare {
            self.bare_reads += before.map_or(0, |it| it.bare_reads);
        }
    }

    /// Tells whether it has a mark, or the number in it.
    pub(super) fn has(&self, mark: &str) -> bool {
        self.number.is_some_and(|number| number_of(mark) == Some(number))
            || self.marks.iter().flat_map(|marks| marks.split(',')).any(|own| own == mark)
    }

    /// Suspends it if it is to be killed.
    pub(super) fn freeze_if_condemned(&self) {
        let may_be = self.marks.is_some() || self.number.is_some();
        let is_condemned = may_be && condemned().iter().any(|mark| self.has(mark));
        if is_condemned && let Ok(Some(handle)) = open(self.id, self.began) {
            signal_stray(&handle, Signal::STOP);
        }
    }
}

/// Opens a handle to a process; none if it is gone, or is a thread.
pub(super) fn open(id: i32, began: u64) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(id) else { return Ok(None) };
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // If it is still there after its id was looked up, the handle is its own.
    let is_own = Stat::read(id)?.is_some_and(|stat| stat.began == began);
    Ok(is_own.then_some(handle))
}

/// Tells whether a process belongs to the user of this one. That it may be signalled does not say
/// so: root may signal everybody, also one that may not read everything. Fails if the system has no
/// room for it.
fn is_of_own_user(id: i32) -> io::Result<bool> {
    if Pid::from_raw(id).is_none_or(|id| test_kill_process(id).is_err()) {
        return Ok(false);
    }
    // Its name is in it, which need not be text.
    let status = read_if_there(format!("/proc/{id}/status"))?.unwrap_or_default();
    let users = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"));
    let users = users.and_then(|users| str::from_utf8(users).ok()).unwrap_or_default();
    let own = geteuid().as_raw().to_string();
    Ok(users.split_ascii_whitespace().any(|user| user == own))
}

/// Tells when a process began, in ticks; none if there is none.
pub(crate) fn began(process: Pid) -> Option<u64> {
    Stat::read(process.as_raw_pid()).ok()?.map(|stat| stat.began)
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
    /// The process is gone, or about to.
    Gone,
    /// It must not be read: the process belongs to another user, or is not dumpable.
    Forbidden,
    /// See [`Unknown::Elusive`].
    Elusive,
}

impl Environment {
    fn read(path: impl AsRef<Path>) -> io::Result<Self> {
        match read_at_once(path) {
            Ok(environment) if environment.is_empty() => Ok(Self::Empty),
            Ok(environment) => Ok(Self::Known(environment)),
            Err(error) if is_shortage(&error) => Err(error),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Self::Forbidden),
            Err(_) => Ok(Self::Gone),
        }
    }

    /// Reads that of a process whose first thread has ended, by one that runs: the first one has
    /// nothing any more to tell it by, the others share what it had. None if all are dead.
    fn of_threads(id: i32) -> io::Result<Option<Self>> {
        let mut last = Self::Elusive;
        let mut ended = Vec::new();
        // A thread that ends before it is read may have started another behind the listing.
        for _ in 0..THREAD_LOOKS_MAX {
            let threads = match fs::read_dir(format!("/proc/{id}/task")) {
                Err(error) if is_shortage(&error) => return Err(error),
                Err(_) => return Ok(None),
                Ok(threads) => threads.filter_map(Result::ok),
            };
            let (mut met, mut are_over, mut are_dead) = (Vec::new(), true, true);
            for thread in threads {
                let environment = Self::read(thread.path().join("environ"))?;
                if environment.is_known() {
                    return Ok(Some(environment));
                }
                let stat = Stat::read_from(thread.path().join("stat"))?;
                // One that ends has no environment any more: another thread may tell.
                if stat.as_ref().is_some_and(|it| !it.is_over()) {
                    last = environment;
                }
                are_over &= stat.as_ref().is_some_and(Stat::is_over);
                are_dead &= stat.as_ref().is_some_and(Stat::is_dead);
                met.push(thread.file_name());
            }
            // Those that are over start no others. If there are no others now, there are none.
            if are_over && met == ended {
                return Ok((!are_dead).then_some(Self::Gone));
            }
            ended = if are_over { met } else { Vec::new() };
        }
        Ok(Some(last))
    }

    const fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }

    fn marks(&self) -> Option<Box<str>> {
        let Self::Known(environment) = self else { return None };
        marks(environment)
    }
}

/// Reads a file by one call: if the process becomes another program between two, the second finds
/// nothing, and what the first one found looks like all.
fn read_at_once(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::with_capacity(READ_BYTES);
    loop {
        bytes.clear();
        let read = retry_on_intr(|| pread(&file, spare_capacity(&mut bytes), 0))?;
        // A process may say of any part of its memory that it is its environment.
        if read < bytes.capacity() || read >= READ_BYTES_MAX {
            return Ok(bytes);
        }
        bytes.reserve(bytes.capacity() * 2);
    }
}

fn marks(environment: &[u8]) -> Option<Box<str>> {
    let mut variables = environment.split(|byte| *byte == 0);
    let marks = variables.find_map(|it| it.strip_prefix(MARKS.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(marks).into())
}

/// How much of a file is read at first. Few environments are larger.
const READ_BYTES: usize = 32 * 1_024;

/// More is not read: a program is given 6 MiB at most, arguments included.
const READ_BYTES_MAX: usize = 8 * 1_024 * 1_024;

/// How often to look for a thread that lives for long enough to be read.
const THREAD_LOOKS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_a_list() {
        let marks = marks(b"A=1\0QUELL_PROCESS_IDS=one,two\0B=2\0");
        let process = Entry { marks, ..Entry::default() };
        assert!(process.has("one") && process.has("two") && !process.has("on"));
    }

    #[test]
    fn an_environment_that_is_nowhere_yet_is_awaited_where_the_system_says_where_it_is() {
        // Linux does; where it does not, a process is read so often at most.
        let nowhere = if Stat::says_where() { Unknown::Elusive } else { Unknown::Bare };
        assert_eq!(Unknown::from(Variables::Nowhere), nowhere);
        assert_eq!(Unknown::from(Variables::Unknown), Unknown::Bare);
        assert_eq!(Unknown::from(Variables::None), Unknown::Empty);
    }
}
