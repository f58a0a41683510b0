//! [`LinkedPlan`] is a plan with the components that it names.
//!
//! Components are found before anything starts. A plan that would run itself is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use quell::Payload;

use crate::ComponentKind::Workflow;
use crate::excerpt::excerpt;
use crate::graph::{self, Walk};
use crate::harmless::is_component_name;
use crate::plan::Origin;
use crate::{Action, Catalog, CommandStep, Component, ComponentStep, Plan, PlanError, PlanStep};

/// The components of a plan, by the name under which it uses each.
pub(super) type Links = BTreeMap<Arc<str>, Arc<Component>>;

/// A plan whose components have been found.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, Failure, Payload, RunContext};
/// use quell_flow::{Catalog, CommandStep, Component, Plan, Runner};
///
/// #[derive(Clone)]
/// struct Nobody;
///
/// impl Runner for Nobody {
///     async fn run(&self, _: RunContext, _: CommandStep) -> Result<Payload, Failure> {
///         Err(Failure::new("there are no commands here"))
///     }
/// }
///
/// let catalog = Catalog::new().with(Component::agent("shout", async |_ctx, input: Payload| {
///     Ok(input.parse::<String>()?.to_uppercase().into())
/// }));
/// let plan = Plan::from_toml(r#"
///     name = "greet"
///     steps = [{ name = "say", component = "shout", input = "hello {{ input.name }}" }]
/// "#).unwrap();
/// let plan = plan.link(&catalog).unwrap();
/// let engine = Engine::new();
/// let input = Payload::from_json_text(r#"{"name": "ada"}"#).unwrap();
/// let spec = plan.plan().spec().input(input);
/// let run = engine.submit(spec, move |ctx| plan.run(ctx, Nobody)).unwrap();
/// assert_eq!(run.await.unwrap().as_json(), r#"{"say":"HELLO ADA"}"#);
/// # });
/// ```
#[derive(Clone)]
pub struct LinkedPlan {
    pub(super) plan: Arc<Plan>,
    pub(super) links: Arc<Links>,
    /// The outputs of steps that ran before, of which this is the rest.
    pub(super) before: Arc<[(Arc<str>, Payload)]>,
}

impl LinkedPlan {
    /// Yields the plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl fmt::Debug for LinkedPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.links.keys().collect();
        f.debug_struct("LinkedPlan")
            .field("plan", &self.plan.name())
            .field("links", &names)
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// Finds the components that the plan names.
    ///
    /// # Errors
    ///
    /// Fails with every name that the catalog does not know, and its place.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::{Catalog, Plan};
    ///
    /// let text = "name: p\nsteps:\n- name: a\n  component: agent/nobody\n";
    /// let faults = Plan::from_yaml(text).unwrap().link(&Catalog::new()).unwrap_err();
    /// assert_eq!(
    ///     faults[0].to_string(),
    ///     "line 4, column 14: unknown component `agent/nobody`; there are no components",
    /// );
    /// ```
    pub fn link(self, catalog: &Catalog) -> Result<LinkedPlan, Vec<PlanError>> {
        let mut links = Links::new();
        let mut faults = Vec::new();
        for step in self.components() {
            let name = &step.component;
            let shown = if is_component_name(name) { name } else { "…" };
            match catalog.named_as(name, shown) {
                Ok(component) => {
                    links.insert(Arc::clone(name), Arc::clone(component));
                }
                Err(words) => faults.push(step.origin.fault(words)),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(LinkedPlan { plan: Arc::new(self), links: Arc::new(links), before: Arc::default() })
    }

    /// Lists the steps that run a component, including those of nested workflows, in the order of
    /// the text.
    pub fn components(&self) -> Vec<&ComponentStep> {
        self.all_of(|action| match action {
            Action::Component(component) => Some((component, &component.origin)),
            _ => None,
        })
    }

    /// Lists the steps that run a command, including those of nested workflows, in the order of the
    /// text. [`CommandStep::fault`] has an example.
    pub fn commands(&self) -> Vec<&CommandStep> {
        self.all_of(|action| match action {
            Action::Run(command) => Some((command, &command.origin)),
            _ => None,
        })
    }

    /// Lists the names of the steps that wait for an answer, including those of nested workflows,
    /// in the order of the text.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::Plan;
    ///
    /// let plan = Plan::from_yaml("name: p\nsteps:\n- { name: ok, wait: deploy? }\n").unwrap();
    /// assert_eq!(plan.waits(), ["ok"]);
    /// ```
    pub fn waits(&self) -> Vec<&str> {
        let steps = self.all_steps().into_iter();
        let mut found: Vec<_> = steps
            .filter_map(|step| match &step.action {
                Action::Wait(wait) => Some((&*step.name, wait.origin.place)),
                _ => None,
            })
            .collect();
        found.sort_by_key(|(_, place)| (place.line, place.column));
        found.into_iter().map(|(name, _)| name).collect()
    }

    /// Lists what is found in the actions of all steps, in the order of the text.
    fn all_of<'a, T>(
        &'a self,
        find: impl Fn(&'a Action) -> Option<(&'a T, &'a Origin)>,
    ) -> Vec<&'a T> {
        let steps = self.all_steps().into_iter();
        let mut found: Vec<_> = steps.filter_map(|step| find(&step.action)).collect();
        found.sort_by_key(|(_, origin)| (origin.place.line, origin.place.column));
        found.into_iter().map(|(one, _)| one).collect()
    }

    /// Lists every step, those of cleanup and of nested workflows as well.
    fn all_steps(&self) -> Vec<&PlanStep> {
        let mut found = Vec::new();
        let mut open: Vec<&[PlanStep]> = vec![&self.steps];
        open.extend([&*self.cleanup.on_failure, &*self.cleanup.on_stop]);
        while let Some(steps) = open.pop() {
            for step in steps {
                found.push(step);
                open.extend([&*step.cleanup.on_failure, &*step.cleanup.on_stop]);
                open.extend(step.action.parts().into_iter().map(|(_, steps)| &**steps));
                if let Action::Workflow(inside) = &step.action {
                    let plan = &inside.workflow;
                    let cleanup = &plan.cleanup;
                    open.extend([&*plan.steps, &*cleanup.on_failure, &*cleanup.on_stop]);
                }
            }
        }
        found
    }
}

impl Catalog {
    /// Makes a workflow of each plan, under the plan's id, and adds it. A plan may name components
    /// of the catalog, and other plans of the list.
    ///
    /// # Errors
    ///
    /// Fails with every unknown name, and with every plan that would run itself, directly or
    /// through others; each with its place. Then nothing is added.
    ///
    /// # Examples
    ///
    /// ```
    /// # use quell::{Failure, Payload, RunContext};
    /// # #[derive(Clone)]
    /// # struct Nobody;
    /// # impl quell_flow::Runner for Nobody {
    /// #     async fn run(&self, _: RunContext, _: quell_flow::CommandStep) -> Result<Payload, Failure> {
    /// #         Err(Failure::new("no"))
    /// #     }
    /// # }
    /// use quell_flow::{Catalog, Plan};
    ///
    /// let plan = |name: &str, uses: &str| {
    ///     let text = format!("name: {name}\nsteps:\n- {{ name: a, component: {uses} }}\n");
    ///     (name.to_owned(), Plan::from_yaml(&text).unwrap())
    /// };
    /// let plans = [plan("x", "y"), plan("y", "x")];
    /// let faults = Catalog::new()
    ///     .with_plans(plans, |id, plan| plan.into_component(id, Nobody))
    ///     .unwrap_err();
    /// assert!(faults[0].message().starts_with("component `x` would run itself: `x → y → x`"));
    /// ```
    pub fn with_plans(
        self,
        plans: impl IntoIterator<Item = (String, Plan)>,
        make: impl Fn(&str, LinkedPlan) -> Component,
    ) -> Result<Self, Vec<PlanError>> {
        let mut open: BTreeMap<String, Plan> = plans.into_iter().collect();
        let mut faults = circles(&open);
        let mut catalog = self;
        while let Some(id) = next_of(&open) {
            let Some(plan) = open.remove(&id) else { break };
            match plan.link(&catalog) {
                Ok(plan) => catalog = catalog.with(make(&id, plan)),
                Err(found) => {
                    faults.extend(found);
                    catalog = catalog.with(Component::stand_in(Workflow, id));
                }
            }
        }
        // What is left is in a circle, or names what is. Its other names may be unknown as well.
        let stand_ins = open.keys().map(|id| Component::stand_in(Workflow, id));
        let catalog = stand_ins.fold(catalog, Self::with);
        faults.extend(open.into_values().filter_map(|plan| plan.link(&catalog).err()).flatten());
        if faults.is_empty() { Ok(catalog) } else { Err(faults) }
    }
}

/// Finds the plan that a component's name means, if it is one of these.
fn plan_named<'a>(plans: &'a BTreeMap<String, Plan>, name: &str) -> Option<&'a str> {
    let id = name.strip_prefix("workflow/").unwrap_or(name);
    plans.get_key_value(id).map(|(id, _)| id.as_str())
}

/// Finds a plan that names no other open one.
fn next_of(open: &BTreeMap<String, Plan>) -> Option<String> {
    let is_next = |(_, plan): &(&String, &Plan)| {
        plan.components().iter().all(|step| plan_named(open, &step.component).is_none())
    };
    open.iter().find(is_next).map(|(id, _)| id.clone())
}

/// Finds the plans that would run themselves, and reports each circle once.
fn circles(plans: &BTreeMap<String, Plan>) -> Vec<PlanError> {
    let ids: Vec<&str> = plans.keys().map(String::as_str).collect();
    let named = |plan: &Plan| -> Vec<usize> {
        let named = plan.components().into_iter();
        let place =
            |step: &ComponentStep| ids.binary_search(&plan_named(plans, &step.component)?).ok();
        // A plan may name another several times, which makes one circle.
        let mut seen = BTreeSet::new();
        named.filter_map(place).filter(|place| seen.insert(*place)).collect()
    };
    let edges: Vec<Vec<usize>> = plans.values().map(named).collect();
    let fault = |circle: &Vec<usize>| {
        let (to, from) = (ids[*circle.first()?], ids[*circle.last()?]);
        let steps = plans[from].components();
        let step = steps.iter().find(|step| plan_named(plans, &step.component) == Some(to))?;
        let (to, shown) = (excerpt(to), excerpt(&graph::shown(circle, |place| ids[place])));
        let words = format!("component `{to}` would run itself: `{shown}`; expected no circle");
        Some(step.origin.fault(words))
    };
    Walk::of(&edges, usize::MAX).circles.iter().filter_map(fault).collect()
}
