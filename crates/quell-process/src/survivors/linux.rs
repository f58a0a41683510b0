//! Looking into `/proc`.

use std::fs;
use std::io;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::Survivors;
use entry::{Entry, Stat, is_shortage};

mod entry;
mod looker;

pub(super) use entry::signal_stray;
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

/// What was alive, threads among it.
struct Processes {
    alive: Vec<Entry>,
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
                    self.is_all = !self.alive.iter().any(|it| it.is_elusive);
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
        if let Some(process) = Entry::read(id)?
            && !self.alive.iter().rev().any(|it| it.id == id && it.began == process.began)
        {
            process.freeze_if_condemned();
            self.alive.push(process);
        }
        Ok(())
    }

    /// Yields what had no environment and is young (a process that is being replaced by another
    /// program, `exec`, has none for a moment), and what has no thread for long enough.
    fn doubtful(&mut self) -> impl Iterator<Item = &mut Entry> {
        let newest = self.alive.iter().map(|process| process.began).max().unwrap_or_default();
        self.alive
            .iter_mut()
            .filter(move |it| it.is_elusive || it.is_bare && it.began + YOUNG_TICKS >= newest)
    }

    fn has_doubtful(&mut self) -> bool {
        self.doubtful().next().is_some()
    }

    /// Reads again what is doubtful.
    fn look_again(&mut self) -> io::Result<()> {
        for process in self.doubtful() {
            match Entry::read(process.id)? {
                Some(again) if again.began == process.began => {
                    again.freeze_if_condemned();
                    *process = again;
                }
                _ => (process.is_bare, process.is_elusive) = (false, false),
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

/// The snapshot that was taken last.
static LAST: Mutex<Option<Snapshot>> = Mutex::new(None);

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
    fn the_embedder_itself_is_found_alive() {
        let own = Entry::read(process::id().try_into().unwrap()).unwrap().unwrap();
        assert!(Processes::read().unwrap().alive.iter().any(|process| process.group == own.group));
    }
}
