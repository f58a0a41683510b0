//! [`rsa`] and [`p256`]: public keys that can verify what is signed with them, and are not weak.
//!
//! The library that verifies takes any bytes for a key, and refuses every token of one that it
//! cannot use.

use jsonwebtoken::DecodingKey;
use jsonwebtoken::DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
use p256::PublicKey;
use rsa::pkcs1::der::Decode as _;
use rsa::{BigUint, RsaPublicKey, pkcs1};

use super::error::KeyError;

/// Checks a key for RS256.
pub(super) fn rsa(key: DecodingKey) -> Result<DecodingKey, KeyError> {
    let (modulus, exponent) = match key.kind() {
        RsaModulusExponent { n, e } => (BigUint::from_bytes_be(n), BigUint::from_bytes_be(e)),
        SecretOrDer(der) => {
            let read = pkcs1::RsaPublicKey::from_der(der).map_err(|_| NO_RSA)?;
            let number = |read: pkcs1::UintRef<'_>| BigUint::from_bytes_be(read.as_bytes());
            (number(read.modulus), number(read.public_exponent))
        }
    };
    match modulus.bits() {
        0..BITS_MIN => Err(KeyError { what: "an RSA key of fewer than 2048 bits is too weak" }),
        BITS_MIN..=BITS_MAX => {
            RsaPublicKey::new(modulus, exponent).map_err(|_| NO_RSA)?;
            Ok(key)
        }
        _ => Err(KeyError { what: "an RSA key of more than 4096 bits cannot be used here" }),
    }
}

/// Checks a key for ES256.
pub(super) fn p256(key: DecodingKey) -> Result<DecodingKey, KeyError> {
    let is_on_curve = |bytes: &[u8]| PublicKey::from_sec1_bytes(bytes).is_ok();
    if key.try_get_as_bytes().is_ok_and(is_on_curve) {
        return Ok(key);
    }
    Err(KeyError { what: "not a key on the curve P-256, which ES256 takes" })
}

const NO_RSA: KeyError = KeyError { what: "not the PEM of an RSA public key" };

/// The smallest modulus (RFC 7518, 3.3).
const BITS_MIN: usize = 2_048;

/// The largest modulus that the library verifies.
const BITS_MAX: usize = RsaPublicKey::MAX_SIZE;
