//! A simulation of a step on a clock of units, apart from the engine.

use super::{Decision, End, Ended, OnLoser, Policy, SoFar};

/// What a branch would do if nobody stopped it, and how it takes a stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    pub(super) time: u64,
    pub(super) end: &'static str,
    /// What it takes to clean up, if it listens.
    pub(super) cleanup: Option<u64>,
}

/// A step, in units of time that are far apart for the clock.
#[derive(Debug)]
pub(super) struct World {
    pub(super) policy: Policy<usize>,
    pub(super) limit: usize,
    pub(super) on_loser: OnLoser,
    pub(super) stop: Option<u64>,
    pub(super) branches: Vec<Course>,
    /// For each branch those that it needs.
    pub(super) needs: Vec<Vec<usize>>,
}

/// How a branch should stand in the end: status, what it counted as, when it ended.
pub(super) type Row = (&'static str, &'static str, Option<u64>);

#[derive(Debug)]
pub(super) struct Expected {
    pub(super) decision: Option<(u64, Decision)>,
    pub(super) values: Vec<usize>,
    pub(super) settled_at: u64,
    pub(super) is_stopped: bool,
    pub(super) rows: Vec<Row>,
    /// The branches that never start because of what they need.
    pub(super) given_up: Vec<bool>,
}

struct Sim<'a> {
    world: &'a World,
    now: u64,
    /// When each branch that was started ends by itself.
    running: Vec<(u64, usize)>,
    /// Which branches completed, and so meet the needs of others.
    met: Vec<bool>,
    started: Vec<bool>,
    given_up: Vec<bool>,
    next_start: u64,
    deadline: Option<u64>,
    ended: Vec<Ended<usize>>,
    decision: Option<Decision>,
    rows: Vec<Row>,
}

/// Plays a world; none if two things happen at once, so that either order would be right.
pub(super) fn simulate(world: &World) -> Option<Expected> {
    let unit = |time: std::time::Duration| u64::try_from(time.as_millis() / 20).unwrap();
    let mut sim = Sim {
        world,
        now: 0,
        running: Vec::new(),
        met: vec![false; world.branches.len()],
        started: vec![false; world.branches.len()],
        given_up: vec![false; world.branches.len()],
        next_start: 0,
        deadline: world.policy.deadline_after().map(unit),
        ended: Vec::new(),
        decision: None,
        rows: vec![("cancelled", "noise", None); world.branches.len()],
    };
    let stagger = world.policy.staggered_by().map_or(0, unit);
    sim.decide(false);
    while sim.decision.is_none() {
        sim.start(stagger);
        let ends = sim.running.iter().map(|(at, _)| *at);
        let waits = sim.next().is_some() && sim.running.len() < world.limit;
        let tick = (waits && stagger > 0).then_some(sim.next_start);
        let mut next: Vec<_> = ends.chain(tick).chain(sim.deadline).chain(world.stop).collect();
        next.sort_unstable();
        if next.windows(2).any(|pair| pair[0] == pair[1]) {
            return None;
        }
        sim.now = *next.first()?;
        if world.stop == Some(sim.now) {
            return sim.finish(true);
        }
        if sim.deadline == Some(sim.now) {
            sim.deadline = None;
            sim.decide(true);
        } else if let Some(place) = sim.running.iter().position(|(at, _)| *at == sim.now) {
            let (_, branch) = sim.running.remove(place);
            sim.end(branch);
        }
    }
    sim.finish(false)
}

impl Sim<'_> {
    /// The first branch that may start.
    fn next(&self) -> Option<usize> {
        (0..self.rows.len()).find(|branch| {
            let is_met = self.world.needs[*branch].iter().all(|need| self.met[*need]);
            is_met && !self.started[*branch] && !self.given_up[*branch]
        })
    }

    fn start(&mut self, stagger: u64) {
        while let Some(next) = self.next()
            && self.running.len() < self.world.limit
            && (self.running.is_empty() || self.now >= self.next_start)
        {
            self.running.push((self.now + self.world.branches[next].time, next));
            self.started[next] = true;
            self.next_start = self.now + stagger;
        }
    }

    /// Gives up those that need one that has not completed, the nearest first.
    fn give_up(&mut self, first: usize) {
        let mut open = std::collections::VecDeque::from([first]);
        while let Some(need) = open.pop_front() {
            for branch in 0..self.rows.len() {
                if !self.world.needs[branch].contains(&need) || self.given_up[branch] {
                    continue;
                }
                self.given_up[branch] = true;
                self.rows[branch] = ("cancelled", "skipped", None);
                open.push_back(branch);
                if self.decision.is_none() {
                    self.ended.push(Ended::new(branch, branch.to_string(), End::Skipped));
                    self.decide(false);
                }
            }
        }
    }

    fn end(&mut self, branch: usize) {
        let (end, status, counted) = match self.world.branches[branch].end {
            "ok" => (End::Ok(branch), "completed", "ok"),
            "skip" => (End::Skipped, "timed-out", "skipped"),
            "default" => (End::Ok(branch), "timed-out", "default"),
            _ => (End::Failed("no".into()), "failed", "failed"),
        };
        self.rows[branch] = (status, counted, Some(self.now));
        self.ended.push(Ended::new(branch, branch.to_string(), end));
        self.decide(false);
        self.met[branch] = counted == "ok";
        if !self.met[branch] {
            self.give_up(branch);
        }
    }

    fn decide(&mut self, is_over: bool) {
        let so_far = SoFar::new(self.rows.len(), &self.ended);
        let so_far = if is_over { so_far.at_deadline() } else { so_far };
        self.decision = self.world.policy.decide(&so_far);
    }

    /// Ends what runs as the word for losers, or the stop, has it.
    fn finish(mut self, is_stopped: bool) -> Option<Expected> {
        let decided_at = self.now;
        let mut settled_at = decided_at;
        for place in (0..self.rows.len()).filter(|at| !self.started[*at] && !self.given_up[*at]) {
            let counted = if is_stopped { "noise" } else { "skipped" };
            self.rows[place] = ("cancelled", counted, None);
        }
        // The instant at which a loser hears a stop, if one reaches it.
        let told = match self.world.on_loser {
            _ if is_stopped => Some(decided_at),
            OnLoser::Cancel => Some(decided_at),
            OnLoser::Detach => None,
            _ => self.world.stop.filter(|stop| *stop >= decided_at),
        };
        for &(at, branch) in &self.running {
            let course = self.world.branches[branch];
            if !is_stopped && self.world.on_loser == OnLoser::Detach {
                self.rows[branch] = ("running", "noise", None);
                continue;
            }
            let natural = match course.end {
                "ok" => "completed",
                "skip" | "default" => "timed-out",
                _ => "failed",
            };
            let (status, end) = match told {
                Some(told) if told == at => return None,
                Some(told) if told < at => ("cancelled", told + course.cleanup.unwrap_or(0)),
                _ => (natural, at),
            };
            self.rows[branch] = (status, "noise", Some(end));
            settled_at = settled_at.max(end);
        }
        let late_stop = self.world.stop.filter(|stop| *stop <= settled_at);
        if !is_stopped && late_stop.is_some_and(|stop| stop == settled_at || stop == decided_at) {
            return None;
        }
        let mut values: Vec<usize> = self
            .ended
            .iter()
            .filter(|one| matches!(one.end, End::Ok(_)))
            .map(|one| one.branch)
            .collect();
        values.sort_unstable();
        Some(Expected {
            decision: self.decision.map(|decision| (decided_at, decision)),
            values,
            settled_at,
            is_stopped: is_stopped || late_stop.is_some(),
            rows: self.rows,
            given_up: self.given_up,
        })
    }
}
