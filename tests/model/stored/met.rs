//! [`Met`]: what has happened in stories, by the rules. A test that meets nothing proves nothing.

use std::collections::BTreeMap;

use quell::{OnBusy, RunStatus, StopMode};

use super::queue::Refused;
use super::rules::{Asker, Run, Said};
use super::script::{Command, Gate, Order, Rollback};

/// How often each thing has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Met(BTreeMap<&'static str, u32>);

impl Met {
    pub(super) fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    fn times(&self, what: &str) -> u32 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// Prints what was met, and fails if one thing happened less often than that. What happens in
    /// few stories is asked for if there were many.
    #[expect(clippy::print_stdout, reason = "libtest has it with a failure, or if it is asked")]
    pub(super) fn assert_all(&self, least: u32, were_many: bool) {
        println!("{:#?}", self.0);
        let seldom = SELDOM.iter().filter(|_| were_many);
        let times = OFTEN.iter().chain(seldom).map(|what| (*what, self.times(what)));
        let rare: Vec<_> = times.filter(|(_, times)| *times < least).collect();
        assert!(rare.is_empty(), "not even {least} times: {rare:#?}");
        let is_listed = |what: &str| OFTEN.contains(&what) || SELDOM.contains(&what);
        let unlisted: Vec<_> = self.0.keys().filter(|what| !is_listed(what)).collect();
        assert!(unlisted.is_empty(), "these are in no list: {unlisted:#?}");
    }

    /// Something is asked of the engine, or of a body.
    pub(super) fn command(&mut self, command: Command) {
        self.note(match command {
            Command::Submit { stubborn: false, .. } => "submit",
            Command::Submit { stubborn: true, .. } => "submit, stubborn",
            Command::Limit(_) => "limits change",
            Command::Order(_, order) => name_of(order),
            Command::EndChild(_) => "a child is to end",
            Command::EndWork(_) => "work outside ends",
            Command::Pause(_) => "a client asks for a pause",
            Command::Resume(_) => "resume",
            Command::Cancel(_, StopMode::AfterStep, _) => "cancel after the step",
            Command::Cancel(_, StopMode::Abort, _) => "cancel, abort",
            Command::Cancel(_, _, Rollback::Yes) => "cancel, roll back",
            Command::Cancel(_, _, Rollback::No) => "cancel",
            Command::Pass => "time passes",
            Command::Crash { .. } => "crash",
        });
    }

    /// A run comes: its lane has others, or none.
    pub(super) fn submit(
        &mut self,
        gate: Gate,
        is_busy: bool,
        entered: &Result<Vec<usize>, Refused>,
    ) {
        self.note(match (gate.lane.map(|(_, on_busy)| on_busy), entered) {
            (_, Err(Refused::QueueFull)) => "the queue is full for a new run",
            (None, _) => "no lane",
            (Some(_), _) if !is_busy => "a free lane",
            (Some(OnBusy::Reject), _) => "reject",
            (Some(OnBusy::CancelExisting), _) => "cancel existing",
            (Some(OnBusy::RollbackExisting), _) => "roll back existing",
            (Some(OnBusy::JoinExisting), Err(_)) => "join existing",
            (Some(OnBusy::JoinExisting), Ok(_)) => "join existing, but all are stopping",
            (Some(_), _) => "enqueue",
        });
    }

    pub(super) fn pause(&mut self, by: Asker, expires: bool) {
        self.note(match by {
            Asker::Body if expires => "paused by its body, and that expires",
            Asker::Body => "paused by its body",
            Asker::Child => "paused by a child",
            Asker::Client => "paused by a client",
        });
    }

    pub(super) fn end(&mut self, status: RunStatus) {
        self.note(match status {
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
            RunStatus::TimedOut => "timed out",
            _ => "cancelled",
        });
    }

    /// What a resume is answered, or a cancel of a run of that status.
    pub(super) fn answer(&mut self, before: Option<RunStatus>, command: Command, said: &Said) {
        let is = |status| before == Some(status);
        match (command, said) {
            (Command::Resume(_), Said::Resumed) => self.note("resumed"),
            (Command::Resume(_), Said::QueueFull) => self.note("the queue is full for an answer"),
            (Command::Resume(_), Said::NoBody) => self.note("resume without a body"),
            (Command::Resume(_), Said::NotPaused) => self.note("resume of what is not paused"),
            (Command::Cancel(..), _) if is(RunStatus::Paused) => self.note("cancel in a pause"),
            (Command::Cancel(..), _) if is(RunStatus::Queued) => self.note("cancel in a queue"),
            (Command::Cancel(..), Said::Terminal(_)) => self.note("cancel after the end"),
            (Command::Cancel(..), Said::Escalated) => self.note("cancel that escalates"),
            _ => {}
        }
    }

    /// A process is gone, and has left a run that was not over. That goes on, or not.
    pub(super) fn left(&mut self, run: &Run, has_body: bool) {
        let is_stopped = run.cause.is_some() || run.scheduled.is_some();
        self.note(match run.status {
            _ if is_stopped && run.rollback => "left stopped, to be rolled back",
            _ if is_stopped => "left stopped",
            RunStatus::Paused if has_body => "left paused",
            RunStatus::Paused => "left paused, of which nothing is known",
            _ if !has_body => "left, and fails",
            RunStatus::Queued if run.answer.is_some() => "left with an answer, and goes on",
            RunStatus::Queued => "left in a queue, and goes on",
            _ => "left at work, and goes on",
        });
    }
}

const fn name_of(order: Order) -> &'static str {
    match order {
        Order::Save => "save",
        Order::SaveBelow => "save below",
        Order::Spawn => "spawn",
        Order::Work => "work outside begins",
        Order::Checkpoint => "checkpoint",
        Order::Ask { .. } => "ask",
        Order::AskBelow => "ask below",
        Order::Return => "return",
        Order::Fail => "fail",
        Order::Panic => "panic",
    }
}

/// What happens often.
const OFTEN: [&str; 55] = [
    "submit",
    "submit, stubborn",
    "limits change",
    "save",
    "save below",
    "spawn",
    "work outside begins",
    "checkpoint",
    "ask",
    "ask below",
    "return",
    "fail",
    "panic",
    "a child is to end",
    "work outside ends",
    "a client asks for a pause",
    "resume",
    "cancel after the step",
    "cancel, abort",
    "cancel, roll back",
    "cancel",
    "time passes",
    "crash",
    // Lanes and limits.
    "no lane",
    "a free lane",
    "enqueue",
    "reject",
    "cancel existing",
    "roll back existing",
    "join existing",
    "the queue is full for a new run",
    "waits for a slot",
    // Pauses.
    "paused by its body",
    "paused by its body, and that expires",
    "paused by a child",
    "paused by a client",
    "resumed",
    "resume of what is not paused",
    "a pause expires",
    // Stops.
    "cancel in a pause",
    "cancel in a queue",
    "cancel after the end",
    "the grace is over",
    "abandoned",
    "states are rolled back",
    "completed",
    "failed",
    "cancelled",
    "timed out",
    // Crashes.
    "a lost cancel",
    "a lost answer",
    "left paused",
    "left, and fails",
    "left in a queue, and goes on",
    "left at work, and goes on",
];

/// What happens in few stories.
const SELDOM: [&str; 9] = [
    "join existing, but all are stopping",
    "the queue is full for an answer",
    "resume without a body",
    "cancel that escalates",
    "left stopped",
    "left stopped, to be rolled back",
    "left ended, and rolled back",
    "left paused, of which nothing is known",
    "left with an answer, and goes on",
];
