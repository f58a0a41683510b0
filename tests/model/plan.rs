//! Who is spawned when, how bodies behave, and what is asked from outside. Times are milliseconds.

use std::fmt;

use quell::{RunId, StopDelivery, StopMode};

/// One case.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) grace: u64,
    pub(crate) wait: u64,
    /// Whether ended trees are kept.
    pub(crate) keeps: bool,
    /// Every run, parents before children.
    pub(crate) runs: Vec<RunPlan>,
    /// In order of their times; at the end every run is cancelled.
    pub(crate) commands: Vec<(u64, Command)>,
}

/// One run: its spec and its body.
#[derive(Clone)]
pub(crate) struct RunPlan {
    pub(crate) timeout: Option<u64>,
    pub(crate) start_within: Option<u64>,
    pub(crate) idle: Option<u64>,
    pub(crate) grace: Option<u64>,
    pub(crate) stop_delivery: StopDelivery,
    /// The body asks about stops before anything else.
    pub(crate) listens: bool,
    pub(crate) steps: Vec<Step>,
    /// What the body does when it is to stop; one that does not give way goes on with its steps.
    pub(crate) gives_way: Option<Cleanup>,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Sleep(u64),
    Spawn(usize, Keep),
    Emit,
    SetOutput,
    Hook(Hook),
    /// Work outside the body that takes so long, whatever happens.
    Hold(u64),
    Checkpoint,
    /// Waits for every child whose handle is held.
    Join,
    /// A section that a stop does not interrupt.
    Shield(u64),
}

/// What becomes of the handle of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The body holds it until it joins or ends.
    Held,
    Dropped,
    /// It is turned into a reference: the failure of the child stays its own.
    Reference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) takes: u64,
    pub(crate) panics: bool,
    /// It runs at every end, not only after a stop.
    pub(crate) at_end: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cleanup {
    pub(crate) takes: u64,
    pub(crate) shielded: bool,
    /// A child that is spawned at its beginning; without a shield the fence refuses it.
    pub(crate) child: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Ok,
    Err,
    Panic,
    Never,
}

/// Something that is asked from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Submit(usize),
    Cancel(usize, Request),
    Detach(usize),
    /// Reads the status and the report.
    Read(usize),
    /// Waits for the end, for quiescence, and reads the events after a number.
    Watch(usize, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) mode: StopMode,
    pub(crate) grace: Option<u64>,
    pub(crate) escalate: u64,
    /// Whether it is remembered if the run is not known.
    pub(crate) remembered: bool,
}

impl Request {
    pub(crate) const COOPERATIVE: Self =
        Self { mode: StopMode::Cooperative, grace: None, escalate: 0, remembered: false };
}

impl Plan {
    /// Yields the id of a run, the same in every play.
    pub(crate) fn id(run: usize) -> RunId {
        RunId::from_text(&format!("model {run}"))
    }

    /// Yields the number of the run with an id.
    pub(crate) fn find(&self, id: RunId) -> Option<usize> {
        (0..self.runs.len()).find(|run| Self::id(*run) == id)
    }

    /// Yields the root of the tree in which the run is spawned.
    pub(crate) fn root(&self, run: usize) -> usize {
        let mut root = run;
        while let Some(parent) = self.parent(root) {
            root = parent;
        }
        root
    }

    /// Tells which run spawns this one.
    pub(crate) fn parent(&self, child: usize) -> Option<usize> {
        self.runs.iter().position(|run| {
            let in_steps =
                run.steps.iter().any(|step| matches!(step, Step::Spawn(run, _) if *run == child));
            in_steps || run.gives_way.is_some_and(|cleanup| cleanup.child == Some(child))
        })
    }
}

impl fmt::Debug for Plan {
    /// Shows one line for each run and command, without what is as usual.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keeps = if self.keeps { "" } else { ", keeps nothing" };
        writeln!(f, "grace {}, abort wait {}{keeps}", self.grace, self.wait)?;
        for (number, run) in self.runs.iter().enumerate() {
            writeln!(f, "  run {number}: {run:?}")?;
        }
        let close = self.commands.len().saturating_sub(self.runs.len());
        for (at, command) in &self.commands[..close] {
            writeln!(f, "  at {at}: {command:?}")?;
        }
        let close = self.commands.get(close).map_or(0, |(at, _)| *at);
        writeln!(f, "  at {close}: every run is cancelled")
    }
}

impl fmt::Debug for RunPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = [
            ("timeout", self.timeout),
            ("start within", self.start_within),
            ("idle", self.idle),
            ("grace", self.grace),
        ];
        for (name, limit) in limits {
            if let Some(limit) = limit {
                write!(f, "{name} {limit}, ")?;
            }
        }
        write!(f, "{:?}{}", self.stop_delivery, if self.listens { ", listens" } else { "" })?;
        write!(f, ", {:?}", self.steps)?;
        if let Some(cleanup) = self.gives_way {
            write!(f, ", gives way with {cleanup:?}")?;
        }
        write!(f, ", ends {:?}", self.end)
    }
}
