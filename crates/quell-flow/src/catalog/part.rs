//! [`Part`] and [`Model`] are what contracts list of a component.

use super::component::Component;

/// The model of an agent, or of the leader of a team, as contracts list it.
///
/// # Examples
///
/// ```
/// let model = quell_flow::Model::new("tick-model", "TickModel", "Fake");
/// assert_eq!(model.provider, "Fake");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Model {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The name of the provider that serves it.
    pub provider: String,
}

impl Model {
    /// Names a model.
    pub fn new(
        id: impl Into<String>,
        name: impl Into<String>,
        provider: impl Into<String>,
    ) -> Self {
        Self { id: id.into(), name: name.into(), provider: provider.into() }
    }
}

/// A member of a team or a step of a workflow, as contracts list it.
///
/// # Examples
///
/// ```
/// use quell_flow::Part;
///
/// let fan_out = Part::parallel("fan-out", [Part::function("a"), Part::agent("b", "writer")]);
/// assert_eq!(fan_out.parts.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// Its name.
    pub name: String,
    /// The agent that does the work, if one does.
    pub agent: Option<String>,
    /// The name that people read of that agent, if it has one besides its id.
    pub agent_name: Option<String>,
    /// The model of that agent, if it is listed with one.
    pub model: Option<Model>,
    /// Whether its parts run in parallel.
    pub is_parallel: bool,
    /// Its own parts.
    pub parts: Vec<Self>,
}

impl Part {
    /// Makes a step that is plain code.
    pub fn function(name: impl Into<String>) -> Self {
        let (agent, agent_name, model) = (None, None, None);
        Self { name: name.into(), agent, agent_name, model, is_parallel: false, parts: Vec::new() }
    }

    /// Makes a member, or a step that an agent runs.
    pub fn agent(name: impl Into<String>, agent: impl Into<String>) -> Self {
        Self { agent: Some(agent.into()), ..Self::function(name) }
    }

    /// Makes a member, or a step, that is this component: its id, the name that people read, and
    /// its model.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell::Payload;
    /// use quell_flow::{Component, Part};
    ///
    /// let writer = Component::agent("w-1", async |_ctx, task: Payload| Ok(task));
    /// let part = Part::of("draft", &writer.display_name("Writer"));
    /// assert_eq!((&*part.name, part.agent.as_deref()), ("draft", Some("w-1")));
    /// assert_eq!(part.agent_name.as_deref(), Some("Writer"));
    /// ```
    pub fn of(name: impl Into<String>, component: &Component) -> Self {
        let (agent_name, model) = (component.display_name.clone(), component.model_of().cloned());
        Self { agent_name, model, ..Self::agent(name, component.id()) }
    }

    /// Says which model its agent asks. Defaults to none.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::{Model, Part};
    ///
    /// let model = Model::new("tick-model", "TickModel", "Fake");
    /// let part = Part::agent("draft", "w-1").model(model.clone());
    /// assert_eq!(part.model, Some(model));
    /// ```
    #[must_use]
    pub fn model(self, model: Model) -> Self {
        Self { model: Some(model), ..self }
    }

    /// Makes a step with steps of its own, which run one after another.
    pub fn sequence(name: impl Into<String>, parts: impl IntoIterator<Item = Self>) -> Self {
        Self { parts: parts.into_iter().collect(), ..Self::function(name) }
    }

    /// Makes a step whose own steps run in parallel.
    pub fn parallel(name: impl Into<String>, parts: impl IntoIterator<Item = Self>) -> Self {
        Self { is_parallel: true, parts: parts.into_iter().collect(), ..Self::function(name) }
    }
}
