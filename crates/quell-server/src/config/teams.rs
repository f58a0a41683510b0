//! Components of `quell.toml`: teams of other components.

use std::sync::Arc;

use quell::Failure;
use quell_flow::{Catalog, Component, Member, OnMember, Team};
use serde::Deserialize;
use serde_json::Value;

/// `[teams.ID]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TeamEntry {
    mode: TeamMode,
    /// Ids of components, or their kinds and ids.
    members: Vec<String>,
    /// Of a route: the key of the task that names the member.
    choose: Option<String>,
    description: Option<String>,
    /// What it means to the team that a member failed, or was stopped alone.
    #[serde(default)]
    on_member_failed: OnMember,
    #[serde(default)]
    on_member_stopped: OnMember,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TeamMode {
    Broadcast,
    Route,
    Sequence,
}

impl TeamEntry {
    /// Makes the component. Fails with a message if a member is not in the catalog.
    pub(super) fn component(&self, id: &str, catalog: &Catalog) -> Result<Component, String> {
        if self.members.is_empty() {
            return Err("`members` is empty; expected at least one component".into());
        }
        let found = self.members.iter().map(|name| catalog.named(name));
        let members: Vec<&Arc<Component>> = found.collect::<Result<_, _>>()?;
        let team = match (self.mode, &self.choose) {
            (TeamMode::Route, Some(key)) => routed(id, key.clone()),
            (TeamMode::Route, None) => {
                return Err("mode `route` has no `choose`; expected a key of the task".into());
            }
            (_, Some(_)) => return Err("`choose` goes with mode `route`".into()),
            (TeamMode::Broadcast, None) => Team::broadcast(id).combine(async |_, all| {
                let one =
                    |one: &quell_flow::Delegated| (one.member.to_string(), one.to_detailed_json());
                Ok(Value::Object(all.iter().map(one).collect()).into())
            }),
            (TeamMode::Sequence, None) => Team::sequence(id),
        };
        let team = members.into_iter().fold(team, |team, one| team.with_member(Member::of(one)));
        let team =
            team.on_member_failed(self.on_member_failed).on_member_stopped(self.on_member_stopped);
        let component = team.into_component();
        Ok(match &self.description {
            Some(description) => component.describe(description),
            None => component,
        })
    }
}

fn routed(id: &str, key: String) -> Team {
    Team::route(id, move |_, task| {
        let chosen = task
            .parse::<Value>()
            .ok()
            .and_then(|task| task.get(&key).and_then(Value::as_str).map(str::to_owned));
        let missing = format!("the task has no text `{key}`, which names the member");
        async move { chosen.ok_or_else(|| Failure::new(missing)) }
    })
}
