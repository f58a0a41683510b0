//! [`Leader`]: the first process of a group, and what is left when it is reaped.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use quell::Hold;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpgid, kill_process, kill_process_group, waitid,
};
use tokio::sync::{Notify, oneshot};

use crate::guardian::{self, Announced};
use crate::survivors::{self, Led, Sought};

/// The leader of a group. Dropped before it is reaped, it kills what is left of the program until
/// nothing is, and reaps the leader; this blocks the thread.
pub(crate) struct Leader {
    /// How the report names it, with numbers behind: see [`shown`].
    pub(crate) program: String,
    pub(crate) child: Child,
    pub(crate) id: Pid,
    /// When it began.
    pub(crate) since: Option<u64>,
    pub(crate) mark: String,
    /// Keeps everybody else from reaping it.
    pub(crate) led: Option<Led>,
    /// Pipes that somebody out of reach holds on to.
    pub(crate) held_by_others: Receiver<OwnedFd>,
    /// Keeps the run from being quiescent.
    pub(crate) hold: Option<Hold>,
    /// Has the guardian end what is left of the program if this process is killed.
    pub(crate) announced: Option<Announced>,
    pub(crate) is_reaped: bool,
}

/// The order to reap a leader.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) reply: oneshot::Sender<io::Result<ExitStatus>>,
    /// Whether something is alive that may have left the group.
    pub(crate) is_in_doubt: bool,
}

impl Leader {
    /// Waits for the leader, then for the order to reap it; blocks the thread. Nothing foreign is
    /// woken by it: it wakes tasks, never a body.
    pub(crate) fn attend(mut self, ended: &Notify, order: oneshot::Receiver<Order>) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let _ = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.id), options));
        ended.notify_one();
        // Without an order it is finished off as it is dropped.
        let Ok(Order { reply, is_in_doubt }) = order.blocking_recv() else { return };
        let pipes: Vec<_> = self.held_by_others.try_iter().collect();
        let rest = (!pipes.is_empty() || is_in_doubt).then(|| self.rest(&pipes, is_in_doubt));
        let status = self.reap();
        // The hold goes first: when the body ends, nothing is held any more but for the rest.
        drop(self);
        let _ = reply.send(status);
        if let Some(rest) = rest {
            rest.wait(&pipes, is_in_doubt);
        }
    }

    /// Splits off what keeps the run from being quiescent after the leader is reaped, and names it
    /// by what is alive: the number of the leader is another's from then on.
    fn rest(&mut self, pipes: &[OwnedFd], is_in_doubt: bool) -> Rest {
        if let Some(hold) = &self.hold {
            hold.rename(left(&self.program, self.id, &self.living(pipes, is_in_doubt)));
        }
        // The number of the group can be another's once the leader is reaped.
        guardian::reaped(&self.mark);
        Rest {
            since: self.since,
            mark: self.mark.clone(),
            _hold: self.hold.take(),
            _announced: self.announced.take(),
        }
    }

    /// Finds the numbers of what holds on to these pipes, and of what is in doubt.
    fn living(&self, pipes: &[OwnedFd], is_in_doubt: bool) -> Vec<i32> {
        let mut living = survivors::holders(pipes, self.since);
        let sought = Sought { group: None, since: self.since, mark: &self.mark };
        let look = || survivors::find_blocking(sought, Instant::now());
        if let Some(found) = is_in_doubt.then(look).flatten() {
            living.extend(found.doubtful());
        }
        living.sort_unstable();
        living.dedup();
        living
    }

    /// Reaps the leader, and blocks until it has ended. From here on its number can be another's.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait();
        self.is_reaped = true;
        self.led = None;
        // Orphans of the group are ours if the embedder is the first process of a container. A look
        // tells them from children of the embedder.
        if survivors::is_blind() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            while let Ok(Some(_)) = waitid(WaitId::Pgid(Some(self.id)), options) {}
        }
        status
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.is_reaped {
            return;
        }
        signal(self.id, Signal::KILL);
        let sought = Sought { group: Some(self.id), since: self.since, mark: &self.mark };
        let is_in_doubt = kill_until_empty(sought);
        // There are no more when the streams are dropped, which is about now.
        let pipes: Vec<_> = self.held_by_others.iter().collect();
        let rest = self.rest(&pipes, is_in_doubt);
        let _ = self.reap();
        rest.wait(&pipes, is_in_doubt);
    }
}

/// What may be alive after everything that was found is dead.
struct Rest {
    since: Option<u64>,
    mark: String,
    /// Keeps the run from being quiescent.
    _hold: Option<Hold>,
    _announced: Option<Announced>,
}

impl Rest {
    /// Waits until nobody holds on to the pipes, and until nothing is in doubt; blocks the thread.
    fn wait(self, pipes: &[OwnedFd], is_in_doubt: bool) {
        for pipe in pipes {
            wait_until_closed(pipe, &self.mark);
        }
        if !is_in_doubt {
            return;
        }
        let sought = Sought { group: None, since: self.since, mark: &self.mark };
        let _condemned = survivors::condemn(&self.mark);
        let mut wait = WAIT_MIN;
        let mut asked_at = Instant::now();
        while let Some(survivors) = survivors::find_blocking(sought, asked_at) {
            survivors.signal(Signal::KILL);
            if survivors.is_empty() && !survivors.is_in_doubt() {
                return;
            }
            // Many may wait for the same process: a look that another one takes meanwhile will do.
            asked_at = Instant::now();
            thread::sleep(wait);
            wait = (wait * 2).min(HELD_WAIT_MAX);
        }
    }
}

/// Names a program for a report, without the begin of a long path: a name is cut at its end, where
/// the numbers are.
pub(crate) fn shown(program: &OsStr) -> String {
    let name = program.to_string_lossy();
    match name.len().checked_sub(PROGRAM_BYTES_MAX) {
        None | Some(0) => name.into_owned(),
        Some(more) => format!("…{}", &name[name.ceil_char_boundary(more)..]),
    }
}

/// How much of the path of a program the name of abandoned work has. The engine cuts the name after
/// 1 KiB.
const PROGRAM_BYTES_MAX: usize = 512;

/// Names what is left of a program whose leader has ended.
fn left(program: &str, leader: Pid, living: &[i32]) -> String {
    if living.is_empty() {
        return format!("{program} (pid {leader} has ended, something that it started has not)");
    }
    let shown: Vec<_> = living.iter().take(LIVING_MAX).map(|id| format!("pid {id}")).collect();
    let more = if living.len() > LIVING_MAX { ", …" } else { "" };
    format!("{program} (seems to have left {}{more})", shown.join(", "))
}

/// How many processes the name of abandoned work has.
const LIVING_MAX: usize = 8;

/// Kills what is left of a program until nothing is; blocks the thread. Tells whether something
/// else is alive that may be of the program.
fn kill_until_empty(sought: Sought<'_>) -> bool {
    let mut wait = WAIT_MIN;
    let _condemned = survivors::condemn(sought.mark);
    while let Some(survivors) = survivors::find_blocking(sought, Instant::now()) {
        if survivors.is_empty() {
            return survivors.is_in_doubt();
        }
        survivors.signal(Signal::KILL);
        if let Some(group) = sought.group {
            signal(group, Signal::KILL);
        }
        thread::sleep(wait);
        wait = (wait * 2).min(WAIT_MAX);
    }
    false
}

/// Signals a group, and its leader if that has changed its group. One that is gone, or belongs to
/// another user by now, cannot be signalled. The leader is not reaped yet: its number is its own.
pub(crate) fn signal(group: Pid, signal: Signal) {
    // SIGTERM comes once.
    let has_left = getpgid(Some(group)).is_ok_and(|other| other != group);
    let _ = kill_process_group(group, signal);
    if has_left || signal == Signal::KILL {
        let _ = kill_process(group, signal);
    }
}

/// Waits until nobody can write to a pipe any more; blocks the thread. What is in it is not read,
/// so that who writes without end is held up. Who holds it and carries the mark has slipped through
/// the looks until then, and is killed by one of those that follow.
fn wait_until_closed(pipe: &OwnedFd, mark: &str) {
    let _condemned = survivors::condemn(mark);
    let mut pipe = [PollFd::new(pipe, PollFlags::empty())];
    let mut wait = WAIT_MIN;
    loop {
        let pause = Timespec::try_from(wait).ok();
        if rustix::io::retry_on_intr(|| poll(&mut pipe, pause.as_ref())) != Ok(0) {
            return;
        }
        let sought = Sought { group: None, since: None, mark };
        if let Some(survivors) = survivors::find_blocking(sought, Instant::now()) {
            survivors.signal(Signal::KILL);
        }
        wait = (wait * 2).min(HELD_WAIT_MAX);
    }
}

/// The first pause between two looks at what is alive; each is twice as long as the last.
pub(crate) const WAIT_MIN: Duration = Duration::from_millis(5);

/// The longest pause between two looks for who holds on to a pipe, or is in doubt: it may live for
/// days.
const HELD_WAIT_MAX: Duration = Duration::from_secs(1);

/// The longest pause between two looks at what is alive.
pub(crate) const WAIT_MAX: Duration = Duration::from_millis(50);
