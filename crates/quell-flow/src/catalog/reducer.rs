//! [`Reducers`] say how a run changes each key of the state of its component.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::component::Component;

/// How a new value changes a key of a state.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_flow::Reducer::default(), quell_flow::Reducer::Overwrite);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reducer {
    /// The new value replaces the old one.
    #[default]
    Overwrite,
    /// The key is a list, and the items of the new value are added to it. A value that is no list
    /// is one item; null adds nothing. Every state begins with an empty list.
    Append,
    /// The key is a list of messages, and those of the new value are added to it by their `id`: one
    /// with the id of another replaces it, and one of the `type` `remove` takes it away
    /// (`add_messages` of `LangGraph`). Null adds nothing. Every state begins with an empty list.
    Messages,
}

/// The reducers of a component, by key. A key without one is overwritten. Cheap to clone.
///
/// # Examples
///
/// ```
/// use quell::Payload;
/// use quell_flow::{Component, Reducer};
///
/// let graph = Component::workflow("chat", async |_ctx, input: Payload| Ok(input))
///     .reducer("messages", Reducer::Messages)
///     .reducer("log", Reducer::Append);
/// assert_eq!(graph.reducers().of("messages"), Reducer::Messages);
/// assert_eq!(graph.reducers().of("log"), Reducer::Append);
/// assert_eq!(graph.reducers().of("topic"), Reducer::Overwrite);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reducers(Arc<BTreeMap<String, Reducer>>);

impl Reducers {
    /// Yields the reducer of a key.
    pub fn of(&self, key: &str) -> Reducer {
        self.0.get(key).copied().unwrap_or_default()
    }

    /// Lists the keys that have a reducer.
    pub fn keys(&self) -> impl Iterator<Item = (&str, Reducer)> {
        self.0.iter().map(|(key, reducer)| (key.as_str(), *reducer))
    }
}

impl Component {
    /// Sets how a new value changes a key of its state, in contracts that have states. Defaults to
    /// [`Reducer::Overwrite`].
    pub fn reducer(mut self, key: impl Into<String>, reducer: Reducer) -> Self {
        Arc::make_mut(&mut self.reducers.0).insert(key.into(), reducer);
        self
    }

    /// Yields the reducers of its state.
    pub const fn reducers(&self) -> &Reducers {
        &self.reducers
    }
}
