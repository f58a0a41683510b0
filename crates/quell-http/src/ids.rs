//! [`parse_id`] and [`external_id`]: run ids as callers write them, and the labels that keep them.

use std::borrow::Cow;
use std::time::SystemTime;

use quell::cluster::RunMeant;
use quell::{Engine, RunId, RunRef};
use quell_flow::COMPONENT;
use uuid::Uuid;

use crate::run_view::RunView;

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

impl RunView {
    pub(crate) fn identity(&self) -> Identity {
        (self.id(), self.queued_at())
    }

    /// Names this run, as far as a store can tell, and no later one that has its id.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use quell::{Engine, RunSpec};
    /// use quell_http::RunView;
    ///
    /// let engine = Engine::new();
    /// let run = engine.submit(RunSpec::agent("echo"), async |_ctx| Ok(()))?.into_ref();
    /// assert!(RunView::from(&run).meant().is(run.queued_at()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn meant(&self) -> RunMeant {
        RunMeant::accepted_at(self.id(), self.queued_at())
    }

    /// Yields the id of the record that marks this run, and no later one that has its id, as
    /// `marks` does: an id of its own for what such marks say.
    pub fn mark(&self, marks: &Uuid) -> RunId {
        let (id, meant) = (self.id().as_uuid(), self.meant());
        let accepted_ms = u128::from(meant.accepted_ms().unwrap_or_default());
        let name = [id.as_bytes(), &accepted_ms.to_be_bytes()[..]].concat();
        RunId::from_uuid(Uuid::new_v5(marks, &name))
    }
}

/// Finds the run of an identity, if the engine still has it.
pub(crate) fn find(engine: &Engine, run: Identity) -> Option<RunRef> {
    engine.get(run.0).filter(|found| identity(found) == run)
}

/// Tells whether two texts are one id: they are equal, or spellings of one UUID.
pub fn same_id(one: &str, other: &str) -> bool {
    one == other || RunId::from_text(one) == RunId::from_text(other)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quell::RunSpec;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn the_mark_of_a_run_is_of_no_later_one_that_has_its_id() {
        let (engine, marks) = (Engine::new(), Uuid::from_u128(1));
        let mut seen = Vec::new();
        for _ in 0..2 {
            let spec = RunSpec::agent("r").id(RunId::from_text("r"));
            let run = engine.submit(spec, async |_ctx| Ok(())).unwrap().into_ref();
            run.quiescent().await;
            let view = RunView::from(&run);
            assert_eq!(view.mark(&marks), view.mark(&marks));
            assert_ne!(view.mark(&marks), view.mark(&Uuid::nil()));
            seen.push(view.mark(&marks));
            run.forget().unwrap();
            sleep(Duration::from_millis(2)).await;
        }
        assert_ne!(seen[0], seen[1]);
    }
}
