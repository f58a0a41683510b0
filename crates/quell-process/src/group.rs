//! A process group: its start, its end, and who reaps it.

use std::future;
use std::io;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use quell::Hold;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use tokio::sync::{Notify, oneshot};

use crate::leader::{Leader, Order, WAIT_MAX, WAIT_MIN, signal};
use crate::streams::Pipes;
use crate::survivors::{Sought, Strays, Survivors};
use crate::{aside, descriptors, guardian, leader, survivors};

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
        // What a stop needs is made now: this very program may leave no thread for it. The one that
        // owns the leader is there before that is, so that it never has another owner.
        survivors::prepare()?;
        let ended = Arc::new(Notify::new());
        let (to_owner, leaders) = mpsc::channel::<Leader>();
        let (reap, order) = oneshot::channel();
        let to_tell = Arc::clone(&ended);
        let owner = thread::Builder::new().name("quell-process".to_owned());
        owner.spawn(move || leaders.recv().map(|leader| leader.attend(&to_tell, order)))?;
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
        let program = leader::shown(command.get_program());
        hold.rename(format!("{program} (pid {id})"));
        let led = Some(survivors::lead(id, &mark));
        let since = survivors::began(id);
        let _ = to_owner.send(Leader {
            program,
            child,
            id,
            since,
            mark: mark.clone(),
            led,
            held_by_others,
            hold: Some(hold),
            announced: Some(announced),
            is_reaped: false,
        });
        let this = Self { id, since, mark, ended, reap: Some(reap) };
        // Subscribers are foreign, and may panic: whose group is dropped by that is killed.
        guardian::started(&this.mark, id, since);
        if let Err(error) = descriptors::restore(id) {
            // It has ended already, or has become somebody else: it keeps the high limit.
            tracing::debug!(%error, program = id.as_raw_pid(), "limit stays raised");
        }
        Ok((this, pipes))
    }

    pub(crate) const fn id(&self) -> i32 {
        self.id.as_raw_pid()
    }

    /// Asks the group to end. What is suspended is resumed, so that it hears.
    pub(crate) fn terminate(&self, strays: &mut Strays) {
        strays.ask_leader(self.id, self.since);
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
            let ended = Arc::clone(&self.ended);
            if aside::run(async move { ended.notified().await }).await.is_none() {
                // The runtime goes away, and this with it.
                future::pending::<()>().await;
            }
        }
    }

    /// Looks for descendants that are known by their parents only, as long as those live: until the
    /// group is asked to end, which the caller does next. If nothing is left that could be asked,
    /// tells what [`end`](Self::end) tells.
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
        strays.ask_members(&found, self.id);
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
        match aside::run(status).await {
            Some(status) => status.map_err(io::Error::other)?,
            None => Err(io::ErrorKind::Interrupted.into()),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.reap.is_some() {
            signal(self.id, Signal::KILL);
        }
    }
}

/// Tells whether a child has ended, and does not reap it. One that somebody else reaped has ended.
fn has_ended(leader: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    !matches!(waitid(WaitId::Pid(leader), options), Ok(None))
}
