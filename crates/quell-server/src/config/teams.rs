//! Components of `quell.toml`: teams of other components.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use quell::Failure;
use quell_flow::{Catalog, Component, Member, OnMember, Team, limits};
use serde::Deserialize;
use serde_json::Value;

/// `[teams.ID]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TeamEntry {
    mode: TeamMode,
    /// Ids of components, or their kinds and ids.
    pub(super) members: Vec<String>,
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
        let (mut members, mut faults) = self.members_of(catalog);
        faults.extend(self.stray_keys());
        let made = match self.mode {
            TeamMode::Route => match &self.choose {
                Some(key) => Ok(routed(id, key.clone())),
                None => Err(vec![self.missing("choose", "a key of the task")]),
            },
            TeamMode::Broadcast => Ok(Team::broadcast(id).combine(async |_, all| {
                let one =
                    |one: &quell_flow::Delegated| (one.member.to_string(), one.to_detailed_json());
                Ok(Value::Object(all.iter().map(one).collect()).into())
            })),
            TeamMode::Sequence => Ok(Team::sequence(id)),
            TeamMode::Coordinate => self.led(id, &mut members, catalog),
        };
        let team = match made {
            Ok(team) if faults.is_empty() => team,
            made => {
                faults.extend(made.err().unwrap_or_default());
                return Err(faults);
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

    /// Finds the members, and what is wrong with their names.
    fn members_of<'a>(&self, catalog: &'a Catalog) -> (Vec<&'a Arc<Component>>, Vec<Fault>) {
        let mut members: Vec<&Arc<Component>> = Vec::new();
        let mut known = HashSet::new();
        let mut faults = Vec::new();
        for (number, name) in self.members.iter().enumerate() {
            if faults.len() >= limits::PLAN_FAULTS_MAX {
                break;
            }
            let mut at = |words| faults.push((vec!["members".into(), number.to_string()], words));
            match catalog.named(name) {
                // One after another it may work twice. Otherwise its name would mean either.
                Ok(component)
                    if !known.insert(Arc::as_ptr(component)) && self.mode != TeamMode::Sequence =>
                {
                    at(format!("`{name}` is a member already"));
                }
                Ok(component) => members.push(component),
                Err(words) => at(words),
            }
        }
        if self.members.is_empty() {
            let words = "empty list; expected at least one component";
            faults.push((vec!["members".to_owned()], words.to_owned()));
        }
        (members, faults)
    }

    /// Makes a team with a leader, which is taken from the members.
    fn led(
        &self,
        id: &str,
        members: &mut Vec<&Arc<Component>>,
        catalog: &Catalog,
    ) -> Result<Team, Vec<Fault>> {
        let right = "one of `members`";
        let mut faults = Vec::new();
        let leader = self.leader.as_ref().and_then(|name| {
            let found = catalog.named(name).ok();
            let at = members.iter().position(|one| found.is_some_and(|it| Arc::ptr_eq(it, one)));
            // A member that is not there has a fault already.
            if at.is_none() && !self.members.contains(name) {
                let words = format!("unknown leader `{name}`; expected {right}");
                faults.push((vec!["leader".to_owned()], words));
            }
            at.map(|at| members.remove(at))
        });
        if self.leader.is_none() {
            faults.push(self.missing("leader", right));
        }
        if self.max.is_none() {
            faults.push(self.missing("max", "the most rounds"));
        }
        match (leader, self.max) {
            (Some(leader), Some(max)) if faults.is_empty() => Ok(Team::led_by(id, leader, max)),
            _ => Err(faults),
        }
    }

    /// Says that the mode lacks a key.
    fn missing(&self, key: &str, right: &str) -> Fault {
        let mode = self.mode.as_str();
        (vec!["mode".to_owned()], format!("mode `{mode}` has no `{key}`; expected {right}"))
    }

    /// Finds the keys of other modes.
    fn stray_keys(&self) -> Vec<Fault> {
        let keys = [
            ("choose", self.choose.is_some(), TeamMode::Route),
            ("leader", self.leader.is_some(), TeamMode::Coordinate),
            ("max", self.max.is_some(), TeamMode::Coordinate),
        ];
        let stray = keys.into_iter().filter(|(_, is_there, mode)| *is_there && *mode != self.mode);
        stray
            .map(|(key, _, mode)| {
                let (owner, mode) = (mode.as_str(), self.mode.as_str());
                let words = format!("goes with mode `{owner}`; this one is `{mode}`");
                (vec![key.to_owned()], words)
            })
            .collect()
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
