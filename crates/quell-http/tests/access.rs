use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use quell_http::{Access, AccessError, AccessMode, Issuer, Jwt, Key, router};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{JSON, send, service};

pub(crate) const SECRET: &str = "a secret of at least thirty-two bytes";
pub(crate) const PRIVATE: &str = include_str!("keys/rs256.pem");
pub(crate) const PUBLIC: &str = include_str!("keys/rs256.pub.pem");

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn hs256(secret: &str, claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.as_ref()))
        .unwrap()
}

fn rs256(claims: &Value) -> String {
    let key = EncodingKey::from_rsa_pem(PRIVATE.as_ref()).unwrap();
    encode(&Header::new(Algorithm::RS256), claims, &key).unwrap()
}

fn base64(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

#[test]
fn a_token_is_taken_exactly_if_it_is_genuine_current_and_meant_for_us() {
    let claims = json!({ "sub": "ada", "exp": now() + 60, "aud": "quell", "scope": "agents:run" });
    let with = |key: &str, value: Value| {
        let mut claims = claims.clone();
        claims[key] = value;
        claims
    };
    let without = |key: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(key);
        claims
    };
    let none = |signature: &str| {
        let head = base64(r#"{"alg":"none","typ":"JWT"}"#);
        format!("{head}.{}.{signature}", base64(&claims.to_string()))
    };
    let genuine = hs256(SECRET, &claims);
    let cut = &genuine[..genuine.len() - 2];
    let signature = genuine.rsplit('.').next().unwrap().to_owned();
    let forged_claims = hs256("another secret, also quite long enough", &with("sub", "eve".into()));
    let (head_and_body, _) = forged_claims.rsplit_once('.').unwrap();
    let table = [
        (genuine.clone(), Ok("ada")),
        (hs256(SECRET, &with("aud", json!(["other", "quell"]))), Ok("ada")),
        (hs256("another secret, also quite long enough", &claims), Err(AccessError::Invalid)),
        (cut.to_owned(), Err(AccessError::Invalid)),
        (format!("{head_and_body}.{signature}"), Err(AccessError::Invalid)),
        (none(""), Err(AccessError::Invalid)),
        (none(&signature), Err(AccessError::Invalid)),
        // The public key of RS256 as the secret of HS256.
        (hs256(PUBLIC, &claims), Err(AccessError::Invalid)),
        (rs256(&claims), Err(AccessError::Invalid)),
        (hs256(SECRET, &with("exp", json!(now() - 60))), Err(AccessError::Expired)),
        (hs256(SECRET, &with("exp", json!(0))), Err(AccessError::Expired)),
        (hs256(SECRET, &with("exp", "soon".into())), Err(AccessError::MissingClaim("exp"))),
        (hs256(SECRET, &without("exp")), Err(AccessError::MissingClaim("exp"))),
        (hs256(SECRET, &with("nbf", json!(now() + 600))), Err(AccessError::Invalid)),
        (hs256(SECRET, &with("aud", "other".into())), Err(AccessError::WrongAudience)),
        (hs256(SECRET, &without("aud")), Err(AccessError::MissingClaim("aud"))),
        (hs256(SECRET, &without("sub")), Err(AccessError::MissingClaim("sub"))),
        (hs256(SECRET, &with("sub", "".into())), Err(AccessError::MissingClaim("sub"))),
        (hs256(SECRET, &with("sub", json!(7))), Err(AccessError::MissingClaim("sub"))),
        (
            hs256(SECRET, &with("sub", "x".repeat(257).into())),
            Err(AccessError::MissingClaim("sub")),
        ),
        (String::new(), Err(AccessError::Invalid)),
        ("a.b.c".into(), Err(AccessError::Invalid)),
        ("..".into(), Err(AccessError::Invalid)),
        ("x".repeat(100_000), Err(AccessError::Invalid)),
    ];
    let access = Access::open().jwt(Jwt::hs256(SECRET).unwrap().audiences(["quell"]));
    for (token, expected) in table {
        let found = access.check_bearer(&token);
        let subject = found.as_ref().map(|who| who.subject().unwrap()).map_err(|error| *error);
        assert_eq!(subject, expected, "{token}");
    }
}

#[test]
fn a_token_of_a_key_pair_is_taken_and_no_secret_made_of_the_public_key() {
    let claims =
        json!({ "sub": "ada", "exp": now() + 60, "scopes": ["teams:read"], "teams": ["a"] });
    let access = Access::open().jwt(Jwt::rs256(PUBLIC).unwrap());
    let ada = access.check_bearer(&rs256(&claims)).unwrap();
    assert!(ada.has_scope("teams", None, "read") && !ada.has_scope("teams", None, "run"));
    assert!(ada.is_member_of("a") && !ada.is_member_of("b"));
    assert!(ada.is_read_only());
    for forged in [hs256(PUBLIC, &claims), hs256(PUBLIC.trim(), &claims), hs256(SECRET, &claims)] {
        assert_eq!(access.check_bearer(&forged).unwrap_err(), AccessError::Invalid);
    }
    let aimed = json!({ "sub": "ada", "exp": now() + 60, "aud": "somebody" });
    assert_eq!(access.check_bearer(&rs256(&aimed)).unwrap_err(), AccessError::WrongAudience);
    assert!(Jwt::rs256("no key").is_err() && Jwt::rs256(PRIVATE).is_err());
    assert!(Jwt::hs256("").is_err() && Issuer::hs256("").is_err());
}

#[test]
fn what_the_issuer_makes_is_taken_until_it_expires() {
    let issuer = Issuer::hs256(SECRET).unwrap().subject_claim("username");
    let access = Access::open().jwt(Jwt::hs256(SECRET).unwrap().subject_claim("username"));
    let claims = [("teams".to_owned(), json!(["alpha"]))];
    let token = issuer.issue("alice", Duration::from_mins(1), claims);
    let alice = access.check_bearer(&token).unwrap();
    assert_eq!(alice.subject(), Some("alice"));
    assert!(alice.is_member_of("alpha"));
    let access = Access::open().jwt(Jwt::hs256(SECRET).unwrap());
    assert_eq!(access.check_bearer(&token).unwrap_err(), AccessError::MissingClaim("sub"));
}

#[test]
fn scopes_are_matched_part_by_part() {
    let who = |scope: &str| quell_http::Principal::named("ada").scopes([scope]);
    let table = [
        ("agents:run", "agents", Some("a"), "run", true),
        ("agents:run", "agents", None, "run", true),
        ("agents:run", "agents", Some("a"), "read", false),
        ("agents:run", "teams", Some("a"), "run", false),
        ("agents:a:run", "agents", Some("a"), "run", true),
        ("agents:a:run", "agents", Some("b"), "run", false),
        ("agents:a:run", "agents", None, "run", false),
        ("agents:a:b:run", "agents", Some("a:b"), "run", true),
        ("agents:a:b:run", "agents", Some("a"), "run", false),
        ("agents:*:run", "agents", Some("a"), "run", true),
        ("agents:*", "agents", Some("a"), "run", true),
        ("*:read", "teams", Some("a"), "read", true),
        ("*:read", "teams", Some("a"), "run", false),
        ("agents", "agents", None, "run", false),
        ("agent_os:admin", "workflows", Some("w"), "run", true),
        ("", "agents", None, "run", false),
        (":", "agents", None, "run", false),
        ("::", "agents", None, "run", false),
    ];
    for (scope, resource, id, action, expected) in table {
        assert_eq!(
            who(scope).has_scope(resource, id, action),
            expected,
            "{scope} {resource} {id:?}"
        );
    }
    assert!(who("agent_os:admin").sees_all() && !who("agents:run").sees_all());
    assert!(who("agents:read").is_read_only() && !who("agents:run").is_read_only());
}

#[test]
fn open_access_is_for_loopback_only() {
    let open = Access::open();
    assert!(open.is_open() && open.mode() == AccessMode::Open);
    for address in ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"] {
        assert!(open.check_listener(address.parse().unwrap()).is_ok(), "{address}");
    }
    for address in ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "192.168.1.7"] {
        let error = open.check_listener(address.parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains(address) && error.contains("[[keys]]"), "{error}");
        let guarded = Access::open().key(Key::new("ops", "k"));
        assert!(guarded.check_listener(address.parse().unwrap()).is_ok());
    }
}

#[tokio::test]
async fn no_secret_is_ever_shown() {
    let access = Access::open()
        .key(Key::new("ops", "s3cr3t-key"))
        .jwt(Jwt::hs256("s3cr3t-for-tokens-of-32-bytes-or-more").unwrap());
    let service = service().access(access.clone());
    let issuer = Issuer::hs256("s3cr3t-for-tokens-of-32-bytes-or-more").unwrap();
    let shown = format!(
        "{access:?} {service:?} {:?} {issuer:?} {:?}",
        Key::new("ops", "s3cr3t-key"),
        Jwt::hs256("s3cr3t-for-tokens-of-32-bytes-or-more").unwrap()
    );
    assert!(!shown.contains("s3cr3t"), "{shown}");
    let as_bytes = format!("{:?}", "s3cr3t".as_bytes());
    assert!(!shown.contains(as_bytes.trim_matches(['[', ']'])), "{shown}");
}

fn access() -> Access {
    Access::open()
        .key(Key::new("ada", "key-of-ada"))
        .key(Key::new("bob", "key-of-bob"))
        .key(Key::new("eve", "key-of-eve").read_only())
        .key(Key::new("one", "key-of-one").scopes(["agents:sleeper:run"]))
        .key(Key::new("root", "key-of-root").admin())
        .key(Key::new("auditor", "key-of-auditor").admin().read_only())
        .key(Key::new("ada", "key-of-adas-screen").scopes(["agents:read", "teams:run"]))
        .jwt(Jwt::hs256(SECRET).unwrap())
}

fn guarded() -> Router {
    router(service().access(access()))
}

/// Reads the head of an answer alone: a stream that should have been refused has no end.
async fn status(app: &Router, who: &str, method: &str, path: &str, body: &str) -> StatusCode {
    let request = Request::builder().method(method).uri(path).header(JSON.0, JSON.1);
    let request = request.header("authorization", format!("Bearer key-of-{who}"));
    let request = request.body(Body::from(body.to_owned())).unwrap();
    app.clone().oneshot(request).await.unwrap().status()
}

fn of(component: &str, id: &str) -> String {
    json!({ "component": { "kind": "agent", "id": component }, "id": id }).to_string()
}

#[tokio::test]
async fn a_request_without_credentials_reaches_nothing_but_the_health_checks() {
    let app = guarded();
    let expired = hs256(SECRET, &json!({ "sub": "ada", "exp": 1 }));
    let none = format!(
        "Bearer {}.{}.",
        base64(r#"{"alg":"none"}"#),
        base64(r#"{"sub":"ada","exp":9999999999}"#)
    );
    let expired = format!("Bearer {expired}");
    let table: &[(&[(&str, &str)], &str)] = &[
        (&[], "credentials-missing"),
        (&[("authorization", "key-of-ada")], "wrong-scheme"),
        (&[("authorization", "Basic a2V5LW9mLWFkYQ==")], "wrong-scheme"),
        (&[("authorization", "Bearer ")], "credentials-invalid"),
        (&[("authorization", "Bearer wrong")], "credentials-invalid"),
        (&[("authorization", "Bearer key-of-adaa")], "credentials-invalid"),
        (&[("authorization", expired.as_str())], "token-expired"),
        (&[("authorization", none.as_str())], "credentials-invalid"),
        (&[("x-api-key", "wrong")], "credentials-invalid"),
        (&[("x-api-key", "")], "credentials-invalid"),
    ];
    for (headers, name) in table {
        for (method, path) in [
            ("GET", "/v1/runs"),
            ("POST", "/v1/runs"),
            ("GET", "/v1/runs/x"),
            ("GET", "/v1/runs/x/events"),
            ("POST", "/v1/runs/x/cancel"),
            ("PATCH", "/v1/runs/x"),
        ] {
            let answer = send(&app, method, path, headers, "").await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path} {headers:?}");
            assert_eq!(answer.json()["type"], format!("urn:quell:problem:{name}"), "{headers:?}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(send(&app, "GET", path, &[], "").await.status, StatusCode::OK, "{path}");
    }
    let by_key = send(&app, "GET", "/v1/runs", &[("x-api-key", "key-of-ada")], "").await;
    assert_eq!(by_key.status, StatusCode::OK);
    let both = [("authorization", "Bearer wrong"), ("x-api-key", "key-of-ada")];
    assert_eq!(send(&app, "GET", "/v1/runs", &both, "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_run_of_somebody_else_is_as_unknown() {
    let app = guarded();
    assert_eq!(status(&app, "ada", "POST", "/v1/runs", &of("sleeper", "r")).await, 201);
    for (method, path) in
        [("GET", "/v1/runs/r"), ("GET", "/v1/runs/r/events"), ("POST", "/v1/runs/r/cancel")]
    {
        let foreign = send(&app, method, path, &[("authorization", "Bearer key-of-bob")], "").await;
        let path = path.replace("runs/r", "runs/unknown");
        let unknown =
            send(&app, method, &path, &[("authorization", "Bearer key-of-bob")], "").await;
        assert_eq!(foreign.status, StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!((foreign.status, foreign.text), (unknown.status, unknown.text));
        assert_eq!(foreign.headers, unknown.headers, "nothing tells them apart");
    }
    let list = send(&app, "GET", "/v1/runs", &[("authorization", "Bearer key-of-bob")], "").await;
    assert_eq!(list.json()["total"], 0);
    assert_eq!(status(&app, "ada", "GET", "/v1/runs/r", "").await, 200);
    assert_eq!(status(&app, "root", "GET", "/v1/runs/r", "").await, 200);
    // The id itself cannot be had twice; that it is in use is all that another learns.
    assert_eq!(status(&app, "bob", "POST", "/v1/runs", &of("sleeper", "r")).await, 409);
    assert_eq!(status(&app, "ada", "POST", "/v1/runs/r/cancel", "").await, 200);
}

#[tokio::test]
async fn a_reader_reads_and_a_scope_reaches_as_far_as_it_says() {
    let app = guarded();
    assert_eq!(status(&app, "eve", "POST", "/v1/runs", &of("sleeper", "e")).await, 403);
    assert_eq!(status(&app, "eve", "GET", "/v1/runs", "").await, 200);
    assert_eq!(status(&app, "eve", "POST", "/v1/runs/any/cancel", "").await, 403);
    let remember = r#"{"remember_ms": 1000}"#;
    assert_eq!(status(&app, "eve", "POST", "/v1/runs/any/cancel", remember).await, 403);
    assert_eq!(status(&app, "one", "POST", "/v1/runs", &of("sleeper", "s")).await, 201);
    assert_eq!(status(&app, "one", "GET", "/v1/runs/s", "").await, 200);
    assert_eq!(status(&app, "one", "POST", "/v1/runs", &of("echo", "t")).await, 403);
    assert_eq!(status(&app, "one", "POST", "/v1/runs/s/cancel", "").await, 200);
    assert_eq!(status(&app, "root", "POST", "/v1/runs", &of("echo", "t")).await, 201);
}

#[tokio::test]
async fn whether_a_component_is_there_is_not_told_to_a_caller_who_may_not_start_it() {
    let app = guarded();
    for who in ["one", "eve"] {
        let key = format!("Bearer key-of-{who}");
        let headers = [JSON, ("authorization", key.as_str())];
        let told = async |name| send(&app, "POST", "/v1/runs", &headers, of(name, "r")).await;
        let (there, gone) = (told("echo").await, told("gone").await);
        assert_eq!((there.status, gone.status), (StatusCode::FORBIDDEN, StatusCode::FORBIDDEN));
        assert_eq!(there.text.replace("echo", "gone"), gone.text, "{who}");
    }
    assert_eq!(status(&app, "root", "POST", "/v1/runs", &of("gone", "r")).await, 404);
}

#[tokio::test]
async fn the_cause_of_a_cancel_names_who_asked() {
    let app = guarded();
    assert_eq!(status(&app, "ada", "POST", "/v1/runs", &of("sleeper", "r")).await, 201);
    let headers = [JSON, ("authorization", "Bearer key-of-root")];
    let told = send(&app, "POST", "/v1/runs/r/cancel", &headers, r#"{"wait":"terminal"}"#).await;
    assert_eq!(told.json()["cause"]["by"], "root");
}

#[tokio::test]
async fn i31_reading_is_not_enough_to_stop_a_run_by_going_away() {
    let service = service().access(access());
    let app = router(service.clone());
    assert_eq!(status(&app, "ada", "POST", "/v1/runs", &of("sleeper", "r")).await, 201);
    let run = service.engine().get(quell_http::parse_id("r").unwrap()).unwrap();
    let path = "/v1/runs/r/events?on_disconnect=cancel";
    for who in ["auditor", "adas-screen"] {
        assert_eq!(status(&app, who, "GET", "/v1/runs/r", "").await, 200, "{who} may read");
        for method in ["GET", "HEAD"] {
            assert_eq!(status(&app, who, method, path, "").await, 403, "{who} {method}");
        }
        assert_eq!(status(&app, who, "POST", "/v1/runs/r/cancel", "").await, 403, "{who}");
    }
    // A client that asks for the head alone has not gone away.
    assert_eq!(status(&app, "ada", "HEAD", path, "").await, 200);
    assert_eq!(run.row().stopped_at, None);
    assert_eq!(status(&app, "ada", "GET", path, "").await, 200);
    assert_eq!(run.ended().await.status, quell::RunStatus::Cancelled);
}

#[test]
fn a_token_that_is_read_only_changes_nothing_whatever_its_scopes_say() {
    let access = Access::open().jwt(Jwt::hs256(SECRET).unwrap());
    let who = |read_only: Value| {
        let claims = json!({ "sub": "root", "exp": now() + 60, "scopes": ["quell:admin"],
            "read_only": read_only });
        access.check_bearer(&hs256(SECRET, &claims)).unwrap()
    };
    for said in [json!(true), json!("true"), json!(1), json!(null)] {
        let auditor = who(said.clone());
        assert!(auditor.is_read_only() && auditor.sees_all(), "{said}");
        assert!(!auditor.has_scope("agents", None, "run"), "{said}");
        assert!(auditor.has_scope("agents", None, "read"), "{said}");
    }
    assert!(!who(json!(false)).is_read_only());
}

#[test]
fn of_several_keys_none_speaks_for_the_issuer_of_another() {
    let (one, two) = ("the secret of the first issuer, long", "the secret of the second, as long");
    let token = |secret: &str, iss: Option<&str>| {
        let claims = iss.map(|iss| ("iss".to_owned(), iss.into()));
        Issuer::hs256(secret).unwrap().issue("ada", Duration::from_mins(1), claims)
    };
    let name = |access: &Access, token: &str| {
        access.check_bearer(token).map(|who| who.subject().unwrap().to_owned())
    };
    let jwt = |secret: &str| Jwt::hs256(secret).unwrap();
    let alone = Access::open().jwt(jwt(one));
    assert_eq!(name(&alone, &token(one, None)).as_deref(), Ok("ada"));
    // Whose subject it is, nobody could tell.
    let both = Access::open().jwt(jwt(one)).jwt(jwt(two));
    for secret in [one, two] {
        assert_eq!(name(&both, &token(secret, None)), Err(AccessError::MissingClaim("iss")));
    }
    assert_eq!(name(&both, &token(one, Some("one"))).as_deref(), Ok("one|ada"));
    assert_eq!(name(&both, &token(two, Some("two"))).as_deref(), Ok("two|ada"));
    // The issuer of one key is said by no other key, whether that requires one or not.
    for second in [jwt(two), jwt(two).issuer("two")] {
        let access = Access::open().jwt(jwt(one).issuer("one")).jwt(second);
        assert_eq!(name(&access, &token(one, Some("one"))).as_deref(), Ok("one|ada"));
        assert_eq!(name(&access, &token(two, Some("two"))).as_deref(), Ok("two|ada"));
        assert_eq!(name(&access, &token(two, Some("one"))), Err(AccessError::Invalid));
    }
    // Two keys of one issuer, as of one that changes them.
    let access = Access::open().jwt(jwt(one).issuer("one")).jwt(jwt(two).issuer("one"));
    for secret in [one, two] {
        assert_eq!(name(&access, &token(secret, Some("one"))).as_deref(), Ok("one|ada"));
    }
}
