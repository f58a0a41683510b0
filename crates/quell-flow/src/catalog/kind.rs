//! [`ComponentKind`] is agent, team or workflow.

use std::fmt;

use quell::RunKind;

/// The kind of a component. Catalogs list the kinds in this order.
///
/// # Examples
///
/// ```
/// use quell::RunKind;
/// use quell_flow::ComponentKind;
///
/// assert_eq!(ComponentKind::Team.run_kind(), RunKind::Team);
/// assert_eq!(ComponentKind::Team.to_string(), "team");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "a contract must name every kind of component")]
pub enum ComponentKind {
    /// An agent: its body does the work.
    Agent,
    /// A team: its members do the work.
    Team,
    /// A workflow: its steps do the work.
    Workflow,
}

impl ComponentKind {
    /// Every kind, in order.
    pub const ALL: [Self; 3] = [Self::Agent, Self::Team, Self::Workflow];

    /// Yields the kind of its runs.
    pub const fn run_kind(self) -> RunKind {
        match self {
            Self::Agent => RunKind::Agent,
            Self::Team => RunKind::Team,
            Self::Workflow => RunKind::Workflow,
        }
    }

    /// Yields the kind of the component to which a run of this kind belongs. Steps, branches and
    /// attempts belong to workflows.
    pub const fn of_run(kind: RunKind) -> Self {
        match kind {
            RunKind::Agent => Self::Agent,
            RunKind::Team => Self::Team,
            RunKind::Workflow | RunKind::Step | RunKind::Branch | RunKind::Attempt => {
                Self::Workflow
            }
        }
    }

    /// Splits the name of a component, `agent/writer`, into its kind and its id; none for a text
    /// that begins with no kind. An id may have slashes.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::ComponentKind;
    ///
    /// assert_eq!(ComponentKind::split("agent/a/b"), Some((ComponentKind::Agent, "a/b")));
    /// assert_eq!(ComponentKind::split("writer"), None);
    /// ```
    pub fn split(name: &str) -> Option<(Self, &str)> {
        let (kind, id) = name.split_once('/')?;
        let kind = Self::ALL.into_iter().find(|known| known.as_str() == kind)?;
        Some((kind, id))
    }

    /// Yields its name: `agent`, `team` or `workflow`.
    pub const fn as_str(self) -> &'static str {
        self.run_kind().as_str()
    }
}

impl fmt::Display for ComponentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
