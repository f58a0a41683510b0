//! What is drawn: numbers, of which the present state of the rules makes something to do.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use quell::{OnBusy, RunStatus, StopMode};

use super::rules::Rules;

/// One story.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) bounds: Bounds,
    pub(super) draws: Vec<Draw>,
}

/// What one step is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    kind: u8,
    target: u8,
    detail: u16,
}

/// How many roots run, and how many wait; none is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) running: Option<usize>,
    pub(super) queued: Option<usize>,
}

/// What a root waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gate {
    pub(super) lane: Option<(u8, OnBusy)>,
    pub(super) priority: i8,
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Of a stubborn run the body goes on after a stop.
    Submit {
        gate: Gate,
        stubborn: bool,
    },
    Limit(Bounds),
    Order(usize, Order),
    /// A child, or work outside of the body, ends.
    EndChild(usize),
    EndWork(usize),
    /// A client asks for a pause.
    Pause(usize),
    Resume(usize),
    Cancel(usize, StopMode, Rollback),
    /// The next timer is due.
    Pass,
    /// The process is gone, and with it, if one is named, an acknowledgement that nobody has had.
    /// Of a run the next process knows a body if its bit is set.
    Crash {
        known: u16,
        lost: Option<Lost>,
    },
}

/// Whether a stop takes back what the run has saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rollback {
    Yes,
    No,
}

/// What was asked at the very end of a process, and is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    Cancel(usize),
    Resume(usize),
}

/// What a body is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Save,
    /// A child saves, and ends.
    SaveBelow,
    /// Starts a child that waits until it is told to end.
    Spawn,
    /// Begins work outside of the body.
    Work,
    Checkpoint,
    /// Asks, and ends its attempt.
    Ask {
        expires: bool,
    },
    /// A child asks, and the body passes it on.
    AskBelow,
    Return,
    Fail,
    Panic,
}

/// Stories of up to so many steps.
pub(super) fn scripts(steps: usize) -> impl Strategy<Value = Script> {
    let draw = (any::<u8>(), any::<u8>(), any::<u16>());
    let draw = draw.prop_map(|(kind, target, detail)| Draw { kind, target, detail });
    (any::<[u8; 2]>(), vec(draw, 4..steps))
        .prop_map(|(bounds, draws)| Script { bounds: bounds_of(bounds), draws })
}

fn bounds_of([running, queued]: [u8; 2]) -> Bounds {
    Bounds {
        running: (running % 4 > 0)
            .then_some([0, 1, 1, 1, 2, 2, 2, 3][usize::from(running / 4 % 8)]),
        queued: (queued % 8 >= 5).then_some(usize::from(queued / 8 % 4)),
    }
}

impl fmt::Debug for Script {
    /// The steps are in the message of the failure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} and {} steps", self.bounds, self.draws.len())
    }
}

impl Draw {
    /// Whether the engine comes to rest after it.
    pub(super) fn settles(self) -> bool {
        self.detail >> 13 != 7
    }

    /// Makes a command of it that has a meaning now, if there is one.
    pub(super) fn command(self, rules: &Rules) -> Option<Command> {
        let instead = || {
            let is_paused = |run| rules.status(run) == RunStatus::Paused;
            let paused = rules.pick(self.target, is_paused).filter(|_| self.detail % 2 == 1);
            paused.map(Command::Resume).or_else(|| pass(rules))
        };
        self.drawn(rules).or_else(instead)
    }

    fn drawn(self, rules: &Rules) -> Option<Command> {
        let Self { kind, target, detail } = self;
        Some(match kind % 32 {
            0..=4 => {
                let gate = gate_of(target);
                let joins = detail % 2 > 0 && rules.only_stops(gate);
                let join = |(lane, _)| (lane, OnBusy::JoinExisting);
                let lane = if joins { gate.lane.map(join) } else { gate.lane };
                Command::Submit { gate: Gate { lane, ..gate }, stubborn: detail % 3 == 2 }
            }
            5 | 6 => {
                let [running, queued] = detail.to_le_bytes();
                let tight = Bounds { running: Some(0), queued: (queued % 2 > 0).then_some(0) };
                Command::Limit(if target % 4 > 0 { bounds_of([running, queued]) } else { tight })
            }
            7..=17 => {
                let is_free = |run: usize| rules.takes_orders(run);
                let run = rules.pick(target, is_free)?;
                let order =
                    if rules.pause_is_asked(run) { Order::Checkpoint } else { order_of(detail) };
                Command::Order(run, order)
            }
            18 | 19 => Command::EndChild(rules.pick(target, |run| rules.children(run) > 0)?),
            20 => Command::EndWork(rules.pick(target, |run| rules.work(run) > 0)?),
            21 => {
                let may = |run| matches!(rules.status(run), RunStatus::Running | RunStatus::Queued);
                Command::Pause(rules.pick(target, may)?)
            }
            22..=24 => {
                let is_paused = |run| rules.status(run) == RunStatus::Paused;
                let any = |run| detail.is_multiple_of(8) || is_paused(run);
                Command::Resume(rules.pick(target, any)?)
            }
            28 if rules.is_delicate() => crash_of(rules, target, detail),
            25..=28 => cancel_of(rules, target, detail)?,
            29 => pass(rules)?,
            _ => crash_of(rules, target, detail),
        })
    }
}

/// Time goes on, if something is due.
fn pass(rules: &Rules) -> Option<Command> {
    rules.next_due().map(|_| Command::Pass)
}

fn cancel_of(rules: &Rules, target: u8, detail: u16) -> Option<Command> {
    // A stop that waits for its step is asked for once more: now it takes back what was saved.
    let waiting = rules.pick(target, |run| rules.stop_waits(run));
    if let Some(run) = waiting.filter(|_| detail % 4 == 1) {
        return Some(Command::Cancel(run, StopMode::AfterStep, Rollback::Yes));
    }
    let is_live = |run| detail.is_multiple_of(8) || !rules.status(run).is_terminal();
    let run = rules.pick(target, is_live)?;
    let mode = match detail / 16 % 8 {
        // What a body does with an order that it has not seen is not determined then.
        5 | 6 if !rules.has_order(run) => StopMode::Abort,
        4 | 7 => StopMode::AfterStep,
        _ => StopMode::Cooperative,
    };
    let rollback = if (detail / 128).is_multiple_of(3) { Rollback::Yes } else { Rollback::No };
    Some(Command::Cancel(run, mode, rollback))
}

fn gate_of(word: u8) -> Gate {
    let on_busy = match word / 8 % 8 {
        3 => OnBusy::Reject,
        4 => OnBusy::CancelExisting,
        5 => OnBusy::RollbackExisting,
        6 => OnBusy::JoinExisting,
        _ => OnBusy::Enqueue,
    };
    let lane = match word % 8 {
        0..=4 => Some((0, on_busy)),
        5 => Some((1, on_busy)),
        _ => None,
    };
    Gate { lane, priority: [0, 0, 1, -1][usize::from(word >> 6)] }
}

fn order_of(detail: u16) -> Order {
    match detail % 16 {
        0..=2 => Order::Save,
        3 => Order::SaveBelow,
        4 | 13 => Order::Spawn,
        5..=7 => Order::Work,
        8 => Order::Checkpoint,
        9..=11 => Order::Ask { expires: (detail / 16).is_multiple_of(2) },
        12 => Order::AskBelow,
        14 if (detail / 16).is_multiple_of(2) => Order::Panic,
        14 => Order::Fail,
        _ => Order::Return,
    }
}

fn crash_of(rules: &Rules, target: u8, detail: u16) -> Command {
    Command::Crash { known: detail | 0x101, lost: lost_of(rules, target) }
}

fn lost_of(rules: &Rules, target: u8) -> Option<Lost> {
    let is_live = |run| !rules.status(run).is_terminal();
    let is_paused = |run| rules.status(run) == RunStatus::Paused;
    let cancel = || rules.pick(target / 4, is_live).map(Lost::Cancel);
    match target % 5 {
        0 => cancel(),
        1..=3 => rules.pick(target / 4, is_paused).map(Lost::Resume).or_else(cancel),
        _ => None,
    }
}
