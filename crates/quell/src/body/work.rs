//! A [`Hold`] stands for work of a run that is not its body: a blocking closure, a process, a hook
//! runner.

use std::borrow::Cow;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;

use quell_core::lifecycle::Input;
use quell_core::{Cause, Stopped, Work, limits};

use crate::body::context::RunContext;
use crate::body::shield;
use crate::body::tool::{self, Inside};
use crate::node::Node;
use crate::node::step::StopOrigin;

/// Keeps a run from being quiescent for as long as it is held.
///
/// For work that lives outside the body's future: a process, a thread, a remote job. It may be
/// dropped on any thread. If it is still held at the end of the ladder, the run ends on time with
/// `quiescent = false`, names the work as abandoned, and says `Quiesced` when it is dropped.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, RunSpec, Work};
///
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::step("index"), async |ctx| {
///     let hold = ctx.hold(Work::Blocking, "indexer")?;
///     std::thread::spawn(move || {
///         // … work …
///         drop(hold);
///     });
///     Ok(())
/// }).unwrap();
/// assert!(run.ended().await.quiescent);
/// # });
/// ```
#[must_use = "the work counts as ended when this is dropped"]
pub struct Hold {
    node: Arc<Node>,
    /// Where the run has noted the name of the work.
    place: usize,
    /// The tool call in which the work was started, if any.
    inside: Option<Arc<Inside>>,
}

impl Hold {
    /// Asks the fence; counts the work if it may start.
    pub(crate) fn new(node: &Arc<Node>, what: Work, name: Arc<str>) -> Result<Self, Stopped> {
        let name = match limits::cut(&name, limits::LABEL_BYTES_MAX) {
            Cow::Borrowed(_) => name,
            Cow::Owned(cut) => cut.into(),
        };
        let shielded = shield::is_active(node.id);
        let (mut place, mut refusal) = (0, None);
        node.apply(Input::WorkAdded { shielded }, StopOrigin::default(), |state, fx| {
            if fx.refused {
                refusal = Some(node.refusal(state));
            } else {
                place = state.extra().note_work(what, name);
            }
        });
        match refusal {
            Some(stopped) => Err(stopped),
            None => Ok(Self { node: Arc::clone(node), place, inside: tool::inside() }),
        }
    }

    /// Makes the hold of work that the lifecycle has counted already, noted at this place.
    pub(crate) fn placed(node: &Arc<Node>, place: usize) -> Self {
        Self { node: Arc::clone(node), place, inside: None }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let place = self.place;
        // First: to count the work out may end the run, and a tool call that is given up then must
        // not find this hold inside it.
        drop(self.inside.take());
        self.node.apply(Input::WorkEnded, StopOrigin::default(), |state, _| {
            state.extra().works.try_remove(place);
        });
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.node).finish()
    }
}

impl crate::node::RareState {
    /// Notes work under its name, in the same step in which it is counted. Yields its place.
    pub(crate) fn note_work(&mut self, what: Work, name: Arc<str>) -> usize {
        self.works.insert((what, name))
    }
}

/// What a blocking closure sees of its run.
///
/// # Examples
///
/// ```
/// use quell::BlockingContext;
///
/// fn crunch(ctx: &BlockingContext) -> u64 {
///     (0..1_000_000).take_while(|_| !ctx.is_stopping()).sum()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct BlockingContext {
    node: Arc<Node>,
}

impl BlockingContext {
    /// Tells whether the closure should give way: the run is to stop, or its body has failed. One
    /// atomic load: ask often.
    pub fn is_stopping(&self) -> bool {
        self.node.listen()
    }

    /// Yields why, if the closure should give way.
    pub fn cause(&self) -> Option<Arc<Cause>> {
        self.node.lock().cause_to_give_way()
    }
}

/// Runs a closure on a thread of the runtime's blocking pool, as work of the run.
pub(crate) async fn spawn_blocking<T: Send + 'static>(
    ctx: &RunContext,
    work: impl FnOnce(BlockingContext) -> T + Send + 'static,
) -> Result<T, Stopped> {
    let node = ctx.node();
    node.listen();
    let hold = Hold::new(node, Work::Blocking, Arc::clone(&node.name))?;
    let context = BlockingContext { node: Arc::clone(node) };
    let task = node.shared.runtime.spawn_blocking(move || {
        // In this order: if the caller is gone, the value is dropped before the hold, since its
        // destructor is work of the run, too.
        (work(context), hold)
    });
    // The abort of a closure that has started does nothing: the run waits for it.
    let mut unstarted = AbortOnDrop(Some(task.abort_handle()));
    let joined = task.await;
    unstarted.0 = None;
    match joined {
        Ok((value, hold)) => {
            drop(hold);
            Ok(value)
        }
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Err(_) => Err(node.refusal(&node.lock())),
    }
}

/// Takes a closure back that has not started when its caller stops waiting for it.
struct AbortOnDrop(Option<tokio::task::AbortHandle>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}
