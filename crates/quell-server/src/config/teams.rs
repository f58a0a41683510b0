//! Components of `quell.toml`: teams of other components.

use std::cell::LazyCell;
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use quell::Failure;
use quell_flow::{Catalog, Component, ComponentKind, Member, OnMember, Team, limits};
use serde::Deserialize;
use serde_json::Value;

use super::limits::Limit;
use super::shapes::{display_name, history};
use crate::quoted::quoted;

/// `[teams.ID]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TeamEntry {
    mode: Option<TeamMode>,
    /// Ids of components, or their kinds and ids.
    members: Option<Vec<String>>,
    /// Of a route: the key of the task that names the member.
    choose: Option<String>,
    /// Of `coordinate`: the member that hands out the tasks, and how often at most.
    leader: Option<String>,
    max: Option<NonZeroUsize>,
    /// The name that people read.
    #[serde(default, deserialize_with = "display_name")]
    name: Option<String>,
    description: Option<String>,
    /// How many earlier runs of its session a run gets.
    #[serde(default, deserialize_with = "history")]
    history: usize,
    /// How many of its runs run at once, and how many wait.
    running: Option<usize>,
    queued: Option<usize>,
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

    /// Says that it lacks a key.
    fn lacks(self, key: &'static str, right: &str) -> Fault {
        let words = format!("mode `{}` has no `{key}`; expected `{key}`, {right}", self.as_str());
        Fault { keys: vec!["mode".to_owned()], ..Fault::missing(key, words) }
    }
}

/// What is wrong with an entry.
#[derive(Debug)]
pub(super) struct Fault {
    /// The keys in the entry that lead to it.
    pub(super) keys: Vec<String>,
    pub(super) message: String,
    /// The key that is missing, if that is the fault.
    pub(super) missing: Option<&'static str>,
}

impl Fault {
    fn new(keys: impl Into<Vec<String>>, message: impl Into<String>) -> Self {
        Self { keys: keys.into(), message: message.into(), missing: None }
    }

    fn missing(key: &'static str, message: String) -> Self {
        Self { missing: Some(key), ..Self::new([key.to_owned()], message) }
    }
}

impl TeamEntry {
    /// Yields how many of its runs run at once, and how many wait.
    pub(super) const fn limit(&self) -> Limit {
        Limit { running: self.running, queued: self.queued }
    }

    /// Yields the names of its members.
    pub(super) fn members(&self) -> &[String] {
        self.members.as_deref().unwrap_or_default()
    }

    /// Makes the component.
    ///
    /// # Errors
    ///
    /// Fails with every member that is not in the catalog, or if a key is missing.
    pub(super) fn component(&self, id: &str, catalog: &Catalog) -> Result<Component, Vec<Fault>> {
        let (mut members, mut faults) = self.members_of(id, catalog);
        let Some(mode) = self.mode else {
            faults.push(Fault::missing("mode", format!("is missing; expected {RIGHT_MODE}")));
            return Err(faults);
        };
        faults.extend(self.stray_keys(mode));
        let result = match mode {
            TeamMode::Route => match &self.choose {
                Some(key) => Ok(routed(id, key.clone())),
                None => Err(vec![mode.lacks("choose", "a key of the task")]),
            },
            TeamMode::Broadcast => Ok(Team::broadcast(id).combine(async |_, all| {
                let one =
                    |one: &quell_flow::Delegated| (one.member.to_string(), one.to_detailed_json());
                Ok(Value::Object(all.iter().map(one).collect()).into())
            })),
            TeamMode::Sequence => Ok(Team::sequence(id)),
            TeamMode::Coordinate => self.led(id, mode, &mut members, catalog),
        };
        let team = match result {
            Ok(team) if faults.is_empty() => team,
            result => {
                faults.extend(result.err().unwrap_or_default());
                return Err(faults);
            }
        };
        let team = members.into_iter().fold(team, |team, one| team.with_member(Member::of(one)));
        let team =
            team.on_member_failed(self.on_member_failed).on_member_stopped(self.on_member_stopped);
        let mut component = team.into_component().history(self.history);
        if let Some(name) = &self.name {
            component = component.display_name(name);
        }
        Ok(match &self.description {
            Some(description) => component.describe(description),
            None => component,
        })
    }

    /// Finds the members, and what is wrong with their names.
    fn members_of<'a>(
        &self,
        id: &str,
        catalog: &'a Catalog,
    ) -> (Vec<&'a Arc<Component>>, Vec<Fault>) {
        let mut members: Vec<&Arc<Component>> = Vec::new();
        let mut known = HashSet::new();
        let mut faults = Vec::new();
        // Nobody means the team itself by the name of another component.
        let others = LazyCell::new(|| catalog.clone().without(ComponentKind::Team, id));
        for (number, name) in self.members().iter().enumerate() {
            if faults.len() >= limits::PLAN_FAULTS_MAX {
                break;
            }
            let keys = ["members".to_owned(), number.to_string()];
            match catalog.named_as(name, &quoted(name)) {
                // One after another it may work twice. Otherwise its name would mean either.
                Ok(component)
                    if !known.insert(Arc::as_ptr(component))
                        && self.mode != Some(TeamMode::Sequence) =>
                {
                    faults
                        .push(Fault::new(keys, format!("`{}` is a member already", quoted(name))));
                }
                Ok(component) => members.push(component),
                Err(words) => {
                    let of_others = others.named_as(name, &quoted(name)).err();
                    faults.push(Fault::new(keys, of_others.unwrap_or(words)));
                }
            }
        }
        match &self.members {
            None => {
                let words = format!("is missing; expected {RIGHT_MEMBERS}");
                faults.push(Fault::missing("members", words));
            }
            Some(members) if members.is_empty() => {
                let words = format!("empty list; expected {RIGHT_MEMBERS}");
                faults.push(Fault::missing("members", words));
            }
            Some(_) => {}
        }
        (members, faults)
    }

    /// Makes a team with a leader, which is taken from the members.
    fn led(
        &self,
        id: &str,
        mode: TeamMode,
        members: &mut Vec<&Arc<Component>>,
        catalog: &Catalog,
    ) -> Result<Team, Vec<Fault>> {
        let right = "one of `members`";
        let mut faults = Vec::new();
        let leader = self.leader.as_ref().and_then(|name| {
            let found = catalog.named(name).ok();
            let at = members.iter().position(|one| found.is_some_and(|it| Arc::ptr_eq(it, one)));
            // A member that is not there has a fault already.
            if at.is_none() && !self.members().contains(name) {
                let words = format!("unknown leader `{}`; expected {right}", quoted(name));
                faults.push(Fault::new(["leader".to_owned()], words));
            }
            at.map(|at| members.remove(at))
        });
        if self.leader.is_none() {
            faults.push(mode.lacks("leader", right));
        }
        if self.max.is_none() {
            faults.push(mode.lacks("max", "the most rounds"));
        }
        match (leader, self.max) {
            (Some(leader), Some(max)) if faults.is_empty() => Ok(Team::led_by(id, leader, max)),
            _ => Err(faults),
        }
    }

    /// Finds the keys of other modes.
    fn stray_keys(&self, mode: TeamMode) -> Vec<Fault> {
        let keys = [
            ("choose", self.choose.is_some(), TeamMode::Route),
            ("leader", self.leader.is_some(), TeamMode::Coordinate),
            ("max", self.max.is_some(), TeamMode::Coordinate),
        ];
        let stray = keys.into_iter().filter(|(_, is_there, owner)| *is_there && *owner != mode);
        stray
            .map(|(key, _, owner)| {
                let (owner, mode) = (owner.as_str(), mode.as_str());
                let words = format!("goes with mode `{owner}`; this one is `{mode}`");
                Fault::new([key.to_owned()], words)
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

/// What a mode is, and the members.
const RIGHT_MODE: &str = "`broadcast`, `route`, `sequence` or `coordinate`";
const RIGHT_MEMBERS: &str = "a list of at least one component";
