//! [`StopScope`] says for whose run a remembered stop is.

use std::fmt;

use crate::idempotency::digest;

/// For whose run a remembered stop is: an owner, a tenant, a kind of run, or several together.
///
/// [`Engine::remember_stop`](crate::Engine::remember_stop) remembers a stop in a scope, and
/// [`RunSpec::stop_scope`](crate::RunSpec::stop_scope) puts a run into one. The stop reaches no run
/// of another scope, so that a caller who guesses an id stops nobody else's run. A scope is 32
/// bytes, whatever it is made from, and the same in every process.
///
/// # Examples
///
/// ```
/// use quell::StopScope;
///
/// let scope = StopScope::new(["ada", "agent:writer"]);
/// assert_eq!(scope, StopScope::new(["ada", "agent:writer"]));
/// assert_ne!(scope, StopScope::new(["ada", "agent:reader"]));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StopScope([u8; 32]);

impl StopScope {
    /// Makes the scope that these parts name together, in this order.
    pub fn new<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        Self(digest(parts))
    }

    /// Yields it as a cluster knows it.
    pub(crate) const fn bytes(self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Debug for StopScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, ..] = self.0;
        write!(f, "StopScope({first:02x}{second:02x}…)")
    }
}
