//! [`RunFilter`] says which runs are meant.

use quell_core::{RunKind, RunStatus};

use crate::node::Node;

/// Which runs are meant: those to which every condition applies. Without one, all.
///
/// # Examples
///
/// ```
/// use quell::{RunFilter, RunKind, RunStatus};
///
/// let filter = RunFilter::new().roots().kind(RunKind::Agent).status(RunStatus::Running);
/// # let _ = filter;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a filter does nothing until it is used"]
pub struct RunFilter {
    roots: bool,
    kind: Option<RunKind>,
    statuses: Vec<RunStatus>,
    live: bool,
    name: Option<String>,
    owner: Option<String>,
    labels: Vec<(String, String)>,
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

    /// Takes no lock of the node: the caller may hold one of the registry.
    pub(crate) fn matches(&self, node: &Node) -> bool {
        let status = node.status();
        let about = node.about.as_deref();
        let label = |key: &String| about.and_then(|about| about.labels.get(key));
        (!self.roots || node.is_root())
            && self.kind.is_none_or(|kind| kind == node.kind)
            && (self.statuses.is_empty() || self.statuses.contains(&status))
            && (!self.live || !status.is_terminal())
            && self.name.as_deref().is_none_or(|name| name == &*node.name)
            && self.owner.as_deref().is_none_or(|owner| {
                about.and_then(|about| about.owner.as_deref()).is_some_and(|of| of == owner)
            })
            && self.labels.iter().all(|(key, value)| label(key) == Some(value))
    }
}
