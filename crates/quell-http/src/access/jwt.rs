//! [`Jwt`] and [`Issuer`]: JSON web tokens, HS256, RS256 and ES256, with expiry and audience.
//!
//! Each key is for one algorithm. A token with another one is refused, as is one with `alg: none`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Once;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::crypto::{CryptoProvider, rust_crypto};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value, json};

use crate::access::error::{AccessError, KeyError};
use crate::access::key_set::{KeySet, keys_of};
use crate::access::principal::Principal;
use crate::access::public_key;

/// Which tokens are accepted: one key or a set of them, each for one algorithm, and what the claims
/// mean.
///
/// A token must have `exp`, and the claim of the subject. One with `iss` names `issuer|subject`:
/// two issuers with the same subject are two principals. An `iss` that is no text is refused, and
/// so is a header with `crit`: no extension is known here. Without `iss` it names the subject
/// alone, which only one key can make certain: where access takes the tokens of several
/// ([`Access::jwt`](crate::Access::jwt)), `iss` is required. Its scopes are those of the claim
/// `scopes` (a list) or `scope` (words); a token without either has none, unless
/// [`default_scopes`](Self::default_scopes) says otherwise. Its teams are those of the claim
/// `teams`. With the claim `read_only` it changes nothing, whatever its scopes say.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell_http::{Access, Issuer, Jwt};
///
/// let secret = "a secret of at least thirty-two bytes";
/// let token = Issuer::hs256(secret).unwrap().issue("ada", Duration::from_secs(60), []);
/// let access = Access::open().jwt(Jwt::hs256(secret).unwrap());
/// assert_eq!(access.check_bearer(&token).unwrap().subject(), Some("ada"));
/// ```
#[derive(Clone)]
#[must_use = "it accepts nothing until access has it"]
pub struct Jwt {
    keys: Keys,
    /// Without an algorithm, which is that of the key.
    validation: Validation,
    /// The issuer that is required, if one is.
    issuer: Option<String>,
    subject: String,
    default_scopes: BTreeSet<String>,
}

/// What tokens are signed with.
#[derive(Clone)]
enum Keys {
    One(DecodingKey, Algorithm),
    Set(KeySet),
}

impl Jwt {
    /// Accepts tokens signed with a shared secret.
    ///
    /// # Errors
    ///
    /// Fails if the secret has fewer than 32 bytes, which is too weak (RFC 7518, 3.2).
    pub fn hs256(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let secret = strong(secret.as_ref())?;
        Ok(Self::new(Keys::One(DecodingKey::from_secret(secret), Algorithm::HS256)))
    }

    /// Accepts tokens signed with the private key to this public one, in PEM.
    ///
    /// # Errors
    ///
    /// Fails if the text is not the PEM of an RSA public key, or if the key has fewer than 2048
    /// bits or more than 4096.
    pub fn rs256(public_key_pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let key = DecodingKey::from_rsa_pem(public(public_key_pem.as_ref())?);
        let key = key.map_err(|_| KeyError { what: "not the PEM of an RSA public key" })?;
        Ok(Self::new(Keys::One(public_key::rsa(key)?, Algorithm::RS256)))
    }

    /// Accepts tokens signed on the curve P-256 with the private key to this public one, in PEM.
    ///
    /// # Errors
    ///
    /// Fails if the text is not the PEM of a public key of an elliptic curve, or if that is not
    /// the curve P-256.
    pub fn es256(public_key_pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let key = DecodingKey::from_ec_pem(public(public_key_pem.as_ref())?);
        let key = key.map_err(|_| KeyError { what: "not the PEM of a public key for ES256" })?;
        Ok(Self::new(Keys::One(public_key::p256(key)?, Algorithm::ES256)))
    }

    /// Accepts tokens signed with the private key to one of these public ones. A token names its
    /// key by `kid`; without it the only key of the set is meant, and none of several.
    pub fn key_set(keys: KeySet) -> Self {
        Self::new(Keys::Set(keys))
    }

    /// The fewest bytes of a secret of HS256: those of its hash (RFC 7518, 3.2).
    pub const SECRET_BYTES_MIN: usize = 32;

    fn new(keys: Keys) -> Self {
        use_one_provider();
        let mut validation = Validation::default();
        validation.algorithms.clear();
        validation.leeway = LEEWAY_SECS;
        validation.validate_nbf = true;
        let (subject, default_scopes) = ("sub".into(), BTreeSet::new());
        Self { keys, validation, issuer: None, subject, default_scopes }
    }

    /// Requires one of these audiences. Defaults to none: a token that names an audience is then
    /// refused, since it is meant for another server.
    pub fn audiences(mut self, audiences: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let audiences: Vec<String> = audiences.into_iter().map(Into::into).collect();
        self.validation.set_audience(&audiences);
        self.validation.required_spec_claims.insert("aud".into());
        self
    }

    /// Requires an issuer. Defaults to any issuer that no other key of the same access requires: a
    /// key cannot sign in the name of another key's issuer.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        let issuer = issuer.into();
        self.validation.set_issuer(&[&issuer]);
        self.issuer = Some(issuer);
        self.validation.required_spec_claims.insert("iss".into());
        self
    }

    /// Names the claim of the subject. Defaults to `sub`.
    pub fn subject_claim(mut self, claim: impl Into<String>) -> Self {
        self.subject = claim.into();
        self
    }

    /// Sets the scopes of a token that names none. Defaults to none.
    pub fn default_scopes(mut self, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.default_scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Checks a token; `all` are the keys of the access of which this is one.
    pub(crate) fn check(&self, token: &str, all: &[Self]) -> Result<Principal, AccessError> {
        let claims = self.genuine(token)?;
        let issuer = match claims.get("iss") {
            None if all.len() > 1 => return Err(AccessError::MissingClaim("iss")),
            None => None,
            // The library takes a list as well, which names no issuer that could be in a name.
            Some(issuer) => Some(issuer.as_str().ok_or(AccessError::MissingClaim("iss"))?),
        };
        if self.issuer.is_none()
            && issuer.is_some()
            && all.iter().any(|it| it.issuer.as_deref() == issuer)
        {
            return Err(AccessError::Invalid);
        }
        let subject = if self.subject == "sub" { "sub" } else { "subject" };
        self.principal(issuer, &claims).ok_or(AccessError::MissingClaim(subject))
    }

    /// Reads the claims of a token by the key that is for it.
    fn genuine(&self, token: &str) -> Result<Map<String, Value>, AccessError> {
        let header = header_of(token).ok_or(AccessError::Invalid)?;
        let keys = match &self.keys {
            Keys::One(key, algorithm) => return self.decoded(token, key, *algorithm),
            Keys::Set(keys) => keys.now(),
        };
        for key in keys_of(&keys, &header) {
            match self.decoded(token, &key.key, key.algorithm) {
                // Another key of this id may be meant.
                Err(AccessError::Invalid) => {}
                found => return found,
            }
        }
        Err(AccessError::Invalid)
    }

    fn decoded(
        &self,
        token: &str,
        key: &DecodingKey,
        algorithm: Algorithm,
    ) -> Result<Map<String, Value>, AccessError> {
        let validation = Validation { algorithms: vec![algorithm], ..self.validation.clone() };
        let decoded = jsonwebtoken::decode(token, key, &validation).map(|it| it.claims);
        decoded.map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => AccessError::Expired,
            ErrorKind::InvalidAudience => AccessError::WrongAudience,
            ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
                AccessError::MissingClaim(claim_name(claim))
            }
            _ => AccessError::Invalid,
        })
    }

    /// Tells whether a token is signed with a key that is said to be of the set, and is not in it.
    /// With a key that is no set it is false.
    pub(crate) fn lacks_key_of(&self, token: &str) -> bool {
        let Keys::Set(keys) = &self.keys else { return false };
        let header = header_of(token).filter(|it| it.kid.is_some());
        header.is_some_and(|it| keys_of(&keys.now(), &it).next().is_none())
    }

    /// Reads the claims of a genuine token.
    fn principal(&self, issuer: Option<&str>, claims: &Map<String, Value>) -> Option<Principal> {
        let subject = claims.get(&self.subject)?.as_str()?;
        if subject.is_empty() || subject.len() > quell::limits::OWNER_BYTES_MAX {
            return None;
        }
        let scopes = match claims.get("scopes").or_else(|| claims.get("scope")) {
            None => self.default_scopes.clone(),
            Some(Value::String(words)) => words.split_whitespace().map(str::to_owned).collect(),
            Some(list) => texts(list),
        };
        let teams = claims.get("teams").map(texts).unwrap_or_default();
        // Two issuers may have the same subject; they do not mean the same one. A subject that
        // looks like both is of no issuer.
        let name = match issuer {
            Some(issuer) => format!("{}|{subject}", issuer.replace('%', "%25").replace('|', "%7C")),
            None if subject.contains('|') => format!("|{subject}"),
            None => subject.to_owned(),
        };
        if name.len() > quell::limits::OWNER_BYTES_MAX {
            return None;
        }
        let principal = Principal::named(name).scopes(scopes).in_teams(teams);
        // Whatever is said there but a plain no: a claim that is misspelt gives no rights.
        let is_read_only = claims.get("read_only").is_some_and(|it| *it != Value::Bool(false));
        Some(if is_read_only { principal.read_only() } else { principal })
    }
}

/// Makes tokens that [`Jwt::hs256`] with the same secret accepts.
#[derive(Clone)]
pub struct Issuer {
    key: EncodingKey,
    subject: String,
}

impl Issuer {
    /// Signs with a shared secret.
    ///
    /// # Errors
    ///
    /// Fails if the secret has fewer than 32 bytes.
    pub fn hs256(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        use_one_provider();
        let key = EncodingKey::from_secret(strong(secret.as_ref())?);
        Ok(Self { key, subject: "sub".into() })
    }

    /// Names the claim of the subject. Defaults to `sub`.
    #[must_use]
    pub fn subject_claim(mut self, claim: impl Into<String>) -> Self {
        self.subject = claim.into();
        self
    }

    /// Makes a token for a subject, which expires after `expires_in`, with more claims.
    pub fn issue(
        &self,
        subject: &str,
        expires_in: Duration,
        claims: impl IntoIterator<Item = (String, Value)>,
    ) -> String {
        let expires = SystemTime::now().checked_add(expires_in);
        let expires = expires.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let mut body: Map<String, Value> = claims.into_iter().collect();
        body.insert(self.subject.clone(), subject.into());
        body.insert("exp".into(), json!(expires.unwrap_or_default().as_secs()));
        // Signing JSON with a secret cannot fail. If it did, an empty token would be refused.
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &body, &self.key).unwrap_or_default()
    }
}

/// Reads the header of a token; none if it is not to be taken, whoever has signed it. One with
/// `crit` asks for more than is done here (RFC 7515, 4.1.11).
fn header_of(token: &str) -> Option<Header> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    jsonwebtoken::decode_header(token).ok().filter(|header| header.crit.is_none())
}

/// Yields the name of a claim that the library checks, as a constant.
fn claim_name(claim: &str) -> &'static str {
    let known = ["exp", "aud", "iss", "nbf", "sub"].into_iter().find(|known| *known == claim);
    known.unwrap_or("claims")
}

fn texts(list: &Value) -> BTreeSet<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

const fn strong(secret: &[u8]) -> Result<&[u8], KeyError> {
    if secret.len() < Jwt::SECRET_BYTES_MIN {
        return Err(KeyError { what: "a secret of HS256 with fewer than 32 bytes is too weak" });
    }
    Ok(secret)
}

/// Refuses a private key in the place of a public one.
fn public(pem: &[u8]) -> Result<&[u8], KeyError> {
    if pem.windows(PRIVATE_KEY.len()).any(|part| part == PRIVATE_KEY) {
        return Err(KeyError { what: "this is a private key; only its public key belongs here" });
    }
    Ok(pem)
}

/// Chooses the cryptography of the library. Without this it panics if an embedder enables two.
fn use_one_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // This fails if the embedder has chosen a provider, and then that one stays.
        let _ = CryptoProvider::install_default(&rust_crypto::DEFAULT_PROVIDER);
    });
}

/// A part of the first line of a private key in PEM.
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY";

/// How far the clocks of issuer and server may be apart.
const LEEWAY_SECS: u64 = 10;

/// A longer token is refused unread.
const TOKEN_BYTES_MAX: usize = 16 << 10;

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: &dyn fmt::Debug = match &self.keys {
            Keys::One(_, algorithm) => algorithm,
            Keys::Set(keys) => keys,
        };
        f.debug_struct("Jwt").field("keys", keys).finish_non_exhaustive()
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_issuers_of_one_subject_are_two_principals() {
        let secret = "a secret of at least thirty-two bytes";
        let (issuer, jwt) = (Issuer::hs256(secret).unwrap(), Jwt::hs256(secret).unwrap());
        let name = |iss: Option<&str>, sub: &str| {
            let claims = iss.map(|iss| ("iss".to_owned(), iss.into()));
            let token = issuer.issue(sub, Duration::from_mins(1), claims);
            jwt.check(&token, &[]).unwrap().subject().map(str::to_owned)
        };
        assert_eq!(name(None, "ada").as_deref(), Some("ada"));
        assert_eq!(name(Some("https://one"), "ada").as_deref(), Some("https://one|ada"));
        assert_ne!(name(Some("https://one"), "ada"), name(Some("https://two"), "ada"));
        assert_ne!(name(Some("x"), "y|z"), name(Some("x|y"), "z"));
        assert_ne!(name(None, "https://one|ada"), name(Some("https://one"), "ada"));
    }
}
