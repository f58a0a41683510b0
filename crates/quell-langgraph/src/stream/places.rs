//! Where the runs of a tree are, and what they are called: those of this process, and those of an
//! earlier one, or that another node has.

use std::sync::Arc;

use quell::{EventKind, RunEvent, RunId, RunKind, RunRef};

use crate::stream::stream::Render;

/// A run below that this process may never have had, as the log names it.
pub(super) struct Below {
    parent: RunId,
    kind: RunKind,
    name: Arc<str>,
}

impl Render {
    /// Notes where a run below is of which the store tells.
    pub(super) fn note_place(&mut self, event: &RunEvent) {
        if let EventKind::Queued { parent: Some(parent), kind, name, .. } = &event.kind
            && event.seq <= self.before
        {
            let below = Below { parent: *parent, kind: *kind, name: Arc::clone(name) };
            self.below.insert(event.run, below);
        }
    }

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
        if run == self.run.id() {
            return self.run.name().to_owned();
        }
        match self.below.get(&run) {
            Some(below) => below.name.to_string(),
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
        let space = if self.below.contains_key(&run) {
            self.space_below(run)
        } else {
            self.find(run).and_then(|run| space_of(&run))
        };
        self.spaces.insert(run, space.clone());
        space
    }

    /// As [`Render::space`], as the log names it.
    fn space_below(&self, run: RunId) -> Option<Arc<str>> {
        let (mut names, mut at) = (Vec::new(), run);
        while let Some(below) = self.below.get(&at) {
            names.extend(named(below.kind, &below.name, at));
            at = below.parent;
        }
        joined(names)
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

fn space_of(run: &RunRef) -> Option<Arc<str>> {
    let mut names = Vec::new();
    let mut at = run.clone();
    while let Some(parent) = at.parent() {
        names.extend(named(at.kind(), at.name(), at.id()));
        at = parent;
    }
    joined(names)
}

/// A child that is a graph of its own is a subgraph: `<node>:<its id>`.
fn named(kind: RunKind, name: &str, run: RunId) -> Option<String> {
    let is_graph = matches!(kind, RunKind::Agent | RunKind::Team | RunKind::Workflow);
    is_graph.then(|| format!("{name}:{run}"))
}

/// Joins the names of subgraphs, of which the innermost is the first one.
fn joined(mut names: Vec<String>) -> Option<Arc<str>> {
    names.reverse();
    (!names.is_empty()).then(|| names.join("|").into())
}
