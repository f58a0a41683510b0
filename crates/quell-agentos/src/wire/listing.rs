//! [`component_in_list`] and [`component_in_full`]: components in lists (contract, section 10).

use quell_flow::{Component, ComponentKind, Model, Part};
use quell_http::AccessMode;
use serde_json::{Value, json};

/// Writes a component as the configuration has it.
pub(crate) fn summary(component: &Component, db_id: &str) -> Value {
    let mut out = named(component, db_id);
    if let Some(model) = model_of(component) {
        out["model"] = json!({ "id": model.id, "provider": model.provider });
    }
    if component.kind() == ComponentKind::Team {
        out["mode"] = mode(component).into();
    }
    out
}

fn named(component: &Component, db_id: &str) -> Value {
    let (id, name) = (component.id(), component.shown_name());
    let mut out = json!({ "id": id, "name": name, "db_id": db_id });
    if let Some(text) = component.description() {
        out["description"] = text.into();
    }
    out
}

fn model_of(component: &Component) -> Option<&Model> {
    component.model_of().filter(|_| component.kind() != ComponentKind::Workflow)
}

/// Writes a component as lists have it.
pub(crate) fn component_in_list(component: &Component, db_id: &str) -> Value {
    let mut out = named(component, db_id);
    if let Some(model) = model_of(component) {
        out["model"] = json!({ "name": model.name, "model": model.id, "provider": model.provider });
    }
    if component.kind() == ComponentKind::Team {
        let members = component.parts().iter().map(|part| {
            let id = part.agent.as_deref().unwrap_or(&part.name);
            json!({ "id": id, "name": part.agent_name.as_deref().unwrap_or(&part.name) })
        });
        out["mode"] = mode(component).into();
        out["members"] = members.collect();
    }
    out
}

/// Yields the mode of a team in the contract's names. It has none for members that work in turn, or
/// as a body likes: there the leader coordinates.
fn mode(component: &Component) -> &'static str {
    match component.mode_of() {
        Some(mode @ ("broadcast" | "route")) => mode,
        _ => "coordinate",
    }
}

/// As [`component_in_list`], with the steps of a workflow.
pub(crate) fn component_in_full(of: &Component, db_id: &str) -> Value {
    let mut out = component_in_list(of, db_id);
    if of.kind() == ComponentKind::Workflow {
        out["steps"] = of.parts().iter().map(|part| step(part, 0)).collect();
    }
    out
}

fn step(part: &Part, depth: usize) -> Value {
    let word = if part.is_parallel { "Parallel" } else { "Step" };
    let mut out = json!({ "name": part.name, "type": word });
    if let Some(agent) = &part.agent {
        out["agent"] = json!({ "id": agent, "name": part.agent_name.as_deref().unwrap_or(agent) });
    }
    if !part.parts.is_empty() && depth < NESTED_MAX {
        out["steps"] = part.parts.iter().map(|part| step(part, depth + 1)).collect();
    }
    out
}

/// Yields the name of a way of access.
pub(crate) const fn auth_mode(mode: AccessMode) -> &'static str {
    match mode {
        AccessMode::Open => "none",
        AccessMode::Keys => "security_key",
        AccessMode::Tokens => "jwt",
    }
}

/// How deep steps are listed.
const NESTED_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use quell::Payload;

    use super::*;

    #[test]
    fn a_component_is_listed_with_what_agent_ui_reads() {
        let agent = Component::agent("a", async |_ctx, input: Payload| Ok(input))
            .model(Model::new("tick-model", "TickModel", "Fake"));
        let model = json!({ "name": "TickModel", "model": "tick-model", "provider": "Fake" });
        let expected = json!({ "id": "a", "name": "a", "db_id": "db", "model": model });
        assert_eq!(component_in_list(&agent, "db"), expected);
        let agent = agent.display_name("An agent");
        assert_eq!(component_in_list(&agent, "db")["name"], "An agent");
        assert_eq!(summary(&agent, "db")["model"]["id"], "tick-model");
    }

    #[test]
    fn a_workflow_lists_its_steps_only_in_full() {
        let parts = [Part::agent("s", "x"), Part::function("f")];
        let flow = Component::workflow("w", async |_ctx, input: Payload| Ok(input))
            .steps([Part::parallel("p", parts)]);
        assert_eq!(component_in_list(&flow, "db").get("steps"), None);
        let agent = json!({ "id": "x", "name": "x" });
        let inner = json!([
            { "name": "s", "type": "Step", "agent": agent }, { "name": "f", "type": "Step" }
        ]);
        let expected = json!([{ "name": "p", "type": "Parallel", "steps": inner }]);
        assert_eq!(component_in_full(&flow, "db")["steps"], expected);
    }
}
