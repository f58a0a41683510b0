//! How requests of different urgency merge: `after_step` first, then whatever comes.
//!
//! The table is read row by row: what is asked when, what is answered, and how it all ends. The
//! grace of the run is 10 ms, its abort wait 4 ms, its own timeout 100 ms; the body listens and
//! never ends by itself unless the row says so. Times are milliseconds after the start.

use std::time::{Duration, Instant};

use quell_core::lifecycle::{
    Answer, BodyEnd, Effects, Input, Lifecycle, Rules, StopInput, Trigger,
};
use quell_core::{RunStatus, StopMode};

#[derive(Clone, Copy, Debug)]
enum Ask {
    /// Stop after the step; the escalation comes so many milliseconds later.
    AfterStep(u64),
    /// The same, with a grace of its own.
    AfterStepWithin(u64, u64),
    Cooperative,
    CooperativeWithin(u64),
    Abort,
    Checkpoint,
    /// The body returns.
    Return,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Scheduled(u64),
    /// Until then.
    Accepted(u64),
    AlreadyStopping(u64),
    Escalated(StopMode, StopMode),
    Terminal(RunStatus),
    /// A checkpoint found the request.
    Stops,
    Nothing,
}

struct Row {
    what: &'static str,
    asked: &'static [(u64, Ask, Said)],
    /// What accepted the stop, and when.
    accepted: Option<(u64, Trigger)>,
    ended: (u64, RunStatus),
}

use Ask::{Abort, AfterStep, AfterStepWithin, Checkpoint, Cooperative, CooperativeWithin, Return};
use RunStatus::{Cancelled, Completed, TimedOut};
use Said::{Accepted, AlreadyStopping, Escalated, Nothing, Scheduled, Stops, Terminal};

const TABLE: &[Row] = &[
    Row {
        what: "without a request a checkpoint does nothing, and the own timeout is the cause",
        asked: &[(5, Checkpoint, Nothing)],
        accepted: Some((100, Trigger::Timeout)),
        ended: (114, TimedOut),
    },
    Row {
        what: "a run that ends first keeps its own outcome",
        asked: &[
            (5, AfterStep(30), Scheduled(35)),
            (20, Return, Nothing),
            (21, Cooperative, Terminal(Completed)),
        ],
        accepted: None,
        ended: (20, Completed),
    },
    Row {
        what: "the next checkpoint stops, with the grace counted from there",
        asked: &[(5, AfterStep(30), Scheduled(35)), (8, Checkpoint, Stops)],
        accepted: Some((8, Trigger::Scheduled)),
        ended: (22, Cancelled),
    },
    Row {
        what: "every later checkpoint finds the same stop",
        asked: &[
            (5, AfterStep(30), Scheduled(35)),
            (8, Checkpoint, Stops),
            (9, Checkpoint, Nothing),
            (10, AfterStep(1), AlreadyStopping(18)),
        ],
        accepted: Some((8, Trigger::Scheduled)),
        ended: (22, Cancelled),
    },
    Row {
        what: "without a checkpoint it escalates in time",
        asked: &[(5, AfterStep(30), Scheduled(35))],
        accepted: Some((35, Trigger::Scheduled)),
        ended: (49, Cancelled),
    },
    Row {
        what: "asked again, the earlier escalation and the shorter grace hold",
        asked: &[
            (5, AfterStepWithin(30, 8), Scheduled(35)),
            (6, AfterStepWithin(10, 6), Scheduled(16)),
            (7, AfterStepWithin(50, 9), Scheduled(16)),
        ],
        accepted: Some((16, Trigger::Scheduled)),
        ended: (26, Cancelled),
    },
    Row {
        what: "zero escalates at once",
        asked: &[(5, AfterStep(0), Scheduled(5))],
        accepted: Some((5, Trigger::Scheduled)),
        ended: (19, Cancelled),
    },
    Row {
        what: "a cooperative request pre-empts it, and the first cause stands",
        asked: &[
            (5, AfterStep(30), Scheduled(35)),
            (7, Cooperative, Escalated(StopMode::AfterStep, StopMode::Cooperative)),
            (8, Cooperative, AlreadyStopping(17)),
        ],
        accepted: Some((7, Trigger::Scheduled)),
        ended: (21, Cancelled),
    },
    Row {
        what: "an abort pre-empts it without any grace",
        asked: &[
            (5, AfterStep(30), Scheduled(35)),
            (7, Abort, Escalated(StopMode::AfterStep, StopMode::Abort)),
        ],
        accepted: Some((7, Trigger::Scheduled)),
        ended: (11, Cancelled),
    },
    Row {
        what: "the own timeout pre-empts it, but the first cause stands: nobody timed out",
        asked: &[(95, AfterStep(30), Scheduled(125))],
        accepted: Some((100, Trigger::Scheduled)),
        ended: (114, Cancelled),
    },
    Row {
        what: "after a cooperative stop it is less urgent, and changes nothing",
        asked: &[(5, Cooperative, Accepted(15)), (6, AfterStep(0), AlreadyStopping(15))],
        accepted: Some((5, Trigger::Request)),
        ended: (19, Cancelled),
    },
    Row {
        what: "up all the way: each step escalates once",
        asked: &[
            (5, AfterStep(30), Scheduled(35)),
            (6, Cooperative, Escalated(StopMode::AfterStep, StopMode::Cooperative)),
            (7, Abort, Escalated(StopMode::Cooperative, StopMode::Abort)),
            (8, Abort, AlreadyStopping(7)),
            (8, CooperativeWithin(50), AlreadyStopping(7)),
        ],
        accepted: Some((6, Trigger::Scheduled)),
        ended: (11, Cancelled),
    },
    Row {
        what: "a shorter grace moves the deadline closer, a longer one does not move it",
        asked: &[
            (5, Cooperative, Accepted(15)),
            (6, CooperativeWithin(20), AlreadyStopping(15)),
            (7, CooperativeWithin(3), AlreadyStopping(10)),
            (8, CooperativeWithin(30), AlreadyStopping(10)),
        ],
        accepted: Some((5, Trigger::Request)),
        ended: (14, Cancelled),
    },
    Row {
        what: "a body that gives way ends the run at once",
        asked: &[
            (5, AfterStep(30), Scheduled(35)),
            (6, Checkpoint, Stops),
            (9, Return, Nothing),
            (10, Abort, Terminal(Cancelled)),
        ],
        accepted: Some((6, Trigger::Scheduled)),
        ended: (9, Cancelled),
    },
];

#[test]
fn i6_i7_requests_merge_to_the_first_cause_and_the_most_urgent_mode() {
    for row in TABLE {
        let mut run = Run::start();
        for (at, ask, said) in row.asked {
            run.serve(*at);
            assert_eq!(run.ask(*at, *ask), *said, "{}: {ask:?} at {at}", row.what);
        }
        run.serve(10_000);
        assert_eq!(run.accepted, row.accepted, "{}: what accepted the stop", row.what);
        assert_eq!(run.ended, Some(row.ended), "{}: the end", row.what);
    }
}

#[test]
fn i21_before_the_start_after_step_is_a_stop_at_once() {
    let mut run = Run::queued();
    assert_eq!(run.ask(3, AfterStep(30)), Accepted(3));
    assert!(run.feed(3, Input::Started).refused);
    run.feed(4, Input::BodyEnded(BodyEnd::Dropped));
    assert_eq!(run.ended, Some((4, Cancelled)));
}

/// A run whose timers are served on time.
struct Run {
    life: Lifecycle,
    born: Instant,
    accepted: Option<(u64, Trigger)>,
    ended: Option<(u64, RunStatus)>,
}

impl Run {
    fn queued() -> Self {
        let mut rules = Rules::new(Duration::from_millis(10), Duration::from_millis(4));
        rules.timeout = Some(Duration::from_millis(100));
        let born = Instant::now();
        Self { life: Lifecycle::new(&rules, born), born, accepted: None, ended: None }
    }

    fn start() -> Self {
        let mut run = Self::queued();
        run.feed(0, Input::Started);
        run
    }

    fn feed(&mut self, at: u64, input: Input) -> Effects {
        let fx = self.life.on(input, self.born + Duration::from_millis(at));
        self.accepted = self.accepted.or(fx.accepted.map(|trigger| (at, trigger)));
        self.ended = self.ended.or(fx.ended.map(|status| (at, status)));
        fx
    }

    /// Serves what falls due before this instant, or at it.
    fn serve(&mut self, until: u64) {
        while let Some(due) = self.life.next_wakeup() {
            let at = self.millis(due);
            if at > until {
                return;
            }
            let fx = self.feed(at, Input::Tick { active_at: self.born });
            fx.ladder.map(|stage| self.feed(at, Input::Ladder(stage)));
        }
    }

    fn ask(&mut self, at: u64, ask: Ask) -> Said {
        let millis = Duration::from_millis;
        let stop = |mode, grace: Option<u64>, escalate: u64| {
            let (grace, escalate_after) = (grace.map(millis), millis(escalate));
            Input::Stop(StopInput { mode, grace, wait: None, escalate_after })
        };
        let input = match ask {
            AfterStep(escalate) => stop(StopMode::AfterStep, None, escalate),
            AfterStepWithin(escalate, grace) => stop(StopMode::AfterStep, Some(grace), escalate),
            Cooperative => stop(StopMode::Cooperative, None, 0),
            CooperativeWithin(grace) => stop(StopMode::Cooperative, Some(grace), 0),
            Abort => stop(StopMode::Abort, None, 0),
            Checkpoint => Input::Checkpoint,
            Return => Input::BodyEnded(BodyEnd::Ok),
        };
        let fx = self.feed(at, input);
        match fx.answer {
            Some(Answer::Scheduled { escalate_at }) => Scheduled(self.millis(escalate_at)),
            Some(Answer::Accepted { hard }) => Accepted(self.millis(hard)),
            Some(Answer::AlreadyStopping { hard }) => AlreadyStopping(self.millis(hard)),
            Some(Answer::Escalated { from, to }) => Escalated(from, to),
            Some(Answer::AlreadyTerminal(status)) => Terminal(status),
            None if fx.accepted.is_some() => Stops,
            None => Nothing,
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }
}
