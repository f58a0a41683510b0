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
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

use super::stat::{Stat, read_if_there};

/// Counts a process as the leader of a program until this is dropped, and gives it the number. Its
/// leader is reaped by its owner alone.
pub(crate) fn lead(leader: Pid) -> Led {
    let id = leader.as_raw_pid();
    // Before the number: a dead child that has it and leads nothing is reaped.
    programs().insert(id, None);
    let limit = Rlimit { current: Some(*NUMBER), ..getrlimit(Resource::Locks) };
    // It may have become another user's, or run where there are no such limits.
    if prlimit(Some(leader), Resource::Locks, limit).is_ok() {
        programs().insert(id, Some(now() + START_TICKS));
    }
    Led(id)
}

/// A program that is not reaped yet.
#[derive(Debug)]
#[must_use = "dropped, the leader counts as reaped"]
pub(crate) struct Led(i32);

impl Drop for Led {
    fn drop(&mut self) {
        programs().remove(&self.0);
    }
}

/// Tells whether a dead child of this process descends from a program, and is none itself. What is
/// in the group of a program and is without the number may have been put there by the embedder.
pub(super) fn is_descendant(dead: &Stat, id: i32) -> bool {
    let has_number = has_number(id);
    let programs = programs();
    let is_of_group = || {
        let until = programs.get(&dead.group);
        until.is_some_and(|until| until.is_none_or(|until| dead.began <= until))
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

/// The leaders, and until when what began in the group of each may be without the number; none if
/// the number could not be given.
fn programs() -> MutexGuard<'static, BTreeMap<i32, Option<u64>>> {
    static PROGRAMS: Mutex<BTreeMap<i32, Option<u64>>> = Mutex::new(BTreeMap::new());
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of this process. It fits into a limit of every system.
static NUMBER: LazyLock<u64> = LazyLock::new(|| Uuid::now_v7().as_u64_pair().1 & 0x7FFF_FFFF);

/// A process has its limits a little before the time at which it began: for so many ticks longer
/// than it should, it may be without the number.
const START_TICKS: u64 = 20;
