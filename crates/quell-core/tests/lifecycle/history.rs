//! Random histories of what may happen to a run, as data that shrinks and reads well.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::Strategy;
use quell_core::lifecycle::{BodyEnd, Input, Rules, Stage, StopInput};
use quell_core::{NewLimits, StopDelivery, StopMode};

/// A run, what happens to it, and how it is brought to its end.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) setup: Setup,
    pub(crate) ops: Vec<Op>,
}

/// The run, and the manners of its world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) grace: Duration,
    pub(crate) wait: Duration,
    pub(crate) stop_delivery: StopDelivery,
    pub(crate) timeout: Option<Duration>,
    pub(crate) start_within: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    /// Of two timers that are due at once, the ancestor's is first.
    pub(crate) ancestor_first: bool,
    /// What happens when the list of operations is through.
    pub(crate) finish: Finish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// It is stopped, and nothing of it ends by itself.
    Stop,
    /// Body, children and work end.
    Naturally,
}

/// One thing that may happen. What is impossible when its turn comes is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// Time passes, timers are served when they are due.
    Wait(Duration),
    /// The body starts, and its first poll returns if it parks.
    Start {
        parks: bool,
    },
    /// The first poll of the body returns.
    Park,
    /// The body uses the stop API.
    Listen,
    /// A sign of life.
    Emit,
    AddChild {
        shielded: bool,
    },
    EndChild(ChildEnd),
    /// The handle of a child that failed is dropped.
    DisownChild,
    DetachChild,
    /// A child that ended non-quiescent quiesces.
    QuiesceChild,
    AddWork {
        shielded: bool,
    },
    EndWork,
    AddHook {
        at_end: bool,
    },
    EndBody(BodyEnd),
    Stop(StopInput),
    ParentStop {
        grace: Duration,
        wait: Duration,
        mode: StopMode,
        own_grace: Option<Duration>,
    },
    Checkpoint,
    /// The run is to have other limits.
    SetLimits([Change; 3]),
    /// A tick that nobody asked for.
    SpuriousTick,
    /// Time passes, and the control thread is late for whatever falls due.
    Oversleep(Duration),
}

/// What becomes of a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Keep,
    Is(Option<Duration>),
}

/// The limits of a run: its timeout, the time to its start, and the idle limit.
pub(crate) type Limits = [Option<Duration>; 3];

/// Yields what a run has after changes.
pub(crate) fn changed(mut limits: Limits, changes: [Change; 3]) -> Limits {
    for (limit, change) in limits.iter_mut().zip(changes) {
        if let Change::Is(time) = change {
            *limit = time;
        }
    }
    limits
}

/// Yields what the run is asked to have.
pub(crate) fn new_limits([timeout, start_within, idle]: [Change; 3]) -> NewLimits {
    let mut new = NewLimits::new();
    if let Change::Is(time) = timeout {
        new = new.timeout(time);
    }
    if let Change::Is(time) = start_within {
        new = new.start_within(time);
    }
    if let Change::Is(time) = idle {
        new = new.idle(time);
    }
    new
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum ChildEnd {
    Quietly,
    /// It failed and its handle is held.
    FailedSeen,
    /// It failed and its handle is gone.
    FailedUnseen,
    /// Something of it goes on.
    NonQuiescent,
    /// As `NonQuiescent`, and the news that it quiesced overtakes the news that it ended.
    NonQuiescentOvertaken,
}

impl Setup {
    pub(crate) const fn limits(&self) -> Limits {
        [self.timeout, self.start_within, self.idle]
    }

    pub(crate) fn rules(&self) -> Rules {
        let mut rules = Rules::new(self.grace, self.wait);
        rules.stop_delivery = self.stop_delivery;
        rules.timeout = self.timeout;
        rules.start_within = self.start_within;
        rules.idle = self.idle;
        rules
    }
}

impl History {
    /// Tells whether every timer is served when it is due.
    pub(crate) fn is_punctual(&self) -> bool {
        !self.ops.iter().any(|op| matches!(op, Op::Oversleep(_)))
    }
}

/// Histories in which every timer is served on time, and histories in which some are late.
pub(crate) fn histories() -> impl Strategy<Value = History> {
    let words = vec(any::<u32>(), 0..28);
    (any::<u64>(), any::<bool>(), words).prop_map(|(setup, late, words)| History {
        setup: setup_of(setup),
        ops: words.into_iter().map(|word| op_of(word, late)).collect(),
    })
}

/// Any request to stop.
pub(crate) fn any_stop() -> impl Strategy<Value = StopInput> {
    any::<[u8; 3]>().prop_map(|[a, b, c]| stop_of(a, b, c))
}

fn setup_of(word: u64) -> Setup {
    let [grace, wait, delivery, timeout, start_within, idle, first, finish] = word.to_le_bytes();
    Setup {
        grace: time(grace),
        wait: time(wait),
        stop_delivery: match delivery % 4 {
            0 | 1 => StopDelivery::Auto,
            2 => StopDelivery::Signal,
            _ => StopDelivery::Drop,
        },
        timeout: rarely(timeout),
        start_within: rarely(start_within),
        idle: rarely(idle),
        ancestor_first: first % 2 == 1,
        finish: if finish % 2 == 0 { Finish::Stop } else { Finish::Naturally },
    }
}

fn op_of(word: u32, late: bool) -> Op {
    let [a, b, c, kind] = word.to_le_bytes();
    let shielded = a % 3 == 2;
    match kind % 42 {
        0..=6 if late && a % 4 == 3 => Op::Oversleep(time(b)),
        0..=6 => Op::Wait(time(a)),
        7..=11 => Op::Start { parks: a % 4 != 3 },
        12 => Op::Listen,
        13 => Op::Emit,
        14..=17 => Op::AddChild { shielded },
        18..=20 => Op::EndChild(match a % 8 {
            0..=2 => ChildEnd::Quietly,
            3 => ChildEnd::FailedSeen,
            4 | 5 => ChildEnd::FailedUnseen,
            6 => ChildEnd::NonQuiescent,
            _ => ChildEnd::NonQuiescentOvertaken,
        }),
        21 => Op::DisownChild,
        22 => Op::DetachChild,
        23 => Op::QuiesceChild,
        24 | 25 => Op::AddWork { shielded },
        26 => Op::EndWork,
        27 | 28 => Op::AddHook { at_end: a % 2 == 1 },
        29 | 30 => Op::EndBody(match a % 4 {
            0 | 1 => BodyEnd::Ok,
            2 => BodyEnd::Err,
            _ => BodyEnd::Dropped,
        }),
        31..=34 => Op::Stop(stop_of(a, b, c)),
        35 | 36 => Op::ParentStop {
            grace: time(a),
            wait: time(b),
            mode: if c % 8 == 7 { StopMode::Abort } else { StopMode::Cooperative },
            own_grace: rarely(c),
        },
        37 | 38 => Op::Checkpoint,
        40 | 41 => Op::SetLimits([change(a), change(b), change(c)]),
        _ if a % 2 == 0 => Op::Park,
        _ => Op::SpuriousTick,
    }
}

fn stop_of(a: u8, b: u8, c: u8) -> StopInput {
    StopInput {
        mode: match a % 5 {
            0 | 1 => StopMode::Cooperative,
            2 | 3 => StopMode::AfterStep,
            _ => StopMode::Abort,
        },
        grace: (a & 0x40 != 0).then(|| time(b)),
        wait: (a & 0x80 != 0).then(|| time(b >> 3)),
        escalate_after: time(c),
    }
}

/// Few different times, so that many things fall due at once.
fn time(byte: u8) -> Duration {
    const MILLIS: [u64; 8] = [0, 1, 2, 3, 4, 6, 10, 30];
    Duration::from_millis(MILLIS[usize::from(byte % 8)])
}

fn change(byte: u8) -> Change {
    match byte % 4 {
        0 | 1 => Change::Keep,
        2 => Change::Is(None),
        _ => Change::Is(Some(time(byte / 4))),
    }
}

fn rarely(byte: u8) -> Option<Duration> {
    (byte % 3 == 2).then(|| time(byte / 3))
}

/// Any input, possible or not, at any time.
pub(crate) fn any_input(word: u16, start: Instant) -> Input {
    let [a, b] = word.to_le_bytes();
    let flag = a & 0x80 != 0;
    let hard = start + time(a);
    match b % 23 {
        0 => Input::Started,
        1 => Input::ChildAdded { shielded: flag },
        2 => Input::ChildEnded { unseen_failure: a & 1 != 0, non_quiescent: flag },
        3 => Input::ChildDisowned,
        4 => Input::ChildLeft,
        5 => Input::ChildQuiesced,
        6 => Input::WorkAdded { shielded: flag },
        7 => Input::WorkEnded,
        8 => Input::HookAdded { at_end: flag },
        9 => Input::BodyEnded(BodyEnd::Ok),
        10 => Input::BodyEnded(BodyEnd::Err),
        11 => Input::BodyEnded(BodyEnd::Dropped),
        12..=14 => Input::Stop(stop_of(a, b, a)),
        15 => {
            let (wait, mode) = (time(b), StopMode::Cooperative);
            Input::ParentStopped { hard, wait, mode, own_grace: rarely(a) }
        }
        16 => Input::Checkpoint,
        17 => Input::Tick { active_at: hard },
        18 => Input::Judged { listens: flag },
        19 => Input::WorkAbandoned,
        20 => Input::AbandonedEnded,
        21 => Input::LimitsChanged {
            limits: new_limits([change(a), change(a / 4), change(a / 16)]),
            queued_at: start,
            active_at: hard,
        },
        _ => Input::Ladder(match a % 4 {
            0 => Stage::Signalled,
            1 => Stage::Abort,
            2 => Stage::AbortAll,
            _ => Stage::Abandon,
        }),
    }
}
