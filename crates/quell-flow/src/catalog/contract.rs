//! [`Contract`] names a contract in which components may be exposed.

/// The name of a contract in which components may be exposed.
///
/// The crate that serves a contract defines its name; this crate knows none. Two contracts of the
/// same name are equal.
///
/// # Examples
///
/// ```
/// use quell::Payload;
/// use quell_flow::{Catalog, Component, Contract};
///
/// const INSIDE: Contract = Contract::named("inside");
/// const PUBLIC: Contract = Contract::named("public");
///
/// let echo = Component::agent("echo", async |_ctx, input: Payload| Ok(input));
/// let catalog = Catalog::new().with(echo.exposed_in([INSIDE]));
/// assert!(catalog.find(INSIDE, "echo").is_some() && catalog.find(PUBLIC, "echo").is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Contract(&'static str);

impl Contract {
    /// Names a contract.
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }

    /// Yields its name.
    pub const fn name(self) -> &'static str {
        self.0
    }
}
