//! What kind of run it is, what it is labelled with, and how a stop reaches its body.

use std::fmt;

use crate::{ByKey, Payload};

/// What a run stands for. A label: every kind follows the same rules.
///
/// Exhaustive on purpose, so that every adapter must name a new kind.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_core::RunKind::Workflow.as_str(), "workflow");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_enums, reason = "every adapter must name a new kind")]
pub enum RunKind {
    /// One agent at work.
    Agent,
    /// Several agents under one roof.
    Team,
    /// A sequence of steps.
    Workflow,
    /// One step of a workflow.
    Step,
    /// One branch of a parallel step.
    Branch,
    /// One try of something that may be tried again.
    Attempt,
}

impl RunKind {
    /// Every kind, in the order in which they are declared.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_core::RunKind;
    ///
    /// let named = RunKind::ALL.into_iter().find(|kind| kind.as_str() == "team");
    /// assert_eq!(named, Some(RunKind::Team));
    /// ```
    pub const ALL: [Self; 6] =
        [Self::Agent, Self::Team, Self::Workflow, Self::Step, Self::Branch, Self::Attempt];

    /// Yields the name on the wire: lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Team => "team",
            Self::Workflow => "workflow",
            Self::Step => "step",
            Self::Branch => "branch",
            Self::Attempt => "attempt",
        }
    }
}

impl fmt::Display for RunKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a stop reaches the body of a run.
///
/// The grace serves bodies that can react to a stop. The default finds out which ones can.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_core::StopDelivery::default(), quell_core::StopDelivery::Auto);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum StopDelivery {
    /// A body that has used the stop API by the time of the stop gets the grace; one that never
    /// did is dropped at its next await at once.
    #[default]
    Auto,
    /// The body gets the grace, whether it listens or not.
    Signal,
    /// The body is dropped at its next await at once, even if it listens.
    Drop,
}

/// Texts by which runs are found and told apart; they never steer the engine. `RunSpec::label` of
/// `quell` adds one; [`ByKey`] shows how they are made, read and changed by themselves.
pub type Labels = ByKey<String>;

/// What front ends keep with a run to show it again, by key. No run is found by it, and the engine
/// never reads it. `RunSpec::annotation` of `quell` adds one.
pub type Annotations = ByKey<Payload>;
