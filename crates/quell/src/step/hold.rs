//! A [`Hold`] stands for work of a run that is not its body: a blocking closure, a process, a hook
//! runner.

use std::fmt;
use std::sync::Arc;

use quell_core::lifecycle::Input;
use quell_core::store::StoredHold;
use quell_core::{Stopped, Work};

use crate::marks::call::{self, Inside};
use crate::marks::shield;
use crate::node::kept_holds::Kept;
use crate::node::write::cut_name;
use crate::node::{Node, Piece, Site, State};
use crate::step::StopOrigin;

/// Keeps a run from being quiescent for as long as it is held.
///
/// For work that lives outside the body's future: a process, a thread, a remote job. It may be
/// dropped on any thread. If it is still held at the end of the ladder, the run ends on time with
/// `quiescent = false`, names the work as abandoned, and says `Quiesced` when it is dropped.
/// [`abandon`](Self::abandon) has the run not wait for so long. It ends with this process: work
/// that does not is begun with [`RunContext::hold_durably`](crate::RunContext::hold_durably).
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
    /// The run that the work belongs to.
    node: Arc<Node>,
    /// Where the run has noted the name of the work.
    place: usize,
    /// The tool call in which the work was started, if any.
    inside: Option<Arc<Inside>>,
    /// The run does not wait for the work any more.
    is_abandoned: bool,
    /// How the store keeps it, if it does.
    kept: Option<Kept>,
}

impl Hold {
    /// Asks the fence; counts the work if it may start.
    pub(crate) fn new(
        node: &Arc<Node>,
        what: Work,
        name: Arc<str>,
        site: Site,
    ) -> Result<Self, Stopped> {
        Self::noted(node, what, name, site, |_| None)
    }

    /// As [`new`](Self::new), and leaves the work for the store.
    pub(crate) fn kept(
        node: &Arc<Node>,
        what: Work,
        name: Arc<str>,
        site: Site,
    ) -> Result<Self, Stopped> {
        let name = cut_name(name);
        Self::noted(node, what, Arc::clone(&name), site, |state| {
            node.journal_hold(state, |nr| StoredHold::new(nr, what, name))
        })
    }

    fn noted(
        node: &Arc<Node>,
        what: Work,
        name: Arc<str>,
        site: Site,
        keep: impl FnOnce(&mut State) -> Option<Kept>,
    ) -> Result<Self, Stopped> {
        let site = node.shared.config.spawn_sites.then_some(site);
        let name = cut_name(name);
        let shielded = shield::is_active(node.id);
        let (mut place, mut kept, mut refusal) = (0, None, None);
        node.apply(Input::WorkAdded { shielded }, StopOrigin::default(), |state, fx| {
            if fx.refused {
                node.shared.counters.start_refused();
                refusal = Some(node.refusal(state));
            } else {
                place = state.extra().note_work(Piece { what, name, site });
                kept = keep(state);
            }
        });
        match refusal {
            Some(stopped) => Err(stopped),
            None => Ok(Self {
                node: Arc::clone(node),
                place,
                inside: call::inside(),
                is_abandoned: false,
                kept,
            }),
        }
    }

    /// Makes the hold of work that the lifecycle has counted already, noted at this place.
    pub(crate) fn placed(node: &Arc<Node>, place: usize) -> Self {
        Self { node: Arc::clone(node), place, inside: None, is_abandoned: false, kept: None }
    }

    /// Has the run wait for the work no longer: for work of which nobody may ever learn that it has
    /// ended, such as that of a service whose request was dropped.
    ///
    /// The run may end at once, by itself or after a stop, with `quiescent = false`, and names the
    /// work as abandoned. It says `Quiesced` when the hold is dropped. If that is before the run
    /// ends, nothing is named. A second call does nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// #
    /// tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async
    /// { use quell::{Engine, RunSpec, Work};
    ///
    /// let engine = Engine::new();
    /// let handle = engine.submit(RunSpec::step("ask"), async |ctx| {
    ///     let mut hold = ctx.hold(Work::Remote, "http://service")?;
    ///     // … the connection is lost …
    ///     hold.abandon();
    ///     Ok(hold)
    /// }).unwrap();
    /// let run = handle.run().clone();
    /// let report = run.ended().await;
    /// assert_eq!((report.quiescent, report.abandoned[0].what), (false, Work::Remote));
    /// drop(handle);                       // and with it the hold
    /// run.quiescent().await;
    /// # });
    /// ```
    pub fn abandon(&mut self) {
        if !std::mem::replace(&mut self.is_abandoned, true) {
            self.node.apply(Input::WorkAbandoned, StopOrigin::default(), |_, _| ());
        }
    }

    /// Gives the work another name, for work that is known better once it has started: a program
    /// has a number then. A report that names it as abandoned has the name of that moment. A name
    /// over 1 KiB is cut at a character and marked with `…`.
    ///
    /// # Examples
    ///
    /// ```
    /// #
    /// tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async
    /// { use quell::{Engine, RunSpec, Work};
    ///
    /// let engine = Engine::new();
    /// let handle = engine.submit(RunSpec::step("import"), async |ctx| {
    ///     let mut hold = ctx.hold(Work::Remote, "import")?;
    ///     // … the service answers …
    ///     hold.rename("import, job 7");
    ///     hold.abandon();
    ///     Ok(hold)
    /// }).unwrap();
    /// let report = handle.run().ended().await;
    /// assert_eq!(&*report.abandoned[0].name, "import, job 7");
    /// # });
    /// ```
    pub fn rename(&self, name: impl Into<Arc<str>>) {
        let name = cut_name(name.into());
        if let Some(piece) = self.node.lock().extra().works.get_mut(self.place) {
            piece.name = name;
        }
    }

    /// Says what the work is from now on.
    pub(crate) fn describe(&self, state: &mut State, name: Arc<str>, site: Option<Site>) {
        if let Some(piece) = state.extra().works.get_mut(self.place) {
            (piece.name, piece.site) = (name, site);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let (place, kept, node) = (self.place, self.kept, &self.node);
        // First: to count the work out may end the run, and a tool call that is given up then must
        // not find this hold inside it.
        drop(self.inside.take());
        let ended = if self.is_abandoned { Input::AbandonedEnded } else { Input::WorkEnded };
        node.apply(ended, StopOrigin::default(), |state, _| {
            state.extra().works.try_remove(place);
            // Before the end of the run, if this makes it end.
            if let Some(kept) = kept {
                node.journal_hold_end(state, kept);
            }
        });
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.node).finish()
    }
}
