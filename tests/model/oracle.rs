//! A tree of bare lifecycles, driven by a queue of instants.
//!
//! It decides nothing that a [`Lifecycle`] decides. What it adds is what the engine adds: who is
//! told, in which order, and what bodies, hooks and work do next. It has neither tasks nor locks
//! nor timers, and shares no code with the engine. What becomes due at one instant is worked off
//! in the order in which the engine's control loop and its runtime would.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use quell::{CauseKind, HookOutcome, RunStatus};
use quell_core::lifecycle::{BodyAction, Input, Lifecycle, Rules, StopInput};

use super::plan::{Command, Plan, Request};

/// What is told of a case: the same by the engine and by the oracle.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) runs: Vec<Option<Told>>,
    /// The answer to every command.
    pub(crate) said: Vec<Said>,
}

/// What is told of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) status: Option<RunStatus>,
    pub(crate) queued: u64,
    pub(crate) started: Option<u64>,
    pub(crate) stopped: Option<u64>,
    pub(crate) ended: Option<u64>,
    pub(crate) quiesced: Option<u64>,
    /// The kind of the cause and where it began.
    pub(crate) cause: Option<(CauseKind, usize)>,
    pub(crate) abandoned: usize,
    pub(crate) emitted: usize,
    pub(crate) late: u32,
    /// The step that set the output.
    pub(crate) output: Option<usize>,
    pub(crate) hooks: Vec<(u32, HookOutcome)>,
    pub(crate) hooks_skipped: u32,
    pub(crate) detached: bool,
}

/// What is answered to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Accepted(u64),
    Scheduled(u64),
    AlreadyStopping(u64, CauseKind),
    Escalated,
    Terminal(RunStatus),
    Unknown,
    Reserved,
    Status(RunStatus),
    Detached,
    IsRoot,
    IsStopping,
    HasEnded,
    /// Nothing to speak of.
    Nothing,
}

/// Plays plans.
pub(crate) struct Oracle<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) now: u64,
    pub(crate) nodes: Vec<Option<Node>>,
    pub(crate) ready: VecDeque<Ready>,
    pub(crate) timers: BTreeMap<(u64, u64), Ready>,
    timers_made: u64,
    base: Instant,
    reserved: HashMap<usize, Request>,
    pub(crate) said: Vec<Said>,
    /// Why the order of things at one instant is not determined.
    pub(crate) race: Option<String>,
}

/// What has its turn at the present instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    Start(usize),
    Poll(usize),
    Hook(usize, usize),
    AbortHooks(usize, usize),
    HoldEnds(usize),
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Node {
    pub(crate) life: Lifecycle,
    pub(crate) parent: Option<usize>,
    /// Live and attached.
    pub(crate) kids: Vec<usize>,
    /// Children whose handles the body holds.
    pub(crate) held: Vec<usize>,
    pub(crate) unseen: bool,
    /// Spawned by the cleanup of a stopping parent: it is bounded, not told.
    pub(crate) is_cleanup: bool,
    pub(crate) listens: bool,
    /// The first poll of the body has returned.
    pub(crate) parked: bool,
    pub(crate) active_at: u64,
    pub(crate) scheduled: Option<(CauseKind, usize)>,
    pub(crate) failing: Option<(CauseKind, usize)>,
    pub(crate) body: BodyState,
    pub(crate) hooks: Vec<(u32, usize)>,
    /// Hooks of a stop that were dropped unrun when none had come.
    pub(crate) unneeded: Vec<(u32, usize)>,
    pub(crate) hooks_made: u32,
    pub(crate) runners: Vec<Runner>,
    pub(crate) holds: usize,
    pub(crate) told: Told,
}

pub(crate) struct BodyState {
    pub(crate) runs: bool,
    pub(crate) cleans: bool,
    pub(crate) step: usize,
    pub(crate) wait: Wait,
    pub(crate) wanted: BodyAction,
}

/// What a body waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Nothing,
    Until(u64),
    /// As `Until`, in a shield.
    Shielded(u64),
    Children,
    Forever,
}

/// Runs hooks: each is known by its number and the step that registered it.
pub(crate) struct Runner {
    pub(crate) waiting: Vec<(u32, usize)>,
    pub(crate) running: Option<(u32, usize, u64)>,
    pub(crate) over: bool,
}

impl<'a> Oracle<'a> {
    /// Plays a plan. The second value says why the story may also be another one.
    pub(crate) fn play(plan: &'a Plan) -> (Story, Option<String>) {
        let nodes = plan.runs.iter().map(|_| None).collect();
        let mut oracle = Self {
            plan,
            now: 0,
            nodes,
            ready: VecDeque::new(),
            timers: BTreeMap::new(),
            timers_made: 0,
            base: Instant::now(),
            reserved: HashMap::new(),
            said: Vec::new(),
            race: None,
        };
        oracle.run();
        let runs = oracle.nodes.into_iter().map(|node| node.map(|node| node.told)).collect();
        (Story { runs, said: oracle.said }, oracle.race)
    }

    fn run(&mut self) {
        loop {
            self.work_off();
            let command = self.plan.commands.get(self.said.len()).map(|(at, _)| *at);
            let timer = self.timers.keys().next().map(|(at, _)| *at);
            let wakeup = self.wakeups().map(|(at, _)| at).min();
            let Some(next) = command.into_iter().chain(timer).chain(wakeup).min() else { return };
            self.now = next;
            self.look_for_races();
            while let Some((at, command)) = self.plan.commands.get(self.said.len())
                && *at == self.now
            {
                let said = self.obey(*command);
                self.said.push(said);
            }
            while let Some(timer) = self.timers.first_entry()
                && timer.key().0 == self.now
            {
                let due = timer.remove();
                self.ready.push_back(due);
            }
            // What is due at the same instant is ticked in one go, before anything else moves.
            while self.tick_next() {}
        }
    }

    /// Works off what is due now: the queue first, then timers of lifecycles.
    fn work_off(&mut self) {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                self.take_turn(ready);
            } else if !self.tick_next() {
                return;
            }
        }
    }

    /// Ticks one lifecycle that is due; false if there is none.
    fn tick_next(&mut self) -> bool {
        let due = self.wakeups().filter(|(at, _)| *at <= self.now).min();
        let Some((_, run)) = due else { return false };
        let node = self.node(run);
        let active_at = self.at(node.active_at);
        self.feed(run, Input::Tick { active_at }, None);
        true
    }

    fn take_turn(&mut self, ready: Ready) {
        match ready {
            Ready::Start(run) => self.start(run),
            Ready::Poll(run) => self.poll(run),
            Ready::Hook(run, runner) => self.run_hooks(run, runner),
            Ready::AbortHooks(run, runner) => self.abort_hooks(run, runner),
            Ready::HoldEnds(run) => self.end_hold(run),
        }
    }

    /// When each live lifecycle wants to be ticked.
    pub(crate) fn wakeups(&self) -> impl Iterator<Item = (u64, usize)> {
        let live = self.nodes.iter().enumerate();
        live.filter_map(|(run, node)| {
            let at = node.as_ref()?.life.next_wakeup()?;
            Some((self.millis(at), run))
        })
    }

    fn obey(&mut self, command: Command) -> Said {
        match command {
            Command::Submit(run) => {
                self.accept(run, None, false);
                Said::Nothing
            }
            Command::Cancel(run, request) if self.is_known(run) => self.cancel(run, request),
            Command::Cancel(run, request) if request.remembered => {
                self.reserved.entry(run).or_insert(request);
                Said::Reserved
            }
            Command::Detach(run) if self.is_known(run) => self.detach(run),
            Command::Read(run) if self.is_known(run) => Said::Status(self.node(run).life.status()),
            Command::Cancel(..) | Command::Detach(_) | Command::Read(_) => Said::Unknown,
            Command::Watch(..) => Said::Nothing,
        }
    }

    /// Accepts a run, unless the fence of its parent refuses it.
    pub(crate) fn accept(&mut self, run: usize, parent: Option<usize>, shielded: bool) -> bool {
        if let Some(parent) = parent
            && self.feed(parent, Input::ChildAdded { shielded }, None).refused
        {
            return false;
        }
        let spec = &self.plan.runs[run];
        let millis = |millis: u64| Duration::from_millis(millis);
        let grace = spec.grace.unwrap_or(self.plan.grace);
        let mut rules = Rules::new(millis(grace), millis(self.plan.wait));
        rules.stop_delivery = spec.stop_delivery;
        rules.timeout = spec.timeout.map(millis);
        rules.start_within = spec.start_within.map(millis);
        rules.idle = spec.idle.map(millis);
        let life = Lifecycle::new(&rules, self.at(self.now));
        let told = Told { queued: self.now, ..Told::default() };
        self.nodes[run] = Some(Node::new(life, parent, self.now, told));
        if let Some(parent) = parent {
            self.node_mut(parent).kids.push(run);
            self.node_mut(run).is_cleanup = self.node(parent).life.is_stopping();
        }
        let at_once = [spec.timeout, spec.start_within, spec.idle].contains(&Some(0));
        if at_once {
            self.race.get_or_insert_with(|| format!("run {run} has no time at all"));
        }
        self.touch(run);
        self.ready.push_back(Ready::Start(run));
        if let Some(request) = self.reserved.remove(&run) {
            self.cancel(run, request);
        }
        true
    }

    fn cancel(&mut self, run: usize, request: Request) -> Said {
        let before = self.node(run).told.cause;
        let stop = StopInput {
            mode: request.mode,
            grace: request.grace.map(Duration::from_millis),
            wait: None,
            escalate_after: Duration::from_millis(request.escalate),
        };
        let fx = self.feed(run, Input::Stop(stop), None);
        let said = self.said_of(fx.answer, before.map(|(kind, _)| kind));
        if said == Said::Scheduled(self.now) {
            self.race.get_or_insert_with(|| format!("a step of run {run} has no time at all"));
        }
        said
    }

    fn detach(&mut self, run: usize) -> Said {
        let Some(parent) = self.node(run).parent else { return Said::IsRoot };
        let life = &self.node(run).life;
        if life.status().is_terminal() {
            return Said::HasEnded;
        }
        if life.is_stopping() || self.node(parent).life.is_fenced(false) {
            return Said::IsStopping;
        }
        self.touch(run);
        let node = self.node_mut(run);
        node.parent = None;
        node.told.detached = true;
        self.node_mut(parent).kids.retain(|kid| *kid != run);
        self.feed(parent, Input::ChildLeft, None);
        Said::Detached
    }

    /// Runs that were accepted are known until their tree is over and not kept.
    fn is_known(&self, run: usize) -> bool {
        self.nodes[run].is_some()
            && (self.plan.keeps || !self.node(self.root_of(run)).life.is_quiescent())
    }

    fn root_of(&self, run: usize) -> usize {
        let mut root = run;
        while let Some(parent) = self.node(root).parent {
            root = parent;
        }
        root
    }

    /// Notes a sign of life of a run, for the idle limits above it.
    pub(crate) fn touch(&mut self, run: usize) {
        let mut next = Some(run);
        while let Some(run) = next {
            let now = self.now;
            let node = self.node_mut(run);
            node.active_at = now;
            next = node.parent;
        }
    }

    pub(crate) fn wake_at(&mut self, at: u64, ready: Ready) {
        self.timers.insert((at, self.timers_made), ready);
        self.timers_made += 1;
    }

    #[expect(clippy::expect_used, reason = "numbers of runs come from runs")]
    pub(crate) fn node(&self, run: usize) -> &Node {
        self.nodes[run].as_ref().expect("only accepted runs are spoken of")
    }

    #[expect(clippy::expect_used, reason = "numbers of runs come from runs")]
    pub(crate) fn node_mut(&mut self, run: usize) -> &mut Node {
        self.nodes[run].as_mut().expect("only accepted runs are spoken of")
    }

    pub(crate) fn at(&self, millis: u64) -> Instant {
        self.base + Duration::from_millis(millis)
    }

    pub(crate) fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.base).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Node {
    fn new(life: Lifecycle, parent: Option<usize>, now: u64, told: Told) -> Self {
        let wanted = BodyAction::Leave;
        let body = BodyState { runs: false, cleans: false, step: 0, wait: Wait::Nothing, wanted };
        Self {
            life,
            parent,
            kids: Vec::new(),
            held: Vec::new(),
            unseen: false,
            is_cleanup: false,
            listens: false,
            parked: false,
            active_at: now,
            scheduled: None,
            failing: None,
            body,
            hooks: Vec::new(),
            unneeded: Vec::new(),
            hooks_made: 0,
            runners: Vec::new(),
            holds: 0,
            told,
        }
    }
}
