//! A process group: its start, its end, and who reaps it.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use quell::Hold;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::sync::{Notify, oneshot};

use crate::guardian::Announced;
use crate::streams::Pipes;
use crate::survivors::{Sought, Strays, Survivors};
use crate::{descriptors, guardian, survivors};

/// A process group that was started here, and that does not outlive this value for long: dropping
/// it kills the group at once, without blocking.
///
/// The leader is owned by a thread of its own, which waits for it and reaps it: when it is told to,
/// or when this value is dropped. Until then the number of the group belongs to nobody else, and a
/// signal to it cannot hit a stranger.
#[derive(Debug)]
pub(crate) struct Group {
    id: Pid,
    /// When the leader began.
    since: Option<u64>,
    mark: String,
    ended: Arc<Notify>,
    /// Tells the thread to reap. None once told.
    reap: Option<oneshot::Sender<Order>>,
}

impl Group {
    /// Starts a command as the leader of a group. The hold is kept until the group is gone.
    pub(crate) fn spawn(
        command: &mut Command,
        mark: String,
        hold: Hold,
    ) -> io::Result<(Self, Pipes)> {
        // What a stop needs is made now: this very program may leave no thread for it.
        survivors::prepare()?;
        let announced = guardian::announce(&mark);
        let mut child = command.spawn()?;
        let (to_leader, held_by_others) = mpsc::channel();
        let pipes = Pipes {
            held: to_leader,
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
        };
        let id = Pid::from_child(&child);
        let since = survivors::began(id);
        guardian::started(&mark, id, since);
        if let Err(error) = descriptors::restore(id) {
            // It has ended already, or has become somebody else: it keeps the high limit.
            tracing::debug!(%error, program = id.as_raw_pid(), "limit stays raised");
        }
        let (reap, order) = oneshot::channel();
        let ended = Arc::new(Notify::new());
        let (hold, announced) = (Some(hold), Some(announced));
        let mark_of_leader = mark.clone();
        let leader =
            Leader { child, id, since, mark: mark_of_leader, held_by_others, hold, announced };
        let to_tell = Arc::clone(&ended);
        // If there is no thread to be had, the leader is killed and reaped as it is dropped.
        thread::Builder::new()
            .name("quell-process".to_owned())
            .spawn(move || leader.attend(&to_tell, order))?;
        Ok((Self { id, since, mark, ended, reap: Some(reap) }, pipes))
    }

    pub(crate) const fn id(&self) -> i32 {
        self.id.as_raw_pid()
    }

    /// Asks the group to end. What is suspended is resumed, so that it hears.
    pub(crate) fn terminate(&self) {
        signal(self.id, Signal::TERM);
        signal(self.id, Signal::CONT);
    }

    /// Waits until the leader has ended. It is not reaped.
    ///
    /// # Cancel safety
    ///
    /// It can be dropped and called again.
    pub(crate) async fn ended(&self) {
        while !has_ended(self.id) {
            self.ended.notified().await;
        }
    }

    /// Looks for descendants that are known by their parents only, as long as those live: until the
    /// group is asked to end. If nothing is left that could be asked, tells what
    /// [`end`](Self::end) tells.
    ///
    /// # Cancel safety
    ///
    /// It can be dropped and called again.
    pub(crate) async fn find_hidden(&self, strays: &mut Strays) -> Option<bool> {
        // What ends during the look may have been met by it.
        let was_over = has_ended(self.id) && strays.have_ended();
        let found = survivors::find(self.sought(), &mut None).await?;
        if was_over && found.is_empty() {
            return Some(found.is_in_doubt());
        }
        strays.keep_hidden(found);
        None
    }

    const fn sought(&self) -> Sought<'_> {
        Sought { group: Some(self.id), since: self.since, mark: self.mark.as_str() }
    }

    /// Waits until nothing of the group is alive, nor of what left it. The group was asked to end;
    /// what is left is killed at an instant that may move closer. The leader is not reaped.
    ///
    /// Tells whether something else is alive that may have left the group, or be a stranger.
    ///
    /// # Cancel safety
    ///
    /// It can be dropped and called again.
    pub(crate) async fn end(
        &self,
        strays: &mut Strays,
        mut kill_at: impl FnMut() -> Instant,
    ) -> bool {
        let mut has_looked = false;
        let mut wait = WAIT_MIN;
        let mut condemned = None;
        let mut asked_at = None;
        let is_in_doubt = loop {
            let left = kill_at().saturating_duration_since(Instant::now());
            let is_late = left.is_zero();
            if is_late {
                condemned.get_or_insert_with(|| survivors::condemn(&self.mark));
                signal(self.id, Signal::KILL);
                strays.kill_hidden();
                let _ = tokio::time::timeout(WAIT_MAX, self.ended()).await;
            } else {
                // What is known already does not wait for the look.
                strays.terminate(&Survivors::default());
            }
            // While the leader lives there is nothing new to find.
            if !has_looked || is_late || has_ended(self.id) {
                // What ends during the look may have been met by it.
                let was_over = has_ended(self.id) && strays.have_ended();
                match survivors::find(self.sought(), &mut asked_at).await {
                    Some(found) if found.is_empty() && was_over => break found.is_in_doubt(),
                    Some(found) => {
                        has_looked |= found.is_listed();
                        if is_late {
                            found.signal(Signal::KILL);
                        } else {
                            strays.terminate(&found);
                        }
                        strays.keep_hidden(found);
                    }
                    // Where it cannot be known what else is alive, the rest gets one pause.
                    None if (is_late || has_looked) && was_over => break false,
                    None => has_looked = true,
                }
            }
            let tick = if is_late { wait } else { wait.min(left) };
            if has_ended(self.id) {
                tokio::time::sleep(tick).await;
            } else {
                let _ = tokio::time::timeout(tick, self.ended()).await;
            }
            wait = (wait * 2).min(WAIT_MAX);
        };
        // Where it cannot be known what is alive, something may be.
        signal(self.id, Signal::KILL);
        is_in_doubt
    }

    /// Reaps the leader, which has ended. From here on the group must not be signalled. If
    /// something is in doubt, the run is not quiescent as long as that is alive.
    ///
    /// # Cancel safety
    ///
    /// The leader is reaped even if this is dropped; its status is lost then.
    pub(crate) async fn reap(mut self, is_in_doubt: bool) -> io::Result<ExitStatus> {
        let (reply, status) = oneshot::channel();
        if let Some(reap) = self.reap.take() {
            let _ = reap.send(Order { reply, is_in_doubt });
        }
        status.await.map_err(io::Error::other)?
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.reap.is_some() {
            signal(self.id, Signal::KILL);
        }
    }
}

/// The order to reap a leader.
#[derive(Debug)]
struct Order {
    reply: oneshot::Sender<io::Result<ExitStatus>>,
    /// Whether something is alive that may have left the group.
    is_in_doubt: bool,
}

/// The leader of a group, which is killed and reaped by whoever drops this.
struct Leader {
    child: Child,
    id: Pid,
    /// When it began.
    since: Option<u64>,
    mark: String,
    /// Pipes that somebody out of reach holds on to.
    held_by_others: Receiver<OwnedFd>,
    /// Keeps the run from being quiescent.
    hold: Option<Hold>,
    /// Has the guardian end what is left of the program if this process is killed.
    announced: Option<Announced>,
}

impl Leader {
    /// Waits for the leader, then for the order to reap it; blocks the thread.
    fn attend(mut self, ended: &Notify, order: oneshot::Receiver<Order>) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let _ = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.id), options));
        ended.notify_one();
        let Ok(Order { reply, is_in_doubt }) = order.blocking_recv() else {
            return self.finish_off();
        };
        let pipes: Vec<_> = self.held_by_others.try_iter().collect();
        let rest = (!pipes.is_empty() || is_in_doubt).then(|| self.rest());
        let status = self.child.wait();
        // The hold goes first: when the body ends, nothing is held any more but for the rest.
        drop(self);
        let _ = reply.send(status);
        if let Some(rest) = rest {
            rest.wait(&pipes, is_in_doubt);
        }
    }

    /// Kills what is left until nothing is, then reaps the leader.
    fn finish_off(mut self) {
        let sought = Sought { group: Some(self.id), since: self.since, mark: &self.mark };
        let is_in_doubt = kill_until_empty(sought);
        // There are no more when the streams are dropped, which is about now.
        let pipes: Vec<_> = self.held_by_others.iter().collect();
        let rest = self.rest();
        drop(self);
        rest.wait(&pipes, is_in_doubt);
    }

    /// Splits off what keeps the run from being quiescent after the leader is reaped.
    fn rest(&mut self) -> Rest {
        // The number of the group can be another's once the leader is reaped.
        guardian::reaped(&self.mark);
        Rest {
            since: self.since,
            mark: self.mark.clone(),
            _hold: self.hold.take(),
            _announced: self.announced.take(),
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            signal(self.id, Signal::KILL);
            let _ = self.child.wait();
        }
        // Orphans of the group are ours if the embedder is the first process of a container.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        while let Ok(Some(_)) = waitid(WaitId::Pgid(Some(self.id)), options) {}
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

/// Signals a group; one that is gone, or belongs to another user by now, cannot be signalled.
fn signal(group: Pid, signal: Signal) {
    let _ = kill_process_group(group, signal);
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

/// Tells whether a child has ended, and does not reap it. One that somebody else reaped has ended.
fn has_ended(leader: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    !matches!(waitid(WaitId::Pid(leader), options), Ok(None))
}

/// The first pause between two looks at what is alive; each is twice as long as the last.
const WAIT_MIN: Duration = Duration::from_millis(5);

/// The longest pause between two looks for who holds on to a pipe, or is in doubt: it may live for
/// days.
const HELD_WAIT_MAX: Duration = Duration::from_secs(1);

/// The longest pause between two looks at what is alive.
const WAIT_MAX: Duration = Duration::from_millis(50);
