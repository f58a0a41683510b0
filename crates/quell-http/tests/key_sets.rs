//! Tokens of issuers that publish their keys, and keys that are exchanged while they are used.

use axum::http::{HeaderMap, HeaderValue};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use quell_http::{Access, AccessError, AccessMode, Jwt, Key, KeySet};
use serde_json::{Value, json};

use crate::access::{PRIVATE, PUBLIC, hs256, now};

pub(crate) const EC: &str = include_str!("keys/es256.pem");
pub(crate) const EC_NEXT: &str = include_str!("keys/es256_next.pem");
pub(crate) const EC_PUBLIC: &str = include_str!("keys/es256.pub.pem");

pub(crate) fn ec(pem: &str) -> EncodingKey {
    EncodingKey::from_ec_pem(pem.as_ref()).unwrap()
}

pub(crate) fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_pem(PRIVATE.as_ref()).unwrap()
}

/// Signs the claims of ada with a key, which the token names.
pub(crate) fn signed(
    key: &EncodingKey,
    algorithm: Algorithm,
    id: Option<&str>,
    claims: &Value,
) -> String {
    let header = Header { kid: id.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, claims, key).unwrap()
}

pub(crate) fn claims() -> Value {
    json!({ "sub": "ada", "exp": now() + 60, "iss": "https://one", "aud": "quell" })
}

/// Writes a key as its issuer publishes it.
pub(crate) fn published(
    key: &EncodingKey,
    algorithm: Algorithm,
    id: &str,
    more: &[(&str, &str)],
) -> Value {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(key, algorithm).unwrap()).unwrap();
    jwk["kid"] = id.into();
    for (key, value) in more {
        jwk[key] = (*value).into();
    }
    jwk
}

pub(crate) fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn bearer(token: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    HeaderMap::from_iter([(axum::http::header::AUTHORIZATION, value)])
}

fn of(keys: &KeySet) -> Access {
    let jwt = Jwt::key_set(keys.clone()).issuer("https://one").audiences(["quell"]);
    Access::open().jwt(jwt)
}

#[test]
fn a_token_of_a_curve_is_taken_and_no_secret_made_of_the_public_key() {
    let access = Access::open().jwt(Jwt::es256(EC_PUBLIC).unwrap().audiences(["quell"]));
    let token = signed(&ec(EC), Algorithm::ES256, None, &claims());
    assert_eq!(access.check_bearer(&token).unwrap().subject(), Some("https://one|ada"));
    let other = signed(&ec(EC_NEXT), Algorithm::ES256, None, &claims());
    for forged in [hs256(EC_PUBLIC, &claims()), hs256(EC_PUBLIC.trim(), &claims()), other] {
        assert_eq!(access.check_bearer(&forged).unwrap_err(), AccessError::Invalid);
    }
    assert!(Jwt::es256(PUBLIC).is_err() && Jwt::rs256(EC_PUBLIC).is_err());
    let private = Jwt::es256(EC).unwrap_err().to_string();
    assert!(private.contains("private key"), "{private}");
}

#[test]
fn a_token_is_checked_with_the_key_that_it_names_and_its_algorithm() {
    let keys = KeySet::new();
    let access = of(&keys);
    let all = [
        published(&ec(EC), Algorithm::ES256, "curve", &[("use", "sig")]),
        published(&rsa(), Algorithm::RS256, "primes", &[]),
    ];
    assert_eq!(keys.replace(&set(&all)).unwrap(), 2);
    let with = |key: &str, value: Value| {
        let mut claims = claims();
        claims[key] = value;
        claims
    };
    let curve = |claims: &Value| signed(&ec(EC), Algorithm::ES256, Some("curve"), claims);
    let jwk = all[0].to_string();
    let mut none = Header::new(Algorithm::HS256);
    none.kid = Some("curve".into());
    let secret = |secret: &str| {
        encode(&none, &claims(), &EncodingKey::from_secret(secret.as_ref())).unwrap()
    };
    let table = [
        (curve(&claims()), None),
        (signed(&rsa(), Algorithm::RS256, Some("primes"), &claims()), None),
        (signed(&rsa(), Algorithm::RS256, Some("curve"), &claims()), Some(AccessError::Invalid)),
        (signed(&rsa(), Algorithm::RS512, Some("primes"), &claims()), Some(AccessError::Invalid)),
        (signed(&ec(EC), Algorithm::ES256, Some("primes"), &claims()), Some(AccessError::Invalid)),
        (signed(&ec(EC), Algorithm::ES256, Some("other"), &claims()), Some(AccessError::Invalid)),
        (signed(&ec(EC), Algorithm::ES256, None, &claims()), Some(AccessError::Invalid)),
        (
            signed(&ec(EC_NEXT), Algorithm::ES256, Some("curve"), &claims()),
            Some(AccessError::Invalid),
        ),
        (secret(&jwk), Some(AccessError::Invalid)),
        (secret(EC_PUBLIC), Some(AccessError::Invalid)),
        (curve(&with("exp", json!(now() - 60))), Some(AccessError::Expired)),
        (curve(&with("nbf", json!(now() + 600))), Some(AccessError::Invalid)),
        (curve(&with("aud", "other".into())), Some(AccessError::WrongAudience)),
        (curve(&with("iss", "https://two".into())), Some(AccessError::Invalid)),
    ];
    for (token, error) in table {
        assert_eq!(access.check_bearer(&token).err(), error, "{token}");
    }
}

#[test]
fn what_is_no_key_for_signatures_here_is_left_out_and_spoils_no_other() {
    let keys = KeySet::new();
    let good = published(&ec(EC), Algorithm::ES256, "curve", &[]);
    let few = json!({ "kty": "RSA", "kid": "few", "n": "A".repeat(171), "e": "AQAB" });
    let left_out = [
        published(&rsa(), Algorithm::RS256, "enc", &[("use", "enc")]),
        published(&rsa(), Algorithm::RS256, "other", &[("alg", "RS512")]),
        published(&ec(EC_NEXT), Algorithm::ES256, "wrong", &[("alg", "HS256")]),
        published(&ec(EC_NEXT), Algorithm::ES256, "cut", &[("x", "AA")]),
        json!({ "kty": "oct", "kid": "secret", "k": "c2VjcmV0", "alg": "HS256" }),
        json!({ "kty": "later", "kid": "new" }),
        json!("no key"),
        few,
    ];
    let all = [&[good][..], &left_out].concat();
    assert_eq!(keys.replace(&set(&all)).unwrap(), 1);
    let access = of(&keys);
    let ours = signed(&ec(EC), Algorithm::ES256, Some("curve"), &claims());
    assert!(access.check_bearer(&ours).is_ok());
    let header = Header { kid: Some("secret".into()), ..Header::new(Algorithm::HS256) };
    let forged = encode(&header, &claims(), &EncodingKey::from_secret(b"secret")).unwrap();
    assert_eq!(access.check_bearer(&forged).unwrap_err(), AccessError::Invalid);
    // The former set stays.
    let many: Vec<_> =
        (0..65).map(|at| published(&ec(EC), Algorithm::ES256, &at.to_string(), &[])).collect();
    let padded = [&b" ".repeat(KeySet::BYTES_MAX)[..], &set(&all)].concat();
    for bad in [&set(&many)[..], b"{}", b"[", b"", &padded] {
        assert!(keys.replace(bad).is_err());
    }
    assert_eq!(keys.len(), 1);
    assert!(access.check_bearer(&ours).is_ok());
    // What is published no more is withdrawn, also if nothing is left that counts here.
    for none in [set(&left_out), set(&[])] {
        assert_eq!(keys.replace(&set(&all)).unwrap(), 1);
        assert_eq!(keys.replace(&none).unwrap(), 0);
        assert_eq!(access.check_bearer(&ours).unwrap_err(), AccessError::Invalid);
    }
}

#[test]
fn a_token_of_a_key_that_is_not_yet_known_is_one_to_look_for() {
    let keys = KeySet::new();
    keys.replace(&set(&[published(&ec(EC), Algorithm::ES256, "one", &[])])).unwrap();
    let access = of(&keys).key(Key::new("ops", "s3cret"));
    let next = signed(&ec(EC_NEXT), Algorithm::ES256, Some("two"), &claims());
    assert!(access.names_unknown_key(&bearer(&next)));
    for known in [
        signed(&ec(EC), Algorithm::ES256, Some("one"), &claims()),
        signed(&ec(EC_NEXT), Algorithm::ES256, Some("one"), &claims()),
        signed(&ec(EC_NEXT), Algorithm::ES256, None, &claims()),
        "s3cret".into(),
        "x".repeat(100_000),
        String::new(),
    ] {
        assert!(!access.names_unknown_key(&bearer(&known)), "{known}");
    }
    assert!(!Access::open().names_unknown_key(&bearer(&next)));
    assert_eq!(access.check_bearer(&next).unwrap_err(), AccessError::Invalid);
    keys.replace(&set(&[published(&ec(EC_NEXT), Algorithm::ES256, "two", &[])])).unwrap();
    assert!(access.check_bearer(&next).is_ok());
    let former = signed(&ec(EC), Algorithm::ES256, Some("one"), &claims());
    assert_eq!(access.check_bearer(&former).unwrap_err(), AccessError::Invalid);
}

#[test]
fn exchanged_keys_are_those_of_every_clone_and_nobody_becomes_open() {
    let access = Access::open().key(Key::new("ada", "one")).key(Key::new("ben", "two"));
    let served = access.clone().trust_origin("http://ui.example");
    let own = access.clone().key(Key::new("eve", "three"));
    let next = Access::open().key(Key::new("ben", "two")).jwt(Jwt::es256(EC_PUBLIC).unwrap());
    access.replace_keys(&next).unwrap();
    for it in [&access, &served] {
        assert_eq!(it.check_key("one").unwrap_err(), AccessError::Invalid);
        assert_eq!(it.check_key("two").unwrap().subject(), Some("ben"));
        assert_eq!(it.mode(), AccessMode::Tokens);
    }
    assert!(own.check_key("one").is_ok() && own.check_key("three").is_ok(), "it has its own");
    for (former, with) in [(&access, &Access::open()), (&Access::open(), &next)] {
        assert!(former.replace_keys(with).is_err());
    }
    assert_eq!(served.check_key("two").unwrap().subject(), Some("ben"));
    assert!(!served.is_open());
}
