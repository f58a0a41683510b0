//! [`RunFilter`] says which runs are meant.

use crate::{Labels, RunKind, RunStatus};

/// Which runs are meant: those to which every condition applies. Without one, all.
///
/// # Examples
///
/// ```
/// use quell_core::{RunFilter, RunKind, RunStatus};
///
/// let filter = RunFilter::new().roots().kind(RunKind::Agent).status(RunStatus::Running);
/// # let _ = filter;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a filter does nothing until it is used"]
pub struct RunFilter {
    /// Whether only roots are meant.
    roots: bool,
    /// The one kind that is meant; any by default.
    kind: Option<RunKind>,
    /// The statuses that are meant; any if there is none.
    statuses: Vec<RunStatus>,
    /// Whether only runs are meant that are not terminal.
    live: bool,
    /// The one name that is meant; any by default.
    name: Option<String>,
    /// The one owner that is meant; any by default.
    owner: Option<String>,
    /// The labels that a run has to have, all of them.
    labels: Vec<(String, String)>,
}

/// What a filter asks of a run.
///
/// # Examples
///
/// ```
/// use quell_core::{RunFacts, RunFilter, RunKind, RunStatus};
///
/// let status = RunStatus::Running;
/// let run = RunFacts {
///     is_root: true,
///     kind: RunKind::Agent,
///     status,
///     name: "research",
///     owner: None,
///     labels: None,
/// };
/// assert!(RunFilter::new().roots().live().matches(&run));
/// assert!(!RunFilter::new().owner("ada").matches(&run));
/// ```
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "who asks a filter says all that it asks")]
pub struct RunFacts<'a> {
    /// Whether it has no parent.
    pub is_root: bool,
    /// What it stands for.
    pub kind: RunKind,
    /// How it stands.
    pub status: RunStatus,
    /// Its name.
    pub name: &'a str,
    /// Its owner, if it has one.
    pub owner: Option<&'a str>,
    /// Its labels, if it has any.
    pub labels: Option<&'a Labels>,
}

impl RunFilter {
    /// Lets every run through.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets only roots through.
    pub const fn roots(mut self) -> Self {
        self.roots = true;
        self
    }

    /// Lets only one kind through.
    pub const fn kind(mut self, kind: RunKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Lets a status through; several calls add up.
    pub fn status(mut self, status: RunStatus) -> Self {
        self.statuses.push(status);
        self
    }

    /// Lets only runs through that are not terminal.
    pub const fn live(mut self) -> Self {
        self.live = true;
        self
    }

    /// Lets only one name through.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Lets only one owner through.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Lets only runs with a label of this value through; several calls have to apply together.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// Tells whether a run is meant.
    pub fn matches(&self, run: &RunFacts<'_>) -> bool {
        let label = |key: &String| run.labels.and_then(|labels| labels.get(key));
        (!self.roots || run.is_root)
            && self.kind.is_none_or(|kind| kind == run.kind)
            && self.lets_through(run.status)
            && self.name.as_deref().is_none_or(|name| name == run.name)
            && self.owner.as_deref().is_none_or(|owner| run.owner == Some(owner))
            && self.labels.iter().all(|(key, value)| label(key) == Some(value))
    }

    /// Tells whether runs of this status are meant, if the rest applies.
    pub fn lets_through(&self, status: RunStatus) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&status))
            && (!self.live || !status.is_terminal())
    }

    /// Tells whether only roots are meant.
    pub const fn is_of_roots(&self) -> bool {
        self.roots
    }

    /// Yields the one kind that is meant, if one is.
    pub const fn asked_kind(&self) -> Option<RunKind> {
        self.kind
    }

    /// Yields the one name that is meant, if one is.
    pub fn asked_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Yields the one owner that is meant, if one is.
    pub fn asked_owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// Yields the labels that a run has to have, all of them.
    pub fn asked_labels(&self) -> &[(String, String)] {
        &self.labels
    }
}
