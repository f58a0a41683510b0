//! [`steps`]: what may happen next, and what becomes of the world then.

use std::fmt::Display;

use super::effects::{apply, inherit, inherit_stop};
use super::world::{
    Asked, GONE, Guard, LEASE, Life, Memory, NAMES, Process, RESERVE, Seat, Sent, Status, World,
    Write,
};

/// What may happen.
pub(super) struct Step {
    /// Told in words, if that was asked for.
    pub(super) words: String,
    /// The name that has to live for it; none if it happens whoever lives.
    pub(super) by: Option<usize>,
    pub(super) world: World,
}

/// Yields everything that may happen next without some guards, and tells it in words if asked to.
pub(super) fn steps(world: &World, off: &[Guard], is_told: bool) -> Vec<Step> {
    let mut next = Next { world, off, is_told, steps: Vec::new() };
    if world.broken.is_some() || world.is_over() {
        return next.steps;
    }
    next.time();
    for process in 0..3 {
        next.life(process);
        if world.processes[process].life == Life::Up {
            next.lease(process);
            next.body(process);
            next.writes(process);
            next.take_over(process);
            next.stops(process);
        }
        next.server(process);
    }
    next.steps
}

pub(super) struct Next<'a> {
    pub(super) world: &'a World,
    off: &'a [Guard],
    is_told: bool,
    steps: Vec<Step>,
}

/// The process of a name that lives.
const WHO: [&str; 3] = ["a", "b", "the second a"];

impl Next<'_> {
    pub(super) fn has(&self, guard: Guard) -> bool {
        !self.off.contains(&guard)
    }

    /// Adds what happens whoever lives.
    fn add(&mut self, words: impl Display, change: impl FnOnce(&mut World)) {
        self.push(words, None, change);
    }

    /// Adds what a process does.
    pub(super) fn of(&mut self, nth: usize, words: impl Display, change: impl FnOnce(&mut World)) {
        self.push(format_args!("{} {words}", WHO[nth]), Some(NAMES[nth]), change);
    }

    fn push(&mut self, words: impl Display, by: Option<usize>, change: impl FnOnce(&mut World)) {
        let mut world = *self.world;
        change(&mut world);
        world.settle();
        world.broken = world.broken.or_else(|| world.lie());
        let words = if self.is_told { words.to_string() } else { String::new() };
        self.steps.push(Step { words, by, world });
    }

    fn lapses_at(&self) -> u8 {
        if self.has(Guard::Reserve) { LEASE - RESERVE } else { LEASE }
    }

    /// An instant passes, by all clocks alike. A process that is not frozen does in time what it
    /// has to do by then.
    fn time(&mut self) {
        let lapses_at = self.lapses_at();
        let is_late = |nth: usize| {
            let it = &self.world.processes[nth];
            let lapses = !it.is_lost && it.age >= lapses_at;
            let ends = it.is_lost && it.age + 1 >= LEASE && self.world.executes(nth);
            it.life == Life::Up && (lapses || ends && !it.has_overslept)
        };
        if (0..3).any(is_late) {
            return;
        }
        self.add("an instant passes", |world| {
            for it in world.processes.iter_mut().filter(|it| it.life != Life::Gone) {
                it.age = LEASE.min(it.age + 1);
                it.renewal = it.renewal.map(|age| LEASE.min(age + 1));
                it.has_overslept |= it.life == Life::Frozen && it.age == LEASE;
            }
            for seat in world.seats.iter_mut().flatten() {
                seat.lease = seat.lease.saturating_sub(1);
            }
        });
    }

    fn life(&mut self, nth: usize) {
        let it = self.world.processes[nth];
        match it.life {
            Life::Gone => return self.join(nth),
            Life::Up => self.of(nth, "freezes (SIGSTOP)", |world| {
                world.processes[nth].life = Life::Frozen;
            }),
            Life::Frozen => self.of(nth, "goes on (SIGCONT)", |world| {
                let it = &mut world.processes[nth];
                it.life = Life::Up;
                match it.sent {
                    Sent::Stored(write) => it.heard(write),
                    Sent::RolledBack => it.sent = Sent::Nothing,
                    _ => {}
                }
            }),
        }
        self.add(format_args!("{} is killed", WHO[nth]), |world| {
            // What its session has begun ends by itself.
            let sent = if matches!(it.sent, Sent::Open(_)) { it.sent } else { Sent::Nothing };
            world.processes[nth] = Process { sent, boot: it.boot, ..GONE };
        });
    }

    /// `Locks::take`, then `Seat::take`, which waits for the row of the member.
    fn join(&mut self, nth: usize) {
        let name = NAMES[nth];
        let has_lock =
            |other: usize| NAMES[other] == name && self.world.processes[other].life != Life::Gone;
        let is_taken = (0..3).any(has_lock);
        let keeps_out = self.has(Guard::NameLock) && (is_taken || nth == 2);
        if keeps_out || self.world.is_within(name) {
            return;
        }
        self.of(nth, "is started and joins [Seat::take, inherit]", |world| {
            if world.seats[name].is_some() {
                inherit(world, name, name);
                inherit_stop(world, name, name, true);
            }
            world.seats[name] = Some(Seat { process: nth, lease: LEASE });
            let boot = world.next_boot();
            world.processes[nth] = Process { life: Life::Up, boot, ..GONE };
        });
    }

    fn lease(&mut self, nth: usize) {
        let (it, name) = (self.world.processes[nth], NAMES[nth]);
        if it.is_lost {
            return;
        }
        let is_there = if self.has(Guard::Seat) {
            self.world.has_seat(nth)
        } else {
            self.world.seats[name].is_some()
        };
        if it.renewal != Some(0) && !is_there {
            self.of(nth, "hears that its seat was taken away [RENEW, hear_of_loss]", |world| {
                world.processes[nth].lose();
            });
        } else if it.renewal != Some(0) {
            self.of(nth, "renews its lease, and the answer is under way [RENEW]", |world| {
                world.processes[nth].renewal = Some(0);
                if let Some(seat) = &mut world.seats[name] {
                    seat.lease = LEASE;
                }
            });
        }
        if let Some(sent) = it.renewal {
            let age = if self.has(Guard::CountsFromSent) { sent.min(it.age) } else { 0 };
            self.of(nth, "hears that its lease is renewed [Lease::renewed]", |world| {
                let it = &mut world.processes[nth];
                (it.age, it.renewal) = (age, None);
                it.has_overslept &= age == LEASE;
            });
        }
        if it.age >= self.lapses_at() {
            let goes_on = !self.has(Guard::Revoke);
            self.of(nth, "finds that its lease has lapsed [Lease::lapses_at]", |world| {
                let it = &mut world.processes[nth];
                if goes_on && matches!(it.memory, Memory::Runs { .. }) {
                    // As a stop of any other cause.
                    it.memory = Memory::Ended(Status::Cancelled);
                    (it.is_lost, it.renewal, it.is_stop_stored) = (true, None, true);
                } else {
                    it.lose();
                }
            });
        }
    }

    fn body(&mut self, nth: usize) {
        let it = self.world.processes[nth];
        if nth == 0 && !self.world.was_submitted && !it.is_lost {
            self.of(nth, "submits the run, which executes [Engine::submit]", |world| {
                world.was_submitted = true;
                world.processes[nth].memory = Memory::Runs { is_stopped: false };
            });
        }
        let (ended, words) = match it.memory {
            Memory::Runs { is_stopped: true } => {
                (Memory::Ended(Status::Cancelled), "ends the body, which was stopped")
            }
            Memory::Runs { is_stopped: false } => {
                (Memory::Ended(Status::Completed), "ends the body, which is through")
            }
            Memory::Leaves => (Memory::Nothing, "ends the body, and stores nothing of it"),
            Memory::Nothing | Memory::Ended(_) => return,
        };
        self.of(nth, words, |world| world.processes[nth].memory = ended);
    }

    fn writes(&mut self, nth: usize) {
        let it = self.world.processes[nth];
        if let Sent::Refused(write) = it.sent {
            self.of(nth, "tells its caller that it was refused [StoreError]", |world| {
                world.processes[nth].heard(write);
                let is_there = world.run.is_some_and(|run| match write {
                    Write::Accept => true,
                    Write::Stop => run.is_stopped,
                    Write::End(status) => run.status == status,
                });
                if is_there {
                    world.broken = Some("what is stored is told as refused");
                }
            });
        }
        let Some(write) = it.next_write() else { return };
        if it.sent != Sent::Nothing || it.is_lost && self.has(Guard::Revoke) {
            return;
        }
        if self.has(Guard::Seat) && !self.world.has_seat(nth) {
            let words = "begins a transaction, and has no seat any more [Sql::Fence]";
            return self.of(nth, words, |world| world.processes[nth].lose());
        }
        self.of(nth, format_args!("passes the fence with {write:?} [Sql::Fence]"), |world| {
            world.processes[nth].sent = Sent::Open(write);
        });
    }

    /// What the server does with a transaction, whatever has become of its process.
    fn server(&mut self, nth: usize) {
        let it = self.world.processes[nth];
        let Sent::Open(write) = it.sent else { return };
        let (is_live, epoch) = (self.has(Guard::EndsOnce), self.has(Guard::Epoch));
        let who = WHO[nth];
        self.add(format_args!("the server commits {write:?} of {who} [COMMIT]"), |world| {
            let is_over = world.live().is_none();
            let may = world.run.is_some_and(|run| !epoch || run.epoch <= it.boot);
            let is_refused = match write {
                Write::Accept => world.run.is_some(),
                Write::Stop => !may || is_over,
                Write::End(_) => !may || is_live && is_over,
            };
            if !is_refused && !world.has_seat(nth) {
                world.broken = Some("a node writes whose runs another one has");
            }
            if !is_refused {
                apply(world, nth, write);
            }
            let it = &mut world.processes[nth];
            it.sent = if is_refused { Sent::Refused(write) } else { Sent::Stored(write) };
            match it.life {
                Life::Gone => it.sent = Sent::Nothing,
                Life::Up if !is_refused => it.heard(write),
                _ => {}
            }
        });
        if it.life == Life::Up && !self.has(Guard::ReadBack) {
            let words =
                format_args!("the server commits {write:?} of {who}, which loses the answer");
            self.add(words, |world| {
                apply(world, nth, write);
                world.processes[nth].sent = Sent::Nothing;
            });
        }
        self.add(format_args!("the server ends the session of {who}, and rolls back"), |world| {
            let it = &mut world.processes[nth];
            it.sent = if it.life == Life::Frozen { Sent::RolledBack } else { Sent::Nothing };
        });
    }

    fn take_over(&mut self, nth: usize) {
        let (it, own, other) = (self.world.processes[nth], NAMES[nth], 1 - NAMES[nth]);
        let has_seat = self.world.has_seat(nth) || !self.has(Guard::Seat);
        if it.is_lost || !has_seat {
            return;
        }
        let is_over = self.world.seats[other].is_some_and(|seat| seat.lease == 0);
        let waits = self.has(Guard::RowLock) && self.world.is_within(other);
        if is_over && !waits {
            let (doubts, moves) = (self.has(Guard::Doubt), self.has(Guard::OneStep));
            let hands_on = self.has(Guard::HandOn);
            let words = ["takes a over [Seat::take_over]", "takes b over [Seat::take_over]"];
            self.of(nth, words[other], |world| {
                if let Some(run) = &mut world.run
                    && run.owner == other
                    && (run.status == Status::Live || !run.is_quiescent)
                {
                    run.is_in_doubt |= doubts;
                }
                inherit(world, other, own);
                if moves {
                    inherit_stop(world, other, own, hands_on);
                }
                world.seats[other] = None;
                world.processes[nth].boot = world.next_boot();
            });
        }
        if self.world.seats[other].is_none()
            && self.world.asked == (Asked::Waits { owner: other })
            && !self.has(Guard::OneStep)
        {
            self.of(nth, "takes over the stops as well", |world| {
                inherit_stop(world, other, own, true);
            });
        }
        self.recover(nth);
    }

    /// `Engine::recover_held`, at the start and after a take-over, whether its answer came or not.
    fn recover(&mut self, nth: usize) {
        let (it, own) = (self.world.processes[nth], NAMES[nth]);
        let Some(run) = self.world.live().filter(|run| run.owner == own) else { return };
        if it.memory != Memory::Nothing || it.sent != Sent::Nothing || run.epoch == it.boot {
            return;
        }
        let waits =
            self.world.asked == Asked::Waits { owner: own } && self.has(Guard::RecoverAsked);
        let takes = |world: &mut World, memory| {
            let it = &mut world.processes[nth];
            (it.memory, it.is_accepted) = (memory, true);
            (it.is_stop_stored, it.is_end_stored) = (true, false);
        };
        if run.is_stopped || waits {
            let words = "decides: it was stopped, and ends with that cause [lost::stop_of]";
            return self.of(nth, words, |world| takes(world, Memory::Ended(Status::Cancelled)));
        }
        self.of(nth, "decides: it fails, its worker was lost [Recovery::Fail]", |world| {
            takes(world, Memory::Ended(Status::Failed));
        });
        self.of(nth, "decides: it goes on, and executes [Recovery::resume]", |world| {
            takes(world, Memory::Runs { is_stopped: false });
            world.processes[nth].is_stop_stored = false;
            if matches!(world.asked, Asked::Waits { .. } | Asked::Accepted) {
                world.broken = Some("a run goes on whose stop was acknowledged");
            }
        });
    }
}
