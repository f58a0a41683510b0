//! [`Key`]: a static key and the principal that it names.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::access::key_marks::KeyMarks;
use crate::access::principal::Principal;

/// A static key: a request that presents it is made by its principal.
///
/// # Examples
///
/// ```
/// use quell_http::Key;
///
/// let key = Key::new("ada", "11111111-1111-4111-8111-111111111111").in_teams(["alpha"]);
/// assert!(!format!("{key:?}").contains("1111"));
/// ```
#[derive(Clone)]
#[must_use = "a key opens nothing until access has it"]
pub struct Key {
    secret: Arc<[u8]>,
    principal: Principal,
}

impl Key {
    /// Makes a key from the name of its holder and the secret. An empty secret matches nothing.
    pub fn new(subject: impl Into<Arc<str>>, secret: impl AsRef<[u8]>) -> Self {
        Self { secret: secret.as_ref().into(), principal: Principal::named(subject) }
    }

    /// Limits its holder to scopes. Defaults to every scope. See [`Principal::scopes`].
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.principal = self.principal.scopes(scopes);
        self
    }

    /// Makes its holder a member of these teams. Defaults to none.
    pub fn in_teams(mut self, teams: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.principal = self.principal.in_teams(teams);
        self
    }

    /// Lets its holder see the runs of all owners. Defaults to their own.
    pub fn admin(mut self) -> Self {
        self.principal = self.principal.admin();
        self
    }

    /// Lets its holder read only.
    pub fn read_only(mut self) -> Self {
        self.principal = self.principal.read_only();
        self
    }

    /// Yields the principal of its holder.
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Tells whether a mark stands for this key; see [`Key::matches`].
    pub(crate) fn has_mark(&self, marks: &KeyMarks, mark: &str) -> bool {
        let own = marks.of(&self.secret);
        !self.secret.is_empty() && bool::from(own.as_bytes().ct_eq(mark.as_bytes()))
    }

    /// Compares in a time that reveals no more than the length of the secret.
    pub(crate) fn matches(&self, presented: &str) -> bool {
        !self.secret.is_empty() && bool::from(self.secret.ct_eq(presented.as_bytes()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("principal", &self.principal).finish_non_exhaustive()
    }
}
