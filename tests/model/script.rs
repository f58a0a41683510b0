//! How the oracle plays bodies, hooks and work outside a body.

use quell::HookOutcome;
use quell_core::lifecycle::{BodyAction, BodyEnd, HookAction, Input};

use super::oracle::{Oracle, Ready, Wait};
use super::plan::{End, Keep, Step};

impl Oracle<'_> {
    /// The task of a run is polled for the first time.
    pub(crate) fn start(&mut self, run: usize) {
        if self.feed(run, Input::Started, None).refused {
            self.feed(run, Input::BodyEnded(BodyEnd::Dropped), None);
            return;
        }
        let now = self.now;
        let plan = &self.plan.runs[run];
        let node = self.node_mut(run);
        node.told.started = Some(now);
        node.body.runs = true;
        node.listens |= plan.listens || plan.gives_way.is_some();
        self.touch(run);
        self.poll(run);
        let node = self.node_mut(run);
        node.parked = true;
        let listens = node.listens;
        if node.body.runs && node.life.is_stopping() {
            self.feed(run, Input::Judged { listens }, None);
        }
    }

    /// The task of a run is polled.
    pub(crate) fn poll(&mut self, run: usize) {
        let body = &self.node(run).body;
        if !body.runs {
            return;
        }
        if body.wanted == BodyAction::Drop {
            return self.drop_body(run);
        }
        let last = body.wanted == BodyAction::PollThenDrop;
        self.go_on(run);
        let body = &self.node(run).body;
        if body.runs && (last || body.wanted == BodyAction::Drop) {
            self.drop_body(run);
        }
    }

    /// The body runs until it has to wait, or ends.
    fn go_on(&mut self, run: usize) {
        let plan = &self.plan.runs[run];
        let node = self.node(run);
        if let Some(cleanup) = plan.gives_way
            && node.life.is_stopping()
            && !node.body.cleans
        {
            self.node_mut(run).body.cleans = true;
            if let Some(child) = cleanup.child {
                self.accept(child, Some(run), cleanup.shielded);
            }
            self.wait(run, cleanup.takes, cleanup.shielded);
        }
        loop {
            let node = self.node(run);
            let aborting = node.life.is_aborting();
            let over = match node.body.wait {
                Wait::Nothing => true,
                Wait::Until(at) => at <= self.now,
                Wait::Shielded(at) => at <= self.now || aborting,
                Wait::Children => !node.held.iter().any(|child| self.is_live(*child)),
                Wait::Forever => false,
            };
            if !over {
                return;
            }
            if node.body.wait == Wait::Children {
                self.node_mut(run).held.clear();
            }
            self.node_mut(run).body.wait = Wait::Nothing;
            let step = plan.steps.get(self.node(run).body.step);
            let goes_on = match step {
                Some(step) if !self.node(run).body.cleans => {
                    self.node_mut(run).body.step += 1;
                    self.take_step(run, *step)
                }
                _ => false,
            };
            if !goes_on && plan.end == End::Never && !self.gave_way(run) {
                self.node_mut(run).body.wait = Wait::Forever;
            } else if !goes_on {
                return self.return_from(run);
            }
        }
    }

    /// A checkpoint or a cleanup has ended the script before its time.
    fn gave_way(&self, run: usize) -> bool {
        let body = &self.node(run).body;
        body.cleans || body.step > self.plan.runs[run].steps.len()
    }

    /// Takes one step; false if the script ends with it.
    fn take_step(&mut self, run: usize, step: Step) -> bool {
        let number = self.node(run).body.step - 1;
        match step {
            Step::Sleep(takes) => self.wait(run, takes, false),
            Step::Shield(takes) => {
                self.node_mut(run).listens = true;
                self.wait(run, takes, true);
            }
            Step::Join => self.node_mut(run).body.wait = Wait::Children,
            Step::Emit => {
                self.node_mut(run).told.emitted += 1;
                self.touch(run);
            }
            Step::SetOutput => self.node_mut(run).told.output = Some(number),
            Step::Hook(_) => self.add_hook(run, number),
            Step::Hold(takes) => self.add_hold(run, takes),
            Step::Spawn(child, keep) => {
                if self.accept(child, Some(run), false) {
                    match keep {
                        Keep::Held => self.node_mut(run).held.push(child),
                        Keep::Dropped => self.node_mut(child).unseen = true,
                        Keep::Reference => {}
                    }
                }
            }
            Step::Checkpoint => {
                self.node_mut(run).listens = true;
                if !self.node(run).life.is_stopping() && self.node(run).scheduled.is_some() {
                    self.feed(run, Input::Checkpoint, None);
                }
                if self.node(run).life.is_stopping() {
                    self.node_mut(run).body.step = usize::MAX;
                    return false;
                }
            }
        }
        true
    }

    fn wait(&mut self, run: usize, takes: u64, shielded: bool) {
        let until = self.now + takes;
        let wait = if shielded { Wait::Shielded(until) } else { Wait::Until(until) };
        self.node_mut(run).body.wait = wait;
        if takes > 0 {
            self.wake_at(until, Ready::Poll(run));
        }
    }

    fn add_hook(&mut self, run: usize, step: usize) {
        let node = self.node_mut(run);
        let number = node.hooks_made;
        node.hooks_made += 1;
        let at_end = self.is_of_every_end(run, step);
        let fx = self.feed(run, Input::HookAdded { at_end }, None);
        match fx.hooks {
            HookAction::RunNew => self.start_runner(run, vec![(number, step)]),
            _ if fx.refused => self.note_hook(run, number, HookOutcome::Skipped),
            _ => self.node_mut(run).hooks.push((number, step)),
        }
    }

    fn add_hold(&mut self, run: usize, takes: u64) {
        self.node_mut(run).listens = true;
        if !self.feed(run, Input::WorkAdded { shielded: false }, None).refused {
            self.node_mut(run).holds += 1;
            self.wake_at(self.now + takes, Ready::HoldEnds(run));
        }
    }

    /// The work outside says a last word and is over.
    pub(crate) fn end_hold(&mut self, run: usize) {
        let node = self.node_mut(run);
        node.holds -= 1;
        if node.told.ended.is_some() {
            node.told.late += 1;
        } else {
            node.told.emitted += 1;
            self.touch(run);
        }
        self.feed(run, Input::WorkEnded, None);
    }

    pub(crate) fn is_of_every_end(&self, run: usize, step: usize) -> bool {
        matches!(self.plan.runs[run].steps[step], Step::Hook(hook) if hook.at_end)
    }

    /// Yields the hook that a runner starts next, the last registered first: any after a stop, and
    /// one of every end without it.
    fn next_hook(&mut self, run: usize, runner: usize) -> Option<(u32, usize)> {
        let node = self.node(run);
        let waiting = &node.runners[runner].waiting;
        let mut reversed = waiting.iter().enumerate().rev();
        let is_next = |step: usize| node.life.is_stopping() || self.is_of_every_end(run, step);
        let (place, _) = reversed.find(|(_, (_, step))| is_next(*step))?;
        Some(self.node_mut(run).runners[runner].waiting.remove(place))
    }

    /// What a runner has not run of the hooks of a stop waits again: a stop may follow.
    fn wait_again(&mut self, run: usize, runner: usize) {
        let now = self.at(self.now);
        let node = self.node_mut(run);
        let again = std::mem::take(&mut node.runners[runner].waiting);
        if !again.is_empty() {
            node.hooks.splice(..0, again);
            node.life.on(Input::HookAdded { at_end: false }, now);
        }
    }

    /// A runner of hooks goes on.
    pub(crate) fn run_hooks(&mut self, run: usize, runner: usize) {
        let now = self.now;
        loop {
            let plan = &self.plan.runs[run];
            let this = &mut self.node_mut(run).runners[runner];
            if this.over {
                return;
            }
            let hook_of = |step: usize| match plan.steps[step] {
                Step::Hook(hook) => (hook.takes, hook.panics),
                _ => (0, false),
            };
            match this.running {
                Some((_, _, until)) if until > now => return,
                Some((number, step, _)) => {
                    this.running = None;
                    let panics = hook_of(step).1;
                    let outcome =
                        if panics { HookOutcome::Panicked } else { HookOutcome::Finished };
                    self.note_hook(run, number, outcome);
                }
                None => {
                    let Some((number, step)) = self.next_hook(run, runner) else { break };
                    let until = now + hook_of(step).0;
                    self.node_mut(run).runners[runner].running = Some((number, step, until));
                    self.wake_at(until, Ready::Hook(run, runner));
                }
            }
        }
        self.wait_again(run, runner);
        self.end_runner(run, runner);
    }

    /// A runner is dropped at the hard deadline.
    pub(crate) fn abort_hooks(&mut self, run: usize, runner: usize) {
        let this = &mut self.node_mut(run).runners[runner];
        if this.over {
            return;
        }
        if let Some((number, ..)) = this.running.take() {
            self.note_hook(run, number, HookOutcome::Aborted);
        }
        self.end_runner(run, runner);
    }

    fn end_runner(&mut self, run: usize, runner: usize) {
        self.node_mut(run).runners[runner].over = true;
        self.feed(run, Input::WorkEnded, None);
    }

    fn return_from(&mut self, run: usize) {
        let end = match self.plan.runs[run].end {
            End::Ok | End::Never => BodyEnd::Ok,
            End::Err | End::Panic => BodyEnd::Err,
        };
        self.end_body(run, end);
    }

    fn drop_body(&mut self, run: usize) {
        self.end_body(run, BodyEnd::Dropped);
    }

    /// The body is gone, and with it the handles that it held.
    fn end_body(&mut self, run: usize, end: BodyEnd) {
        self.node_mut(run).body.runs = false;
        if end == BodyEnd::Err && !self.node(run).life.is_stopping() {
            self.look_at_descendants(run);
        }
        for child in std::mem::take(&mut self.node_mut(run).held) {
            if self.is_live(child) {
                self.node_mut(child).unseen = true;
            } else if self.has_failed(child) && self.node(child).parent == Some(run) {
                self.feed(run, Input::ChildDisowned, None);
            }
        }
        self.feed(run, Input::BodyEnded(end), None);
    }

    fn is_live(&self, run: usize) -> bool {
        self.node(run).told.ended.is_none()
    }

    fn has_failed(&self, run: usize) -> bool {
        self.node(run).life.status() == quell::RunStatus::Failed
    }
}
