//! [`PlanRefusal`] is what is known of a plan that is refused.

use super::document::Plan;
use super::error::PlanError;

/// The faults of a plan, and the rest of it.
///
/// # Examples
///
/// ```
/// use quell_flow::Plan;
///
/// let text = "name: p\ncolour: red\nsteps: [{ name: a, component: agent/writer }]\n";
/// let refusal = Plan::read_checked(text.as_bytes(), "stdin").unwrap_err();
/// assert_eq!(refusal.faults().len(), 1);
/// assert_eq!(&*refusal.rest().unwrap().components()[0].component, "agent/writer");
/// ```
#[derive(Clone, Debug)]
pub struct PlanRefusal {
    faults: Vec<PlanError>,
    rest: Option<Box<Plan>>,
}

impl PlanRefusal {
    pub(super) fn new(faults: Vec<PlanError>, rest: Option<Plan>) -> Self {
        Self { faults, rest: rest.map(Box::new) }
    }

    /// Yields the faults, at least one, in the order of the text.
    pub fn faults(&self) -> &[PlanError] {
        &self.faults
    }

    /// Yields the plan without its parts that have faults, to look for what else is wrong: it is
    /// none to run. None if the text could not be parsed.
    pub fn rest(&self) -> Option<&Plan> {
        self.rest.as_deref()
    }

    /// Yields the faults alone.
    #[must_use]
    pub fn into_faults(self) -> Vec<PlanError> {
        self.faults
    }

    /// Changes each fault, such as to place it where the file was named.
    #[must_use]
    pub fn map_faults(self, change: impl FnMut(PlanError) -> PlanError) -> Self {
        Self { faults: self.faults.into_iter().map(change).collect(), ..self }
    }
}

impl From<PlanError> for PlanRefusal {
    fn from(fault: PlanError) -> Self {
        Self::new(vec![fault], None)
    }
}
