//! [`Access`]: the keys and tokens that a service accepts.

use std::fmt;
use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};

use super::{AccessError, ExposedListener, Jwt, Key, Principal};

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
    keys: Vec<Key>,
    tokens: Vec<Jwt>,
    /// Hosts that open access serves besides its own.
    pub(crate) hosts: Vec<String>,
    /// Origins whose pages may start and stop runs while access is open, and open web sockets.
    origins: Vec<String>,
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
        Self { keys: Vec::new(), tokens: Vec::new(), hosts: Vec::new(), origins: Vec::new() }
    }

    /// Accepts a static key. Access is not open any more.
    pub fn key(mut self, key: Key) -> Self {
        self.keys.push(key);
        self
    }

    /// Accepts tokens. Access is not open any more. With several keys every token must have `iss`,
    /// and each key should require its own ([`Jwt::issuer`]): otherwise one subject of two issuers
    /// would be one principal.
    pub fn jwt(mut self, tokens: Jwt) -> Self {
        self.tokens.push(tokens);
        self
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
        self.keys.is_empty() && self.tokens.is_empty()
    }

    /// Yields which credentials it accepts.
    pub const fn mode(&self) -> AccessMode {
        if !self.tokens.is_empty() {
            AccessMode::Tokens
        } else if self.keys.is_empty() {
            AccessMode::Open
        } else {
            AccessMode::Keys
        }
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
        let by_key = self.check_key(token);
        if by_key.is_ok() || self.tokens.is_empty() {
            return by_key;
        }
        let mut error = AccessError::Invalid;
        for tokens in &self.tokens {
            match tokens.check(token, &self.tokens) {
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
        if self.is_open() {
            return Ok(Principal::anonymous());
        }
        let mut found = None;
        // Compare with every key: the time that this takes must not reveal which one matched.
        for known in &self.keys {
            if known.matches(key) {
                found = Some(known.principal().clone());
            }
        }
        found.ok_or(AccessError::Invalid)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (keys, tokens) = (self.keys.len(), self.tokens.len());
        f.debug_struct("Access")
            .field("keys", &keys)
            .field("tokens", &tokens)
            .field("hosts", &self.hosts)
            .field("origins", &self.origins)
            .finish()
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
