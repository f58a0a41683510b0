//! [`lead`]: the programs of this process that it has not reaped, and what tells their descendants
//! from its own children.
//!
//! Every program is given a number of this process as its soft limit of file locks
//! (`RLIMIT_LOCKS`), which Linux has not enforced since 2.4.25. Descendants inherit it, also those
//! that give up the environment or make a session, and everybody may read it, also when they are
//! dead. What this process starts itself does not have it.
//!
//! A program runs before it is given the number: what it has started until then is without.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

use super::stat::{Stat, read_if_there};

/// Counts a process as the leader of a program until this is dropped, and gives it the number. Its
/// leader is reaped by its owner alone.
pub(crate) fn lead(leader: Pid) -> Led {
    static LED: AtomicU64 = AtomicU64::new(0);
    let id = leader.as_raw_pid();
    let nth = LED.fetch_add(1, Ordering::Relaxed);
    // Before the number: a dead child that has it and leads nothing is reaped.
    programs().insert(id, Program { nth, until: None });
    let limit = Rlimit { current: Some(*NUMBER), ..getrlimit(Resource::Locks) };
    // It may have become another user's, or run where there are no such limits.
    if prlimit(Some(leader), Resource::Locks, limit).is_ok() {
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
    let has_number = has_number(id);
    let programs = programs();
    let is_of_group = || {
        let program = programs.get(&dead.group);
        program.is_some_and(|it| it.until.is_none_or(|until| dead.began <= until))
    };
    !programs.contains_key(&id) && (has_number || is_of_group())
}

fn has_number(id: i32) -> bool {
    let limits = read_if_there(format!("/proc/{id}/limits")).ok().flatten().unwrap_or_default();
    let mut lines = limits.split(|byte| *byte == b'\n');
    let soft = lines.find_map(|line| line.strip_prefix(b"Max file locks"));
    let soft = soft.and_then(|it| str::from_utf8(it).ok()?.split_ascii_whitespace().next());
    soft.is_some_and(|soft| soft.parse() == Ok(*NUMBER))
}

/// Yields the time, in ticks, as processes begin.
fn now() -> u64 {
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

/// The number of this process. It fits into a limit of every system.
static NUMBER: LazyLock<u64> = LazyLock::new(|| Uuid::now_v7().as_u64_pair().1 & 0x7FFF_FFFF);

/// A process has its limits a little before the time at which it began: for so many ticks longer
/// than it should, it may be without the number.
const START_TICKS: u64 = 20;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_leader_that_is_forgotten_late_is_not_the_one_that_has_its_number_now() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep is started");
        let id = Pid::from_child(&child);
        let is_known = || programs().contains_key(&id.as_raw_pid());
        let (old, new) = (lead(id), lead(id));
        drop(old);
        assert!(is_known());
        drop(new);
        assert!(!is_known());
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }
}
