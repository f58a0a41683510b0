//! Where the order of things at one instant is not determined, and it matters: the engine may tell
//! another story than the oracle, and both are right.

use std::collections::HashMap;

use super::oracle::{Node, Oracle, Ready, Runner, Wait};
use super::plan::Command;

impl Oracle<'_> {
    /// Two things that are due at one instant in one tree (a detached run may still be waited for
    /// in the old one) may happen in either order, and if one
    /// of them is a stop, or ends a body, it matters.
    pub(crate) fn look_for_races(&mut self) {
        let mut due: HashMap<usize, [u32; 3]> = HashMap::new();
        let mut count = |root: usize, what: usize| due.entry(root).or_default()[what] += 1;
        for ((at, _), ready) in &self.timers {
            if *at == self.now
                && let Some(run) = self.is_awaited(*ready)
            {
                count(self.plan.root(run), 0);
            }
        }
        for (at, run) in self.wakeups() {
            if at <= self.now {
                count(self.plan.root(run), if self.node(run).life.is_stopping() { 1 } else { 2 });
            }
        }
        let commands = &self.plan.commands[self.said.len()..];
        for (_, command) in commands.iter().take_while(|(at, _)| *at == self.now) {
            if let Command::Cancel(run, _) | Command::Detach(run) | Command::Read(run) = command
                && self.nodes[*run].is_some()
            {
                // Commands are obeyed one after the other: together they count once.
                due.entry(self.plan.root(*run)).or_default()[2] |= 1 << 16;
            }
        }
        // Which of two ladders takes what cleanup has spawned shows in its cause. And one that ends
        // a run that has left may come before or after the last poll of a body that waits for it.
        let has_cleanup = self.nodes.iter().flatten().any(|node| node.is_cleanup);
        let is_told = has_cleanup || self.is_a_detached_run_awaited();
        let races = |[bodies, ladders, stops]: [u32; 3]| {
            let stops = (stops & 0xffff) + (stops >> 16);
            let meets = bodies + stops > 1 || (ladders > 0 && bodies + stops > 0);
            meets || (ladders > 1 && is_told)
        };
        if due.values().any(|due| races(*due)) {
            self.race.get_or_insert_with(|| format!("timers meet at {}", self.now));
        }
    }

    /// Tells whether a body waits for a run that has left its tree.
    fn is_a_detached_run_awaited(&self) -> bool {
        (0..self.nodes.len()).any(|run| {
            let waits = |node: &&Node| node.body.wait == Wait::Children;
            let has_left = |child: &usize| self.node(*child).parent != Some(run);
            self.nodes[run]
                .as_ref()
                .filter(waits)
                .is_some_and(|node| node.held.iter().any(has_left))
        })
    }

    /// Yields the run for which a timer still matters.
    fn is_awaited(&self, ready: Ready) -> Option<usize> {
        let (Ready::Start(run)
        | Ready::Poll(run)
        | Ready::Hook(run, _)
        | Ready::AbortHooks(run, _)
        | Ready::HoldEnds(run)) = ready;
        let body = &self.node(run).body;
        let waits = [Wait::Until(self.now), Wait::Shielded(self.now)].contains(&body.wait);
        match ready {
            Ready::Poll(_) => (body.runs && waits).then_some(run),
            Ready::Hook(_, runner) => (!self.node(run).runners[runner].over).then_some(run),
            _ => Some(run),
        }
    }

    /// Cleanup that would begin now, and a deadline that comes now: either may be first.
    pub(crate) fn look_at_cleanup(&mut self, run: usize, hard: u64) {
        if hard > self.now {
            return;
        }
        let node = self.node(run);
        let waits = |runner: &Runner| !runner.over && runner.running.is_none();
        let spawns = self.plan.runs[run].gives_way.is_some_and(|way| way.child.is_some());
        let shielded = matches!(node.body.wait, Wait::Shielded(_));
        let hooks = !node.hooks.is_empty() || node.runners.iter().any(waits);
        let body = node.body.runs && (shielded || (spawns && !node.body.cleans));
        if hooks || body {
            self.race.get_or_insert_with(|| format!("cleanup of run {run} has no time at all"));
        }
    }

    /// A run fails, and its deadline comes now: its hooks waited for children if one is live then.
    pub(crate) fn look_at_waiting_hooks(&mut self, run: usize, hard: u64) {
        let node = self.node(run);
        if hard <= self.now && !node.hooks.is_empty() && node.life.live_children() > 0 {
            self.race.get_or_insert_with(|| format!("children of run {run} have no time at all"));
        }
    }

    /// A run fails, and a descendant that has started does something at the same instant: either
    /// may be first.
    pub(crate) fn look_at_descendants(&mut self, run: usize) {
        let is_below = |member: usize| {
            let mut next = self.plan.parent(member);
            while let Some(above) = next.filter(|above| *above != run) {
                next = self.plan.parent(above);
            }
            next.is_some()
        };
        let acts = |member: &usize| {
            let node = self.nodes[*member].as_ref();
            let acts =
                node.is_some_and(|node| node.active_at == self.now && node.told.started.is_some());
            acts && is_below(*member)
        };
        if let Some(member) = (0..self.nodes.len()).find(acts) {
            self.race.get_or_insert_with(|| format!("run {run} fails while {member} acts"));
        }
    }
}
