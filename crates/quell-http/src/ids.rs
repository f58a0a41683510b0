//! Ids that callers bring: any text is one, and a run is shown under the text it was given.

use std::borrow::Cow;
use std::time::SystemTime;

use quell::{Engine, RunId, RunRef};
use quell_flow::COMPONENT;

/// The label under which a run keeps the text of its id, when that is not the id itself.
pub const EXTERNAL_ID: &str = "external_id";

/// The label under which a run keeps what it belongs to: the session of `AgentOS`, the thread of
/// `LangGraph`, the team of `Playbook3D`.
pub const SESSION: &str = "session";

/// The label under which a run keeps its session as the team that it is of: only if whoever started
/// it is a member. Whoever only knows the id of a team puts nothing into it.
pub(crate) const TEAM: &str = "quell.team";

/// Tells whether a label is one that contracts write: callers do not.
pub(crate) fn is_reserved(label: &str) -> bool {
    [COMPONENT, EXTERNAL_ID, SESSION].contains(&label)
        || OF_CONTRACTS.iter().any(|prefix| label.starts_with(prefix))
}

/// How the labels of contracts begin.
const OF_CONTRACTS: [&str; 4] = ["agentos.", "langgraph.", "playbook3d.", "quell."];

/// The longest id that a caller may bring, in bytes. A longer one is refused.
pub const ID_BYTES_MAX: usize = 128;

/// A text is no id: empty, too long, with control characters or spaces around it, or `.` or `..`,
/// which no path of a URL can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "id is empty, longer than {ID_BYTES_MAX} bytes, has control characters or spaces around it, or \
     is `.` or `..`"
)]
#[non_exhaustive]
pub struct BadId;

/// Reads an id: a UUID stands for itself, any other text has an id of its own.
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

/// A run as such: a later run may have the id of one that was deleted, and is queued later.
pub(crate) type Identity = (RunId, SystemTime);

/// Yields which run it is.
pub(crate) fn identity(run: &RunRef) -> Identity {
    (run.id(), run.queued_at())
}

/// Finds that very run, if the engine has it still.
pub(crate) fn find(engine: &Engine, run: Identity) -> Option<RunRef> {
    engine.get(run.0).filter(|found| identity(found) == run)
}

/// Tells whether two texts name the same thing: equal, or the same UUID spelt in two ways.
pub fn same_id(one: &str, other: &str) -> bool {
    one == other || RunId::from_text(one) == RunId::from_text(other)
}
