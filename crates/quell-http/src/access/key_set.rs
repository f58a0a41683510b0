//! [`KeySet`]: the public keys of an issuer of tokens, by their ids.
//!
//! The lock of a set is held for a moment, by itself: to clone or to exchange one pointer. What is
//! exchanged is read before, and dropped after it.

use std::fmt;
use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::Value;

use crate::access::error::KeyError;
use crate::access::public_key;

/// The public keys of an issuer of tokens: a JSON web key set (RFC 7517), which is empty at first.
/// Clones are one set, so that what an issuer publishes anew reaches who checks tokens.
///
/// Each key is for one algorithm: RS256 for RSA, of 2048 to 4096 bits, and ES256 for the curve
/// P-256. Keys for other algorithms, for encryption, and secrets are left out: a public key never
/// counts as a secret, and no secret of a set is one here.
///
/// # Examples
///
/// ```
/// use quell_http::{Access, AccessError, Jwt, KeySet};
///
/// let keys = KeySet::new();
/// let access = Access::open().jwt(Jwt::key_set(keys.clone()));
/// assert_eq!(access.check_bearer("a.b.c").unwrap_err(), AccessError::Invalid);
/// assert!(keys.replace(b"<html>").is_err(), "then the former ones stay");
/// assert_eq!(keys.replace(br#"{ "keys": [] }"#), Ok(0), "then there are none");
/// ```
#[derive(Clone, Default)]
pub struct KeySet(Arc<RwLock<Arc<[PublicKey]>>>);

/// A key of a set.
pub(super) struct PublicKey {
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// What is published, each key of which is read by itself: one that is not known spoils no other.
#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

impl KeySet {
    /// Makes one without keys, with which no token is genuine.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a set that an issuer has published, and has its keys in place of the former ones.
    /// Yields how many it has that count here: with none, no token is genuine any more, as an
    /// issuer wants it that withdraws all its keys.
    ///
    /// # Errors
    ///
    /// Fails, and changes nothing, if the text has more than 256 KiB or 64 keys, or is no set of
    /// keys.
    pub fn replace(&self, json: &[u8]) -> Result<usize, KeyError> {
        if json.len() > Self::BYTES_MAX {
            return Err(KeyError {
                what: "has more than 262144 bytes, the limit of a set of keys",
            });
        }
        let published = serde_json::from_slice::<Published>(json);
        let published = published.map_err(|_| KeyError { what: "no set of keys (JWKS)" })?;
        if published.keys.len() > KEYS_MAX {
            return Err(KeyError { what: "has more than 64 keys, the limit of a set" });
        }
        let keys = published.keys.into_iter().filter_map(PublicKey::read);
        let keys: Arc<[PublicKey]> = keys.collect();
        let count = keys.len();
        let former = std::mem::replace(&mut *self.0.write(), keys);
        drop(former);
        Ok(count)
    }

    /// The most bytes of a set as it is published.
    pub const BYTES_MAX: usize = 256 << 10;

    /// Counts its keys.
    pub fn len(&self) -> usize {
        self.now().len()
    }

    /// Tells whether it has no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn now(&self) -> Arc<[PublicKey]> {
        Arc::clone(&self.0.read())
    }
}

/// Finds the keys that a token names, for the algorithm that it names: ids are unique by custom
/// alone. Without an id the only key is meant, and none of several.
pub(super) fn keys_of<'a>(
    keys: &'a [PublicKey],
    header: &'a Header,
) -> impl Iterator<Item = &'a PublicKey> {
    let is_named = move |key: &PublicKey| match &header.kid {
        Some(id) => key.id.as_ref() == Some(id),
        None => keys.len() == 1,
    };
    keys.iter().filter(move |key| key.algorithm == header.alg && is_named(key))
}

impl PublicKey {
    /// Reads a key; none if it does not count here.
    fn read(published: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(published).ok()?;
        let is_for_signatures =
            matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        // The algorithm follows from the key, and what is said of it has to agree.
        let (algorithm, said) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            _ => return None,
        };
        if !is_for_signatures || jwk.common.key_algorithm.is_some_and(|it| it != said) {
            return None;
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        let checked =
            if algorithm == Algorithm::RS256 { public_key::rsa } else { public_key::p256 };
        let key = checked(key).ok()?;
        Some(Self { id: jwk.common.key_id, algorithm, key })
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.len()).finish()
    }
}

/// The most keys of a set.
const KEYS_MAX: usize = 64;
