//! Looking into `/proc`.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{MARKS, Survivors};

mod looker;

pub(crate) use looker::prepare;

/// Looks for what is alive of a group and for what carries the mark; none if it cannot be known.
/// After a second without an answer there may be anything. [`prepare`] comes first.
///
/// # Cancel safety
///
/// It can be dropped and called again.
pub(crate) async fn find(group: Pid, mark: &str) -> Option<Survivors> {
    match tokio::time::timeout(SNAPSHOT_WAIT, looker::snapshot()).await {
        Ok(Some(snapshot)) => Some(survivors(&*snapshot.processes?, Some(group), mark)),
        Ok(None) | Err(_) => Some(Survivors::default()),
    }
}

/// As [`find`], on a thread that may block, however long it takes.
pub(crate) fn find_blocking(group: Pid, mark: &str) -> Option<Survivors> {
    Some(find_each(&[(Some(group), mark)])?.remove(0))
}

/// As [`find_blocking`], of several programs at once, some of which have no group yet.
pub(crate) fn find_each(programs: &[(Option<Pid>, &str)]) -> Option<Vec<Survivors>> {
    let processes = fresh(Instant::now()).processes?;
    let each = programs.iter().map(|(group, mark)| survivors(&processes, *group, mark));
    Some(each.collect())
}

/// Tells when a process began, in ticks; none if there is none.
pub(crate) fn began(process: Pid) -> Option<u64> {
    Stat::read(process.as_raw_pid()).ok()?.map(|stat| stat.began)
}

/// From here on, until this is dropped, what carries the mark is suspended as soon as a look meets
/// it, so that it starts nothing more before it is killed.
pub(crate) fn condemn(mark: &str) -> Condemned {
    condemned().push(mark.into());
    Condemned(mark.into())
}

/// A mark whose processes are to be killed.
#[must_use = "dropped, what is met is not suspended any more"]
pub(crate) struct Condemned(Box<str>);

impl Drop for Condemned {
    fn drop(&mut self) {
        let mut all = condemned();
        if let Some(place) = all.iter().position(|mark| *mark == self.0) {
            all.swap_remove(place);
        }
    }
}

fn condemned() -> MutexGuard<'static, Vec<Box<str>>> {
    static CONDEMNED: Mutex<Vec<Box<str>>> = Mutex::new(Vec::new());
    CONDEMNED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Signals a process by its handle.
pub(super) fn signal_stray(stray: &OwnedFd, signal: Signal) {
    let _ = pidfd_send_signal(stray, signal);
}

/// Takes a snapshot, unless one was begun since; blocks the thread.
fn fresh(asked_at: Instant) -> Snapshot {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(last) = &*last
        && last.begun_at >= asked_at
    {
        return last.clone();
    }
    let begun_at = Instant::now();
    let processes = Processes::read().map(Arc::new);
    last.insert(Snapshot { begun_at, processes }).clone()
}

fn survivors(processes: &Processes, group: Option<Pid>, mark: &str) -> Survivors {
    let group = group.map(Pid::as_raw_pid);
    let mut survivors = Survivors { is_all: processes.is_all, ..Survivors::default() };
    for process in &processes.alive {
        if Some(process.group) == group {
            survivors.has_members = true;
        } else if process.has(mark) {
            match process.open() {
                Ok(stray) => survivors.strays.extend(stray),
                Err(_) => survivors.is_all = false,
            }
        }
    }
    survivors
}

/// What was alive at some instant.
#[derive(Clone)]
struct Snapshot {
    begun_at: Instant,
    /// None if `/proc` is not what it should be.
    processes: Option<Arc<Processes>>,
}

/// A process that was alive.
struct Process {
    id: i32,
    group: i32,
    /// When it began, in ticks. Together with the id it is unique.
    began: u64,
    marks: Option<Box<str>>,
    /// Whether it may be about to have an environment: it has none and is no kernel thread.
    is_bare: bool,
}

impl Process {
    /// Reads a process; none if it is dead, or gone. Fails if the system has no room for it.
    fn read(id: i32) -> io::Result<Option<Self>> {
        let Some(stat) = Stat::read(id)?.filter(|stat| !stat.is_dead()) else { return Ok(None) };
        let Stat { parent, group, began, .. } = stat;
        let is_kernel_thread = id == KTHREADD || parent == KTHREADD;
        // It cannot be read if the process belongs to another user.
        let environment = read_if_there(format!("/proc/{id}/environ"))?;
        let is_bare = !is_kernel_thread && environment.as_ref().is_some_and(Vec::is_empty);
        let marks = marks(&environment.unwrap_or_default());
        Ok(Some(Self { id, group, began, marks, is_bare }))
    }

    fn has(&self, mark: &str) -> bool {
        self.marks.iter().flat_map(|marks| marks.split(',')).any(|own| own == mark)
    }

    /// Suspends it if it is to be killed.
    fn freeze_if_condemned(&self) {
        let is_condemned = self.marks.is_some() && condemned().iter().any(|mark| self.has(mark));
        if is_condemned && let Ok(Some(handle)) = self.open() {
            signal_stray(&handle, Signal::STOP);
        }
    }

    /// Opens a handle to it; none if it is gone, or is a thread.
    fn open(&self) -> io::Result<Option<OwnedFd>> {
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

/// What was alive, threads among it.
struct Processes {
    alive: Vec<Process>,
    /// Whether nothing else was alive at the end of the look.
    is_all: bool,
}

impl Processes {
    /// Reads what is alive; none if `/proc` is not what it should be.
    ///
    /// A process that ends before it is read may have started another behind the listing. So what
    /// was born since is read as well, until nothing was: numbers are given in order, and whoever
    /// is about to start something is alive and was read.
    fn read() -> Option<Self> {
        let mut this = Self { alive: Vec::new(), is_all: false };
        match this.read_listed_and_born() {
            Err(error) if is_shortage(&error) => return Some(this),
            read => read.ok()?,
        }
        let own = process::id();
        let is_real = this.alive.iter().any(|process| u32::try_from(process.id) == Ok(own));
        is_real.then_some(this)
    }

    fn read_listed_and_born(&mut self) -> io::Result<()> {
        let mut last = newest()?;
        for entry in fs::read_dir("/proc")? {
            if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                self.meet(id)?;
            }
        }
        let give_up_at = Instant::now() + CHASE_WAIT;
        let mut looks = 0;
        while Instant::now() < give_up_at {
            let newest = newest()?;
            // After the highest number come low ones again: the next look finds them.
            if !(last..=last.saturating_add(BORN_MAX)).contains(&newest) {
                return Ok(());
            }
            for id in last + 1..=newest {
                self.meet(id)?;
            }
            if newest == last {
                if looks == LOOKS_MAX || !self.has_doubtful() {
                    self.is_all = true;
                    return Ok(());
                }
                looks += 1;
                thread::sleep(LOOK_PAUSE);
                self.look_again()?;
            }
            last = newest;
        }
        Ok(())
    }

    fn meet(&mut self, id: i32) -> io::Result<()> {
        if let Some(process) = Process::read(id)?
            && !self.alive.iter().rev().any(|it| it.id == id && it.began == process.began)
        {
            process.freeze_if_condemned();
            self.alive.push(process);
        }
        Ok(())
    }

    /// Yields what had no environment and is young: a process that is being replaced by another
    /// program (`exec`) has none for a moment.
    fn doubtful(&mut self) -> impl Iterator<Item = &mut Process> {
        let newest = self.alive.iter().map(|process| process.began).max().unwrap_or_default();
        self.alive.iter_mut().filter(move |it| it.is_bare && it.began + YOUNG_TICKS >= newest)
    }

    fn has_doubtful(&mut self) -> bool {
        self.doubtful().next().is_some()
    }

    /// Reads again what is doubtful.
    fn look_again(&mut self) -> io::Result<()> {
        for process in self.doubtful() {
            match Process::read(process.id)? {
                Some(again) if again.began == process.began => {
                    again.freeze_if_condemned();
                    *process = again;
                }
                _ => process.is_bare = false,
            }
        }
        Ok(())
    }
}

/// Yields the number that was given last, to a process or to a thread.
fn newest() -> io::Result<i32> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let newest = text.split_ascii_whitespace().next_back().and_then(|last| last.parse().ok());
    newest.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Reads a file about a process; none if that is gone, or is nobody's business. Fails if the system
/// has no room for it.
fn read_if_there(path: String) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if is_shortage(&error) => Err(error),
        read => Ok(read.ok()),
    }
}

/// Tells whether something may well be there although it could not be read.
fn is_shortage(error: &io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| short.contains(&code))
}

/// What the system says about a process.
struct Stat {
    state: u8,
    parent: i32,
    group: i32,
    began: u64,
}

impl Stat {
    /// Reads it; none if there is none. Fails if the system has no room for it.
    fn read(id: i32) -> io::Result<Option<Self>> {
        let stat = read_if_there(format!("/proc/{id}/stat"))?;
        Ok(stat.and_then(|stat| Self::parse(&stat)))
    }

    /// See `proc_pid_stat(5)`. The second field, a name in parentheses, may contain anything.
    fn parse(stat: &[u8]) -> Option<Self> {
        let name_end = stat.iter().rposition(|byte| *byte == b')')?;
        let mut fields = str::from_utf8(&stat[name_end + 1..]).ok()?.split_ascii_whitespace();
        Some(Self {
            state: *fields.next()?.as_bytes().first()?,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
            began: fields.nth(16)?.parse().ok()?,
        })
    }

    const fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

fn marks(environment: &[u8]) -> Option<Box<str>> {
    let mut variables = environment.split(|byte| *byte == 0);
    let marks = variables.find_map(|it| it.strip_prefix(MARKS.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(marks).into())
}

/// The snapshot that was taken last.
static LAST: Mutex<Option<Snapshot>> = Mutex::new(None);

/// The parent of all kernel threads.
const KTHREADD: i32 = 2;

/// A process is young for a second; ticks are hundredths of one.
const YOUNG_TICKS: u64 = 100;

/// How long to run after what is being born, and how many may be born between two looks.
const CHASE_WAIT: Duration = Duration::from_millis(100);
const BORN_MAX: i32 = 4_096;

/// How often to look again at a process without environment, and the pause before.
const LOOKS_MAX: usize = 10;
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// How long to wait for a snapshot.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_contain_anything() {
        let fields: Vec<_> = (5..=21).map(|nth| nth.to_string()).collect();
        let stat = format!("7 (a) Z (b) S 1 4 {} 99 0\n", fields[..16].join(" "));
        let stat = Stat::parse(stat.as_bytes()).unwrap();
        assert_eq!((stat.state, stat.parent, stat.group, stat.began), (b'S', 1, 4, 99));
        assert!(Stat::parse(b"7 (a) S 1").is_none() && Stat::parse(b"").is_none());
    }

    #[test]
    fn the_embedder_itself_is_found_alive() {
        let own = Stat::read(process::id().try_into().unwrap()).unwrap().unwrap();
        assert!(!own.is_dead());
        assert!(Processes::read().unwrap().alive.iter().any(|process| process.group == own.group));
    }

    #[test]
    fn marks_are_a_list() {
        let marks = marks(b"A=1\0QUELL_PROCESS_IDS=one,two\0B=2\0");
        let process = Process { id: 1, group: 1, began: 0, marks, is_bare: false };
        assert!(process.has("one") && process.has("two") && !process.has("on"));
    }
}
