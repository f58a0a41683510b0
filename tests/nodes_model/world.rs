//! [`World`]: what the database has, and what each process knows.

/// A guard of the protocol, which a model can leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// `joined = $2` in every statement of a member: `Sql::Fence`, `RENEW`, `PUT`, `ANSWER`.
    Seat,
    /// `for key share` of `Sql::Fence` against `for update` of `OVER` and `FORMER`: nobody takes a
    /// seat away within a transaction of its member.
    RowLock,
    /// `epoch <= $2` in every statement of a run.
    Epoch,
    /// `status < 3` in `END`.
    EndsOnce,
    /// `Lease::renewed(sent)`: a lease counts from the sending of its renewal.
    CountsFromSent,
    /// `Lease::lapses_at`: what is needed to stop everything is kept of the lease.
    Reserve,
    /// `hear_of_loss`, `Journal::revoke`: once the lease is lost nothing is stored.
    Revoke,
    /// `DOUBT`: what is taken over names the node that may execute it still.
    Doubt,
    /// `inherit`: stops move in the transaction in which runs do.
    OneStep,
    /// `HAND_ON`: whoever takes over answers the stops that wait.
    HandOn,
    /// `Locks::take`: a name has one process.
    NameLock,
    /// `PUT` locks the seat of the owner for as long as it takes the stop for it.
    PutLock,
    /// `PostgresNode::recover`: a stop that waits is one of its run.
    RecoverAsked,
    /// `give_of_stored`: a live run that is not in memory is not decided yet.
    Rests,
    /// `give`: an answer is given when what it says is stored.
    AnswerStored,
    /// `Writer::reopen`, `Seat::settle`: after a lost answer it is read what is there.
    ReadBack,
}

/// How long a lease lasts, and what of it is needed to stop everything, in instants.
pub(super) const LEASE: u8 = 2;
pub(super) const RESERVE: u8 = 1;

/// Whose process it is: the third one is a second one of `a`, which the lock of the name keeps out.
pub(super) const NAMES: [usize; 3] = [0, 1, 0];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Life {
    Gone,
    Up,
    Frozen,
}

/// How a run stands, or what is written of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Status {
    Live,
    Completed,
    Cancelled,
    Failed,
}

/// The run in the memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Memory {
    Nothing,
    /// Its body executes.
    Runs {
        is_stopped: bool,
    },
    /// Its body has ended.
    Ended(Status),
    /// Its body executes, and was told that the lease is lost.
    Leaves,
}

/// What a transaction writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Write {
    Accept,
    Stop,
    End(Status),
}

/// A transaction of the session that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Sent {
    Nothing,
    /// It has passed the fence.
    Open(Write),
    /// It was committed, and the answer is under way.
    Stored(Write),
    /// It was refused.
    Refused(Write),
    /// It was rolled back, or its session has ended.
    RolledBack,
}

/// What is said of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Answer {
    Accepted,
    Terminal(Status),
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is known or not, whatever the others say")]
pub(super) struct Process {
    pub(super) life: Life,
    /// It knows that its lease is lost.
    pub(super) is_lost: bool,
    /// It was frozen when its lease lapsed.
    pub(super) has_overslept: bool,
    /// Instants since its last renewal was sent.
    pub(super) age: u8,
    /// The same of one whose answer is under way.
    pub(super) renewal: Option<u8>,
    pub(super) boot: u8,
    pub(super) memory: Memory,
    pub(super) is_accepted: bool,
    pub(super) is_stop_stored: bool,
    pub(super) is_end_stored: bool,
    pub(super) sent: Sent,
    /// What it has decided of the stop that it was asked for.
    pub(super) decided: Option<Answer>,
}

pub(super) const GONE: Process = Process {
    life: Life::Gone,
    is_lost: false,
    has_overslept: false,
    age: 0,
    renewal: None,
    boot: 0,
    memory: Memory::Nothing,
    is_accepted: false,
    is_stop_stored: false,
    is_end_stored: false,
    sent: Sent::Nothing,
    decided: None,
};

/// A row of `node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Seat {
    /// `joined`: the process that has joined last.
    pub(super) process: usize,
    /// What is left of the lease.
    pub(super) lease: u8,
}

/// A row of `run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Run {
    pub(super) owner: usize,
    pub(super) epoch: u8,
    pub(super) status: Status,
    pub(super) is_stopped: bool,
    /// It has a hold of `Work::Node`.
    pub(super) is_in_doubt: bool,
    pub(super) is_quiescent: bool,
}

/// The row of `stop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Asked {
    Nothing,
    /// Its owner was read, without a lock.
    Reads {
        owner: usize,
    },
    /// It is durable, and so its caller may have been told [`Recorded`](quell::Disposition).
    Waits {
        owner: usize,
    },
    /// Its owner has answered: it was accepted, or came too late.
    Accepted,
    TooLate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct World {
    pub(super) processes: [Process; 3],
    pub(super) seats: [Option<Seat>; 2],
    pub(super) run: Option<Run>,
    pub(super) was_submitted: bool,
    pub(super) asked: Asked,
    /// The process that asks, while it has only read.
    pub(super) asker: usize,
    /// How often an end was stored.
    pub(super) ends: u8,
    /// The promise that the last step has broken.
    pub(super) broken: Option<&'static str>,
}

impl World {
    /// Two nodes that have just joined.
    pub(super) fn new() -> Self {
        let up = |boot| Process { life: Life::Up, boot, ..GONE };
        let seat = |process| Some(Seat { process, lease: LEASE });
        let mut world = Self {
            processes: [up(0), up(1), GONE],
            seats: [seat(0), seat(1)],
            run: None,
            was_submitted: false,
            asked: Asked::Nothing,
            asker: 0,
            ends: 0,
            broken: None,
        };
        world.settle();
        world
    }

    /// Says whether a row of `node` is that of a process.
    pub(super) fn has_seat(&self, process: usize) -> bool {
        self.seats[NAMES[process]].is_some_and(|seat| seat.process == process)
    }

    pub(super) fn live(&self) -> Option<Run> {
        self.run.filter(|run| run.status == Status::Live)
    }

    /// Says whether the body of the run executes there, or will when the process goes on.
    pub(super) fn executes(&self, process: usize) -> bool {
        matches!(self.processes[process].memory, Memory::Runs { .. } | Memory::Leaves)
    }

    /// Says whether a member of a name is within a transaction.
    pub(super) fn is_within(&self, name: usize) -> bool {
        let of_name =
            |(nth, it): (usize, &Process)| NAMES[nth] == name && matches!(it.sent, Sent::Open(_));
        self.processes.iter().enumerate().any(of_name)
    }

    /// A number above every boot and epoch.
    pub(super) fn next_boot(&self) -> u8 {
        let of_run = self.run.map_or(0, |run| run.epoch);
        self.processes.iter().map(|it| it.boot).fold(of_run, u8::max) + 1
    }

    /// Yields the same world with the names the other way round.
    pub(super) fn mirrored(&self) -> Self {
        let mut world = *self;
        world.processes.swap(0, 1);
        world.seats.swap(0, 1);
        for seat in world.seats.iter_mut().flatten() {
            seat.process = 1 - seat.process;
        }
        if let Some(run) = &mut world.run {
            run.owner = 1 - run.owner;
        }
        if let Asked::Reads { owner } | Asked::Waits { owner } = &mut world.asked {
            *owner = 1 - *owner;
        }
        if matches!(world.asked, Asked::Reads { .. }) {
            world.asker = 1 - world.asker;
        }
        world
    }

    /// Forgets what makes no difference any more, so that there are fewer states.
    pub(super) fn settle(&mut self) {
        for it in &mut self.processes {
            // A process that has lost its lease, and has stopped all, ends.
            let is_idle = it.memory == Memory::Nothing && it.sent == Sent::Nothing;
            if it.life == Life::Up && it.is_lost && is_idle {
                *it = GONE;
            }
            it.renewal = it.renewal.filter(|age| *age < LEASE);
        }
        for (it, name) in self.processes.iter_mut().zip(NAMES) {
            let is_owner = self.run.is_some_and(|run| run.owner == name);
            let is_idle = it.memory == Memory::Nothing && it.sent == Sent::Nothing;
            if is_idle && (it.life == Life::Gone || !is_owner) {
                it.boot = 0;
            }
        }
        self.rank();
    }

    /// Has boots and epochs be their ranks: nothing asks for more than which is larger.
    fn rank(&mut self) {
        let [a, b, c] = self.processes.map(|it| it.boot);
        let mut all = [a, b, c, self.run.map_or(c, |run| run.epoch)];
        all.sort_unstable();
        let rank = |boot: u8| {
            let (mut rank, mut last) = (0, None);
            for one in all.into_iter().take_while(|one| *one < boot) {
                rank += u8::from(last != Some(one));
                last = Some(one);
            }
            rank
        };
        for process in &mut self.processes {
            process.boot = rank(process.boot);
        }
        if let Some(run) = &mut self.run {
            run.epoch = rank(run.epoch);
        }
    }

    /// Tells whether nothing can happen any more that a promise is about.
    pub(super) fn is_over(&self) -> bool {
        let is_idle = |it: &Process| {
            let is_ended = matches!(it.memory, Memory::Ended(_)) && it.is_end_stored;
            let nothing = it.memory == Memory::Nothing;
            (is_ended || nothing) && it.sent == Sent::Nothing && it.decided.is_none()
        };
        let is_ended = self.run.is_some_and(|run| run.status != Status::Live);
        is_ended && !self.waits() && self.processes.iter().all(is_idle)
    }

    /// Tells whether a run that was accepted has ended, and its stop is answered.
    pub(super) fn is_decided(&self) -> bool {
        self.live().is_none() && !self.waits()
    }

    fn waits(&self) -> bool {
        matches!(self.asked, Asked::Reads { .. } | Asked::Waits { .. })
    }

    /// Tells whether the run was stopped, by whoever has it.
    pub(super) fn is_stopped(&self) -> bool {
        self.run.is_some_and(|run| run.is_stopped || run.status == Status::Cancelled)
    }

    /// Tells whether a stop waits for a live run that has none.
    pub(super) fn stop_waits(&self) -> bool {
        matches!(self.asked, Asked::Waits { .. }) && self.live().is_some_and(|it| !it.is_stopped)
    }

    /// Says which promise does not hold in this state.
    pub(super) fn lie(&self) -> Option<&'static str> {
        let is_quiescent =
            self.run.is_some_and(|run| run.status != Status::Live && run.is_quiescent);
        for process in 0..3 {
            let it = &self.processes[process];
            if !self.executes(process) {
                continue;
            }
            if is_quiescent {
                return Some("a run is called quiescent that a process may execute still");
            }
            if !self.has_seat(process) && !it.has_overslept {
                return Some("another node has the run while its owner, never frozen, executes it");
            }
        }
        None
    }
}
