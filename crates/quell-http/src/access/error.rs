//! [`AccessError`], [`KeyError`] and [`ExposedListener`]: faults of credentials, of keys and of a
//! listen address.

use std::net::IpAddr;

/// Why the credentials of a request name no principal. Each contract has its own text for it.
///
/// Exhaustive on purpose, so that every adapter must name a new reason.
///
/// # Examples
///
/// ```
/// use quell_http::AccessError;
///
/// assert_eq!(AccessError::Expired.to_string(), "token has expired");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "every adapter must name a new reason")]
pub enum AccessError {
    /// There are no credentials.
    #[error("credentials are missing")]
    Missing,
    /// The scheme of the `Authorization` header is not `Bearer`.
    #[error("authorization scheme is not Bearer")]
    WrongScheme,
    /// The key is unknown, or the token is no token, of another algorithm, or not signed by us.
    #[error("credentials are invalid")]
    Invalid,
    /// The token is genuine, but it has expired.
    #[error("token has expired")]
    Expired,
    /// The token is genuine, but its audience is not this server.
    #[error("token is not meant for this audience")]
    WrongAudience,
    /// The token is genuine, but a claim that it must have is missing or has another type.
    /// `subject` stands for the claim of the subject if that is not `sub`.
    #[error("token has no usable claim `{0}`")]
    MissingClaim(&'static str),
}

/// A key or secret that is configured cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
#[non_exhaustive]
pub struct KeyError {
    pub(crate) what: &'static str,
}

/// Open access was asked to serve an address that is not on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "refusing to listen on {address} without access control: everybody who reaches it could start \
     and stop runs; configure a key or tokens ([[keys]], [[tokens]]), or listen on 127.0.0.1"
)]
#[non_exhaustive]
pub struct ExposedListener {
    /// The address.
    pub address: IpAddr,
}
