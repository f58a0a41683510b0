//! Tokens that are signed as they should be, and keys, that are none to take.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use quell_http::{Access, AccessError, Issuer, Jwt, Key, KeyError, KeySet};
use serde_json::{Value, json};

use crate::access::{PUBLIC, SECRET, hs256, now};
use crate::key_sets::{EC, EC_NEXT, EC_PUBLIC, claims, ec, published, rsa, set, signed};

#[test]
fn an_issuer_that_is_no_text_does_not_make_a_token_one_of_a_static_key() {
    let claims = |iss: &Value| json!({ "sub": "ops", "exp": now() + 60, "iss": iss });
    for jwt in [Jwt::hs256(SECRET).unwrap().issuer("one"), Jwt::hs256(SECRET).unwrap()] {
        let access = Access::open().key(Key::new("ops", "s3cret")).jwt(jwt);
        let right = access.check_bearer(&hs256(SECRET, &claims(&json!("one")))).unwrap();
        assert_eq!(right.subject(), Some("one|ops"));
        for iss in [json!(["one"]), json!(["one", "x"]), json!([]), json!(1), json!(null)] {
            let found = access.check_bearer(&hs256(SECRET, &claims(&iss)));
            assert!(found.is_err(), "{iss}: {found:?}");
        }
    }
}

#[test]
fn a_token_that_asks_for_an_extension_is_refused() {
    let secret = EncodingKey::from_secret(SECRET.as_ref());
    let claims = json!({ "sub": "ada", "exp": now() + 60 });
    let access = Access::open().jwt(Jwt::hs256(SECRET).unwrap());
    let token = |crit: Option<&[&str]>| {
        let crit = crit.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        encode(&Header { crit, ..Header::new(Algorithm::HS256) }, &claims, &secret).unwrap()
    };
    assert!(access.check_bearer(&token(None)).is_ok());
    for crit in [&["x-evil"][..], &["b64"], &["exp"], &[]] {
        let found = access.check_bearer(&token(Some(crit))).err();
        assert_eq!(found, Some(AccessError::Invalid), "{crit:?}");
    }
}

#[test]
fn of_several_keys_of_one_id_the_one_that_has_signed_counts() {
    let keys = KeySet::new();
    let all = [EC_NEXT, EC].map(|pem| published(&ec(pem), Algorithm::ES256, "same", &[]));
    assert_eq!(keys.replace(&set(&all)).unwrap(), 2);
    let access = Access::open().jwt(Jwt::key_set(keys).audiences(["quell"]));
    for pem in [EC, EC_NEXT] {
        let token = signed(&ec(pem), Algorithm::ES256, Some("same"), &claims());
        assert!(access.check_bearer(&token).is_ok());
    }
    let mut expired = claims();
    expired["exp"] = json!(1);
    let token = signed(&ec(EC), Algorithm::ES256, Some("same"), &expired);
    assert_eq!(access.check_bearer(&token).err(), Some(AccessError::Expired));
}

#[test]
fn a_key_that_is_weak_or_can_verify_nothing_is_refused() {
    fn refusal<T>(made: Result<T, KeyError>) -> String {
        made.err().map_or_else(String::new, |error| error.to_string())
    }
    let few = include_str!("keys/rs256_1024.pub.pem");
    let many = include_str!("keys/rs256_8192.pub.pem");
    let other = include_str!("keys/es384.pub.pem");
    let same_size = include_str!("keys/es256k.pub.pem");
    for (made, says) in [
        (refusal(Jwt::rs256(few)), "fewer than 2048 bits"),
        (refusal(Jwt::rs256(many)), "more than 4096 bits"),
        (refusal(Jwt::rs256(EC_PUBLIC)), "not the PEM of an RSA public key"),
        (refusal(Jwt::es256(other)), "not a key on the curve P-256"),
        (refusal(Jwt::es256(same_size)), "not a key on the curve P-256"),
        (refusal(Jwt::es256(PUBLIC)), "not the PEM of a public key for ES256"),
        (refusal(Jwt::hs256(&SECRET[..31])), "fewer than 32 bytes"),
        (refusal(Issuer::hs256(&SECRET[..31])), "fewer than 32 bytes"),
    ] {
        assert!(made.contains(says), "{says}: {made}");
    }
    assert!(Jwt::rs256(PUBLIC).is_ok() && Jwt::es256(EC_PUBLIC).is_ok());
    assert!(Jwt::hs256(&SECRET[..32]).is_ok() && Issuer::hs256(&SECRET[..32]).is_ok());
}

#[test]
fn a_weak_key_of_a_set_is_left_out_however_long_it_is_written() {
    let good = published(&rsa(), Algorithm::RS256, "good", &[]);
    // 171 digits are 1026 bits.
    let padded = format!("{}{}", "A".repeat(171), "_".repeat(171));
    let giant = "_".repeat(1_366);
    let off = "A".repeat(43);
    let weak = [
        published(&rsa(), Algorithm::RS256, "padded", &[("n", &padded)]),
        published(&rsa(), Algorithm::RS256, "giant", &[("n", &giant)]),
        published(&ec(EC), Algorithm::ES256, "off the curve", &[("y", &off)]),
    ];
    let keys = KeySet::new();
    for weak in &weak {
        assert_eq!(keys.replace(&set(&[good.clone(), weak.clone()])).unwrap(), 1, "{weak}");
    }
}
