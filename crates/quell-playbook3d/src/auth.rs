//! [`Auth`]: authentication (contract, section 2).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use quell_http::{Access, Issuer, Jwt, Key, KeyMarks, Principal, Service};
use uuid::Uuid;

use crate::options::{Authenticate, Options};
use crate::tickets::Tickets;
use crate::wire::Refusal;

/// Checks both headers of a request, and makes what goes into them.
pub(crate) struct Auth {
    service: Service,
    issuer: Issuer,
    /// Yields who has a token of our secret.
    tokens: Access,
    /// Yields the mark of the key for which the issuer made a token.
    marked: Access,
    marks: KeyMarks,
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
        let token_secret = options.token_secret.as_deref().filter(|it| is_strong(it));
        let platform_key = options.platform_key.as_deref().filter(|it| !it.is_empty());
        let is_own = token_secret.is_none() || platform_key.is_none();
        let (secret, platform_key) = (given(token_secret), given(platform_key));
        let tickets = Tickets::new(&secret);
        let (issuer, tokens, marked) = signer(&secret);
        Self {
            service: service.clone(),
            issuer,
            tokens: Access::open().jwt(tokens),
            marked: Access::open().jwt(marked),
            marks: KeyMarks::new(&secret),
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

    /// Makes a bearer token for the holder of a key, whose rights are those that the key has
    /// whenever it is used.
    ///
    /// # Errors
    ///
    /// Fails if nobody holds the key.
    pub(crate) fn token(&self, api_key: &str) -> Result<String, Refusal> {
        let holder = self.holder(api_key)?;
        let subject = holder.subject().unwrap_or("anonymous");
        let mark = (MARK.to_owned(), self.marks.of(api_key).into());
        Ok(self.issuer.issue(subject, self.token_life, [mark]))
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
        if self.platform.check_key(key).is_ok() {
            return self.of_key(bearer).or_else(|| self.foreign(bearer));
        }
        let by_token = self.tokens.check_bearer(bearer).ok().or_else(|| self.foreign(bearer))?;
        let by_key = self.service.access_of().check_key(key).ok()?;
        (by_key.subject() == by_token.subject()).then_some(by_key)
    }

    /// Yields the holder of the key for which a token was made, if the key is still accepted.
    fn of_key(&self, bearer: &str) -> Option<Principal> {
        let marked = self.marked.check_bearer(bearer).ok()?;
        self.service.access_of().check_mark(&self.marks, marked.subject()?).ok()
    }

    /// Reads a token of another issuer. A static key is no token here.
    fn foreign(&self, bearer: &str) -> Option<Principal> {
        let access = self.service.access_of();
        if access.check_key(bearer).is_ok() {
            return None;
        }
        access.check_bearer(bearer).ok()
    }
}

/// Reads both headers.
fn credentials(headers: &HeaderMap) -> Option<(&str, &str)> {
    let (scheme, bearer) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let key = headers.get("x-api-key")?.to_str().ok()?;
    scheme.eq_ignore_ascii_case("bearer").then_some((bearer.trim(), key))
}

/// Tells whether a secret may sign tokens, and says in the log if one that is given may not.
fn is_strong(secret: &str) -> bool {
    let is_strong = secret.len() >= Jwt::SECRET_BYTES_MIN;
    if !is_strong && !secret.is_empty() {
        tracing::warn!(
            "`token_secret` of Playbook3D has fewer than {} bytes, and counts as none: tokens are \
             signed with a secret of this process",
            Jwt::SECRET_BYTES_MIN
        );
    }
    is_strong
}

/// Takes a secret, or makes one of this process: 244 random bits.
fn given(secret: Option<&str>) -> String {
    let own = || format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    secret.map_or_else(own, str::to_owned)
}

/// Yields what makes tokens, what knows their subjects, and what knows the marks of their keys.
#[expect(clippy::expect_used, reason = "only a short secret is refused")]
fn signer(secret: &str) -> (Issuer, Jwt, Jwt) {
    let issuer = Issuer::hs256(secret).expect("the secret is long enough");
    let tokens = Jwt::hs256(secret).expect("the secret is long enough");
    (
        issuer.subject_claim("username"),
        tokens.clone().subject_claim("username"),
        tokens.subject_claim(MARK),
    )
}

/// The claim that names the key for which a token was made, by its mark.
const MARK: &str = "key";

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
        (same.token_secret, same.platform_key) = (Some("s".repeat(32)), Some("p".into()));
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
