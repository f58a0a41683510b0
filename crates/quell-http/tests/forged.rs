//! Tokens that are signed as they should be, and keys, that are none to take.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use quell_http::{Access, AccessError, Jwt, Key, KeySet};
use serde_json::{Value, json};

use crate::access::{SECRET, hs256, now};
use crate::key_sets::{EC, EC_NEXT, claims, ec, published, set, signed};

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
