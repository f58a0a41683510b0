//! [`Spread`] carries stops, stages of the ladder and ends from one node to others.
//!
//! Nothing here recurses over the tree, and at most the locks of a parent and of one child are held
//! at a time, so that a cancel of a million runs delays no reader by more than one node's step. A
//! thread that stops a run carries all of it out before its call returns. The control thread takes
//! it in slices, with the timers that are due in between: the deadline of one tree never waits for
//! the size of another (I14).
//!
//! A detached run no longer belongs to its former ancestors (I25). Both walks that stop runs
//! therefore go top-down: a run is signalled only after the fence of its parent is closed, and from
//! then on no child of that parent can leave.

use std::sync::Arc;
use std::time::Instant;

use quell_core::lifecycle::{Cascade, Input, Stage};
use quell_core::{CancelRequest, Cause, CauseKind, StopMode};

use crate::foreign;
use crate::node::{Node, flags};
use crate::step::StopOrigin;
use crate::step::deferred::{Deferred, Propagation, Propagations};
use crate::step::end::child_ended;

/// Carries out what steps have left for other nodes, and what that leaves in turn, until nothing is
/// left.
#[inline]
pub(crate) fn work_off(propagations: &mut Propagations, now: Instant) {
    if !propagations.is_empty() {
        work_off_all(propagations, now);
    }
}

fn work_off_all(propagations: &mut Propagations, now: Instant) {
    // Nearly always a run has ended, and to count it out is all there is to do: without a stack
    // `cancel_tree` is 5 % faster.
    while let Some(last) = propagations.pop() {
        let Propagation::ChildEnded { parent, child, gone } = last else {
            propagations.push(last);
            Spread::new(std::mem::take(propagations), now).run(usize::MAX);
            return;
        };
        let mut deferred = Deferred::default();
        child_ended(&mut deferred, &parent, &child, &gone, now);
        if !deferred.propagations.is_empty() {
            propagations.extend(std::mem::take(&mut deferred.propagations));
        }
        parent.finish(&mut deferred, now);
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
    /// When the step happened from which all this follows.
    now: Instant,
    /// What is left to be done, the next thing last.
    stack: Vec<Next>,
    /// Children that are told under one lock of their parent; kept for its room.
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
    pub(crate) fn new(propagations: Propagations, now: Instant) -> Self {
        let mut spread = Self { now, stack: Vec::new(), chunk: Vec::new() };
        spread.push_all(propagations);
        spread
    }

    /// Asks runs to stop, one after the other.
    pub(crate) fn cancel(mut nodes: Vec<Arc<Node>>, request: CancelRequest, now: Instant) -> Self {
        nodes.reverse();
        Self { now, stack: vec![Next::Cancel(nodes, Box::new(request))], chunk: Vec::new() }
    }

    /// Begins with what a step of a node has left, which is carried out in the order that the end
    /// of a run, or a stop of it, asks for.
    pub(crate) fn of_step(node: Arc<Node>, mut deferred: Deferred, now: Instant) -> Self {
        let propagations = std::mem::take(&mut deferred.propagations);
        let mut spread = Self { now, stack: Vec::new(), chunk: Vec::new() };
        if deferred.fx.ended.is_some() {
            // The handle is ready before the parent counts the child out: the last poll of a
            // parent that does not listen must find it (D10).
            node.finish(&mut deferred, now);
        } else {
            // Descendants are signalled before this run's own waiters wake.
            spread.stack.push(Next::Finish(node, Box::new(deferred)));
        }
        spread.push_all(propagations);
        spread
    }

    /// Goes on for about so many nodes. True if nothing is left.
    pub(crate) fn run(&mut self, mut budget: usize) -> bool {
        while let Some(next) = self.stack.pop() {
            let cost = match next {
                Next::Propagation(propagation) => self.begin(propagation),
                Next::Tell(node, cascade, cause, from) => self.tell(&node, cascade, &cause, from),
                Next::Told(node) => {
                    node.clear_cascading();
                    0
                }
                Next::Stage(walk) => self.go_on(walk),
                Next::Cancel(mut nodes, request) => {
                    if let Some(node) = nodes.pop() {
                        let deferred = node.step_of_cancel(&request, self.now);
                        self.stack.push(Next::Cancel(nodes, request));
                        self.follow(node, deferred);
                    }
                    1
                }
                Next::Finish(node, mut deferred) => {
                    node.finish(&mut deferred, self.now);
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

    fn push_all(&mut self, propagations: Propagations) {
        for next in propagations {
            self.stack.push(Next::Propagation(next));
        }
    }

    /// Does next what a step has left.
    fn follow(&mut self, node: Arc<Node>, deferred: Deferred) {
        let mut next = Self::of_step(node, deferred, self.now);
        self.stack.append(&mut next.stack);
    }

    fn begin(&mut self, propagation: Propagation) -> usize {
        match propagation {
            Propagation::Cascade(node, cascade, cause) => {
                self.stack.push(Next::Tell(node, cascade, cause, 0));
            }
            Propagation::Ladder(node, stage) => {
                self.stack.push(Next::Stage(Box::new(StageWalk::new(node, stage, self.now))));
            }
            Propagation::ChildQuiesced(parent) => {
                let deferred =
                    parent.step(Input::ChildQuiesced, StopOrigin::default(), self.now, |_, _| {});
                self.settle(&parent, deferred);
            }
            Propagation::ChildEnded { parent, child, gone } => {
                let mut deferred = Deferred::default();
                child_ended(&mut deferred, &parent, &child, &gone, self.now);
                self.settle(&parent, deferred);
            }
        }
        1
    }

    /// Keeps what a step left for other nodes, and carries out the rest.
    fn settle(&mut self, node: &Arc<Node>, mut deferred: Deferred) {
        self.push_all(std::mem::take(&mut deferred.propagations));
        node.finish(&mut deferred, self.now);
    }

    /// Signals the next children of a run: an ancestor stops or fails. Each is signalled before its
    /// own children; the spawn fence of its parent is closed already.
    ///
    /// When this walk is over, every child was signalled, by this thread or by another (I2): where
    /// [`CASCADING`](flags::CASCADING) says that another thread's walk is not over, this one walks
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
        // The last poll of the run waits until its children's waiters were woken. To count that
        // once for many children saves two atomic operations for each (bench `cancel_tree`,
        // `flat`). What goes by courier is counted one by one, and so is an only child's.
        let is_counted = chunk.len() > 1 && !foreign::is_barred() && node.add_untold();
        // Children that cleanup has spawned are not signalled: they have until the hard deadline,
        // and its stage stops them.
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
        let mut deferred = Deferred::default();
        child.step_into(&mut deferred, input, why, self.now, |_, _| {});
        if deferred.propagations.is_empty() {
            // Nearly every leaf: nothing spreads from it, and the stack is not touched.
            return child.finish(&mut deferred, self.now);
        }
        let propagations = std::mem::take(&mut deferred.propagations);
        if deferred.fx.ended.is_some() {
            // As in `of_step`: its parent has to find the value.
            child.finish(&mut deferred, self.now);
        }
        for propagation in propagations {
            match propagation {
                Propagation::Cascade(node, cascade, cause) => {
                    self.stack.push(Next::Tell(node, cascade, cause, 0));
                }
                other => work_off(&mut Propagations::from(other), self.now),
            }
        }
        if deferred.fx.ended.is_none() {
            child.finish(&mut deferred, self.now);
        }
    }

    /// Goes on with a walk to a stage.
    fn go_on(&mut self, mut walk: Box<StageWalk>) -> usize {
        if let Some((node, from)) = walk.above.pop() {
            return self.descend(walk, node, from);
        }
        let Some(node) = walk.nodes.pop() else { return 0 };
        let deferred =
            node.step(Input::Ladder(walk.stage), StopOrigin::default(), self.now, |_, _| {});
        // Push the walk first, so that what follows from this step is popped before it: a parent
        // must find its children ended when it is taken to the stage itself.
        self.stack.push(Next::Stage(walk));
        self.settle(&node, deferred);
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
        for (child, deferred) in told {
            self.follow(child, deferred);
        }
        cost
    }
}

/// Takes a run and its live descendants to a stage of the ladder: top-down to stop what the
/// cascade has not reached and what cleanup has spawned, so that nobody can leave any more; then
/// bottom-up, since abort and abandon begin with the leaves.
struct StageWalk {
    /// The stage that all are taken to.
    stage: Stage,
    /// The hard deadline of the stop.
    hard: Instant,
    /// What those are told that no stop has reached. None if no stop came at all: they belong to
    /// hooks whose time is over.
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
        let own = || Arc::new(of_cleanup(child, now));
        let cause = self.cause.clone().unwrap_or_else(own);
        let why = StopOrigin { cause: Some(&cause), ..StopOrigin::default() };
        child.step(input, why, now, |_, _| {})
    }
}

/// Makes the cause with which a child of a hook is stopped, if no stop has come to its parent.
fn of_cleanup(child: &Node, now: Instant) -> Cause {
    let mut cause = Cause::new(CauseKind::Deadline, child.shared.clock.wall(now), child.id);
    cause.message = Some("the time of the hooks of its parent is over".into());
    cause
}

/// Children that are copied under one lock: enough to be cheap, too few to hold up a reader.
pub(crate) const CHUNK: usize = 256;
