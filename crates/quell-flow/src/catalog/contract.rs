//! [`Contract`]: an open name for where components are exposed.

/// A contract in which components may be exposed, by name.
///
/// The crate that serves a contract names it; this crate knows none. Two of the same name are the
/// same contract.
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
