//! How the state of a graph takes what a run says of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::component::Component;

/// How a key of a state takes a new value.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_flow::Reducer::default(), quell_flow::Reducer::Overwrite);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reducer {
    /// The new value takes the place of the old one.
    #[default]
    Overwrite,
    /// The key is a list, to which the items of the new value are added. A value that is no list
    /// is one item; null adds nothing. The list is there from the start, empty.
    Append,
}

/// The reducers of a component, by key. A key that has none is overwritten. Cheap to clone.
///
/// # Examples
///
/// ```
/// use quell::Payload;
/// use quell_flow::{Component, Reducer};
///
/// let graph = Component::workflow("chat", async |_ctx, input: Payload| Ok(input))
///     .reducer("messages", Reducer::Append);
/// assert_eq!(graph.reducers().of("messages"), Reducer::Append);
/// assert_eq!(graph.reducers().of("topic"), Reducer::Overwrite);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reducers(Arc<BTreeMap<String, Reducer>>);

impl Reducers {
    /// Yields the reducer of a key.
    pub fn of(&self, key: &str) -> Reducer {
        self.0.get(key).copied().unwrap_or_default()
    }

    /// Lists the keys that have one.
    pub fn keys(&self) -> impl Iterator<Item = (&str, Reducer)> {
        self.0.iter().map(|(key, reducer)| (key.as_str(), *reducer))
    }
}

impl Component {
    /// Says how a key of its state takes a new value, in contracts that show states. Defaults to
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
