//! [`Counted`]: the text of an answer, which counts as under way until the client has taken it; and
//! how much answers and runs count.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use quell::store::Accepted;
use quell::{Annotations, EventKind, Payload, RunEvent, RunRef, RunRow, ToolOutcome};

use crate::ledger::Charge;

/// The text of an answer, which counts as under way until the last clone, and the last [`Bytes`]
/// made of it, are dropped. Cheap to clone: all clones share one text, and count once.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use bytes::Bytes;
/// use quell::Engine;
/// use quell_flow::Catalog;
/// use quell_http::{NATIVE, Principal, Service};
///
/// let service = Service::new(Engine::new(), Catalog::new());
/// let view = service.view(NATIVE, Principal::named("ada"));
/// let text = view.counted("x".repeat(100_000)).unwrap();
/// let (weak, taken) = (text.downgrade(), Bytes::from(text));
/// assert!(weak.upgrade().is_some());
/// drop(taken);
/// assert!(weak.upgrade().is_none());
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Counted(Arc<Text>);

/// A weak reference to a [`Counted`]. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct WeakCounted(Weak<Text>);

#[derive(Debug)]
struct Text {
    bytes: Bytes,
    _charge: Charge,
}

impl Counted {
    pub(crate) fn new(bytes: Bytes, room: Charge) -> Self {
        Self(Arc::new(Text { bytes, _charge: room }))
    }

    /// Yields a weak reference to it.
    pub fn downgrade(&self) -> WeakCounted {
        WeakCounted(Arc::downgrade(&self.0))
    }
}

impl WeakCounted {
    /// Yields the text; `None` if it was dropped.
    pub fn upgrade(&self) -> Option<Counted> {
        self.0.upgrade().map(Counted)
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl From<Counted> for Bytes {
    fn from(text: Counted) -> Self {
        Self::from_owner(text)
    }
}

/// Yields how much counts as under way for an answer of this size.
pub(crate) const fn counted(bytes: usize) -> usize {
    if bytes <= FREE_BYTES { 0 } else { bytes }
}

/// Estimates the bytes of a row in an answer.
pub fn row_bytes(row: &RunRow) -> usize {
    let values = [&row.output, &row.partial].into_iter().flatten();
    512 + values.map(Payload::bytes_max).sum::<usize>()
}

/// Estimates the bytes of what an event says: all else of it is short.
pub(crate) fn said_bytes(event: &RunEvent) -> usize {
    match &event.kind {
        EventKind::Emitted(said) | EventKind::Paused { request: said } => said.bytes_max(),
        EventKind::ToolStarted { input, .. } => input.bytes_max(),
        EventKind::ToolEnded { outcome: ToolOutcome::Result(Some(result)), .. } => {
            result.bytes_max()
        }
        EventKind::ToolEnded { outcome: ToolOutcome::Error(words), .. } => words.len(),
        _ => 0,
    }
}

/// Estimates the bytes of a run in memory: its rows, its input, its annotations, and the events of
/// its log. It works for a run that the engine has forgotten, too.
pub fn run_bytes(run: &RunRef) -> usize {
    let rows = run.report().rows.iter().map(row_bytes).sum::<usize>();
    rows + values_bytes(run.input(), run.annotations()) + run.log_bytes()
}

/// Estimates the bytes of what a stored run was given: its input and its annotations.
pub(crate) fn given_bytes(run: &Accepted) -> usize {
    values_bytes(run.input.as_ref(), Some(&run.annotations))
}

fn values_bytes(input: Option<&Payload>, annotations: Option<&Annotations>) -> usize {
    let annotations = annotations.into_iter().flat_map(Annotations::values);
    input.into_iter().chain(annotations).map(Payload::bytes_max).sum()
}

/// Answers up to this size do not count.
const FREE_BYTES: usize = 64 << 10;
