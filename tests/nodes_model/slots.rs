//! The slots of a limit of all nodes as a model of its own: two nodes take and give back one at a
//! time. What leases and fences are for is in the other model: here a process that is killed
//! executes nothing any more, and its lease is over then.
//!
//! An exchange is decided by what was read, and takes effect when it is committed. Its process may
//! have given up on it by then, or be gone. How slots are shared is left out: whoever wants one
//! asks as often as it likes. So are the runs that are decided by whoever has taken over.

use std::fmt::Display;

use super::small_search::{Model, Next, Step};

/// A guard of limits, which the model can leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// `taken + $5 <= max` in `WRITE`: what a member takes is free.
    Room,
    /// `joined = $2` in `WRITE`: a process that has lost its seat changes nothing.
    Seat,
    /// `p.nr < $4` in `WRITE`: an exchange that comes late changes nothing.
    Number,
    /// `unsure` in `Member::exchange`: behind a lost answer it writes, also if nothing changes.
    Writes,
    /// `Account::decide`: what is given back is not used from then on.
    FallsFirst,
    /// `INHERIT` is in the transaction that takes the seat away.
    OneStep,
    /// `delete` in `INHERIT`: who had the slots has them no more.
    Moves,
}

/// How many slots there are.
const MAX: u8 = 2;

/// An exchange whose process does not wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Late {
    change: i8,
    /// A process has joined since, or the seat was taken away.
    is_former: bool,
    /// A later one was committed.
    is_old: bool,
}

/// What a process has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Exchange {
    Nothing,
    Sent {
        change: i8,
    },
    /// The answer is under way.
    Done {
        held: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Process {
    is_up: bool,
    has_seat: bool,
    /// `Account::held`, and how many runs hold one.
    held: u8,
    runs: u8,
    is_unsure: bool,
    exchange: Exchange,
    late: Option<Late>,
    /// `quota_part.held`.
    part: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    processes: [Process; 2],
    /// `quota.taken`.
    taken: u8,
}

const NAMES: [&str; 2] = ["a", "b"];

impl World {
    pub(super) const fn new() -> Self {
        let new = Process {
            is_up: true,
            has_seat: true,
            held: 0,
            runs: 0,
            is_unsure: true,
            exchange: Exchange::Nothing,
            late: None,
            part: 0,
        };
        Self { processes: [new; 2], taken: 0 }
    }

    /// `WRITE`: changes what one has, if there is room.
    fn write(&mut self, nth: usize, change: i8, off: &[Guard]) -> Option<u8> {
        let taken = self.taken.checked_add_signed(change)?;
        let own = &mut self.processes[nth];
        if change > 0 && taken > MAX && !off.contains(&Guard::Room) {
            return None;
        }
        own.part = own.part.checked_add_signed(change)?;
        self.taken = taken;
        if let Some(late) = &mut own.late {
            late.is_old = true;
        }
        Some(own.part)
    }
}

impl Model for World {
    type Guard = Guard;

    fn steps(&self, off: &[Guard]) -> Vec<Step<Self>> {
        let mut next = Next::new(self, off);
        for nth in 0..2 {
            next.life(nth);
            next.server(nth);
            if self.processes[nth].is_up {
                next.runs(nth);
                next.exchange(nth);
            }
        }
        next.steps
    }

    fn broken(&self) -> Option<&'static str> {
        let [a, b] = &self.processes;
        if a.runs + b.runs > MAX {
            return Some(OVER);
        }
        (a.part + b.part != self.taken).then_some(MISCOUNTED)
    }

    fn is_decided(&self) -> bool {
        self.taken == 0
    }
}

pub(super) const OVER: &str = "more runs hold a slot than there are";
pub(super) const MISCOUNTED: &str = "members have more or fewer slots than are taken";

impl Next<'_, World> {
    fn of(&mut self, nth: usize, words: impl Display, change: impl FnOnce(&mut Process)) {
        self.push(format!("{} {words}", NAMES[nth]), Some(nth), |world| {
            change(&mut world.processes[nth]);
        });
    }

    fn life(&mut self, nth: usize) {
        let (own, other) = (self.world.processes[nth], 1 - nth);
        if !own.is_up {
            return self.of(nth, "is started and joins [Seat::take, RESTART]", |own| {
                let late = own.late.map(|late| Late { is_former: true, ..late });
                *own = Process { late, part: own.part, ..World::new().processes[nth] };
            });
        }
        // Whoever lives on is not helped by its own end.
        self.push(format!("{} is killed", NAMES[nth]), Some(other), |world| {
            let own = &mut world.processes[nth];
            if let Exchange::Sent { change } = own.exchange {
                own.late.get_or_insert(Late { change, is_former: false, is_old: false });
            }
            (own.is_up, own.held, own.runs) = (false, 0, 0);
            (own.is_unsure, own.exchange) = (true, Exchange::Nothing);
        });
        let gone = self.world.processes[other];
        if gone.is_up || !gone.has_seat {
            return;
        }
        let (has_one_step, moves) = (self.has(Guard::OneStep), self.has(Guard::Moves));
        let words = format!("{} takes {} over [Seat::take_over]", NAMES[nth], NAMES[other]);
        self.push(words, Some(nth), |world| {
            let gone = &mut world.processes[other];
            gone.has_seat = false;
            gone.late = gone.late.map(|late| Late { is_former: true, ..late });
            let part = gone.part;
            if has_one_step {
                if moves {
                    gone.part = 0;
                }
                world.processes[nth].part += part;
            }
        });
    }

    fn runs(&mut self, nth: usize) {
        let own = self.world.processes[nth];
        if own.runs < own.held {
            self.of(nth, "starts a run", |own| own.runs += 1);
        }
        if own.runs > 0 {
            self.of(nth, "sees a run quiesce", |own| own.runs -= 1);
        }
    }

    /// `Account::decide`, `Account::answered`, and `Member::exchange`.
    fn exchange(&mut self, nth: usize) {
        let own = self.world.processes[nth];
        match own.exchange {
            Exchange::Nothing => self.ask(nth, own),
            Exchange::Sent { change } => {
                // What was sent before has left by then: one session is dropped with its call.
                if own.late.is_none() {
                    self.of(nth, "gives up on its exchange", |own| {
                        own.late = Some(Late { change, is_former: false, is_old: false });
                        (own.exchange, own.is_unsure) = (Exchange::Nothing, true);
                    });
                }
            }
            Exchange::Done { held } => {
                self.of(nth, format_args!("hears that it has {held}"), |own| {
                    (own.held, own.is_unsure) = (held, false);
                    own.exchange = Exchange::Nothing;
                });
                self.of(nth, "loses the answer", |own| {
                    (own.exchange, own.is_unsure) = (Exchange::Nothing, true);
                });
            }
        }
    }

    fn ask(&mut self, nth: usize, own: Process) {
        let falls_first = self.has(Guard::FallsFirst);
        if own.held > own.runs && !own.is_unsure {
            self.of(nth, "gives a slot back [SlotsAsked::give]", |own| {
                own.held -= u8::from(falls_first);
                own.exchange = Exchange::Sent { change: -1 };
            });
        }
        if self.world.taken < MAX {
            self.of(nth, "asks for a slot [READ]", |own| {
                own.exchange = Exchange::Sent { change: 1 };
            });
        }
        if own.is_unsure && !self.has(Guard::Writes) {
            let held = own.part;
            self.of(nth, "reads what it has [READ]", |own| own.exchange = Exchange::Done { held });
        } else {
            self.of(nth, "asks what it has", |own| own.exchange = Exchange::Sent { change: 0 });
        }
    }

    /// What the server does with exchanges, whatever has become of their processes.
    fn server(&mut self, nth: usize) {
        let (own, off) = (self.world.processes[nth], self.off);
        if let Exchange::Sent { change } = own.exchange {
            let words = format!("the server commits what {} has sent [WRITE]", NAMES[nth]);
            self.push(words, None, |world| {
                let held = world.write(nth, change, off);
                world.processes[nth].exchange =
                    held.map_or(Exchange::Nothing, |held| Exchange::Done { held });
            });
        }
        let Some(late) = own.late else { return };
        let is_refused =
            late.is_former && self.has(Guard::Seat) || late.is_old && self.has(Guard::Number);
        let words = format!("the server comes to what {} had sent before [WRITE]", NAMES[nth]);
        self.push(words, None, |world| {
            world.processes[nth].late = None;
            if !is_refused {
                world.write(nth, late.change, off);
            }
        });
        self.push(format!("what {} had sent before is lost", NAMES[nth]), None, |world| {
            world.processes[nth].late = None;
        });
    }
}
