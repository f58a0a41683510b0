//! [`Position`]: the role of a run in the contract, and its place in the tree.

use std::sync::Arc;

use quell::RunKind;
use quell_flow::{Component, ComponentKind, Model, Part};
use serde_json::{Map, Value, json};

use crate::wire::kinds::names_of;

/// The role of a run in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Agent,
    Team,
    Workflow,
    Step,
    Parallel,
    /// The contract does not show it.
    Hidden,
}

/// The role of a run in the contract, and its place in the tree.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    pub(crate) role: Role,
    /// The external id of the run.
    pub(crate) run: String,
    /// The id of the component, or the name of the member or step.
    pub(crate) name: String,
    /// The nearest agent, team or workflow above, and its run.
    above: Option<(Role, String)>,
    /// The nearest workflow above or here: its id and its run.
    flow: Option<Box<(String, String)>>,
    /// The nearest step above, or the step itself. Boxed, as the workflow is: most runs have none.
    step: Option<Box<At>>,
    /// Its place in the list of parts.
    path: Option<Vec<usize>>,
    component: Arc<Component>,
    /// The model with which the list of parts has it.
    listed_model: Option<Arc<Model>>,
}

/// The position of a step in its workflow.
#[derive(Clone, Debug)]
struct At {
    id: String,
    name: String,
    index: Vec<usize>,
    parent: Option<String>,
}

impl Position {
    /// Places the root of a tree.
    pub(crate) fn root(component: &Arc<Component>, run: impl Into<String>) -> Self {
        let (run, name) = (run.into(), component.id().to_owned());
        let role = role_of(component.kind().run_kind());
        let flow = (role == Role::Workflow).then(|| Box::new((name.clone(), run.clone())));
        let component = Arc::clone(component);
        let (path, listed_model) = (Some(Vec::new()), None);
        Self { role, run, name, above: None, flow, step: None, path, component, listed_model }
    }

    /// Places a child: the `ordinal`-th of this run that was spawned.
    pub(crate) fn child(&self, kind: RunKind, name: &str, run: String, ordinal: usize) -> Self {
        let mut child = Self { run, name: name.to_owned(), ..self.clone() };
        if matches!(self.role, Role::Agent | Role::Team | Role::Workflow) {
            child.above = Some((self.role, self.run.clone()));
        }
        child.role = match kind {
            RunKind::Step | RunKind::Branch if self.flow.is_some() => {
                self.step(&mut child, ordinal)
            }
            RunKind::Agent | RunKind::Team | RunKind::Workflow => role_of(kind),
            RunKind::Step | RunKind::Branch | RunKind::Attempt => Role::Hidden,
        };
        match child.role {
            Role::Workflow => {
                child.listed_model = None;
                child.flow = Some(Box::new((child.name.clone(), child.run.clone())));
                (child.step, child.path) = (None, None);
            }
            Role::Agent | Role::Team => {
                let listed = self.listed(name).and_then(|part| part.model.clone());
                child.listed_model = listed.map(Arc::new);
                child.path = None;
            }
            Role::Step | Role::Parallel | Role::Hidden => child.listed_model = None,
        }
        child
    }

    /// Finds how a child that is an agent or a team is listed: as a member, or as the step itself.
    fn listed(&self, name: &str) -> Option<&Part> {
        let own = self.path.as_deref().and_then(<[usize]>::split_last);
        let own = own.and_then(|(at, above)| parts_at(&self.component, above).get(*at));
        let is_it = |part: &&Part| part.name == name || part.agent.as_deref() == Some(name);
        own.into_iter().chain(self.parts()).find(is_it)
    }

    fn step(&self, child: &mut Self, ordinal: usize) -> Role {
        let parts = self.parts();
        let listed = parts.iter().position(|part| part.name == child.name);
        let is_parallel = listed.is_some_and(|at| parts[at].is_parallel);
        child.path = listed.and_then(|at| Some([self.path.as_deref()?, &[at]].concat()));
        let above = self.step.as_ref();
        let mut index = above.map(|step| step.index.clone()).unwrap_or_default();
        index.push(listed.unwrap_or(ordinal));
        child.step = Some(Box::new(At {
            id: child.run.clone(),
            name: child.name.clone(),
            index,
            parent: above.map(|step| step.id.clone()),
        }));
        if is_parallel { Role::Parallel } else { Role::Step }
    }

    /// Yields the parts that the workflow's list of steps has at this place.
    pub(crate) fn parts(&self) -> &[Part] {
        self.path.as_deref().map_or(&[], |path| parts_at(&self.component, path))
    }

    /// Yields the name that people read of its component; of a part of that, its own name.
    pub(crate) fn shown_name(&self) -> &str {
        if self.is_root() { self.component.shown_name() } else { &self.name }
    }

    /// Yields the name that people read of the workflow that a step is in.
    fn shown_flow<'a>(&'a self, id: &'a str) -> &'a str {
        let of = &self.component;
        let is_of_root = of.kind() == ComponentKind::Workflow && of.id() == id;
        if is_of_root { of.shown_name() } else { id }
    }

    /// Tells whether it is the root.
    pub(crate) const fn is_root(&self) -> bool {
        self.above.is_none()
    }

    /// Tells whether it is a step within a Parallel.
    pub(crate) fn is_branch(&self) -> bool {
        self.step.as_ref().is_some_and(|step| step.parent.is_some())
    }

    /// Yields the kind whose names are used for it.
    pub(crate) const fn kind(&self) -> ComponentKind {
        match self.role {
            Role::Agent => ComponentKind::Agent,
            Role::Team => ComponentKind::Team,
            Role::Workflow | Role::Step | Role::Parallel | Role::Hidden => ComponentKind::Workflow,
        }
    }

    /// Yields the model with which the component is listed, or the member or step of it.
    pub(crate) fn model(&self) -> Option<(&str, &str)> {
        let of_root = self.component.model_of().filter(|_| self.is_root());
        let model = of_root.or(self.listed_model.as_deref())?;
        Some((&model.id, &model.provider))
    }

    /// Yields the run of the nearest agent, team or workflow above.
    pub(crate) fn parent_run(&self) -> Option<&str> {
        self.above.as_ref().map(|(_, run)| run.as_str())
    }

    /// Yields the id of the nearest step.
    pub(crate) fn step_id(&self) -> Option<&str> {
        self.step.as_ref().map(|step| step.id.as_str())
    }

    /// Makes the fields that every event of the run has, but `event` and `created_at`.
    pub(crate) fn common(&self, session: &str) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut set = |key: &str, value: Value| fields.insert(key.to_owned(), value);
        set("session_id", session.into());
        set("nested_depth", 0.into());
        if let Role::Step | Role::Parallel = self.role {
            if let Some((id, run)) = self.flow.as_deref() {
                set("workflow_id", id.as_str().into());
                set("workflow_name", self.shown_flow(id).into());
                set("run_id", run.as_str().into());
            }
        } else {
            let names = names_of(self.kind());
            set("run_id", self.run.as_str().into());
            set(names.id_key, self.name.as_str().into());
            set(names.name_key, self.shown_name().into());
            if let Some((Role::Agent | Role::Team, run)) = &self.above {
                set("parent_run_id", run.as_str().into());
            }
            if let Some((id, run)) = self.flow.as_deref().filter(|_| self.role != Role::Workflow) {
                set("workflow_id", id.as_str().into());
                set("workflow_run_id", run.as_str().into());
            }
        }
        if let Some(step) = &self.step {
            set("step_id", step.id.as_str().into());
            set("step_name", step.name.as_str().into());
            set("step_index", index(&step.index));
            if let (Role::Step | Role::Parallel, Some(parent)) = (self.role, &step.parent) {
                set("parent_step_id", parent.as_str().into());
            }
        }
        fields
    }
}

/// Yields the parts of the part at a place of the list.
fn parts_at<'a>(component: &'a Component, path: &[usize]) -> &'a [Part] {
    let all = component.parts();
    path.iter().fold(all, |parts, at| parts.get(*at).map_or(&[], |part| &part.parts))
}

const fn role_of(kind: RunKind) -> Role {
    match kind {
        RunKind::Agent => Role::Agent,
        RunKind::Team => Role::Team,
        RunKind::Workflow => Role::Workflow,
        RunKind::Step | RunKind::Branch | RunKind::Attempt => Role::Hidden,
    }
}

/// Writes `0`, or `[0,2]` within a Parallel.
fn index(path: &[usize]) -> Value {
    match path {
        [one] => json!(one),
        path => json!(path),
    }
}

#[cfg(test)]
mod tests {
    use quell::Payload;

    use super::*;

    fn fan_out() -> Arc<Component> {
        let parts = [Part::agent("a", "x"), Part::function("b")];
        let flow = Component::workflow("flow", async |_ctx, input: Payload| Ok(input));
        Arc::new(flow.steps([Part::function("first"), Part::parallel("fan-out", parts)]))
    }

    #[test]
    fn steps_stand_where_the_list_of_steps_has_them() {
        let root = Position::root(&fan_out(), "w");
        let fan_out = root.child(RunKind::Step, "fan-out", "p".into(), 0);
        let b = fan_out.child(RunKind::Branch, "b", "sb".into(), 0);
        let agent = b.child(RunKind::Agent, "x", "rx".into(), 0);
        assert_eq!((fan_out.role, b.role), (Role::Parallel, Role::Step));
        assert_eq!(fan_out.common("s")["step_index"], json!(1));
        assert_eq!(fan_out.parts().len(), 2);
        let step = b.common("s");
        assert_eq!((&step["step_index"], &step["parent_step_id"]), (&json!([1, 1]), &json!("p")));
        assert_eq!((&step["run_id"], &step["workflow_id"]), (&json!("w"), &json!("flow")));
        let fields = agent.common("s");
        assert_eq!(fields["workflow_run_id"], json!("w"));
        assert_eq!((&fields["run_id"], &fields["step_name"]), (&json!("rx"), &json!("b")));
        assert_eq!(fields.get("parent_run_id"), None);
        assert_eq!(agent.parent_run(), Some("w"));
    }

    #[test]
    fn members_and_agents_of_steps_have_the_model_with_which_they_are_listed() {
        let model = || Model::new("m-1", "M", "Fake");
        let parts = [Part::agent("a", "x").model(model()), Part::agent("b", "y")];
        let body = async |_ctx, input: Payload| Ok(input);
        let flow = Component::workflow("flow", body).steps([Part::parallel("fan-out", parts)]);
        let root = Position::root(&Arc::new(flow), "w");
        let fan_out = root.child(RunKind::Step, "fan-out", "p".into(), 0);
        let agent_of = |step: &str, agent: &str| {
            let step = fan_out.child(RunKind::Branch, step, "s".into(), 0);
            assert_eq!((step.model(), fan_out.model(), root.model()), (None, None, None));
            let attempt = step.child(RunKind::Attempt, "attempt 1", "at".into(), 0);
            let agent = attempt.child(RunKind::Agent, agent, "r".into(), 0);
            let inner = agent.child(RunKind::Agent, "x", "i".into(), 0);
            assert_eq!(inner.model(), None, "nothing is listed of that");
            agent.model().map(|(id, provider)| format!("{id} {provider}"))
        };
        assert_eq!(agent_of("a", "x").as_deref(), Some("m-1 Fake"));
        assert_eq!((agent_of("b", "y"), agent_of("a", "other")), (None, None));
        let team = Component::team("t", body).members([Part::agent("one", "x").model(model())]);
        let team = Position::root(&Arc::new(team.model(Model::new("m-2", "L", "Fake"))), "t");
        let one = team.child(RunKind::Agent, "one", "r".into(), 0);
        assert_eq!((one.model(), team.model()), (Some(("m-1", "Fake")), Some(("m-2", "Fake"))));
    }

    #[test]
    fn an_unlisted_step_stands_in_the_order_of_its_start() {
        let root = Position::root(&fan_out(), "w");
        let other = root.child(RunKind::Step, "other", "o".into(), 4);
        assert_eq!((other.role, &other.common("s")["step_index"]), (Role::Step, &json!(4)));
        let inner = other.child(RunKind::Step, "a", "i".into(), 0);
        assert_eq!((inner.role, &inner.common("s")["step_index"]), (Role::Step, &json!([4, 0])));
    }

    #[test]
    fn a_member_names_its_team_and_an_attempt_is_not_told() {
        let team = Component::team("team", async |_ctx, input: Payload| Ok(input));
        let root = Position::root(&Arc::new(team), "t");
        let member = root.child(RunKind::Agent, "m", "rm".into(), 0);
        assert_eq!(member.common("s")["parent_run_id"], json!("t"));
        assert_eq!(root.child(RunKind::Attempt, "n", "ra".into(), 0).role, Role::Hidden);
        assert_eq!(root.child(RunKind::Step, "n", "ra".into(), 0).role, Role::Hidden);
    }
}
