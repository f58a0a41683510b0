//! [`apply`] and [`inherit`]: what transactions change, and what a process makes of it.

use super::world::{Asked, Memory, NAMES, Process, Run, Sent, Status, World, Write};

impl Process {
    /// What is to be stored next.
    pub(super) fn next_write(&self) -> Option<Write> {
        let (is_stopped, ended) = match self.memory {
            Memory::Runs { is_stopped } => (is_stopped, None),
            Memory::Ended(status) => (status == Status::Cancelled, Some(status)),
            Memory::Nothing | Memory::Leaves => return None,
        };
        if !self.is_accepted {
            return Some(Write::Accept);
        }
        if is_stopped && !self.is_stop_stored {
            return Some(Write::Stop);
        }
        ended.filter(|_| !self.is_end_stored).map(Write::End)
    }

    pub(super) fn heard(&mut self, write: Write) {
        self.sent = Sent::Nothing;
        match write {
            Write::Accept => self.is_accepted = true,
            Write::Stop => self.is_stop_stored = true,
            Write::End(_) => self.is_end_stored = true,
        }
    }

    /// `Shared::hear_of_loss`: it stops all, and stores nothing any more.
    pub(super) fn lose(&mut self) {
        self.memory = match self.memory {
            Memory::Runs { .. } => Memory::Leaves,
            _ => Memory::Nothing,
        };
        (self.is_lost, self.renewal, self.decided) = (true, None, None);
        (self.is_accepted, self.is_stop_stored, self.is_end_stored) = (false, false, false);
    }
}

/// What a transaction does.
pub(super) fn apply(world: &mut World, nth: usize, write: Write) {
    let (owner, epoch) = (NAMES[nth], world.processes[nth].boot);
    let is_asked = world.asked != Asked::Nothing;
    let is_told = world.asked == Asked::Accepted;
    let Some(run) = &mut world.run else {
        let (status, is_quiescent) = (Status::Live, false);
        let (is_stopped, is_in_doubt) = (false, false);
        world.run = Some(Run { owner, epoch, status, is_stopped, is_in_doubt, is_quiescent });
        return;
    };
    run.epoch = epoch;
    let Write::End(status) = write else { return run.is_stopped = true };
    run.status = status;
    run.is_quiescent = !run.is_in_doubt;
    world.ends += 1;
    if world.ends > 1 {
        world.broken = Some("a run ends twice");
    } else if status != Status::Cancelled && is_told {
        world.broken = Some("a stop that was accepted is lost");
    } else if status == Status::Cancelled && !is_asked {
        world.broken = Some("a run is cancelled that nobody has stopped");
    }
}

/// `RUNS`: what a name has becomes that of another one, or of a new process of it.
pub(super) fn inherit(world: &mut World, from: usize, to: usize) {
    let epoch = world.next_boot();
    if let Some(run) = &mut world.run
        && run.owner == from
        && run.status == Status::Live
    {
        (run.owner, run.epoch) = (to, epoch);
    }
}

/// `ACCEPT` and `HAND_ON`: a stop that waits is one of its run, and the next owner answers it.
pub(super) fn inherit_stop(world: &mut World, from: usize, to: usize, hands_on: bool) {
    if world.asked != (Asked::Waits { owner: from }) {
        return;
    }
    if hands_on {
        world.asked = Asked::Waits { owner: to };
    }
    if let Some(run) = world.run.as_mut().filter(|run| run.status == Status::Live) {
        run.is_stopped = true;
    }
}
