//! A system without marks: only the group itself can be asked.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::process::{Pid, Signal};
use uuid::Uuid;

use super::found::{Extent, Sought, Survivors};

/// Does nothing: a look needs no thread.
#[expect(clippy::unnecessary_wraps, reason = "where a thread looks, there may be none")]
pub(crate) const fn prepare() -> io::Result<()> {
    Ok(())
}

/// Tells whether the group is gone. Where a dead leader counts as long as it is not reaped, it
/// cannot be known.
///
/// # Cancel safety
///
/// It can be dropped and called again.
pub(crate) async fn find(sought: Sought<'_>, _: &mut Option<Instant>) -> Option<Survivors> {
    find_blocking(sought, Instant::now())
}

/// As [`find`]. Without a group there is nothing to be found.
pub(crate) fn find_blocking(sought: Sought<'_>, _asked_at: Instant) -> Option<Survivors> {
    let is_gone =
        sought.group.is_none_or(|group| rustix::process::test_kill_process_group(group).is_err());
    is_gone.then(|| Survivors { extent: Extent::All, ..Survivors::default() })
}

/// As [`find_blocking`], of several programs at once.
pub(crate) fn find_each(programs: &[Sought<'_>]) -> Option<Vec<Survivors>> {
    programs.iter().map(|sought| find_blocking(*sought, Instant::now())).collect()
}

/// Finds nothing: who holds a pipe cannot be asked.
pub(crate) const fn holders(_pipes: &[OwnedFd], _since: Option<u64>) -> Vec<i32> {
    Vec::new()
}

/// Does nothing: only the group itself is ever found.
pub(crate) const fn condemn(_mark: &str) -> Condemned {
    Condemned
}

/// A mark whose processes are to be killed.
pub(crate) struct Condemned;

/// Yields the mark of a program that is about to be started.
pub(crate) fn new_mark() -> String {
    Uuid::now_v7().to_string()
}

/// Does nothing: what this process adopts is not known.
pub(crate) const fn lead(_leader: Pid, _mark: &str) -> Led {
    Led
}

/// A program that is not reaped yet.
#[derive(Debug)]
pub(crate) struct Led;

/// Tells that no look reaps anything.
pub(crate) const fn is_blind() -> bool {
    true
}

/// Tells nothing: when a process began cannot be asked.
pub(crate) const fn began(_process: Pid) -> Option<u64> {
    None
}

/// Nothing that left the group is ever found.
pub(super) const fn signal_stray(_stray: &OwnedFd, _signal: Signal) {}
