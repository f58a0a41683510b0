//! What spreads from one node to others: stops, stages of the ladder, ends.
//!
//! Nothing here recurses over the tree, and at most one node's lock is held at a time, so that a
//! cancel of a million runs delays no reader by more than one node's step. Whoever stops a run
//! works all of it off before it returns. The control thread takes it in slices, with the timers
//! that are due in between: the deadline of one tree never waits for the size of another (I14).
//!
//! A run that was detached is nobody's any more (I25). Both walks that stop runs therefore go
//! top-down: a run is told only after the fence of its parent is closed, and from then on no child
//! of that parent can leave.

use std::sync::Arc;
use std::time::Instant;

use quell_core::lifecycle::{Cascade, Effects, Input, Stage};
use quell_core::{CancelRequest, Cause, CauseKind, StopMode};

use crate::faults;
use crate::foreign;
use crate::node::Node;
use crate::node::deferred::{ChildEnd, Deferred, Propagation, Propagations};
use crate::node::flags;
use crate::node::step::StopOrigin;

/// Works off what steps have left, and what those leave in turn: nothing is left of it.
pub(crate) fn work_off(todo: &mut Propagations, now: Instant) {
    // Nearly always a run has ended, and to count it out is all there is to do: without a stack
    // `cancel_tree` is 5 % faster.
    while let Some(last) = todo.pop() {
        let Propagation::ChildEnded { parent, child, gone } = last else {
            todo.push(last);
            Spread::new(std::mem::take(todo), now).run(usize::MAX);
            return;
        };
        let mut after = child_ended(&parent, &child, &gone, now);
        if !after.todo.is_empty() {
            todo.extend(std::mem::take(&mut after.todo));
        }
        parent.finish(&mut after, now);
    }
}

/// Collects the descendants of a run that are kept, in pre-order, without recursion; where one is
/// not wanted its own descendants are not looked at.
pub(crate) fn subtree(root: &Arc<Node>, wanted: impl Fn(&Node) -> bool) -> Vec<Arc<Node>> {
    let mut found = Vec::new();
    let mut stack = vec![(Arc::clone(root), 0)];
    let mut chunk = Vec::new();
    while let Some((node, from)) = stack.pop() {
        let more = node.lock().children.copy(from, CHUNK, &mut chunk);
        stack.extend(more.map(|from| (node, from)));
        for child in chunk.drain(..).filter(|child| wanted(child)) {
            stack.push((Arc::clone(&child), 0));
            found.push(child);
        }
    }
    found
}

/// What is left to be done at other nodes: a stack, so that what follows from one step is through
/// before the next one.
pub(crate) struct Spread {
    now: Instant,
    stack: Vec<Next>,
    chunk: Vec<Arc<Node>>,
}

/// The next thing to do.
enum Next {
    Propagation(Propagation),
    /// Tell the children of a run of a stop, from this place on.
    Tell(Arc<Node>, Cascade, Arc<Cause>, usize),
    /// All that is below a run was told.
    Told(Arc<Node>),
    /// Take a subtree to a stage.
    Stage(Box<StageWalk>),
    /// Ask each of these to stop, the last one first.
    Cancel(Vec<Arc<Node>>, Box<CancelRequest>),
    /// Carry out what a step has left besides: all that spreads from it is through.
    Finish(Arc<Node>, Box<Deferred>),
}

impl Spread {
    pub(crate) fn new(todo: Propagations, now: Instant) -> Self {
        let mut spread = Self { now, stack: Vec::new(), chunk: Vec::new() };
        spread.push_all(todo);
        spread
    }

    /// Asks runs to stop, one after the other.
    pub(crate) fn cancel(mut nodes: Vec<Arc<Node>>, request: CancelRequest, now: Instant) -> Self {
        nodes.reverse();
        Self { now, stack: vec![Next::Cancel(nodes, Box::new(request))], chunk: Vec::new() }
    }

    /// Begins with what a step of a node has left, which is carried out in the order that the end
    /// of a run, or a stop of it, asks for.
    pub(crate) fn of_step(node: Arc<Node>, mut after: Deferred, now: Instant) -> Self {
        let todo = std::mem::take(&mut after.todo);
        let mut spread = Self { now, stack: Vec::new(), chunk: Vec::new() };
        if after.fx.ended.is_some() {
            // The handle is ready before the parent counts the child out: the last poll of a
            // parent that does not listen must find it (D10).
            node.finish(&mut after, now);
        } else {
            // Descendants are signalled before this run's own waiters wake.
            spread.stack.push(Next::Finish(node, Box::new(after)));
        }
        spread.push_all(todo);
        spread
    }

    /// Goes on for about so many nodes. True if nothing is left.
    pub(crate) fn run(&mut self, mut budget: usize) -> bool {
        while let Some(next) = self.stack.pop() {
            let cost = match next {
                Next::Propagation(todo) => self.begin(todo),
                Next::Tell(node, cascade, cause, from) => self.tell(&node, cascade, &cause, from),
                Next::Told(node) => {
                    node.clear_telling();
                    0
                }
                Next::Stage(walk) => self.go_on(walk),
                Next::Cancel(mut nodes, request) => {
                    if let Some(node) = nodes.pop() {
                        let after = node.step_of_cancel(&request, self.now);
                        self.stack.push(Next::Cancel(nodes, request));
                        self.follow(node, after);
                    }
                    1
                }
                Next::Finish(node, mut after) => {
                    node.finish(&mut after, self.now);
                    1
                }
            };
            budget = budget.saturating_sub(cost);
            if budget == 0 {
                return self.stack.is_empty();
            }
        }
        true
    }

    fn push_all(&mut self, todo: Propagations) {
        for next in todo {
            self.stack.push(Next::Propagation(next));
        }
    }

    /// Does next what a step has left.
    fn follow(&mut self, node: Arc<Node>, after: Deferred) {
        let mut next = Self::of_step(node, after, self.now);
        self.stack.append(&mut next.stack);
    }

    fn begin(&mut self, todo: Propagation) -> usize {
        match todo {
            Propagation::Cascade(node, cascade, cause) => {
                if !faults::on("skip-signal") {
                    self.stack.push(Next::Tell(node, cascade, cause, 0));
                }
            }
            Propagation::Ladder(node, stage) => {
                let skipped = (stage == Stage::Abandon && faults::on("skip-abandon"))
                    || (stage == Stage::Abort && faults::on("abort-late"));
                if !skipped {
                    self.stack.push(Next::Stage(Box::new(StageWalk::new(node, stage, self.now))));
                }
            }
            Propagation::ChildQuiesced(parent) => {
                let after =
                    parent.step(Input::ChildQuiesced, StopOrigin::default(), self.now, |_, _| {});
                self.settle(&parent, after);
            }
            Propagation::ChildEnded { parent, child, gone } => {
                let after = child_ended(&parent, &child, &gone, self.now);
                self.settle(&parent, after);
            }
        }
        1
    }

    /// Keeps what a step left for other nodes, and carries out the rest.
    fn settle(&mut self, node: &Arc<Node>, mut after: Deferred) {
        self.push_all(std::mem::take(&mut after.todo));
        node.finish(&mut after, self.now);
    }

    /// Tells the next children of a run that an ancestor stops or fails. Each is told before its
    /// own children; the spawn fence of its parent is closed already.
    ///
    /// Whoever is through with this has told them all, or knows that somebody else has (I2): where
    /// the walk of another thread is not through, which a bit of the run says, this one walks
    /// there too.
    fn tell(
        &mut self,
        node: &Arc<Node>,
        cascade: Cascade,
        cause: &Arc<Cause>,
        from: usize,
    ) -> usize {
        let mut chunk = std::mem::take(&mut self.chunk);
        let more = node.lock().children.copy(from, CHUNK, &mut chunk);
        if from == 0 {
            self.stack.push(Next::Told(Arc::clone(node)));
        }
        if let Some(from) = more {
            self.stack.push(Next::Tell(Arc::clone(node), cascade, Arc::clone(cause), from));
        }
        let cost = chunk.len().max(1);
        // The last poll of the run waits for what is told here: counted once for many children. The
        // news that go by courier are counted one by one, and so are those of an only child.
        let is_counted = chunk.len() > 1 && !foreign::is_barred() && node.add_untold();
        // What cleanup has spawned is bounded by the hard deadline, which takes it at its stage.
        let told = |child: &Arc<Node>| {
            !child.status().is_terminal() && child.flags() & flags::CLEANUP == 0
        };
        for child in chunk.drain(..).filter(told) {
            self.tell_one(&child, cascade, cause, is_counted);
        }
        if is_counted {
            node.remove_untold();
        }
        self.chunk = chunk;
        cost
    }

    fn tell_one(
        &mut self,
        child: &Arc<Node>,
        cascade: Cascade,
        cause: &Arc<Cause>,
        is_counted: bool,
    ) {
        let input = Input::ParentStopped {
            hard: cascade.hard,
            wait: cascade.wait,
            mode: cascade.mode,
            own_grace: child.own_grace(),
        };
        let why = StopOrigin { cause: Some(cause), is_counted, ..StopOrigin::default() };
        let mut after = child.step(input, why, self.now, |_, _| {});
        if after.todo.is_empty() {
            // Nearly every leaf.
            return child.finish(&mut after, self.now);
        }
        let todo = std::mem::take(&mut after.todo);
        if after.fx.ended.is_some() {
            // As in `of_step`: its parent has to find it.
            child.finish(&mut after, self.now);
        }
        for todo in todo {
            match todo {
                Propagation::Cascade(node, cascade, cause) => {
                    self.stack.push(Next::Tell(node, cascade, cause, 0));
                }
                other => work_off(&mut Propagations::from(other), self.now),
            }
        }
        if after.fx.ended.is_none() {
            child.finish(&mut after, self.now);
        }
    }

    /// Goes on with a walk to a stage.
    fn go_on(&mut self, mut walk: Box<StageWalk>) -> usize {
        if let Some((node, from)) = walk.above.pop() {
            return self.descend(walk, node, from);
        }
        let Some(node) = walk.nodes.pop() else { return 0 };
        let after =
            node.step(Input::Ladder(walk.stage), StopOrigin::default(), self.now, |_, _| {});
        // A parent must find its children ended: what follows here is through before it is taken
        // to the stage.
        self.stack.push(Next::Stage(walk));
        self.settle(&node, after);
        1
    }

    /// Looks at the next children of a run on the way to a stage.
    fn descend(&mut self, mut walk: Box<StageWalk>, node: Arc<Node>, from: usize) -> usize {
        let mut chunk = std::mem::take(&mut self.chunk);
        let more = node.lock().children.copy(from, CHUNK, &mut chunk);
        walk.above.extend(more.map(|from| (node, from)));
        let (cost, mut told) = (chunk.len().max(1), Vec::new());
        for child in chunk.drain(..).filter(|child| !child.status().is_terminal()) {
            if !child.lock().life.is_stopping() {
                told.push((Arc::clone(&child), walk.stop(&child, self.now)));
            }
            walk.above.push((Arc::clone(&child), 0));
            walk.nodes.push(child);
        }
        self.chunk = chunk;
        self.stack.push(Next::Stage(walk));
        for (child, after) in told {
            self.follow(child, after);
        }
        cost
    }
}

/// Takes a run and its live descendants to a stage of the ladder: top-down to stop what the
/// cascade has not reached and what cleanup has spawned, so that nobody can leave any more; then
/// bottom-up, since abort and abandon begin with the leaves.
struct StageWalk {
    stage: Stage,
    hard: Instant,
    cause: Option<Arc<Cause>>,
    /// Whose children are to be looked at, from this place on.
    above: Vec<(Arc<Node>, usize)>,
    /// The run and those below it, parents first.
    nodes: Vec<Arc<Node>>,
}

impl StageWalk {
    fn new(node: Arc<Node>, stage: Stage, now: Instant) -> Self {
        let locked = node.lock();
        let hard = locked.life.hard_deadline().unwrap_or(now);
        let failing = locked.extra.as_ref().and_then(|extra| extra.failing.clone());
        let cause = locked.cause.clone().or(failing);
        drop(locked);
        let cause = cause.map(|cause| match cause.kind {
            CauseKind::ParentStopped => cause,
            _ => Arc::new(cause.inherited(CauseKind::ParentStopped)),
        });
        Self { stage, hard, cause, above: vec![(Arc::clone(&node), 0)], nodes: vec![node] }
    }

    /// Stops a run below at once: its time is over.
    fn stop(&self, child: &Arc<Node>, now: Instant) -> Deferred {
        let wait = child.shared.config.abort_wait;
        let (hard, mode) = (self.hard, StopMode::Abort);
        let input = Input::ParentStopped { hard, wait, mode, own_grace: None };
        let why = StopOrigin { cause: self.cause.as_ref(), ..StopOrigin::default() };
        child.step(input, why, now, |_, _| {})
    }
}

/// Counts a child out, and keeps it for the report if there is a row for it.
fn child_ended(parent: &Arc<Node>, child: &Arc<Node>, gone: &ChildEnd, now: Instant) -> Deferred {
    let input = Input::ChildEnded {
        unseen_failure: gone.unseen_failure,
        non_quiescent: gone.non_quiescent,
    };
    let (mut unlinked, mut unseen) = (None, None);
    let after = parent.step(input, StopOrigin::default(), now, |state, _: &Effects| {
        if gone.unseen_failure {
            let failure = child.lock().take_failure();
            if state.failure.is_none() {
                state.failure = Some(crate::body::driver::failure_of_child(child, failure));
            } else {
                unseen = failure;
            }
        }
        if !gone.stays {
            unlinked = state.children.unlink(gone.slot);
            state.children.omit(gone.status, gone.omitted.as_deref());
            if gone.charged > 0 {
                let log = parent.log_of(state);
                log.count_charge(0, gone.charged);
                child.shared.ledger.release(log.account.as_ref(), gone.charged);
            }
        }
    });
    if unlinked.is_some() {
        child.shared.registry.remove(child);
    }
    if unseen.is_some() {
        // It may be the last claim on an error that is not ours.
        foreign::run(&child.shared, move || drop(unseen));
    }
    after
}

/// Children that are copied under one lock: enough to be cheap, too few to hold up a reader.
const CHUNK: usize = 256;
