//! What spreads from one node to others: stops, stages of the ladder, ends.
//!
//! Nothing here recurses over the tree, and at most one node's lock is held at a time, so that a
//! cancel of a million runs delays no reader by more than one node's step.

use std::sync::Arc;
use std::time::Instant;

use quell_core::lifecycle::{Cascade, Effects, Input, Stage};
use quell_core::{Cause, StopMode};

use crate::faults;
use crate::node::{After, Gone, Node, Todo, Todos};
use crate::step::Note;
use crate::word;

/// Works off what steps have left, and what those leave in turn.
pub(crate) fn work_off(mut todo: Todos, now: Instant) {
    while let Some(next) = todo.pop() {
        match next {
            Todo::Cascade(node, cascade, cause) => signal_children(&node, cascade, cause, now),
            Todo::Ladder(node, stage) => take_to_stage(&node, stage, now, &mut todo),
            Todo::ChildQuiesced(parent) => {
                let after = parent.step(Input::ChildQuiesced, Note::default(), now, |_, _| {});
                settle(&parent, after, now, &mut todo);
            }
            Todo::ChildEnded { parent, child, gone } => {
                let after = child_ended(&parent, &child, &gone, now);
                settle(&parent, after, now, &mut todo);
            }
        }
    }
}

/// Collects the live descendants of a run in pre-order, without recursion.
pub(crate) fn live_subtree(root: &Arc<Node>) -> Vec<Arc<Node>> {
    subtree(root, |child| !child.status().is_terminal())
}

/// Collects the descendants of a run that are kept, in pre-order, without recursion; where one is
/// not wanted its own descendants are not looked at.
pub(crate) fn subtree(root: &Arc<Node>, wanted: impl Fn(&Node) -> bool) -> Vec<Arc<Node>> {
    let mut found = Vec::new();
    let mut stack = vec![(Arc::clone(root), 0)];
    let mut chunk = Vec::new();
    while let Some((node, from)) = stack.pop() {
        let more = node.lock().kids.copy(from, CHUNK, &mut chunk);
        stack.extend(more.map(|from| (node, from)));
        for child in chunk.drain(..).filter(|child| wanted(child)) {
            stack.push((Arc::clone(&child), 0));
            found.push(child);
        }
    }
    found
}

/// What is left to do of a walk that tells of a stop.
enum Walk {
    /// Tell the children of a run, from this place on.
    Children(Arc<Node>, Cascade, Arc<Cause>, usize),
    /// All that is below a run was told.
    Through(Arc<Node>),
}

/// Tells every live descendant that an ancestor stops or fails. Each is told before its own
/// children; the spawn fence of its parent is closed already.
///
/// Whoever returns from here has told them all, or knows that somebody else has (I2): where the
/// walk of another thread is not through, which a bit of the run says, this one walks there too.
fn signal_children(node: &Arc<Node>, cascade: Cascade, cause: Arc<Cause>, now: Instant) {
    if faults::on("skip-signal") {
        return;
    }
    let mut stack = vec![Walk::Children(Arc::clone(node), cascade, cause, 0)];
    let mut chunk = Vec::new();
    while let Some(walk) = stack.pop() {
        let (node, cascade, cause, from) = match walk {
            Walk::Children(node, cascade, cause, from) => (node, cascade, cause, from),
            Walk::Through(node) => {
                node.clear(word::TELLING);
                continue;
            }
        };
        if from == 0 {
            stack.push(Walk::Through(Arc::clone(&node)));
        }
        let more = node.lock().kids.copy(from, CHUNK, &mut chunk);
        if let Some(from) = more {
            stack.push(Walk::Children(node, cascade, Arc::clone(&cause), from));
        }
        // What cleanup has spawned is bounded by the hard deadline, which takes it at its stage.
        let told =
            |child: &Arc<Node>| !child.status().is_terminal() && child.word() & word::CLEANUP == 0;
        for child in chunk.drain(..).filter(told) {
            let mut after = signal(&child, cascade, &cause, now);
            for todo in std::mem::take(&mut after.todo) {
                match todo {
                    Todo::Cascade(node, cascade, cause) => {
                        stack.push(Walk::Children(node, cascade, cause, 0));
                    }
                    other => work_off(Todos::from_iter([other]), now),
                }
            }
            child.finish(&mut after, now);
        }
    }
}

fn signal(child: &Arc<Node>, cascade: Cascade, cause: &Arc<Cause>, now: Instant) -> After {
    let input = Input::ParentStopped {
        hard: cascade.hard,
        wait: cascade.wait,
        mode: cascade.mode,
        listens: child.is_listening(),
        own_grace: child.own_grace(),
    };
    child.step(input, Note { cause: Some(cause), ..Note::default() }, now, |_, _| {})
}

/// Takes a run and its live descendants to a stage, leaves first: abort and abandon go bottom-up.
fn take_to_stage(node: &Arc<Node>, stage: Stage, now: Instant, todo: &mut Todos) {
    let mut nodes = vec![Arc::clone(node)];
    nodes.extend(live_subtree(node));
    let skipped = (stage == Stage::Abandon && faults::on("skip-abandon"))
        || (stage == Stage::Abort && faults::on("abort-late"));
    if skipped {
        return;
    }
    let (hard, cause) = {
        let locked = node.lock();
        let hard = locked.life.hard_deadline().unwrap_or(now);
        let failing = locked.extra.as_ref().and_then(|extra| extra.failing.clone());
        (hard, locked.cause.clone().or(failing))
    };
    for (index, node) in nodes.iter().enumerate().rev() {
        if index > 0 && !node.lock().life.is_stopping() {
            stop_cleanup(node, hard, cause.as_ref(), now, todo);
        }
        let after = node.step(Input::Ladder(stage), Note::default(), now, |_, _| {});
        settle(node, after, now, todo);
        // A parent must find its children ended.
        work_off(std::mem::take(todo), now);
    }
}

/// Stops what shielded cleanup has spawned: its time is over.
fn stop_cleanup(
    node: &Arc<Node>,
    hard: Instant,
    cause: Option<&Arc<Cause>>,
    now: Instant,
    todo: &mut Todos,
) {
    let cause = cause.map(|cause| Arc::new(cause.inherited(quell_core::CauseKind::ParentStopped)));
    let wait = node.shared.config.abort_wait;
    let input = Input::ParentStopped {
        hard,
        wait,
        mode: StopMode::Abort,
        listens: node.is_listening(),
        own_grace: None,
    };
    let why = Note { cause: cause.as_ref(), ..Note::default() };
    let after = node.step(input, why, now, |_, _| {});
    settle(node, after, now, todo);
}

/// Counts a child out, and keeps it for the report if there is a row for it.
fn child_ended(parent: &Arc<Node>, child: &Arc<Node>, gone: &Gone, now: Instant) -> After {
    let input = Input::ChildEnded { unseen_failure: gone.unseen_failure, restless: gone.restless };
    let mut unlinked = None;
    let after = parent.step(input, Note::default(), now, |state, _: &Effects| {
        if gone.unseen_failure && state.failure.is_none() {
            state.failure = Some(crate::body::failure_of_child(child));
        }
        let row = parent.log_of(state).take_row(gone.status);
        if !row && !gone.has_rows && !gone.restless {
            unlinked = state.kids.unlink(gone.slot);
            state.kids.omit(gone.status, gone.omitted.as_deref());
        }
    });
    if unlinked.is_some() {
        child.shared.registry.remove(child.id);
    }
    after
}

/// Keeps what a step left for other nodes, and carries out the rest.
fn settle(node: &Arc<Node>, mut after: After, now: Instant, todo: &mut Todos) {
    todo.extend(std::mem::take(&mut after.todo));
    node.finish(&mut after, now);
}

/// Children that are copied under one lock: enough to be cheap, too few to hold up a reader.
const CHUNK: usize = 256;
