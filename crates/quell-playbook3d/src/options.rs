//! [`Options`]: what the contract leaves to the operator.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use quell_flow::{Catalog, Component, Contract};
use quell_http::Principal;
use serde::Deserialize;
use uuid::Uuid;

/// What the contract leaves to the operator.
///
/// Every field is a key of the table `[playbook3d]` of a configuration file, under the field's
/// name; durations are written in milliseconds, as `cancel_wait_ms` and `token_life_ms`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell_playbook3d::{Options, Verdict};
///
/// let mut options = Options::default();
/// options.cancel_wait = Duration::from_secs(1);
/// let options = options.quota(async |_principal, _team, _operation| Verdict::Allow);
/// assert_eq!(options.accounts_prefix, "");
/// ```
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Options {
    /// The path before the calls of the *accounts* host. Defaults to none.
    pub accounts_prefix: String,
    /// The path before the calls of the *api* host. Defaults to none.
    pub api_prefix: String,
    /// How long a cancel waits for the end of the run before it answers; the stop itself never
    /// waits. Defaults to 5 s. Zero answers at once.
    #[serde(rename = "cancel_wait_ms", deserialize_with = "quell_http::millis")]
    pub cancel_wait: Duration,
    /// The secret that signs bearer tokens (HS256), and marks the ids of `get_run_id`. Defaults to
    /// a random secret of this process, whose tokens and ids are unknown after a restart, and on
    /// every other node. One of fewer than 32 bytes counts as none, which the log says.
    pub token_secret: Option<String>,
    /// How long the tokens of `get-tokens` are good for. Defaults to 1 h. With zero they expire at
    /// once, but for the ten seconds by which clocks may differ.
    #[serde(rename = "token_life_ms", deserialize_with = "quell_http::millis")]
    pub token_life: Duration,
    /// The platform's own `x-api-key`, which `get-sdk-secrets` hands out to the SDKs. Defaults to
    /// one of this process, which no other node accepts. Empty counts as none.
    pub platform_key: Option<String>,
    /// The URL under which the router is reached, as `get-sdk-secrets` names it. Defaults to
    /// `http://`, or `https://` ([`speaks_tls`](Self::speaks_tls)), the request's `Host`, and the
    /// path at which the router is nested.
    pub public_url: Option<String>,
    /// Whether the router is served with TLS, which a request does not say. `quell serve` knows it,
    /// and it is no key of the configuration. Defaults to no.
    #[serde(skip)]
    pub speaks_tls: bool,
    /// The teams there are. Defaults to those of the keys and tokens, named after their ids; with
    /// open access and no teams here, any id is a team.
    pub teams: Vec<Team>,
    /// The ids and names under which components are offered. Defaults to all components that are
    /// exposed in this contract, to every team, each with an id made from its kind and id.
    pub workflows: Vec<Workflow>,
    /// The subjects without credits: a start is refused to them with 402, a cancel is not. Defaults
    /// to none.
    pub without_credits: BTreeSet<String>,
    #[serde(skip)]
    pub(crate) quota: Option<Quota>,
    #[serde(skip)]
    pub(crate) authenticate: Option<Authenticate>,
}

pub(crate) type Quota =
    Arc<dyn Fn(Principal, Uuid, Operation) -> BoxFuture<'static, Verdict> + Send + Sync>;

pub(crate) type Authenticate =
    Arc<dyn Fn(String, String) -> BoxFuture<'static, Option<Principal>> + Send + Sync>;

/// A team: the owner of workflows and runs.
///
/// # Examples
///
/// ```
/// use quell_playbook3d::Team;
///
/// let team = Team::new("aaaaaaaa-0000-4000-8000-000000000001".parse().unwrap(), "Alpha");
/// assert_eq!(team.name, "Alpha");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Team {
    /// Its id, which is the session of its runs for other contracts.
    pub id: Uuid,
    /// Its name.
    pub name: String,
}

impl Team {
    /// Names a team.
    pub fn new(id: Uuid, name: impl Into<String>) -> Self {
        Self { id, name: name.into() }
    }
}

/// A component under the id and name that this contract knows it by.
///
/// # Examples
///
/// ```
/// use quell_playbook3d::Workflow;
///
/// let id = "cccccccc-0000-4000-8000-000000000001".parse().unwrap();
/// let slow = Workflow::new(id, "slow", "slow-workflow");
/// assert!(slow.teams.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Workflow {
    /// The id by which it is run.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The component, by its id or its name, `workflow/publish`; the catalog must expose it in this
    /// contract. Otherwise the workflow is not offered; see [`component_in`](Self::component_in).
    pub component: String,
    /// The teams to which it is offered. Defaults to all.
    #[serde(default)]
    pub teams: Vec<Uuid>,
}

impl Workflow {
    /// Offers a component to every team.
    pub fn new(id: Uuid, name: impl Into<String>, component: impl Into<String>) -> Self {
        Self { id, name: name.into(), component: component.into(), teams: Vec::new() }
    }

    /// Offers it to these teams only.
    #[must_use]
    pub fn for_teams(mut self, teams: impl IntoIterator<Item = Uuid>) -> Self {
        self.teams = teams.into_iter().collect();
        self
    }

    /// Finds its component among those that are exposed in this contract: the first with this id,
    /// or the one of this name.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::{Catalog, Component};
    /// use quell_playbook3d::Workflow;
    ///
    /// let catalog = Catalog::new().with(Component::workflow("slow", async |_, input| Ok(input)));
    /// let id = "cccccccc-0000-4000-8000-000000000001".parse().unwrap();
    /// let of = |component: &str| Workflow::new(id, "slow", component);
    /// assert!(of("slow").component_in(&catalog).is_some());
    /// assert!(of("workflow/slow").component_in(&catalog).is_some());
    /// assert!(of("agent/slow").component_in(&catalog).is_none());
    /// ```
    pub fn component_in<'a>(&self, catalog: &'a Catalog) -> Option<&'a Arc<Component>> {
        catalog.find(CONTRACT, &self.component).or_else(|| {
            let found = catalog.named(&self.component).ok()?;
            found.is_exposed_in(CONTRACT).then_some(found)
        })
    }
}

/// What the quota hook is asked about.
///
/// # Examples
///
/// ```
/// assert_ne!(quell_playbook3d::Operation::Run, quell_playbook3d::Operation::Cancel);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// A workflow is to be run.
    Run,
    /// A run is to be cancelled.
    Cancel,
}

/// What the quota hook says.
///
/// # Examples
///
/// ```
/// assert_ne!(quell_playbook3d::Verdict::Allow, quell_playbook3d::Verdict::Refuse);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "it is allowed or it is not")]
pub enum Verdict {
    /// Go on.
    Allow,
    /// Answer 402.
    Refuse,
}

impl Options {
    /// Asks a hook whether there is credit, for a principal, a team and an operation. It is asked
    /// when nothing else is wrong with the request, and takes the place of
    /// [`without_credits`](Self::without_credits). Defaults to allowing everything else.
    ///
    /// Do not refuse [`Operation::Cancel`], although the vendor's document lists a 402 for it: a
    /// caller who cannot pay for a run must be able to stop it.
    #[must_use]
    pub fn quota<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(Principal, Uuid, Operation) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Verdict> + Send + 'static,
    {
        self.quota = Some(Arc::new(move |principal, team, operation| {
            Box::pin(hook(principal, team, operation))
        }));
        self
    }

    /// Asks a hook for the principal of a request: it gets the bearer token and the `x-api-key`,
    /// and `None` means 401. It replaces the keys and tokens of the service. Defaults to those.
    #[must_use]
    pub fn authenticate<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(String, String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<Principal>> + Send + 'static,
    {
        self.authenticate = Some(Arc::new(move |bearer, key| Box::pin(hook(bearer, key))));
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            accounts_prefix: String::new(),
            api_prefix: String::new(),
            cancel_wait: Duration::from_secs(5),
            token_secret: None,
            token_life: Duration::from_hours(1),
            platform_key: None,
            public_url: None,
            speaks_tls: false,
            teams: Vec::new(),
            workflows: Vec::new(),
            without_credits: BTreeSet::new(),
            quota: None,
            authenticate: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("accounts_prefix", &self.accounts_prefix)
            .field("api_prefix", &self.api_prefix)
            .field("cancel_wait", &self.cancel_wait)
            .field("teams", &self.teams)
            .field("workflows", &self.workflows)
            .finish_non_exhaustive()
    }
}

/// The contract of `Playbook3D`. Components name it to be exposed in it.
pub const CONTRACT: Contract = Contract::named("playbook3d");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_a_key_of_the_configuration_and_no_other_key_is() {
        let text = r#"
            accounts_prefix = "/accounts"
            api_prefix = "/api"
            cancel_wait_ms = 0
            token_secret = "s"
            token_life_ms = 1000
            platform_key = "p"
            public_url = "https://example.com"
            without_credits = ["eve"]
            teams = [{ id = "aaaaaaaa-0000-4000-8000-000000000001", name = "Alpha" }]
            workflows = [
                { id = "cccccccc-0000-4000-8000-000000000001", name = "slow", component = "s" },
            ]
        "#;
        let options: Options = toml::from_str(text).expect("every key is known");
        assert_eq!(options.cancel_wait, Duration::ZERO);
        assert_eq!(options.token_life, Duration::from_secs(1));
        assert_eq!(options.teams[0].name, "Alpha");
        assert_eq!(options.workflows[0].component, "s");
        assert!(toml::from_str::<Options>("cancel_wait = 1").is_err());
        assert_eq!(toml::from_str::<Options>("").expect("empty").cancel_wait.as_secs(), 5);
    }

    #[test]
    fn the_secrets_are_not_in_the_debug_text() {
        let text = "token_secret = 'hush-hush'\nplatform_key = 'hush-hush'";
        let options: Options = toml::from_str(text).expect("every key is known");
        assert!(!format!("{options:?}").contains("hush"));
    }
}
