//! [`Catalog`] holds the components of a service.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::component::Component;
use super::contract::Contract;
use super::kind::ComponentKind;
use super::stand_in::StandIns;
use crate::excerpt::excerpt;
use crate::guess::guess;

/// The components of a service, by kind and id.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, Payload};
/// use quell_flow::{Catalog, Component, ComponentKind};
///
/// let catalog = Catalog::new()
///     .with(Component::agent("echo", async |_ctx, input: Payload| Ok(input)));
/// let echo = catalog.get(ComponentKind::Agent, "echo").unwrap();
/// let engine = Engine::new();
/// let run = echo.start(&engine, echo.spec(), Payload::from("hi")).unwrap();
/// assert_eq!(run.await.unwrap(), Payload::from("hi"));
/// # });
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a catalog does nothing until it is served"]
pub struct Catalog {
    components: BTreeMap<(ComponentKind, String), Arc<Component>>,
    /// Who says with which body runs go on.
    pub(super) stand_ins: StandIns,
}

impl Catalog {
    /// Makes an empty catalog.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a component. It replaces one of the same kind and id.
    pub fn with(mut self, component: Component) -> Self {
        let key = (component.kind(), component.id().to_owned());
        self.components.insert(key, Arc::new(component));
        self
    }

    /// Takes a component out, if it is there.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell::Payload;
    /// use quell_flow::{Catalog, Component, ComponentKind};
    ///
    /// let catalog = Catalog::new()
    ///     .with(Component::agent("echo", async |_ctx, input: Payload| Ok(input)))
    ///     .without(ComponentKind::Agent, "echo");
    /// assert!(catalog.get(ComponentKind::Agent, "echo").is_none());
    /// ```
    pub fn without(mut self, kind: ComponentKind, id: &str) -> Self {
        self.components.remove(&(kind, id.to_owned()));
        self
    }

    /// Finds a component by kind and id.
    pub fn get(&self, kind: ComponentKind, id: &str) -> Option<&Arc<Component>> {
        self.components.get(&(kind, id.to_owned()))
    }

    /// Finds the first component of any kind with this id that a contract exposes.
    pub fn find(&self, contract: Contract, id: &str) -> Option<&Arc<Component>> {
        self.listed(contract).find(|component| component.id() == id)
    }

    /// Lists all components: agents, teams, workflows, each by id.
    pub fn components(&self) -> impl Iterator<Item = &Arc<Component>> {
        self.components.values()
    }

    /// Lists the components that a contract exposes: agents, teams, workflows, each by id.
    pub fn listed(&self, contract: Contract) -> impl Iterator<Item = &Arc<Component>> {
        self.components.values().filter(move |component| component.is_exposed_in(contract))
    }

    /// Finds a component by its name, `agent/writer`, or by its id.
    ///
    /// # Errors
    ///
    /// Fails with a message if there is none, or if several kinds have a component of this id.
    pub fn named(&self, name: &str) -> Result<&Arc<Component>, String> {
        self.named_as(name, name)
    }

    /// As [`named`](Self::named), with what the message is to show in the place of the name: one
    /// from a file may be a secret that was meant for another key.
    ///
    /// # Errors
    ///
    /// Fails as [`named`](Self::named) does.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::Catalog;
    ///
    /// let words = Catalog::new().named_as("https://ann:hush@h", "https://…").unwrap_err();
    /// assert_eq!(words, "unknown component `https://…`; there are no components");
    /// ```
    pub fn named_as(&self, name: &str, shown: &str) -> Result<&Arc<Component>, String> {
        let by_id = ComponentKind::ALL.iter().filter_map(|kind| self.get(*kind, name));
        let by_name = ComponentKind::split(name).and_then(|(kind, id)| self.get(kind, id));
        let found: Vec<&Arc<Component>> = by_id.chain(by_name).collect();
        if let [one] = found[..] {
            return Ok(one);
        }
        if found.is_empty() {
            return Err(unknown_component(self.components(), name, shown));
        }
        let (shown, all) = (excerpt(shown), listed(&found));
        Err(format!("`{shown}` is the name of several; expected one of {all}"))
    }
}

/// Says that none of some components has a name, with the one that is probably meant, or else with
/// the first ones. What the message shows in the place of the name is given as well.
///
/// # Examples
///
/// ```
/// let words = quell_flow::unknown_component([], "agent/writr", "agent/writr");
/// assert_eq!(words, "unknown component `agent/writr`; there are no components");
/// ```
pub fn unknown_component<'c>(
    components: impl IntoIterator<Item = &'c Arc<Component>>,
    name: &str,
    shown: &str,
) -> String {
    // One that no name can name is offered to nobody.
    let is_named = |one: &&Arc<Component>| !one.id().is_empty() && !one.id().contains('/');
    let all: Vec<&Arc<Component>> = components.into_iter().filter(is_named).collect();
    let shown = excerpt(shown);
    if all.is_empty() {
        return format!("unknown component `{shown}`; there are no components");
    }
    match meant(&all, name) {
        Some(meant) => {
            format!("unknown component `{shown}`; did you mean `{}`?", excerpt(&meant))
        }
        None => format!("unknown component `{shown}`; expected one of {}", listed(&all)),
    }
}

/// Guesses the component that an unknown name, or an unknown id, is meant to be.
fn meant(components: &[&Arc<Component>], name: &str) -> Option<String> {
    let names: Vec<String> = components.iter().map(|one| one.name()).collect();
    if let Some(meant) = guess(name, names.iter().map(String::as_str)) {
        return Some(meant.to_owned());
    }
    let id = name.split_once('/').map_or(name, |(_, id)| id);
    let meant = guess(id, components.iter().map(|one| one.id()))?;
    components.iter().find(|one| one.id() == meant).map(|one| one.name())
}

fn listed(components: &[&Arc<Component>]) -> String {
    let name = |one: &&Arc<Component>| format!("`{}`", excerpt(&one.name()));
    let names: Vec<String> = components.iter().take(NAMES_SHOWN).map(name).collect();
    match components.len().saturating_sub(NAMES_SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// The number of components that a message lists.
const NAMES_SHOWN: usize = 12;
