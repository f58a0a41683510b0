//! [`lead`]: the programs of this process that it has not reaped, and the numbers that tell what
//! descends from each.
//!
//! Every program is given a number as its soft limit of file locks (`RLIMIT_LOCKS`), which Linux
//! has not enforced since 2.4.25. Descendants inherit it, also those that give up the environment
//! or make a session, and everybody may read it, also when they are dead. What this process starts
//! itself does not have it.
//!
//! A program runs before it is given the number. What it has started until then is given it as well
//! if it has not lost its parents, and is without otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

use super::processes::newest;
use super::stat::{Stat, read_if_there};

/// Yields the mark of a program that is about to be started. Its number is in it.
pub(crate) fn new_mark() -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let nth = MADE.fetch_add(1, Ordering::Relaxed) & ((1 << NTH_BITS) - 1);
    let (time, rest) = Uuid::now_v7().as_u64_pair();
    Uuid::from_u64_pair(time, rest & !NUMBER_BITS | embedder() << NTH_BITS | nth).to_string()
}

/// Yields the number that a mark says; none if it says none.
pub(super) fn number_of(mark: &str) -> Option<u64> {
    Some(Uuid::try_parse(mark).ok()?.as_u64_pair().1 & NUMBER_BITS)
}

/// Yields the soft limit of file locks of a process, if it has one: perhaps the number of a
/// program. Fails if the system has no room for it.
pub(super) fn read_number(id: i32) -> io::Result<Option<u64>> {
    let limits = read_if_there(format!("/proc/{id}/limits"))?.unwrap_or_default();
    let mut lines = limits.split(|byte| *byte == b'\n');
    let soft = lines.find_map(|line| line.strip_prefix(b"Max file locks"));
    let soft = soft.and_then(|it| str::from_utf8(it).ok()?.split_ascii_whitespace().next());
    Ok(soft.and_then(|it| it.parse().ok()))
}

/// Tells whether a number is that of a program of this process.
pub(super) fn is_given(number: u64) -> bool {
    number >> NTH_BITS == embedder()
}

/// Counts a process as the leader of the program that has a mark until this is dropped, and gives
/// it the number. Its leader is reaped by its owner alone.
pub(crate) fn lead(leader: Pid, mark: &str) -> Led {
    static LED: AtomicU64 = AtomicU64::new(0);
    let id = leader.as_raw_pid();
    let nth = LED.fetch_add(1, Ordering::Relaxed);
    // Before the number: a dead child that has it and leads nothing is reaped.
    programs().insert(id, Program { nth, until: None });
    let limit = Rlimit { current: number_of(mark), ..getrlimit(Resource::Locks) };
    // It may have become another user's, or run where there are no such limits.
    if prlimit(Some(leader), Resource::Locks, limit).is_ok() {
        // What cannot be read now is known by its mark.
        let _ = number_first_ones(id, limit);
        programs().insert(id, Program { nth, until: Some(now() + START_TICKS) });
    }
    Led { id, nth }
}

/// A program that is not reaped yet.
#[derive(Debug)]
#[must_use = "dropped, the leader counts as reaped"]
pub(crate) struct Led {
    id: i32,
    nth: u64,
}

impl Drop for Led {
    fn drop(&mut self) {
        // Once it is reaped, its number may have been given to another leader.
        let mut programs = programs();
        if programs.get(&self.id).is_some_and(|it| it.nth == self.nth) {
            programs.remove(&self.id);
        }
    }
}

/// Tells whether a dead child of this process descends from a program, and is none itself. What is
/// in the group of a program and is without the number may have been put there by the embedder.
pub(super) fn is_descendant(dead: &Stat, id: i32) -> bool {
    let has_number = read_number(id).is_ok_and(|it| it.is_some_and(is_given));
    let programs = programs();
    let is_of_group = || {
        let program = programs.get(&dead.group);
        program.is_some_and(|it| it.until.is_none_or(|until| dead.began <= until))
    };
    !programs.contains_key(&id) && (has_number || is_of_group())
}

/// Gives the number of a program to what its leader has started before it had that itself, known by
/// its parents. What one of these starts before its turn has a higher id, and so its turn later.
fn number_first_ones(leader: i32, limit: Rlimit) -> io::Result<()> {
    let mut have_number = BTreeSet::from([leader]);
    let mut last = leader;
    loop {
        let newest = newest()?.min(leader.saturating_add(FIRST_MAX));
        // After the highest id come low ones again.
        if newest <= last {
            return Ok(());
        }
        for id in last + 1..=newest {
            let is_child = Stat::read(id)?.is_some_and(|it| have_number.contains(&it.parent));
            if is_child && have_number.insert(id) {
                let _ = prlimit(Pid::from_raw(id), Resource::Locks, limit);
            }
        }
        last = newest;
    }
}

/// Yields the time, in ticks, as processes begin.
pub(super) fn now() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let per_second = clock_ticks_per_second();
    let part = now.tv_nsec.unsigned_abs() * per_second / 1_000_000_000;
    now.tv_sec.unsigned_abs() * per_second + part
}

/// What is known of a leader.
struct Program {
    /// Which of all leaders it is.
    nth: u64,
    /// Until when what began in its group may be without the number; none if it could not be given.
    until: Option<u64>,
}

/// The leaders. The lock is a leaf.
fn programs() -> MutexGuard<'static, BTreeMap<i32, Program>> {
    static PROGRAMS: Mutex<BTreeMap<i32, Program>> = Mutex::new(BTreeMap::new());
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Yields what the numbers of this process begin with. None of them is as small as a limit that
/// somebody means, and a process that was forked without `exec` has others.
fn embedder() -> u64 {
    static RANDOM: LazyLock<u64> =
        LazyLock::new(|| Uuid::now_v7().as_u64_pair().1 & 0x3_FFFF | 0x2_0000);
    *RANDOM << PID_BITS | u64::from(process::id()) & ((1 << PID_BITS) - 1)
}

/// How many bits of a number are the process id of the embedder.
const PID_BITS: u32 = 22;

/// How many bits of a number tell the programs of an embedder from each other.
const NTH_BITS: u32 = 22;

/// Where a number is in the second half of a mark.
const NUMBER_BITS: u64 = (1 << 62) - 1;

/// How many ids after that of a leader may be those of its first descendants. A start waits until
/// they are read.
const FIRST_MAX: i32 = 256;

/// A process has its limits a little before the time at which it began: for so many ticks longer
/// than it should, it may be without the number.
const START_TICKS: u64 = 20;

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use rustix::process::{Signal, kill_process};

    use super::*;

    #[test]
    fn each_mark_says_another_number_of_this_process() {
        let marks = [new_mark(), new_mark()];
        let numbers = marks.each_ref().map(|mark| number_of(mark).unwrap());
        assert!(numbers[0] != numbers[1] && numbers.iter().all(|it| is_given(*it)));
        assert!(numbers.iter().all(|it| it >> 61 == 1), "{numbers:x?}");
        // That of a process with another id.
        assert!(!is_given(numbers[0] ^ 1 << NTH_BITS));
        assert_eq!((number_of("mark"), is_given(7)), (None, false));
    }

    /// Starts a process in a session of its own that has no mark, and says both ids.
    const STARTS: &str =
        "env -i setsid sh -c 'sleep 600 & echo $$ $!; exec sleep 600' & exec sleep 600";

    #[test]
    fn what_a_program_started_before_it_had_the_number_has_it_as_well() {
        let start = || {
            let mut leader = Command::new("sh");
            let mut leader = leader.args(["-c", STARTS]).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(leader.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let first: Vec<i32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
            (leader, first)
        };
        for attempt in 0.. {
            let (mut leader, first) = start();
            let id = Pid::from_child(&leader);
            let mut own = Command::new("sleep").arg("600").spawn().unwrap();
            let mark = new_mark();
            let led = lead(id, &mark);
            let numbers: Vec<_> = first.iter().map(|id| read_number(*id).unwrap()).collect();
            let of_own = read_number(own.id().try_into().unwrap()).unwrap();
            drop(led);
            for child in [&mut leader, &mut own] {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            for id in first.iter().copied().filter_map(Pid::from_raw) {
                kill_process(id, Signal::KILL).unwrap();
            }
            // Many others may have been started in between, or ids begin anew.
            let ids = id.as_raw_pid()..=id.as_raw_pid() + FIRST_MAX;
            if first.iter().all(|id| ids.contains(id)) {
                assert_eq!(
                    (numbers, of_own != number_of(&mark)),
                    (vec![number_of(&mark); 2], true)
                );
                return;
            }
            assert!(attempt < 100, "{first:?}");
        }
    }

    #[test]
    fn a_leader_that_is_forgotten_late_is_not_the_one_that_has_its_number_now() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep is started");
        let id = Pid::from_child(&child);
        let is_known = || programs().contains_key(&id.as_raw_pid());
        let (old, new) = (lead(id, &new_mark()), lead(id, &new_mark()));
        drop(old);
        assert!(is_known());
        drop(new);
        assert!(!is_known());
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }
}
