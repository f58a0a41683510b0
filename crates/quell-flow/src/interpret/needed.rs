//! [`Outputs`] holds the outputs of branches that other branches need, and [`Needed`] those that
//! one branch may read.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, OnceLock};

use quell::{Failure, Payload};

use crate::PlanStep;
use crate::graph::{Reach, Walk};

/// The outputs of the branches of one parallel step that completed and are needed.
#[derive(Debug)]
pub(super) struct Outputs {
    /// The place of each branch.
    places: HashMap<Arc<str>, usize>,
    /// By place; filled when the branch completes, and only if another needs it.
    all: Vec<OnceLock<Payload>>,
    /// Whether another branch needs the branch, by place.
    is_needed: Vec<bool>,
    /// Which branches come before which.
    reach: Reach,
}

impl Outputs {
    /// Makes the place for those outputs; none if no branch needs another.
    pub(super) fn of(branches: &[PlanStep]) -> Option<Arc<Self>> {
        if branches.iter().all(|branch| branch.needs.is_empty()) {
            return None;
        }
        let places = branches.iter().enumerate();
        let places: HashMap<_, _> =
            places.map(|(place, branch)| (Arc::clone(&branch.name), place)).collect();
        let place = |name: &Arc<str>| places.get(name).copied();
        let edges = branches.iter().map(|branch| branch.needs.iter().filter_map(place).collect());
        let edges: Vec<Vec<usize>> = edges.collect();
        let mut is_needed = vec![false; branches.len()];
        for need in edges.iter().flatten() {
            is_needed[*need] = true;
        }
        let reach = Reach::of(&edges, &Walk::of(&edges, 0));
        let all = branches.iter().map(|_| OnceLock::new()).collect();
        Some(Arc::new(Self { places, all, is_needed, reach }))
    }

    /// Runs a branch, and keeps its output for those that need it.
    ///
    /// # Cancel safety
    ///
    /// As the branch; then nothing is kept.
    pub(super) async fn keep(
        self: Arc<Self>,
        branch: usize,
        run: impl Future<Output = Result<Payload, Failure>> + Send,
    ) -> Result<Payload, Failure> {
        let output = run.await?;
        if self.is_needed[branch] {
            // A body runs once, so that nothing is there.
            let _ = self.all[branch].set(output.clone());
        }
        Ok(output)
    }
}

/// What a branch may read of the others: the outputs of those that it needs, directly or through
/// others. They have completed before it starts.
#[derive(Clone, Debug)]
pub(super) struct Needed {
    pub(super) outputs: Arc<Outputs>,
    /// The place of the branch.
    pub(super) branch: usize,
}

impl Needed {
    pub(super) fn output(&self, name: &str) -> Option<&Payload> {
        let place = *self.outputs.places.get(name)?;
        let output = || self.outputs.all[place].get();
        self.outputs.reach.has(self.branch, place).then(output).flatten()
    }
}
