//! [`Principal`]: the caller of a request, with scopes and teams.

use std::collections::BTreeSet;
use std::sync::Arc;

use quell_flow::{Component, ComponentKind};

use crate::ids::same_id;

/// The caller of a request, and what they may do. Cheap to clone.
///
/// # Examples
///
/// ```
/// use quell_http::Principal;
///
/// let ada = Principal::named("ada").scopes(["agents:read", "teams:critics:run"]);
/// assert!(ada.has_scope("agents", None, "read"));
/// assert!(ada.has_scope("teams", Some("critics"), "run"));
/// assert!(!ada.has_scope("teams", None, "run"));
/// ```
#[derive(Clone, Debug)]
pub struct Principal(
    /// None for the anonymous one: each request of open access has it, and takes no memory for it.
    Option<Arc<Who>>,
);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Who {
    subject: Option<Arc<str>>,
    scopes: Option<BTreeSet<String>>,
    teams: Teams,
    is_admin: bool,
    is_read_only: bool,
}

/// The teams of a principal.
///
/// # Examples
///
/// ```
/// use quell_http::{Principal, Teams};
///
/// assert_eq!(Principal::anonymous().teams(), &Teams::All);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "all, or those named: there is no third")]
pub enum Teams {
    /// Member of every team.
    All,
    /// Member of these.
    Some(BTreeSet<String>),
}

/// The anonymous principal.
const ANYONE: &Who =
    &Who { subject: None, scopes: None, teams: Teams::All, is_admin: false, is_read_only: false };

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        self.who() == other.who()
    }
}

impl Eq for Principal {}

impl Principal {
    /// Makes the principal of open access: it has no name, and may do everything.
    pub fn anonymous() -> Self {
        Self(None)
    }

    /// Makes a principal with a name, every scope and no team.
    pub fn named(subject: impl Into<Arc<str>>) -> Self {
        let (subject, teams) = (Some(subject.into()), Teams::Some(BTreeSet::new()));
        Self(Some(Arc::new(Who { subject, teams, ..ANYONE.clone() })))
    }

    /// Limits the principal to scopes: `resource:action`, `resource:id:action`, with `*` for any
    /// part. One of [`ADMIN_SCOPES`](crate::ADMIN_SCOPES) allows everything. Defaults to every
    /// scope.
    #[must_use]
    pub fn scopes(self, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let scopes: BTreeSet<String> = scopes.into_iter().map(Into::into).collect();
        let is_admin = ADMIN_SCOPES.iter().any(|admin| scopes.contains(*admin));
        self.with(|who| {
            who.scopes = Some(scopes);
            who.is_admin |= is_admin;
        })
    }

    /// Makes the principal a member of these teams. Defaults to none.
    #[must_use]
    pub fn in_teams(self, teams: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let teams = teams.into_iter().map(Into::into).collect();
        self.with(|who| who.teams = Teams::Some(teams))
    }

    /// Lets the principal see the runs of all owners.
    #[must_use]
    pub fn admin(self) -> Self {
        self.with(|who| who.is_admin = true)
    }

    /// Lets the principal read only.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.with(|who| who.is_read_only = true)
    }

    /// Gives the principal another name, or none, with the same rights: for runs that belong to
    /// another owner than the caller who starts them.
    #[must_use]
    pub fn in_the_name_of(self, subject: Option<&str>) -> Self {
        self.with(|who| who.subject = subject.map(Into::into))
    }

    fn with(self, change: impl FnOnce(&mut Who)) -> Self {
        let mut who = self.0.unwrap_or_else(|| Arc::new(ANYONE.clone()));
        change(Arc::make_mut(&mut who));
        Self(Some(who))
    }

    fn who(&self) -> &Who {
        self.0.as_deref().unwrap_or(ANYONE)
    }

    /// Yields the name; `None` for the anonymous principal. Runs that the principal starts have it
    /// as their owner.
    pub fn subject(&self) -> Option<&str> {
        self.who().subject.as_deref()
    }

    /// As [`Principal::subject`], shared.
    pub fn owner(&self) -> Option<&Arc<str>> {
        self.who().subject.as_ref()
    }

    /// Yields the teams.
    pub fn teams(&self) -> &Teams {
        &self.who().teams
    }

    /// Tells whether the principal is a member of a team. Two spellings of one UUID are one team.
    pub fn is_member_of(&self, team: &str) -> bool {
        match &self.who().teams {
            Teams::All => true,
            Teams::Some(teams) => {
                self.who().is_admin
                    || teams.contains(team)
                    || teams.iter().any(|known| same_id(known, team))
            }
        }
    }

    /// Yields the scopes; `None` if every scope is allowed.
    pub fn scopes_of(&self) -> Option<&BTreeSet<String>> {
        self.who().scopes.as_ref()
    }

    /// Tells whether the principal sees the runs of all owners: an admin, or any caller while
    /// access is open.
    pub fn sees_all(&self) -> bool {
        self.who().is_admin || self.who().subject.is_none()
    }

    /// Tells whether the principal may change nothing at all: the key is read-only, or every scope
    /// of the token ends with `:read`.
    pub fn is_read_only(&self) -> bool {
        self.who().is_read_only
            || (!self.who().is_admin
                && self.who().scopes.as_ref().is_some_and(|scopes| {
                    scopes.iter().all(|scope| scope.rsplit(':').next() == Some("read"))
                }))
    }

    /// Tells whether the principal has the scope `resource:action`, or `resource:id:action` of this
    /// id.
    pub fn has_scope(&self, resource: &str, id: Option<&str>, action: &str) -> bool {
        if self.who().is_read_only && action != "read" {
            return false;
        }
        let Some(scopes) = self.who().scopes.as_ref().filter(|_| !self.who().is_admin) else {
            return true;
        };
        let fits = |part: &str, wanted: &str| part == "*" || part == wanted;
        scopes.iter().any(|scope| {
            let (Some((first, rest)), Some((_, last))) =
                (scope.split_once(':'), scope.rsplit_once(':'))
            else {
                return false;
            };
            // The part in between is the id, which may contain colons.
            let named = rest.strip_suffix(last).and_then(|middle| middle.strip_suffix(':'));
            fits(first, resource)
                && fits(last, action)
                && named.is_none_or(|named| named == "*" || id == Some(named))
        })
    }

    /// Tells whether the principal may start and stop runs of a component.
    pub fn may_run(&self, component: &Component) -> bool {
        self.may_run_named(component.kind(), component.id())
    }

    /// As [`Principal::may_run`], for a component that need not be there.
    pub(crate) fn may_run_named(&self, kind: ComponentKind, id: &str) -> bool {
        self.has_scope(resource_of(kind), Some(id), "run")
    }

    /// Tells whether the principal may read a component and its runs.
    pub fn may_read(&self, component: &Component) -> bool {
        self.has_scope(resource_of(component.kind()), Some(component.id()), "read")
    }

    /// Tells whether the principal may start or read a component of this kind and id, which need
    /// not be there; without an id, every one of the kind.
    ///
    /// A principal who may not should get the same answer whether the component is there or not.
    pub fn may_use(&self, kind: ComponentKind, id: Option<&str>) -> bool {
        let resource = resource_of(kind);
        self.has_scope(resource, id, "run") || self.has_scope(resource, id, "read")
    }

    /// Says what a principal who may not start or stop runs of a component lacks: for the text of a
    /// refusal. Without a component it is the right to stop anything.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell::Payload;
    /// use quell_flow::Component;
    /// use quell_http::Principal;
    ///
    /// let writer = Component::agent("writer", async |_ctx, input: Payload| Ok(input));
    /// let ada = Principal::named("ada").scopes(["agents:read"]);
    /// let lack = ada.lack_to_run(Some(&writer));
    /// assert_eq!(lack, "this needs the scope `agents:writer:run`");
    /// ```
    pub fn lack_to_run(&self, component: Option<&Component>) -> String {
        match component {
            Some(component) => self.lack_to_run_named(component.kind(), component.id()),
            None if self.who().is_read_only => READ_ONLY.to_owned(),
            None => "this needs a scope that ends with `:run`".to_owned(),
        }
    }

    /// As [`Principal::lack_to_run`], for a component that need not be there.
    pub(crate) fn lack_to_run_named(&self, kind: ComponentKind, id: &str) -> String {
        if self.who().is_read_only { READ_ONLY.to_owned() } else { lack(kind, id, "run") }
    }

    /// Says what a principal who may not read runs of a component lacks.
    pub(crate) fn lack_to_read(component: &Component) -> String {
        lack(component.kind(), component.id(), "read")
    }
}

/// Says which scope is needed, as a key of `quell.toml` or a token spells it.
fn lack(kind: ComponentKind, id: &str, action: &str) -> String {
    format!("this needs the scope `{}:{id}:{action}`", resource_of(kind))
}

/// Yields the first part of the scopes for components of a kind.
const fn resource_of(kind: ComponentKind) -> &'static str {
    match kind {
        ComponentKind::Agent => "agents",
        ComponentKind::Team => "teams",
        ComponentKind::Workflow => "workflows",
    }
}

/// What credentials lack that may change nothing at all.
const READ_ONLY: &str = "these credentials are read-only";

/// Scopes that allow everything.
pub const ADMIN_SCOPES: [&str; 2] = ["agent_os:admin", "quell:admin"];
