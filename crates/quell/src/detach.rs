//! A child that goes its own way: the one edge by which a run survives its parent (I25).

use std::sync::Arc;

use quell_core::EventKind;
use quell_core::lifecycle::Input;

use crate::clock::Ticks;
use crate::events::Log;
use crate::failure::DetachError;
use crate::faults;
use crate::idle::IdleWatch;
use crate::node::{Node, State};
use crate::step::Note;
use crate::waiters::Wakers;
use crate::word;

/// Makes a child the root of its own tree.
///
/// Parent and child are locked together, in that order, so that the parent's cascade either has
/// signalled the child before, and it may not leave, or does not find it. Descendants follow one
/// by one, parents first: one that is spawned meanwhile takes its log from a parent that has moved,
/// or is found in the list of one that has not.
pub(crate) fn detach(node: &Arc<Node>) -> Result<(), DetachError> {
    let parent = node.lock().parent.as_ref().and_then(std::sync::Weak::upgrade);
    let parent = parent.ok_or(DetachError::IsRoot)?;
    if faults::on("stay-attached") {
        return Ok(());
    }
    let now = node.shared.clock.now();
    let mut wakers = Wakers::new();
    let (moved, old) = {
        let mut above = parent.lock();
        let mut state = node.lock();
        if state.parent_id != Some(parent.id) {
            return Err(DetachError::IsRoot);
        }
        if state.life.status().is_terminal() {
            return Err(DetachError::Ended);
        }
        if state.life.is_stopping() || above.life.is_fenced(false) {
            return Err(DetachError::Stopping);
        }
        let log = Arc::new(node.shared.new_log(node.id));
        let (from, name) = (node.log_of(&mut state).root, Arc::clone(&node.name));
        let detached = EventKind::Detached { from, name };
        node.write(&mut state, now, detached.clone(), &mut wakers);
        let (inherited, old) = (above.idle.clone(), Arc::clone(node.log_of(&mut state)));
        let top = Above { depth: 0, deadline: None };
        let under = move_to(node, &mut state, &log, top, inherited.as_ref());
        node.write(&mut state, now, detached, &mut wakers);
        state.parent = None;
        state.parent_id = None;
        state.extra().detached_from = Some(from);
        above.kids.unlink(state.slot);
        node.shared.registry.count_root();
        node.set(word::ROOT);
        (Moved { log, inherited, under }, old)
    };
    move_descendants(node, &moved);
    // Their readers wait at the old log for what will come in the new one.
    old.drain_waiters(&mut wakers);
    // Only now the parent may end: nothing more of the child's tree goes to its log (I30).
    let mut after = parent.step(Input::ChildLeft, Note::default(), now, |_, _| {});
    crate::cascade::work_off(std::mem::take(&mut after.todo), now);
    parent.finish(&mut after, now);
    crate::foreign::wake(wakers);
    node.shared.stop_if_closed(node);
    Ok(())
}

struct Moved {
    log: Arc<Log>,
    inherited: Option<Arc<IdleWatch>>,
    under: Above,
}

/// What the runs below inherit from one that has moved.
#[derive(Clone, Copy)]
struct Above {
    depth: u32,
    deadline: Option<Ticks>,
}

fn move_descendants(root: &Arc<Node>, moved: &Moved) {
    let kids_of =
        |node: &Node| -> Vec<Arc<Node>> { node.lock().kids.iter().map(Arc::clone).collect() };
    let mut stack: Vec<_> = kids_of(root).into_iter().map(|kid| (kid, moved.under)).collect();
    while let Some((node, above)) = stack.pop() {
        let inherited = moved.inherited.as_ref();
        let under = move_to(&node, &mut node.lock(), &moved.log, above, inherited);
        stack.extend(kids_of(&node).into_iter().map(|kid| (kid, under)));
    }
}

/// Moves one run to another log; what it had inherited from outside its new tree is gone.
fn move_to(
    node: &Node,
    state: &mut State,
    log: &Arc<Log>,
    above: Above,
    inherited: Option<&Arc<IdleWatch>>,
) -> Above {
    state.log = Some(Arc::clone(log));
    state.depth = above.depth + 1;
    let own = state.life.timeout_at().map(|at| node.shared.clock.ticks(at));
    state.deadline = above.deadline.into_iter().chain(own).min();
    if let (Some(inherited), Some(idle)) = (inherited, &state.idle) {
        if Arc::ptr_eq(inherited, idle) {
            state.idle = None;
        } else {
            idle.cut_from(inherited);
        }
    }
    Above { depth: state.depth, deadline: state.deadline }
}
