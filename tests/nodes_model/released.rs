//! A run that waits, and is given up by a node that ends, as a model of its own: while a stop of it
//! is asked for. What leases and crashes are for is in the other model.
//!
//! A transaction sees what was committed before its statement began. `PUT` reads who has the run,
//! puts the stop into the inbox of that one, and commits; to give a run up is two statements, of
//! the run and of its stops.

use super::small_search::{Model, Next, Step};

/// A guard of what is given up, which the model can leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// `still … for key share` in `PUT`: whoever asks has the run locked, as the one that it has
    /// read to be the owner still has it. While that gives it up, it is looked again.
    Still,
    /// `RELEASE_STOPS`: what waits for a run goes with it.
    Stops,
    /// `RELEASE_STOPS` is a statement behind that which locks the run.
    Behind,
}

/// Who has the run, or is asked: the row of nobody has what was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Name {
    A,
    Nobody,
    B,
}

/// The stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asked {
    Nothing,
    /// The statement has begun, and sees this owner.
    Begun(Name),
    /// The row is there, and not committed.
    Put(Name),
    /// It is committed: its caller may have been told [`Recorded`](quell::Disposition).
    Waits(Name),
    Answered,
}

/// How far a node has given up the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Release {
    Nothing,
    /// It is about to move the run.
    Begun,
    /// The run is moved, and locked until the end.
    Run,
    /// Its stops are as well: the one that was committed by then.
    Stops {
        moves: bool,
    },
    Done,
}

/// How the run stands, where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Run {
    Waits,
    Executes,
    Cancelled,
    Completed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    owner: Name,
    run: Run,
    asked: Asked,
    release: Release,
    /// The seat of `a` was taken away, with what it had.
    is_gone: bool,
    broken: Option<&'static str>,
}

pub(super) const GOES_ON: &str = "a run goes on whose stop was acknowledged";

impl World {
    pub(super) const fn new() -> Self {
        Self {
            owner: Name::A,
            run: Run::Waits,
            asked: Asked::Nothing,
            release: Release::Nothing,
            is_gone: false,
            broken: None,
        }
    }

    /// `Seat::take_over`, and the decision behind it: a stop that waits for whom it takes over from
    /// is that of its run.
    fn take_over(&mut self, from: Name) {
        let is_asked = self.asked == Asked::Waits(from);
        if is_asked {
            self.asked = Asked::Waits(Name::B);
        }
        self.is_gone |= from == Name::A;
        if self.owner != from {
            return;
        }
        self.owner = Name::B;
        self.run = if is_asked { Run::Cancelled } else { Run::Executes };
        if !is_asked && matches!(self.asked, Asked::Waits(_)) {
            self.broken = Some(GOES_ON);
        }
    }

    fn is_live(&self) -> bool {
        matches!(self.run, Run::Waits | Run::Executes)
    }

    /// Whether whoever asks has the row of a member locked.
    fn holds_seat(&self, of: Name) -> bool {
        self.asked == Asked::Put(of)
    }
}

impl Model for World {
    type Guard = Guard;

    fn steps(&self, off: &[Guard]) -> Vec<Step<Self>> {
        let mut next = Next::new(self, off);
        next.ask();
        next.give_up();
        for (from, words) in [(Name::A, "a"), (Name::Nobody, "what a has given up")] {
            let is_there = match from {
                Name::A => {
                    !self.is_gone && matches!(self.release, Release::Nothing | Release::Done)
                }
                _ => self.owner == from,
            };
            if is_there && !self.holds_seat(from) {
                next.push(format!("b takes {words} over [Seat::take_over]"), None, |world| {
                    world.take_over(from);
                });
            }
        }
        next.end();
        next.steps
    }

    fn broken(&self) -> Option<&'static str> {
        self.broken
    }

    fn is_decided(&self) -> bool {
        !self.is_live() && !matches!(self.asked, Asked::Waits(_))
    }
}

impl Next<'_, World> {
    /// `PUT`, by a third node.
    fn ask(&mut self) {
        match self.world.asked {
            Asked::Nothing if self.world.is_live() => {
                self.push("c begins to ask for a stop [PUT]".into(), None, |world| {
                    world.asked = Asked::Begun(world.owner);
                });
            }
            Asked::Begun(owner) => self.put(owner),
            Asked::Put(owner) => self.push("its stop is committed".into(), None, |world| {
                world.asked = Asked::Waits(owner);
            }),
            _ => {}
        }
    }

    fn put(&mut self, owner: Name) {
        let has_seat = match owner {
            Name::A => !self.world.is_gone,
            Name::Nobody => self.world.owner == Name::Nobody,
            Name::B => true,
        };
        let is_locked = match self.world.release {
            Release::Run => true,
            Release::Stops { .. } => self.has(Guard::Behind),
            _ => false,
        };
        let is_still = !self.has(Guard::Still) || self.world.owner == owner && !is_locked;
        let to = if has_seat && is_still { Asked::Put(owner) } else { Asked::Nothing };
        let words = if to == Asked::Nothing { "looks again" } else { "puts the stop to the owner" };
        self.push(format!("c {words}"), None, |world| world.asked = to);
    }

    /// `Seat::release`, by the first node, which is about to leave.
    fn give_up(&mut self) {
        let waits = self.has(Guard::Still) && self.world.asked == Asked::Put(Name::A);
        let moves = self.has(Guard::Stops) && self.world.asked == Asked::Waits(Name::A);
        let has_it = self.world.owner == Name::A && !self.world.is_gone;
        if matches!(self.world.release, Release::Begun | Release::Run | Release::Stops { .. }) {
            self.push("the server ends the session of a, and rolls back".into(), None, |world| {
                world.release = Release::Nothing;
            });
        }
        let (words, to) = match self.world.release {
            Release::Nothing if has_it && !self.has(Guard::Behind) => {
                ("moves its stops", Release::Stops { moves })
            }
            Release::Nothing if has_it => ("begins to give the run up", Release::Begun),
            Release::Begun if !waits => ("moves the run [RELEASE]", Release::Run),
            Release::Run => ("moves its stops [RELEASE_STOPS]", Release::Stops { moves }),
            Release::Stops { .. } if !waits => ("has given the run up", Release::Done),
            _ => return,
        };
        self.push(format!("a {words}"), Some(0), |world| {
            if to == Release::Done {
                world.owner = Name::Nobody;
                if world.release == (Release::Stops { moves: true }) {
                    world.asked = Asked::Waits(Name::Nobody);
                }
            }
            world.release = to;
        });
    }

    fn end(&mut self) {
        if self.world.run == Run::Executes {
            self.push("b ends the body, which is through".into(), None, |world| {
                world.run = Run::Completed;
            });
        }
        if self.world.asked == Asked::Waits(Name::B) {
            self.push("b carries the stop out, and answers [INBOX]".into(), None, |world| {
                world.asked = Asked::Answered;
                if world.run == Run::Executes {
                    world.run = Run::Cancelled;
                }
            });
        }
    }
}
