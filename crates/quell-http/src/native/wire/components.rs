//! [`ComponentList`]: what there is to start.

use quell_flow::{Component, Part};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Principal;

/// The components that the caller may start or read.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ComponentList {
    components: Vec<ComponentObject>,
}

/// A component.
#[derive(Debug, Serialize, ToSchema)]
struct ComponentObject {
    /// Its name, `agent/writer`: the `component` of a start.
    component: String,
    /// `agent`, `team` or `workflow`.
    kind: &'static str,
    /// Its id.
    id: String,
    /// Its name as people read it.
    name: String,
    /// What it is for.
    description: Option<String>,
    /// Whether the caller may start it, and stop its runs.
    may_start: bool,
    /// Whether its runs can be paused.
    resumable: bool,
    /// Whether it is a plan.
    plan: bool,
    /// How a team works: `broadcast`, `route`, `sequence` or `coordinate`; null if that is not
    /// declared.
    mode: Option<&'static str>,
    /// Its model, or that of the leader of a team.
    model: Option<ModelObject>,
    /// The members of a team, or the steps of a workflow, as declared.
    parts: Vec<PartObject>,
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
struct ModelObject {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// The name of the provider that serves it.
    provider: String,
}

/// A member of a team, or a step of a workflow.
#[derive(Debug, Serialize, ToSchema)]
struct PartObject {
    /// Its name.
    name: String,
    /// The agent that does the work, if one does.
    agent: Option<String>,
    /// Whether its parts run in parallel.
    parallel: bool,
    /// Its own parts.
    #[schema(no_recursion)]
    parts: Vec<Self>,
}

impl ComponentList {
    pub(crate) fn new<'c>(all: impl Iterator<Item = &'c Component>, caller: &Principal) -> Self {
        Self { components: all.map(|one| ComponentObject::new(one, caller)).collect() }
    }
}

impl ComponentObject {
    fn new(component: &Component, caller: &Principal) -> Self {
        Self {
            component: component.name(),
            kind: component.kind().as_str(),
            id: component.id().to_owned(),
            name: component.shown_name().to_owned(),
            description: component.description().map(str::to_owned),
            may_start: caller.may_run(component),
            resumable: component.is_resumable(),
            plan: component.is_plan(),
            mode: component.mode_of(),
            model: component.model_of().map(|model| ModelObject {
                id: model.id.clone(),
                name: model.name.clone(),
                provider: model.provider.clone(),
            }),
            parts: component.parts().iter().map(PartObject::new).collect(),
        }
    }
}

impl PartObject {
    fn new(part: &Part) -> Self {
        Self {
            name: part.name.clone(),
            agent: part.agent.clone(),
            parallel: part.is_parallel,
            parts: part.parts.iter().map(Self::new).collect(),
        }
    }
}

/// Estimates the bytes of what is told of a component.
pub(crate) fn component_bytes(component: &Component) -> usize {
    fn of_parts(parts: &[Part]) -> usize {
        let of = |part: &Part| {
            let agent = part.agent.as_ref().map_or(0, String::len);
            64 + part.name.len() + agent + of_parts(&part.parts)
        };
        parts.iter().map(of).sum()
    }
    let texts = [component.id(), component.shown_name(), component.description().unwrap_or("")];
    let texts = texts.iter().map(|text| 2 * text.len()).sum::<usize>();
    512 + texts + of_parts(component.parts())
}
