//! [`configuration`]: what `/config` answers (contract, section 10).

use serde_json::{Value, json};

use crate::options::Options;

/// Writes the configuration, with the summaries of agents, teams and workflows.
pub(super) fn configuration(options: &Options, components: [Vec<Value>; 3]) -> Value {
    let models = models(&components);
    let [agents, teams, workflows] = components;
    let display = json!({ "display_name": options.db_id });
    let database = json!({ "db_id": options.db_id, "domain_config": display, "tables": [] });
    // Sessions are all that there is; of the others there is no database.
    let none = || json!({ "dbs": [] });
    let mut out = json!({
        "os_id": options.os_id,
        "name": options.name,
        "available_models": models,
        "os_database": options.db_id,
        "databases": [options.db_id],
        "session": { "dbs": [database] },
        "memory": none(),
        "learning": none(),
        "knowledge": { "dbs": [], "knowledge_instances": [] },
        "evals": none(),
        "metrics": none(),
        "traces": none(),
        "agents": agents,
        "teams": teams,
        "workflows": workflows,
        "interfaces": [],
    });
    if let Some(text) = &options.description {
        out["description"] = text.as_str().into();
    }
    out
}

/// Yields each model of agents and teams once.
fn models([agents, teams, _]: &[Vec<Value>; 3]) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    for model in agents.iter().chain(teams).filter_map(|component| component.get("model")) {
        if !found.contains(model) {
            found.push(model.clone());
        }
    }
    found
}
