//! [`Part`] and [`Model`]: what is listed of a component.

/// The model of an agent or of a team's leader, as it is listed.
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
    /// Who serves it.
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

/// A member of a team or a step of a workflow, as it is listed.
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
    /// The agent that does it, if one does.
    pub agent: Option<String>,
    /// Whether its parts run at once.
    pub is_parallel: bool,
    /// Its own parts.
    pub parts: Vec<Self>,
}

impl Part {
    /// A step that is plain code.
    pub fn function(name: impl Into<String>) -> Self {
        Self { name: name.into(), agent: None, is_parallel: false, parts: Vec::new() }
    }

    /// A member, or a step that an agent does.
    pub fn agent(name: impl Into<String>, agent: impl Into<String>) -> Self {
        Self { agent: Some(agent.into()), ..Self::function(name) }
    }

    /// A step with steps of its own.
    pub fn sequence(name: impl Into<String>, parts: impl IntoIterator<Item = Self>) -> Self {
        Self { parts: parts.into_iter().collect(), ..Self::function(name) }
    }

    /// Steps that run at once.
    pub fn parallel(name: impl Into<String>, parts: impl IntoIterator<Item = Self>) -> Self {
        Self { is_parallel: true, parts: parts.into_iter().collect(), ..Self::function(name) }
    }
}
