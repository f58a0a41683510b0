//! A lane of two nodes as a model of its own: each node submits one run of it, and what the other
//! one has by then decides. What leases, fences and stops are for is in the other model: here a
//! process that is killed executes nothing any more, and its lease is over then.
//!
//! A transaction decides when it begins, behind the lock of the lane, and takes effect when it is
//! committed, whatever has become of its process. Its answer may be lost.
//!
//! What a run has abandoned that a lost node has had before counts for nobody: it keeps no lane
//! once it has ended.

use std::fmt::Display;

use super::small_search::{Model, Next, Step};

/// A guard of lanes, which the model can leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// `LOCK`: who decides about a lane sees what was decided before.
    LaneLock,
    /// `make_ready`: a run that holds its lane here waits for its turn.
    Turn,
    /// `busy!`: a run keeps its lane until it is quiescent.
    UntilQuiescent,
    /// `LANES`, and holds of nodes in `busy!`: of what was lost nobody tells that it is quiescent.
    FreesLost,
    /// `TURNS`: a run that has its turn is yielded again.
    YieldsAgain,
}

/// A run in the memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Memory {
    Nothing,
    Waits {
        has_turn: bool,
    },
    Runs,
    /// It has ended: whether something of it executes still, and whether the end is stored.
    Over {
        executes: bool,
        is_stored: bool,
    },
}

/// A row of `run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Row {
    owner: usize,
    /// `turn`: none once it keeps no lane, though it is not quiescent.
    turn: Option<bool>,
    has_ended: bool,
    is_quiescent: bool,
    /// It has a hold of `Work::Node`.
    is_in_doubt: bool,
}

/// What a transaction that is under way has decided: of which run, and whether it has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sent {
    run: usize,
    has_turn: bool,
}

/// Of pairs the first is of the node `a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    is_up: [bool; 2],
    has_seat: [bool; 2],
    /// By processes, then by runs.
    memory: [[Memory; 2]; 2],
    was_submitted: [bool; 2],
    rows: [Option<Row>; 2],
    /// The run that was accepted first.
    first: Option<usize>,
    sent: [Option<Sent>; 2],
    /// Answers that are under way.
    answers: [Option<Sent>; 2],
}

const NAMES: [&str; 2] = ["a", "b"];

impl World {
    pub(super) const fn new() -> Self {
        Self {
            is_up: [true; 2],
            has_seat: [true; 2],
            memory: [[Memory::Nothing; 2]; 2],
            was_submitted: [false; 2],
            rows: [None; 2],
            first: None,
            sent: [None; 2],
            answers: [None; 2],
        }
    }

    /// How many runs of the lane execute, as far as somebody can tell.
    fn executing(&self) -> usize {
        let executes = |(run, it): &(usize, &Memory)| match it {
            Memory::Runs => true,
            Memory::Over { executes, .. } => {
                *executes && !self.rows[*run].is_some_and(|row| row.is_in_doubt)
            }
            Memory::Nothing | Memory::Waits { .. } => false,
        };
        self.memory.iter().flat_map(|runs| runs.iter().enumerate()).filter(executes).count()
    }

    /// The runs that have the lane or wait for it, in the order in which they were accepted.
    fn busy(&self, off: &[Guard]) -> Vec<(usize, Row)> {
        let first = self.first.unwrap_or(0);
        let rows = [first, 1 - first].map(|run| Some((run, self.rows[run]?)));
        let is_busy = |(_, row): &(usize, Row)| {
            let keeps = !off.contains(&Guard::UntilQuiescent) && !row.is_quiescent;
            let is_lost = row.is_in_doubt && !off.contains(&Guard::FreesLost);
            row.turn.is_some() && (!row.has_ended || keeps && !is_lost)
        };
        rows.into_iter().flatten().filter(is_busy).collect()
    }

    /// `RUNS` and `LANES`: what a name has becomes that of another one, or of a new process of it.
    fn inherit(&mut self, from: usize, to: usize, off: &[Guard]) {
        for row in self.rows.iter_mut().flatten().filter(|row| row.owner == from) {
            if !row.has_ended {
                row.owner = to;
                row.is_in_doubt |= from != to;
            } else if !row.is_quiescent && !off.contains(&Guard::FreesLost) {
                row.turn = None;
            }
        }
    }
}

impl Model for World {
    type Guard = Guard;

    fn steps(&self, off: &[Guard]) -> Vec<Step<Self>> {
        let mut next = Next::new(self, off);
        for nth in 0..2 {
            next.life(nth);
            next.server(nth);
            if self.is_up[nth] {
                next.answer(nth);
                for run in 0..2 {
                    next.body(nth, run);
                    next.begin(nth, run);
                    next.recover(nth, run);
                }
            }
        }
        next.steps
    }

    fn broken(&self) -> Option<&'static str> {
        (self.executing() > 1).then_some(OVERLAP)
    }

    /// Every run that was accepted has ended.
    fn is_decided(&self) -> bool {
        self.rows.iter().flatten().all(|row| row.has_ended) && self.sent == [None; 2]
    }
}

pub(super) const OVERLAP: &str = "two runs of a lane execute at once";

impl Next<'_, World> {
    fn of(&mut self, nth: usize, words: impl Display, change: impl FnOnce(&mut World)) {
        self.push(format!("{} {words}", NAMES[nth]), Some(nth), change);
    }

    fn life(&mut self, nth: usize) {
        let (off, other) = (self.off, 1 - nth);
        if !self.world.is_up[nth] {
            // It waits for the row of its member.
            if self.world.sent[nth].is_none() {
                self.of(nth, "is started and joins [Seat::take, inherit]", |world| {
                    world.inherit(nth, nth, off);
                    (world.is_up[nth], world.has_seat[nth]) = (true, true);
                });
            }
            return;
        }
        // Whoever lives on is not helped by its own end.
        self.push(format!("{} is killed", NAMES[nth]), Some(other), |world| {
            (world.is_up[nth], world.answers[nth]) = (false, None);
            world.memory[nth] = [Memory::Nothing; 2];
        });
        if !self.world.was_submitted[nth] {
            self.of(nth, "submits its run [Engine::submit]", |world| {
                world.was_submitted[nth] = true;
                world.memory[nth][nth] = Memory::Waits { has_turn: false };
            });
        }
        let is_over = !self.world.is_up[other] && self.world.has_seat[other];
        if is_over && self.world.sent[other].is_none() {
            self.of(nth, format_args!("takes {} over [Seat::take_over]", NAMES[other]), |world| {
                world.inherit(other, nth, off);
                world.has_seat[other] = false;
            });
        }
    }

    /// What becomes of the body of a run.
    fn becomes(&mut self, nth: usize, run: usize, (words, memory): (&str, Memory)) {
        self.of(nth, format_args!("{words} the run of {}", NAMES[run]), |world| {
            world.memory[nth][run] = memory;
        });
    }

    fn body(&mut self, nth: usize, run: usize) {
        let over = |executes, is_stored| Memory::Over { executes, is_stored };
        match self.world.memory[nth][run] {
            Memory::Waits { has_turn } if has_turn || !self.has(Guard::Turn) => {
                self.becomes(nth, run, ("starts", Memory::Runs));
            }
            Memory::Runs => {
                self.becomes(nth, run, ("ends", over(false, false)));
                self.becomes(nth, run, ("ends, and abandons a body of,", over(true, false)));
            }
            Memory::Over { executes: true, is_stored } => {
                self.becomes(nth, run, ("sees quiesce", over(false, is_stored)));
                if !is_stored {
                    self.store_end(nth, run, true);
                }
            }
            Memory::Over { executes: false, .. } => self.store_end(nth, run, false),
            Memory::Nothing | Memory::Waits { .. } => {}
        }
    }

    /// Stores how a run has ended, or that it has quiesced.
    fn store_end(&mut self, nth: usize, run: usize, executes: bool) {
        self.of(nth, format_args!("stores how the run of {} stands", NAMES[run]), |world| {
            let stays = Memory::Over { executes, is_stored: true };
            world.memory[nth][run] = if executes { stays } else { Memory::Nothing };
            if let Some(row) = &mut world.rows[run] {
                row.has_ended = true;
                row.is_quiescent = !executes && !row.is_in_doubt;
            }
        });
    }

    /// A transaction that accepts a run, or asks for its turn: it decides by what the lane has.
    fn begin(&mut self, nth: usize, run: usize) {
        let World { memory, rows, sent, answers, .. } = self.world;
        let is_free = !self.has(Guard::LaneLock) || sent[1 - nth].is_none();
        let is_idle = sent[nth].is_none() && answers[nth].is_none();
        if memory[nth][run] != (Memory::Waits { has_turn: false }) || !is_free || !is_idle {
            return;
        }
        let busy = self.world.busy(self.off);
        let holder = busy.iter().find(|(_, row)| row.turn == Some(true));
        let Some(row) = rows[run] else {
            let has_turn = busy.is_empty();
            return self.of(nth, "begins to store its run [LOCK, ACCEPT]", |world| {
                world.sent[nth] = Some(Sent { run, has_turn });
            });
        };
        if row.owner != nth || row.has_ended {
            return;
        }
        let words = format!("asks for the turn of the run of {}", NAMES[run]);
        if let Some((holder, _)) = holder {
            if *holder == run && self.has(Guard::YieldsAgain) {
                self.of(nth, format_args!("{words}, which has it [TURNS]"), |world| {
                    world.answers[nth] = Some(Sent { run, has_turn: true });
                });
            }
            return;
        }
        let first = busy.iter().find(|(_, row)| !row.has_ended);
        if first.is_none_or(|(_, row)| row.owner == nth) {
            self.of(nth, format_args!("{words} [LOCK, TURNS]"), |world| {
                world.sent[nth] = Some(Sent { run, has_turn: true });
            });
        }
    }

    /// What the server does with a transaction, whatever has become of its process.
    fn server(&mut self, nth: usize) {
        let Some(sent) = self.world.sent[nth] else { return };
        self.push(format!("the server commits what {} has begun", NAMES[nth]), None, |world| {
            let Sent { run, has_turn } = sent;
            let (owner, turn) = (nth, Some(has_turn));
            let new =
                Row { owner, turn, has_ended: false, is_quiescent: false, is_in_doubt: false };
            world.rows[run].get_or_insert(new).turn = turn;
            world.first = world.first.or(Some(run));
            world.sent[nth] = None;
            world.answers[nth] = world.is_up[nth].then_some(sent);
        });
        self.push(format!("the server rolls back what {} has begun", NAMES[nth]), None, |world| {
            world.sent[nth] = None;
        });
    }

    fn answer(&mut self, nth: usize) {
        let Some(Sent { run, has_turn }) = self.world.answers[nth] else { return };
        let words = if has_turn { "hears that it has its turn" } else { "hears that it waits" };
        self.of(nth, format_args!("{words} [take_placed, give_turn]"), |world| {
            world.answers[nth] = None;
            if let Memory::Waits { has_turn: knows } = &mut world.memory[nth][run] {
                *knows = has_turn;
            }
        });
        self.of(nth, "loses the answer", |world| world.answers[nth] = None);
    }

    /// `Engine::recover_held`, at the start and after a take-over.
    fn recover(&mut self, nth: usize, run: usize) {
        let Some(row) = self.world.rows[run] else { return };
        let is_new = self.world.memory[nth][run] == Memory::Nothing;
        if row.owner != nth || row.has_ended || !is_new {
            return;
        }
        let words = format!("decides that the run of {}", NAMES[run]);
        self.of(nth, format_args!("{words} fails [Recovery::Fail]"), |world| {
            world.memory[nth][run] = Memory::Over { executes: false, is_stored: false };
        });
        self.of(nth, format_args!("{words} goes on [Recovery::resume]"), |world| {
            world.memory[nth][run] = Memory::Waits { has_turn: false };
        });
    }
}
