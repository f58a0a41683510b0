//! [`detach`] makes a child the root of its own tree: only so does a run survive its parent (I25).

use std::sync::{Arc, Weak};
use std::time::Instant;

use quell_core::EventKind;
use quell_core::lifecycle::Input;

use crate::detach_error::DetachError;
use crate::log::Log;
use crate::node::{Node, Shared, State, flags};
use crate::step::{StopOrigin, cascade};
use crate::sync::waiters::Wakers;
use crate::time::idle::IdleWatch;

/// Makes a child the root of its own tree.
///
/// Parent and child are locked together, in that order, so that the parent's cascade either has
/// signalled the child before, and it may not leave, or does not find it. Descendants follow one
/// by one, parents first: one that is spawned meanwhile takes its log from a parent that has moved,
/// or is found in the list of one that has not. Moves out of one log follow each other, and nobody
/// leaves a log to which others are still moving, so that nobody is moved by two.
///
/// The old log says `Detached` when the last of them has moved. So nothing of the child's tree
/// comes after that event in the old log, and each event is in exactly one of the two (I30).
pub(crate) fn detach(node: &Arc<Node>) -> Result<(), DetachError> {
    let parent = node.lock().parent.as_ref().and_then(Weak::upgrade);
    let parent = parent.ok_or(DetachError::IsRoot)?;
    let now = node.shared.clock.now();
    let mut wakers = Wakers::new();
    loop {
        let old = node.log();
        let _moving = old.moving.lock();
        if Arc::ptr_eq(&old, &node.log()) {
            leave(node, &parent, &old, now, &mut wakers)?;
            break;
        }
    }
    // Only now the parent may end: nothing more of the child's tree goes to its log (I30).
    let mut deferred = parent.step(Input::ChildLeft, StopOrigin::default(), now, |_, _| {});
    cascade::work_off(&mut deferred.propagations, now);
    parent.finish(&mut deferred, now);
    crate::foreign::wake(&node.shared.couriers, wakers);
    node.shared.stop_if_closed(node);
    Ok(())
}

/// Moves a child and all below it from a log to one of its own.
fn leave(
    node: &Arc<Node>,
    parent: &Arc<Node>,
    old: &Arc<Log>,
    now: Instant,
    wakers: &mut Wakers,
) -> Result<(), DetachError> {
    let shared = &node.shared;
    let attempt = node.stored_attempt();
    let log = Arc::new(Log::after(old, node.id, attempt, &shared.config.limits, &shared.clock));
    // Locked from the older log to the newer one.
    let _moving = log.moving.lock();
    let (moved, under) = {
        let mut above = parent.lock();
        let mut state = node.lock();
        if state.parent_id != Some(parent.id) {
            return Err(DetachError::IsRoot);
        }
        if node.has_lost_id() {
            return Err(DetachError::IdTaken);
        }
        if state.life.status().is_terminal() {
            return Err(DetachError::Ended);
        }
        if state.life.is_stopping() || above.life.is_fenced(false) {
            return Err(DetachError::Stopping);
        }
        // The last sign of life that its former ancestors see of it.
        above.touch(parent, now);
        let moved =
            Moved { old: Arc::clone(old), log: Arc::clone(&log), inherited: above.idle.clone() };
        let under = moved.take(node, &mut state, 0);
        node.write(&mut state, now, detached(node, old), wakers);
        state.parent = None;
        state.parent_id = None;
        state.extra().detached_from = Some(old.root);
        state.leave_call();
        // The caller has a reference to it, so this is not the last one.
        let _linked = above.children.unlink(state.slot);
        shared.registry.count_root();
        node.set(flags::ROOT);
        (moved, under)
    };
    move_descendants(node, &moved, under);
    let _state = node.lock();
    old.append_move(shared.sinks(), (&node.id, now), detached(node, old), &moved.log, wakers);
    Ok(())
}

fn detached(node: &Node, old: &Log) -> EventKind {
    EventKind::Detached { from: old.root, name: Arc::clone(&node.name) }
}

struct Moved {
    /// The log that the subtree leaves.
    old: Arc<Log>,
    /// The log that it goes on in.
    log: Arc<Log>,
    /// The watch of an ancestor, which stays behind.
    inherited: Option<Arc<IdleWatch>>,
}

/// Moves the runs below one that has moved, and is at this depth now.
fn move_descendants(root: &Arc<Node>, moved: &Moved, under: u32) {
    let kids_of = |node: &Arc<Node>, under: u32| -> Vec<_> {
        let state = node.lock();
        state.children.iter().map(|child| (Arc::clone(child), node.id, under)).collect()
    };
    let mut stack = kids_of(root, under);
    while let Some((node, parent, above)) = stack.pop() {
        let under = {
            let mut state = node.lock();
            // One that has left since its parent's list was read has a log of its own.
            if state.parent_id != Some(parent) {
                continue;
            }
            moved.take(&node, &mut state, above)
        };
        stack.extend(kids_of(&node, under));
    }
}

impl Moved {
    /// Moves one run to another log; what it had inherited from outside its new tree is gone. It
    /// was below a run of depth `above`; yields its own.
    fn take(&self, node: &Node, state: &mut State, above: u32) -> u32 {
        let charged = node.charged(state);
        if charged > 0 {
            self.old.count_charge(0, charged);
            // That of a root is counted with the root.
            self.log.count_charge(if above == 0 { 0 } else { charged }, 0);
        }
        state.log = Some(Arc::clone(&self.log));
        state.depth = above + 1;
        if let (Some(inherited), Some(idle)) = (&self.inherited, &state.idle) {
            if Arc::ptr_eq(inherited, idle) {
                state.idle = None;
            } else {
                idle.cut_from(inherited);
            }
        }
        state.depth
    }
}

impl Shared {
    /// Stops a run that became a root while the engine shuts down. Called after it became one, so
    /// that either this or the round of `close` sees it.
    pub(crate) fn stop_if_closed(&self, root: &Arc<Node>) {
        // The lock, and not `closed`: who comes here first has made this a root before the lock was
        // free for `close`, which lists the roots after that. Two atomics would not order that.
        let closing = self.closing.lock().clone();
        if let Some(closing) = closing {
            root.cancel_within(&closing.request, Some(closing.wait));
        }
    }
}
