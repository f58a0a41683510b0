//! Where the runs of a tree are, and what they are called: those of this process, and those that
//! another node has.

use std::sync::Arc;

use quell::{RunId, RunKind, RunRef};

use crate::stream::stream::Render;

impl Render {
    /// Yields the name of an event of a run in a mode; none if the client did not ask for the
    /// subgraphs in which it is.
    pub(super) fn name_of(&mut self, run: RunId, mode: &str) -> Option<String> {
        match self.space(run) {
            Some(space) => self.tracked.has_subgraphs.then(|| format!("{mode}|{space}")),
            None => Some(mode.to_owned()),
        }
    }

    /// Finds a run of the tree, also of one that the engine has forgotten.
    pub(super) fn find(&self, run: RunId) -> Option<RunRef> {
        let root = self.run.live()?;
        if run == root.id() {
            return Some(root.clone());
        }
        self.app.engine().get(run).or_else(|| below(root, run))
    }

    /// Yields the name of a run of the tree; empty if it is not known.
    pub(super) fn name_of_run(&self, run: RunId) -> String {
        match &self.far {
            Some(_) if run == self.run.id() => self.run.name().to_owned(),
            Some(far) => far.name_of(run).to_owned(),
            None => self.find(run).map_or_else(String::new, |run| run.name().to_owned()),
        }
    }

    /// Yields the namespace of a run: the subgraphs in which it is.
    pub(super) fn space(&mut self, run: RunId) -> Option<Arc<str>> {
        if run == self.run.id() {
            return None;
        }
        if let Some(space) = self.spaces.get(&run) {
            return space.clone();
        }
        let space = match &self.far {
            Some(far) => far.space_of(run),
            None => self.find(run).and_then(|run| space_of(&run)),
        };
        self.spaces.insert(run, space.clone());
        space
    }
}

/// Finds a run of a tree that the engine has forgotten.
fn below(root: &RunRef, id: RunId) -> Option<RunRef> {
    let mut open = root.children();
    while let Some(run) = open.pop() {
        if run.id() == id {
            return Some(run);
        }
        open.extend(run.children());
    }
    None
}

/// A child that is a graph of its own is a subgraph: `<node>:<its id>`.
fn space_of(run: &RunRef) -> Option<Arc<str>> {
    let mut names = Vec::new();
    let mut at = run.clone();
    while let Some(parent) = at.parent() {
        if matches!(at.kind(), RunKind::Agent | RunKind::Team | RunKind::Workflow) {
            names.push(format!("{}:{}", at.name(), at.id()));
        }
        at = parent;
    }
    names.reverse();
    (!names.is_empty()).then(|| names.join("|").into())
}
