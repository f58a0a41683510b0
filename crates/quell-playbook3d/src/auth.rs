//! [`Auth`]: authentication (contract, section 2).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use quell_flow::ComponentKind;
use quell_http::{Access, Issuer, Jwt, Key, Principal, Service, Teams};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::options::{Authenticate, CONTRACT, Options};
use crate::tickets::Tickets;
use crate::wire::Refusal;

/// Checks both headers of a request, and makes what goes into them.
pub(crate) struct Auth {
    service: Service,
    issuer: Issuer,
    /// Accepts what the issuer made, and nothing else.
    tokens: Access,
    token_life: Duration,
    platform_key: String,
    /// Accepts the platform's key, and nothing else.
    platform: Access,
    hook: Option<Authenticate>,
    pub(crate) tickets: Tickets,
    /// The secret, or the platform's key, is one that this process has made for itself.
    is_own: bool,
    /// The log says that other servers have others.
    has_told: AtomicBool,
}

impl Auth {
    pub(crate) fn new(service: &Service, options: &Options) -> Self {
        let mut secrets = [&options.token_secret, &options.platform_key].into_iter();
        let is_own = secrets.any(|secret| secret.as_deref().is_none_or(str::is_empty));
        let secret = given(options.token_secret.as_deref());
        let platform_key = given(options.platform_key.as_deref());
        let tickets = Tickets::new(&secret);
        let (issuer, tokens) = signer(&secret);
        Self {
            service: service.clone(),
            issuer,
            tokens: Access::open().jwt(tokens),
            token_life: options.token_life,
            platform: Access::open().key(Key::new("platform", &platform_key)),
            platform_key,
            hook: options.authenticate.clone(),
            tickets,
            is_own,
            has_told: AtomicBool::new(false),
        }
    }

    /// Checks both headers of a request, and yields the principal.
    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, Refusal> {
        if self.is_open() {
            return Ok(Principal::anonymous());
        }
        let (bearer, key) = credentials(headers).ok_or(Refusal::Unauthorized)?;
        let principal = match &self.hook {
            Some(hook) => hook(bearer.to_owned(), key.to_owned()).await,
            None => self.check(bearer, key),
        };
        if principal.is_none() && self.hook.is_none() {
            self.tell_of_others();
        }
        principal.ok_or(Refusal::Unauthorized)
    }

    /// Says once in the log, if this is one of several nodes, that what was refused may be of
    /// another one.
    fn tell_of_others(&self) {
        let is_node = self.service.engine().node().is_some();
        if is_node && self.is_own && !self.has_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a token or key of Playbook3D was refused that another server may have given: \
                 without `token_secret` and `platform_key` each server makes its own; give all of \
                 them the same"
            );
        }
    }

    /// Yields the holder of a key.
    pub(crate) fn holder(&self, api_key: &str) -> Result<Principal, Refusal> {
        if self.is_open() {
            return Ok(Principal::anonymous());
        }
        let access = self.service.access_of();
        // With a hook, the service may have no keys.
        if access.is_open() {
            return Err(Refusal::Unauthorized);
        }
        access.check_key(api_key).map_err(|_| Refusal::Unauthorized)
    }

    /// Makes a bearer token for a principal.
    pub(crate) fn token(&self, principal: &Principal) -> String {
        let subject = principal.subject().unwrap_or("anonymous");
        self.issuer.issue(subject, self.token_life, self.claims(principal))
    }

    /// Yields the platform's key, which is accepted together with any bearer token.
    pub(crate) fn platform_key(&self) -> &str {
        &self.platform_key
    }

    fn is_open(&self) -> bool {
        self.hook.is_none() && self.service.access_of().is_open()
    }

    /// Checks the two against each other: the key is the platform's, or of the token's subject.
    fn check(&self, bearer: &str, key: &str) -> Option<Principal> {
        let by_token = self.tokens.check_bearer(bearer).ok().or_else(|| self.foreign(bearer))?;
        if self.platform.check_key(key).is_ok() {
            return Some(by_token);
        }
        let by_key = self.service.access_of().check_key(key).ok()?;
        (by_key.subject() == by_token.subject()).then_some(by_key)
    }

    /// Reads a token of another issuer. A static key is no token here.
    fn foreign(&self, bearer: &str) -> Option<Principal> {
        let access = self.service.access_of();
        if access.check_key(bearer).is_ok() {
            return None;
        }
        access.check_bearer(bearer).ok()
    }

    /// Writes what a principal may do, so that a token allows no more than the key it is made for.
    fn claims(&self, principal: &Principal) -> Vec<(String, Value)> {
        let mut claims = Vec::new();
        if let Teams::Some(teams) = principal.teams() {
            claims.push(("teams".to_owned(), json!(teams)));
        }
        if let Some(scopes) = self.scopes(principal) {
            claims.push(("scopes".to_owned(), json!(scopes)));
        }
        if principal.is_read_only() {
            claims.push(("read_only".to_owned(), json!(true)));
        }
        claims
    }

    /// Yields the scopes of a principal that matter in this contract; `None` means all.
    fn scopes(&self, principal: &Principal) -> Option<Vec<String>> {
        if principal.sees_all() {
            return Some(vec!["quell:admin".into()]);
        }
        let components: Vec<_> = self.service.catalog().listed(CONTRACT).collect();
        let runs: Vec<_> = components.iter().filter(|c| principal.may_run(c)).collect();
        let reads: Vec<_> = components.iter().filter(|c| principal.may_read(c)).collect();
        let mut scopes = Vec::new();
        for (action, allowed) in [("run", runs), ("read", reads)] {
            if allowed.len() == components.len() {
                scopes.push(format!("*:{action}"));
            } else {
                scopes.extend(allowed.iter().map(|component| {
                    format!("{}:{}:{action}", resource_of(component.kind()), component.id())
                }));
            }
        }
        (scopes != ["*:run", "*:read"]).then_some(scopes)
    }
}

/// Reads both headers.
fn credentials(headers: &HeaderMap) -> Option<(&str, &str)> {
    let (scheme, bearer) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let key = headers.get("x-api-key")?.to_str().ok()?;
    scheme.eq_ignore_ascii_case("bearer").then_some((bearer.trim(), key))
}

/// Takes a secret, or makes one of this process: 244 random bits.
fn given(secret: Option<&str>) -> String {
    match secret.filter(|secret| !secret.is_empty()) {
        Some(secret) => secret.to_owned(),
        None => format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
    }
}

#[expect(clippy::expect_used, reason = "only an empty secret is refused")]
fn signer(secret: &str) -> (Issuer, Jwt) {
    let issuer = Issuer::hs256(secret).expect("the secret is not empty");
    let tokens = Jwt::hs256(secret).expect("the secret is not empty");
    // The contract knows no scopes: a token that names none may do everything in its teams.
    (issuer.subject_claim("username"), tokens.subject_claim("username").default_scopes(["*:*"]))
}

/// Yields the first part of the scopes for components of a kind.
const fn resource_of(kind: ComponentKind) -> &'static str {
    match kind {
        ComponentKind::Agent => "agents",
        ComponentKind::Team => "teams",
        ComponentKind::Workflow => "workflows",
    }
}

#[cfg(test)]
mod tests {
    use quell::testing::cluster::Nodes;
    use quell::{Engine, EngineConfig};
    use quell_flow::Catalog;

    use super::*;

    #[tokio::test]
    async fn a_node_that_makes_its_own_secrets_says_so_when_it_refuses_somebody() {
        let nodes = Nodes::new(Duration::from_secs(30));
        let node = EngineConfig::new().node(nodes.join("a"));
        let mut same = Options::default();
        (same.token_secret, same.platform_key) = (Some("s".into()), Some("p".into()));
        let mut half = same.clone();
        half.platform_key = None;
        let alone = Engine::new();
        let node = Engine::with_config(node);
        for (engine, options, is_told) in [
            (&node, &Options::default(), true),
            (&node, &half, true),
            (&node, &same, false),
            (&alone, &Options::default(), false),
        ] {
            let access = Access::open().key(Key::new("ada", "adas-key"));
            let service = Service::new(engine.clone(), Catalog::new()).access(access);
            let auth = Auth::new(&service, options);
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, "Bearer of-another-server".parse().expect("a header"));
            headers.insert("x-api-key", "adas-key".parse().expect("a header"));
            assert!(auth.authenticate(&headers).await.is_err());
            assert_eq!(auth.has_told.load(Ordering::Relaxed), is_told);
        }
    }
}
