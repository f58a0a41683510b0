//! [`Access`]: the keys and tokens that a service accepts.
//!
//! The lock of [`Credentials`] is held for a moment, by itself: to clone or to exchange one
//! pointer. What is exchanged is checked, and dropped, outside it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};

use parking_lot::RwLock;

use super::{AccessError, ExposedListener, Jwt, Key, KeyError, KeyMarks, Principal};

/// The keys and tokens that a service accepts, and the principals that they name.
///
/// Adapters pass it the headers of a request, and render its errors in their contract's form.
///
/// # Examples
///
/// ```
/// use quell_http::{Access, AccessError, Key};
///
/// let access = Access::open().key(Key::new("ops", "s3cret-of-ops"));
/// assert!(!access.is_open());
/// assert_eq!(access.check_key("s3cret-of-ops").unwrap().subject(), Some("ops"));
/// assert_eq!(access.check_key("guessed").unwrap_err(), AccessError::Invalid);
/// ```
#[derive(Clone, Default)]
#[must_use = "it guards nothing until a service has it"]
pub struct Access {
    /// None while access is open. Clones share them, so that [`Access::replace_keys`] is of all.
    credentials: Option<Arc<Credentials>>,
    /// Hosts that open access serves besides its own.
    pub(crate) hosts: Vec<String>,
    /// Origins whose pages may start and stop runs while access is open, and open web sockets.
    origins: Vec<String>,
}

/// The credentials that are accepted by now.
struct Credentials(RwLock<Arc<Accepted>>);

/// Keys and tokens.
#[derive(Clone, Default)]
struct Accepted {
    keys: Vec<Key>,
    tokens: Vec<Jwt>,
}

/// Which credentials a service accepts, as listings of a contract show it.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_http::Access::open().mode(), quell_http::AccessMode::Open);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every adapter must name a new mode")]
pub enum AccessMode {
    /// Nothing is configured: every caller may do everything.
    Open,
    /// Static keys only.
    Keys,
    /// JSON web tokens, perhaps besides static keys.
    Tokens,
}

impl Access {
    /// Lets every caller do everything. Only for a listener on loopback.
    pub const fn open() -> Self {
        Self { credentials: None, hosts: Vec::new(), origins: Vec::new() }
    }

    /// Accepts a static key. Access is not open any more.
    pub fn key(mut self, key: Key) -> Self {
        self.accept(|it| it.keys.push(key));
        self
    }

    /// Accepts tokens. Access is not open any more. With several keys every token must have `iss`,
    /// and each key should require its own ([`Jwt::issuer`]): otherwise one subject of two issuers
    /// would be one principal.
    pub fn jwt(mut self, tokens: Jwt) -> Self {
        self.accept(|it| it.tokens.push(tokens));
        self
    }

    /// Changes what this one accepts; its clones keep theirs.
    fn accept(&mut self, change: impl FnOnce(&mut Accepted)) {
        let mut credentials =
            self.credentials.take().unwrap_or_else(|| Arc::new(Credentials::new(Arc::default())));
        if Arc::get_mut(&mut credentials).is_none() {
            credentials = Arc::new(Credentials::new(credentials.now()));
        }
        if let Some(own) = Arc::get_mut(&mut credentials) {
            change(Arc::make_mut(own.0.get_mut()));
        }
        self.credentials = Some(credentials);
    }

    /// Accepts the keys and tokens of another access from now on, in place of its own: also in
    /// every clone of this one, as those that a running service has. A request that is checked
    /// meanwhile is checked by the former ones or by the new ones, and never by both. What was
    /// answered stays so: a stream goes on. Hosts and origins stay as they are. Keys and tokens
    /// that are added to a clone are of that clone alone, which is no longer changed by this.
    ///
    /// # Errors
    ///
    /// Fails, and changes nothing, if only one of the two is open: a service that asks nobody for a
    /// key is guarded otherwise, and none becomes open while it is used.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_http::{Access, AccessError, Key};
    ///
    /// let access = Access::open().key(Key::new("ops", "the former one"));
    /// let served = access.clone();
    /// access.replace_keys(&Access::open().key(Key::new("ops", "the next one"))).unwrap();
    /// assert_eq!(served.check_key("the former one").unwrap_err(), AccessError::Invalid);
    /// assert!(served.check_key("the next one").is_ok());
    /// assert!(access.replace_keys(&Access::open()).is_err());
    /// ```
    pub fn replace_keys(&self, with: &Self) -> Result<(), KeyError> {
        let (own, new) = match (&self.credentials, &with.credentials) {
            (None, None) => return Ok(()),
            (None, Some(_)) => return Err(KeyError { what: "there were no keys before" }),
            (Some(_), None) => return Err(KeyError { what: "no key is left" }),
            (Some(own), Some(new)) => (own, new.now()),
        };
        let former = std::mem::replace(&mut *own.0.write(), new);
        drop(former);
        Ok(())
    }

    /// Yields what is accepted by now; none while access is open.
    fn accepted(&self) -> Option<Arc<Accepted>> {
        self.credentials.as_ref().map(|it| it.now())
    }

    /// Serves requests to a host name of this machine, without a port, while access is open; see
    /// [`guard_open`](crate::guard_open). Defaults to `localhost` and the addresses of loopback.
    pub fn trust_host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// Lets pages of an origin, such as `http://localhost:3000`, start and stop runs while access
    /// is open; see [`guard_open`](crate::guard_open). Defaults to none but our own. Only pages of
    /// these origins have web sockets, also with keys or tokens.
    pub fn trust_origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// Yields the origin of the page that sends a request, if it is not trusted: its `Origin` is
    /// neither the host that it asks nor given to [`Access::trust_origin`]. Without an `Origin` a
    /// page of another site is known by `Sec-Fetch-Site`, whose value is yielded. What is no
    /// browser sends neither, and yields `None`.
    ///
    /// The host is that of the header: while access is open, [`guard_open`](crate::guard_open) has
    /// checked it.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::http::{HeaderMap, HeaderValue};
    /// use quell_http::Access;
    ///
    /// let mut headers = HeaderMap::new();
    /// headers.insert("host", HeaderValue::from_static("127.0.0.1:7777"));
    /// headers.insert("origin", HeaderValue::from_static("http://ui.example"));
    /// let access = Access::open();
    /// assert_eq!(access.foreign_origin(&headers).as_deref(), Some("http://ui.example"));
    /// assert!(access.trust_origin("http://ui.example").foreign_origin(&headers).is_none());
    /// ```
    pub fn foreign_origin(&self, headers: &HeaderMap) -> Option<String> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let is_own = |origin: &str| {
            let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            rest.is_some() && rest == host
        };
        if !headers.contains_key(ORIGIN) {
            // Browsers send no `Origin` with some requests, as for an image, but they do send
            // `Sec-Fetch-Site`.
            let site = headers.get("sec-fetch-site")?.to_str().unwrap_or_default();
            return (!["same-origin", "none"].contains(&site)).then(|| site.to_owned());
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        let foreign = origins.find(|origin| {
            let origin = origin.to_str().unwrap_or_default();
            !is_own(origin) && !self.origins.iter().any(|known| known == origin)
        });
        foreign.map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned())
    }

    /// Tells whether every caller may do everything.
    pub const fn is_open(&self) -> bool {
        self.credentials.is_none()
    }

    /// Yields which credentials it accepts.
    pub fn mode(&self) -> AccessMode {
        match self.accepted() {
            None => AccessMode::Open,
            Some(accepted) if accepted.tokens.is_empty() => AccessMode::Keys,
            Some(_) => AccessMode::Tokens,
        }
    }

    /// Counts its keys, and those whose tokens it accepts ([`Access::jwt`]).
    pub fn credentials(&self) -> (usize, usize) {
        self.accepted().map_or((0, 0), |it| (it.keys.len(), it.tokens.len()))
    }

    /// Checks that a listen address is safe to serve with this access. The error says what to do
    /// instead.
    ///
    /// # Errors
    ///
    /// Fails if access is open and the address is not on loopback.
    pub const fn check_listener(&self, address: IpAddr) -> Result<(), ExposedListener> {
        if self.is_open() && !is_loopback(address) {
            return Err(ExposedListener { address });
        }
        Ok(())
    }

    /// Reads the principal from `Authorization: Bearer`, or from `x-api-key` if that fails.
    ///
    /// # Errors
    ///
    /// Fails if neither header names a principal, with the fault of the first header that is there.
    pub fn check(&self, headers: &HeaderMap) -> Result<Principal, AccessError> {
        let by_token = self.check_authorization(headers);
        let Some(key) = headers.get("x-api-key").filter(|_| by_token.is_err()) else {
            return by_token;
        };
        let by_key = key.to_str().map_err(|_| AccessError::Invalid);
        match (by_token, by_key.and_then(|key| self.check_key(key))) {
            (_, Ok(principal)) => Ok(principal),
            (Err(AccessError::Missing), Err(error)) => Err(error),
            (by_token, Err(_)) => by_token,
        }
    }

    /// Tells whether the bearer token of a request names a key that no key set has
    /// ([`Jwt::key_set`]), and that no other key could be. Its issuer may have published that key
    /// since the set was read. It may as well be made up: bound how often you look.
    pub fn names_unknown_key(&self, headers: &HeaderMap) -> bool {
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = value.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| {
            // What is of another scheme is refused for that.
            scheme.eq_ignore_ascii_case("bearer")
        });
        let (Some((_, token)), Some(accepted)) = (bearer, self.accepted()) else { return false };
        let lacks = accepted.tokens.iter().any(|it| it.lacks_key_of(token.trim()));
        lacks && self.check_bearer(token.trim()) == Err(AccessError::Invalid)
    }

    /// Reads the principal from `Authorization: Bearer` alone.
    ///
    /// # Errors
    ///
    /// Fails if the header is missing, of another scheme, or names no principal.
    pub fn check_authorization(&self, headers: &HeaderMap) -> Result<Principal, AccessError> {
        if self.is_open() {
            return Ok(Principal::anonymous());
        }
        let value = headers.get(AUTHORIZATION).ok_or(AccessError::Missing)?;
        let value = value.to_str().map_err(|_| AccessError::Invalid)?;
        let (scheme, token) = value.split_once(' ').ok_or(AccessError::WrongScheme)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(AccessError::WrongScheme);
        }
        self.check_bearer(token.trim())
    }

    /// Reads the principal from a bearer token: a static key or a JSON web token.
    ///
    /// # Errors
    ///
    /// Fails if the token names no principal.
    pub fn check_bearer(&self, token: &str) -> Result<Principal, AccessError> {
        let Some(accepted) = self.accepted() else { return Ok(Principal::anonymous()) };
        let by_key = accepted.check_key(token);
        if by_key.is_ok() || accepted.tokens.is_empty() {
            return by_key;
        }
        let mut error = AccessError::Invalid;
        for tokens in &accepted.tokens {
            match tokens.check(token, &accepted.tokens) {
                Ok(principal) => return Ok(principal),
                // The token is not signed by this key; another key may know it, and then the fault
                // that it finds is more useful to the caller.
                Err(AccessError::Invalid) => {}
                Err(found) => error = found,
            }
        }
        Err(error)
    }

    /// Reads the principal from a static key.
    ///
    /// # Errors
    ///
    /// Fails if the key is unknown.
    pub fn check_key(&self, key: &str) -> Result<Principal, AccessError> {
        match self.accepted() {
            Some(accepted) => accepted.check_key(key),
            None => Ok(Principal::anonymous()),
        }
    }

    /// Reads the principal from the mark of a static key, with the rights that the key has by now:
    /// a token that names its key so is worth no more than that, also after
    /// [`Access::replace_keys`].
    ///
    /// # Errors
    ///
    /// Fails if it is the mark of no key that is accepted.
    pub fn check_mark(&self, marks: &KeyMarks, mark: &str) -> Result<Principal, AccessError> {
        match self.accepted() {
            Some(accepted) => accepted.find(|key| key.has_mark(marks, mark)),
            None => Ok(Principal::anonymous()),
        }
    }
}

impl Credentials {
    const fn new(accepted: Arc<Accepted>) -> Self {
        Self(RwLock::new(accepted))
    }

    fn now(&self) -> Arc<Accepted> {
        Arc::clone(&self.0.read())
    }
}

impl Accepted {
    fn check_key(&self, key: &str) -> Result<Principal, AccessError> {
        self.find(|known| known.matches(key))
    }

    fn find(&self, is_it: impl Fn(&Key) -> bool) -> Result<Principal, AccessError> {
        let mut found = None;
        // Compare with every key: the time that this takes must not reveal which one matched.
        for known in &self.keys {
            if is_it(known) {
                found = Some(known.principal().clone());
            }
        }
        found.ok_or(AccessError::Invalid)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (keys, tokens) = self.credentials();
        f.debug_struct("Access")
            .field("keys", &keys)
            .field("tokens", &tokens)
            .field("hosts", &self.hosts)
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}

/// Tells whether an address is a loopback address, IPv4 addresses mapped to IPv6 included.
pub(crate) const fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => mapped.is_loopback(),
            None => address.is_loopback(),
        },
    }
}
