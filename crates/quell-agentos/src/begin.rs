//! [`Begin`]: where a stream begins, and [`Known`], what the events before tell.

use quell::{EventKind, RunEvent};
use quell_http::{RunView, SseEvent, TreeSaid, View};

use crate::wire::event::{COUNTS_ONLY, Renderer};

/// Where a stream begins, and what is said of that.
#[derive(Debug, Default)]
pub(crate) struct Begin {
    /// Events before this one and it are not shown.
    pub(crate) after: u64,
    /// Nor is a line before the one with this index.
    pub(crate) index: u64,
    /// The event before is a pause that was answered.
    pub(crate) is_behind_a_pause: bool,
    /// What comes before all events.
    pub(crate) first: Option<SseEvent>,
    /// What comes behind the event with this number.
    pub(crate) then: Option<(u64, SseEvent)>,
    /// What the events tell that are not shown, if they were read: then they are not read again.
    pub(crate) known: Option<Box<Known>>,
}

impl Begin {
    /// Begins behind a pause that was answered, or, of zero, with the first event.
    pub(crate) fn after(after: u64) -> Self {
        Self { after, is_behind_a_pause: after > 0, ..Self::default() }
    }

    /// Yields the attempt whose pause ends the stream of a run. Behind a pause that is answered the
    /// event of the answer says which: the run may have lost attempts since.
    pub(crate) async fn attempt(&self, view: &View, run: &RunView) -> u32 {
        if self.is_behind_a_pause || run.status().is_terminal() {
            return ALL_PASSED_BY;
        }
        view.answered_by_now(run).await
    }
}

/// Each pause is passed by: the run has ended, or has not been seen to go on.
const ALL_PASSED_BY: u32 = u32::MAX;

/// What the events of a run that is only in the store tell, as far as its client has them.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) renderer: Renderer,
    pub(crate) said: TreeSaid,
    /// The attempt that the last answer among them has begun.
    pub(crate) seen: u32,
    /// The same, of all events by now.
    pub(crate) answered: u32,
    /// The same, of those before the last pause among them, if there is one.
    paused: Option<u32>,
    /// The end of the root is among them.
    has_ended: bool,
}

impl Known {
    /// Begins before the first event.
    pub(crate) fn new(view: &View, mut renderer: Renderer) -> Self {
        renderer.write_from(COUNTS_ONLY);
        Self {
            renderer,
            said: view.tree_said(),
            seen: 1,
            answered: 1,
            paused: None,
            has_ended: false,
        }
    }

    /// Takes in an event that the client has.
    pub(crate) fn take(&mut self, event: &RunEvent) {
        match event.kind {
            EventKind::Resumed { attempt } => self.seen = attempt,
            EventKind::Paused { .. } => self.paused = Some(self.seen),
            EventKind::Ended(_) => self.has_ended |= event.run == event.root,
            _ => {}
        }
        self.said.take(event);
        count(&mut self.renderer, event);
    }

    /// Tells whether the client has the end of the run, or the pause that ends an attempt.
    pub(crate) fn is_over(&self, attempt: u32) -> bool {
        self.has_ended || self.paused.is_some_and(|seen| seen >= attempt)
    }
}

/// Counts the lines of an event that is not shown; of a gap as many as there are events in it.
/// Yields how many lines there were before the gap.
pub(crate) fn count(renderer: &mut Renderer, event: &RunEvent) -> u64 {
    let before = renderer.lines();
    drop(renderer.on(event, None));
    let seen = renderer.lines();
    if let EventKind::Lagged { from, to } = event.kind {
        renderer.go_on_behind(before + (to + 1 - from));
    }
    seen
}
