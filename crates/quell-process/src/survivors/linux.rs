//! Looking into `/proc`.

use std::fs;
use std::os::fd::OwnedFd;
use std::process;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::Mutex;

use super::{MARKS, Survivors};

/// Looks for what is alive of a group and for what carries the mark; none if it cannot be
/// known, or not within a second.
///
/// # Cancel safety
///
/// It can be dropped and called again.
pub(crate) async fn find(group: Pid, mark: &str) -> Option<Survivors> {
    let snapshot = tokio::time::timeout(SNAPSHOT_WAIT, snapshot()).await.ok()??;
    Some(survivors(&snapshot, group, mark))
}

/// As [`find`], on a thread that may block.
pub(crate) fn find_blocking(group: Pid, mark: &str) -> Option<Survivors> {
    let asked_at = Instant::now();
    let processes = fresh(&mut LAST.blocking_lock(), asked_at)?;
    Some(survivors(&processes, group, mark))
}

/// As [`find_blocking`], of several programs at once, some of which have no group yet.
pub(crate) fn find_each(programs: &[(Option<Pid>, &str)]) -> Option<Vec<Survivors>> {
    let asked_at = Instant::now();
    let processes = fresh(&mut LAST.blocking_lock(), asked_at)?;
    let each = programs.iter().map(|(group, mark)| survivors_of(&processes, *group, mark));
    Some(each.collect())
}

/// Tells when a process began, in ticks; none if there is none.
pub(crate) fn began(process: Pid) -> Option<u64> {
    Stat::read(process.as_raw_pid()).map(|stat| stat.began)
}

/// Signals a process by its handle.
pub(super) fn signal_stray(stray: &OwnedFd, signal: Signal) {
    let _ = pidfd_send_signal(stray, signal);
}

/// Takes a snapshot on a thread that may block. Whoever asks while one is taken shares the next
/// one: a thousand processes that end together cost two snapshots, not a thousand.
///
/// # Cancel safety
///
/// It can be dropped and called again.
async fn snapshot() -> Option<Arc<[Process]>> {
    let asked_at = Instant::now();
    // The closure keeps the lock even if this future is dropped, so that a look into `/proc`
    // that hangs takes up one thread, and not one per process that ends.
    let mut last = Arc::clone(&LAST).lock_owned().await;
    tokio::task::spawn_blocking(move || fresh(&mut last, asked_at)).await.ok()?
}

fn fresh(last: &mut Option<Snapshot>, asked_at: Instant) -> Option<Arc<[Process]>> {
    if let Some(last) = last
        && last.begun_at >= asked_at
    {
        return Some(Arc::clone(&last.processes));
    }
    let begun_at = Instant::now();
    let processes = read_all()?;
    *last = Some(Snapshot { begun_at, processes: Arc::clone(&processes) });
    Some(processes)
}

fn survivors(processes: &[Process], group: Pid, mark: &str) -> Survivors {
    survivors_of(processes, Some(group), mark)
}

fn survivors_of(processes: &[Process], group: Option<Pid>, mark: &str) -> Survivors {
    let group = group.map(Pid::as_raw_pid);
    let strays = processes.iter().filter(|process| Some(process.group) != group);
    Survivors {
        has_members: processes.iter().any(|process| Some(process.group) == group),
        strays: strays.filter(|process| process.has(mark)).filter_map(Process::open).collect(),
    }
}

/// What was alive at some instant.
struct Snapshot {
    begun_at: Instant,
    processes: Arc<[Process]>,
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
    /// Reads a process; none if it is dead, or gone.
    fn read(id: i32) -> Option<Self> {
        let Stat { parent, group, began, .. } = Stat::read(id).filter(|stat| !stat.is_dead())?;
        // It cannot be read if the process belongs to another user.
        let environment = fs::read(format!("/proc/{id}/environ"));
        let is_kernel_thread = id == KTHREADD || parent == KTHREADD;
        let is_bare = !is_kernel_thread && environment.as_ref().is_ok_and(Vec::is_empty);
        let marks = marks(&environment.unwrap_or_default());
        Some(Self { id, group, began, marks, is_bare })
    }

    fn has(&self, mark: &str) -> bool {
        self.marks.iter().flat_map(|marks| marks.split(',')).any(|own| own == mark)
    }

    /// Opens a handle to it; none if it is gone.
    fn open(&self) -> Option<OwnedFd> {
        let handle = pidfd_open(Pid::from_raw(self.id)?, PidfdFlags::empty()).ok()?;
        // If it is still there after its id was looked up, the handle is its own.
        (Stat::read(self.id)?.began == self.began).then_some(handle)
    }
}

/// What the system says about a process.
struct Stat {
    state: u8,
    parent: i32,
    group: i32,
    began: u64,
}

impl Stat {
    fn read(id: i32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{id}/stat")).ok()?)
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

/// Reads what is alive; none if `/proc` is not what it should be.
fn read_all() -> Option<Arc<[Process]>> {
    let names =
        fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut processes: Vec<_> =
        names.filter_map(|name| Process::read(name.parse().ok()?)).collect();
    look_again(&mut processes);
    let own = process::id();
    let is_complete = processes.iter().any(|process| u32::try_from(process.id) == Ok(own));
    is_complete.then(|| processes.into())
}

/// Reads again what had no environment and is young: a process that is being replaced by
/// another program (`exec`) has none for a moment.
fn look_again(processes: &mut [Process]) {
    let newest = processes.iter().map(|process| process.began).max().unwrap_or_default();
    let is_doubtful = |it: &&mut Process| it.is_bare && it.began + YOUNG_TICKS >= newest;
    for _ in 0..LOOKS_MAX {
        let mut doubtful = processes.iter_mut().filter(is_doubtful).peekable();
        if doubtful.peek().is_none() {
            return;
        }
        thread::sleep(LOOK_PAUSE);
        for process in doubtful {
            match Process::read(process.id) {
                Some(again) if again.began == process.began => *process = again,
                _ => process.is_bare = false,
            }
        }
    }
}

fn marks(environment: &[u8]) -> Option<Box<str>> {
    let mut variables = environment.split(|byte| *byte == 0);
    let marks = variables.find_map(|it| it.strip_prefix(MARKS.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(marks).into())
}

/// The snapshot that was taken last.
static LAST: LazyLock<Arc<Mutex<Option<Snapshot>>>> = LazyLock::new(Arc::default);

/// The parent of all kernel threads.
const KTHREADD: i32 = 2;

/// A process is young for a second; ticks are hundredths of one.
const YOUNG_TICKS: u64 = 100;

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
        let own = Stat::read(process::id().try_into().unwrap()).unwrap();
        assert!(!own.is_dead());
        assert!(read_all().unwrap().iter().any(|process| process.group == own.group));
    }

    #[test]
    fn marks_are_a_list() {
        let marks = marks(b"A=1\0QUELL_PROCESS_IDS=one,two\0B=2\0");
        let process = Process { id: 1, group: 1, began: 0, marks, is_bare: false };
        assert!(process.has("one") && process.has("two") && !process.has("on"));
    }
}
