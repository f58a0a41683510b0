//! [`parse_id`] and [`external_id`]: run ids as callers write them, and the labels that keep them.

use std::borrow::Cow;
use std::time::SystemTime;

use quell::{Engine, RunId, RunRef};
use quell_flow::COMPONENT;

/// The label that holds the id of a run as its caller wrote it, if that is not the UUID itself.
pub const EXTERNAL_ID: &str = "external_id";

/// The label that holds the group of a run: its session in `AgentOS`, its thread in `LangGraph`,
/// its team in `Playbook3D`.
pub const SESSION: &str = "session";

/// The label of a root that is no run: a contract keeps something in the store with it. No list
/// shows it, and nobody finds it by its id.
pub const RECORD: &str = "quell.record";

/// The label that holds the team that a run belongs to. It is set only if the caller who started
/// the run is a member: a caller who merely knows the id of a team cannot add runs to it.
pub(crate) const TEAM: &str = "quell.team";

/// Tells whether a label is reserved for contracts, so that callers may not set it.
pub(crate) fn is_reserved(label: &str) -> bool {
    [COMPONENT, EXTERNAL_ID, SESSION].contains(&label)
        || OF_CONTRACTS.iter().any(|prefix| label.starts_with(prefix))
}

/// Prefixes of the labels that contracts set.
const OF_CONTRACTS: [&str; 4] = ["agentos.", "langgraph.", "playbook3d.", "quell."];

/// The longest id that a caller may choose, in bytes. A longer one is refused.
pub const ID_BYTES_MAX: usize = 128;

/// A text is not a run id: it is empty, too long, has control characters or spaces around it, or is
/// `.` or `..`, which no path of a URL can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "id is empty, longer than {ID_BYTES_MAX} bytes, has control characters or spaces around it, or \
     is `.` or `..`"
)]
#[non_exhaustive]
pub struct BadId;

/// Reads a run id: a UUID stands for itself, any other text is hashed to one.
///
/// # Errors
///
/// Fails if the text is empty, longer than [`ID_BYTES_MAX`], has control characters or spaces
/// around it, or is `.` or `..`.
///
/// # Examples
///
/// ```
/// use quell_http::parse_id;
///
/// assert_eq!(parse_id("my-run"), parse_id("my-run"));
/// assert!(parse_id("two\nlines").is_err());
/// ```
pub fn parse_id(text: &str) -> Result<RunId, BadId> {
    let is_bad = text.trim() != text || ["", ".", ".."].contains(&text);
    if is_bad || text.len() > ID_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(BadId);
    }
    Ok(RunId::from_text(text))
}

/// Yields the id of a run as its caller knows it.
pub fn external_id(run: &RunRef) -> Cow<'_, str> {
    match run.label(EXTERNAL_ID) {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(run.id().to_string()),
    }
}

/// Identifies one run. The id alone does not: once a run is deleted, a later run may have its id.
/// The time at which it was queued tells them apart.
pub(crate) type Identity = (RunId, SystemTime);

/// Yields the identity of a run.
pub(crate) fn identity(run: &RunRef) -> Identity {
    (run.id(), run.queued_at())
}

/// Finds the run of an identity, if the engine still has it.
pub(crate) fn find(engine: &Engine, run: Identity) -> Option<RunRef> {
    engine.get(run.0).filter(|found| identity(found) == run)
}

/// Tells whether two texts are one id: they are equal, or spellings of one UUID.
pub fn same_id(one: &str, other: &str) -> bool {
    one == other || RunId::from_text(one) == RunId::from_text(other)
}
