//! Components of `quell.toml`: teams of other components.

use std::num::NonZeroUsize;
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
    /// Of `coordinate`: the member that hands out the tasks, and how often at most.
    leader: Option<String>,
    max: Option<NonZeroUsize>,
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
    Coordinate,
}

impl TeamMode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Route => "route",
            Self::Sequence => "sequence",
            Self::Coordinate => "coordinate",
        }
    }
}

/// What is wrong with an entry: the keys in it, and the message.
type Fault = (Vec<String>, String);

impl TeamEntry {
    /// Makes the component.
    ///
    /// # Errors
    ///
    /// Fails with every member that is not in the catalog, or if the mode lacks a key.
    pub(super) fn component(&self, id: &str, catalog: &Catalog) -> Result<Component, Vec<Fault>> {
        let at = |key: &str, message: &str| vec![(vec![key.to_owned()], message.to_owned())];
        if self.members.is_empty() {
            return Err(at("members", "empty list; expected at least one component"));
        }
        let mut members: Vec<&Arc<Component>> = Vec::new();
        let mut faults = Vec::new();
        for (number, name) in self.members.iter().enumerate() {
            match catalog.named(name) {
                // One after another it may work twice. Otherwise its name would mean either.
                Ok(component)
                    if self.mode != TeamMode::Sequence
                        && members.iter().any(|one| Arc::ptr_eq(one, component)) =>
                {
                    let words = format!("`{name}` is a member already");
                    faults.push((vec!["members".into(), number.to_string()], words));
                }
                Ok(component) => members.push(component),
                Err(words) => faults.push((vec!["members".into(), number.to_string()], words)),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        if let Some((key, owner)) = self.stray_key() {
            let mode = self.mode.as_str();
            return Err(at(key, &format!("goes with mode `{owner}`; this one is `{mode}`")));
        }
        let missing = |key: &str, right: &str| {
            let mode = self.mode.as_str();
            at("mode", &format!("mode `{mode}` has no `{key}`; expected {right}"))
        };
        let team = match self.mode {
            TeamMode::Route => {
                let right = "a key of the task";
                let key = self.choose.clone().ok_or_else(|| missing("choose", right))?;
                routed(id, key)
            }
            TeamMode::Broadcast => Team::broadcast(id).combine(async |_, all| {
                let one =
                    |one: &quell_flow::Delegated| (one.member.to_string(), one.to_detailed_json());
                Ok(Value::Object(all.iter().map(one).collect()).into())
            }),
            TeamMode::Sequence => Team::sequence(id),
            TeamMode::Coordinate => {
                let right = "one of `members`";
                let name = self.leader.as_ref().ok_or_else(|| missing("leader", right))?;
                let is_leader = |one: &&Arc<Component>| {
                    catalog.named(name).is_ok_and(|it| Arc::ptr_eq(it, one))
                };
                let leader = members.iter().position(is_leader);
                let leader = leader.ok_or_else(|| {
                    at("leader", &format!("unknown leader `{name}`; expected {right}"))
                })?;
                let leader = Arc::clone(members.remove(leader));
                let right = "the most rounds";
                let max = self.max.ok_or_else(|| missing("max", right))?;
                Team::led_by(id, &leader, max)
            }
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

    /// Finds a key of another mode, and that mode.
    fn stray_key(&self) -> Option<(&'static str, &'static str)> {
        let keys = [
            ("choose", self.choose.is_some(), TeamMode::Route),
            ("leader", self.leader.is_some(), TeamMode::Coordinate),
            ("max", self.max.is_some(), TeamMode::Coordinate),
        ];
        let mut stray =
            keys.into_iter().filter(|(_, is_there, mode)| *is_there && *mode != self.mode);
        stray.next().map(|(key, _, mode)| (key, mode.as_str()))
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
