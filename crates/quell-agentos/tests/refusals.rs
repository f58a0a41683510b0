//! What is refused, and in which words.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use quell::{Engine, Payload, RunFilter};
use quell_agentos::Options;
use quell_flow::{Catalog, Component};
use quell_http::{Access, Issuer, Jwt, Key, Service, ServiceLimits};
use serde_json::json;
use tower::ServiceExt;

use crate::support::http::{post_form, refused, start};
use crate::support::{Site, router};

/// agno PR #9701: cancels of unknown ids are kept without bound there, and meet later runs.
#[tokio::test]
async fn cancels_of_what_is_not_there_change_nothing() {
    let site = Site::open();
    let not_found = Some("NOT_FOUND");
    for (path, text) in [
        ("/agents/slow-agent", "Run not found"),
        ("/teams/slow-team", "Run not found"),
        ("/workflows/slow-workflow", "Workflow or run not found"),
    ] {
        for id in ["nope", "%00", "a%0Ab", &"x".repeat(200), "%FF"] {
            let answer = site.post(&format!("{path}/runs/{id}/cancel")).await;
            if id != "%FF" {
                refused(&answer, 404, text, not_found);
                assert_eq!(answer.header("quell-disposition"), "unknown");
            }
            assert_eq!(answer.status, 404);
        }
    }
    for (path, text) in [
        ("/agents/nope", "Agent not found"),
        ("/teams/nope", "Team not found"),
        ("/workflows/nope", "Workflow not found"),
    ] {
        let answer = site.post(&format!("{path}/runs/x/cancel")).await;
        refused(&answer, 404, text, not_found);
        assert!(!answer.headers.contains_key("quell-disposition"));
        refused(&site.create(&format!("{path}/runs"), &[]).await, 404, text, not_found);
        refused(&site.get(path).await, 404, text, not_found);
    }
}

#[tokio::test]
async fn bad_requests_are_told_in_the_words_of_the_contract() {
    let site = Site::open();
    let runs = "/agents/short-agent/runs";
    let code = Some("VALIDATION_ERROR");
    let missing = json!([{
        "type": "missing", "loc": ["body", "message"], "input": null,
        "msg": "Field required: the body has to be a form, urlencoded or multipart"
    }]);
    let json = Request::post(runs).header("content-type", "application/json");
    let answer = site.send(json.body(Body::from(r#"{"message":"hi"}"#)).unwrap()).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["detail"]), (422, &missing));
    for id in ["..", " sp ", "a\u{1}"] {
        let answer = site.create(runs, &[("message", "m"), ("run_id", id)]).await;
        let msg = answer.json()["detail"][0]["msg"].to_string();
        assert!(msg.contains("no spaces around it") && msg.contains("not be `.` or `..`"), "{msg}");
    }
    let answer = site.get("/agents/short-agent/runs/x").await;
    assert_eq!(answer.json()["detail"][0]["loc"], json!(["query", "session_id"]));
    assert_eq!(answer.json()["error_code"], "VALIDATION_ERROR");
    let answer = site.post("/agents/short-agent/runs/x/cancel?wait=maybe").await;
    refused(&answer, 422, "wait must be false, true or quiescent", code);
    refused(&site.get("/nope").await, 404, "Not Found", Some("NOT_FOUND"));
    let answer = site.get("/agents/short-agent/runs/x/cancel").await;
    refused(&answer, 405, "Method Not Allowed", None);
    assert_eq!(answer.header("allow"), "POST");
    let fields = [("message", "m"), ("run_id", "r"), ("stream", "false")];
    assert_eq!(site.create(runs, &fields).await.status, 200);
    refused(&site.create(runs, &fields).await, 409, "Run r already exists", None);
    let taken = site.create("/teams/slow-team/runs", &fields).await;
    refused(&taken, 409, "Run r already exists", None);
    let large = Request::post(runs)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(vec![b'x'; (16 << 20) + 1]))
        .unwrap();
    refused(&site.send(large).await, 413, "Request body too large", None);
    let broken = Request::post(runs).header("content-type", "multipart/form-data; boundary=b");
    let answer = site.send(broken.body(Body::from("--c")).unwrap()).await;
    refused(&answer, 400, "There was an error parsing the body", Some("BAD_REQUEST"));
}

#[tokio::test]
async fn a_session_state_is_an_object_that_can_be_read_or_is_refused() {
    let site = Site::of(Component::agent("same", async |_ctx, input: Payload| Ok(input)));
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
        format!(r#"{{"a":{open}{close}}}"#)
    };
    let of = async |state: &str| {
        let fields = [("message", "hi"), ("stream", "false"), ("session_state", state)];
        site.create("/agents/same/runs", &fields).await
    };
    let no_object = "Input should be a valid dictionary";
    for (state, kind, words) in [
        ("nonsense", "json_invalid", "Invalid JSON: expected ident at line 1 column 2"),
        (r#"{"a":01}"#, "json_invalid", "Invalid JSON: invalid number at line 1 column 7"),
        (r#"{"a":"\ud800"}"#, "json_invalid", "Invalid JSON: a text has half of a character"),
        (&nested(127), "json_invalid", "Invalid JSON: nested deeper than 126 levels"),
        (&nested(200), "json_invalid", "Invalid JSON: nested deeper than 126 levels"),
        ("[1]", "dict_type", no_object),
        ("1e400", "dict_type", no_object),
        (r#""{}""#, "dict_type", no_object),
    ] {
        let answer = of(state).await;
        let expected = json!([
            { "type": kind, "loc": ["body", "session_state"], "msg": words, "input": null }
        ]);
        assert_eq!(answer.status, 422, "{state}: {}", answer.text);
        assert_eq!(answer.json()["detail"], expected, "{state}");
    }
    assert!(site.service.engine().runs(&RunFilter::new()).is_empty());
    for (state, told) in [(&*nested(126), &*nested(126)), (" {} ", "{}")] {
        let answer = of(state).await;
        assert!(answer.text.contains(&format!(r#""session_state":{told}"#)), "{}", answer.text);
    }
    // None is none, also in the words of JSON.
    for state in ["", "null"] {
        let run = of(state).await.json();
        assert_eq!((&run["session_state"], &run["content"]), (&json!({}), &json!("hi")));
    }
}

#[tokio::test]
async fn a_limit_is_told_with_the_time_to_come_back() {
    let mut limits = quell::Limits::default();
    limits.runs_max = 1;
    let engine = Engine::with_config(quell::EngineConfig::new().limits(limits));
    let site = Site::with(engine, Options::default(), Access::open());
    start(&site, "/agents/slow-agent", "m", "s").await;
    let answer = site.create("/agents/slow-agent/runs", &[("message", "m")]).await;
    refused(&answer, 429, "Too many live runs: live runs would exceed the limit of 1", None);
    assert_eq!(answer.header("retry-after"), "1");
    site.service.drain();
    let answer = site.create("/agents/slow-agent/runs", &[("message", "m")]).await;
    refused(&answer, 503, "Server is shutting down", None);
}

#[tokio::test]
async fn an_idempotency_key_gives_the_same_run() {
    let site = Site::open();
    let runs = "/agents/short-agent/runs";
    let keyed = |fields: &[(&str, &str)]| {
        let mut request = post_form(runs, fields);
        request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        request
    };
    let fields = [("message", "m"), ("stream", "false")];
    let first = site.send(keyed(&fields)).await.json();
    assert_eq!(site.send(keyed(&fields)).await.json(), first);
    let answer = site.send(keyed(&[("message", "other"), ("stream", "false")])).await;
    refused(&answer, 409, "Idempotency-Key was used with a different request", None);
}

#[tokio::test]
async fn an_empty_idempotency_key_is_refused_and_so_is_one_that_is_no_text_or_too_long() {
    let site = Site::open();
    let empty =
        "Idempotency-Key: empty; send a text that repeats of this request alone have, or none";
    let long = "k".repeat(257);
    for (key, kind, msg) in [
        (&b""[..], "value_error", empty),
        (&b"\xff"[..], "value_error", "Idempotency-Key: must be text"),
        (long.as_bytes(), "string_too_long", "String should have at most 256 bytes"),
    ] {
        let mut request = post_form("/agents/short-agent/runs", &[("message", "m")]);
        let key = axum::http::HeaderValue::from_bytes(key).unwrap();
        request.headers_mut().insert("idempotency-key", key);
        let answer = site.send(request).await;
        let complaint = json!([{
            "type": kind, "loc": ["header", "idempotency-key"], "msg": msg, "input": null,
        }]);
        assert_eq!((answer.status.as_u16(), &answer.json()["detail"]), (422, &complaint));
    }
}

#[tokio::test]
async fn a_key_is_asked_for_before_anything_else() {
    let site = Site::new(Options::default(), Access::open().key(Key::new("ada", "secret")));
    let code = Some("UNAUTHENTICATED");
    for path in ["/agents", "/config", "/agents/nope/runs/x?session_id=s"] {
        refused(&site.get(path).await, 401, "Authorization header required", code);
    }
    for path in ["/health", "/info"] {
        assert_eq!(site.get(path).await.status, 200);
    }
    assert_eq!(site.get("/info").await.json()["auth_mode"], "security_key");
    let with = |value: &str| {
        let request = Request::post("/agents/slow-agent/runs/x/cancel");
        request.header("authorization", value).body(Body::empty()).unwrap()
    };
    for bad in ["Bearer wrong", "Basic secret", "secret"] {
        refused(&site.send(with(bad)).await, 401, "Invalid authentication token", code);
    }
    let answer = site.send(with("Bearer secret")).await;
    refused(&answer, 404, "Run not found", Some("NOT_FOUND"));
    let access = Access::open().key(Key::new("ada", "secret").scopes(["agents:read"]));
    let site = Site::new(Options::default(), access);
    let detail = "Insufficient permissions. Required scope(s): agents:run";
    refused(&site.send(with("Bearer secret")).await, 403, detail, None);
}

#[tokio::test]
async fn the_configuration_is_read_with_either_name_of_its_scope() {
    for (scope, status) in [("config:read", 200), ("system:read", 200), ("agents:read", 403)] {
        let access = Access::open().key(Key::new("ada", "secret").scopes([scope]));
        let site = Site::new(Options::default(), access);
        let request = Request::get("/config").header("authorization", "Bearer secret");
        let answer = site.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, status, "{scope}");
    }
}

#[tokio::test]
async fn a_genuine_token_is_told_what_it_lacks() {
    let secret = "a secret of at least thirty-two bytes";
    let token = Issuer::hs256(secret).unwrap().subject_claim("name");
    let token = token.issue("ada", Duration::from_mins(1), []);
    let access = Access::open().jwt(Jwt::hs256(secret).unwrap());
    let site = Site::new(Options::default(), access);
    let bearer = format!("Bearer {token}");
    let request = Request::get("/config").header("authorization", bearer);
    let answer = site.send(request.body(Body::empty()).unwrap()).await;
    let detail = "Invalid token: Token is missing the \"sub\" claim";
    refused(&answer, 401, detail, Some("UNAUTHENTICATED"));
}

#[tokio::test]
async fn browsers_of_other_origins_are_turned_away() {
    let site = Site::open();
    let options =
        |origin: &str| Request::options("/agents/slow-agent/runs").header("origin", origin);
    let preflight = |origin: &str| {
        let request = options(origin).header("access-control-request-method", "POST");
        request.body(Body::empty()).unwrap()
    };
    let answer = site.send(preflight("http://localhost:3000")).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "OK"));
    assert_eq!(answer.header("access-control-allow-origin"), "http://localhost:3000");
    assert_eq!(answer.header("access-control-allow-credentials"), "true");
    let answer = site.send(preflight("http://evil.example")).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (400, "Disallowed CORS origin"));
    let no_preflight = options("http://localhost:3000").body(Body::empty()).unwrap();
    refused(&site.send(no_preflight).await, 405, "Method Not Allowed", None);
    let answer = site.get("/health").await;
    assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), ("", ""));
}

#[tokio::test]
async fn a_page_of_another_origin_starts_and_stops_nothing_where_nobody_is_asked() {
    let site = Site::open();
    let create = |origin: Option<&str>, host: &str| {
        let mut request = post_form("/agents/short-agent/runs", &[("message", "hi")]);
        let headers = request.headers_mut();
        headers.insert("host", host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert("origin", origin.parse().unwrap());
        }
        request
    };
    for (origin, host, status) in [
        (None, "127.0.0.1:7777", 200),
        (Some("http://localhost:3000"), "127.0.0.1:7777", 200),
        (Some("http://127.0.0.1:7777"), "127.0.0.1:7777", 200),
        (Some("http://[::1]:7777"), "[::1]:7777", 200),
        (Some("http://localhost:7777"), "localhost:7777", 200),
        (Some("http://evil.example"), "127.0.0.1:7777", 403),
        (Some("null"), "127.0.0.1:7777", 403),
        (Some("http://127.0.0.1:9"), "127.0.0.1:7777", 403),
        // A name that was made to mean this machine.
        (Some("http://evil.example:7777"), "evil.example:7777", 403),
    ] {
        let answer = site.send(create(origin, host)).await;
        assert_eq!(answer.status, status, "{origin:?} {host}");
    }
    let mut cancel =
        Request::post("/agents/short-agent/runs/x/cancel").body(Body::empty()).unwrap();
    cancel.headers_mut().insert("origin", "http://evil.example".parse().unwrap());
    assert_eq!(site.send(cancel).await.status, 403);
    let mut list = Request::get("/agents").body(Body::empty()).unwrap();
    list.headers_mut().insert("origin", "http://evil.example".parse().unwrap());
    assert_eq!(site.send(list).await.status, 200, "browsers do not show it");
}

#[tokio::test]
async fn a_caller_has_a_share_of_the_streams_and_beyond_it_nothing_is_made() {
    let mut limits = ServiceLimits::default();
    limits.streams_max = 4;
    let sleeper = Component::agent("sleeper", async |_ctx, _input: Payload| {
        std::future::pending::<()>().await;
        Ok(Payload::from("never"))
    });
    let access = Access::open().key(Key::new("ada", "adas-key")).key(Key::new("ben", "bens-key"));
    let service = Service::new(Engine::new(), Catalog::new().with(sleeper));
    let service = service.limits(limits).access(access);
    let app = router(service.clone(), Options::default());
    let create = async |key: &str, run: &str, fields: &[(&str, &str)]| {
        let fields = [&[("message", "m"), ("run_id", run)], fields].concat();
        let mut request = post_form("/agents/sleeper/runs", &fields);
        let bearer = format!("Bearer {key}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        app.clone().oneshot(request).await.unwrap()
    };
    let held = create("adas-key", "a", &[]).await;
    assert_eq!(held.status(), 200);
    let inline = [("stream", "false")];
    for fields in [&[] as &[_], &inline, &[("background", "true")]] {
        let refused = create("adas-key", "b", fields).await;
        assert_eq!(refused.status(), 429);
        assert!(refused.headers().contains_key("retry-after"));
        let body = refused.into_body().collect().await.unwrap().to_bytes();
        let words = "streams and waits of one caller would exceed the limit of 1";
        assert_eq!(body, json!({ "detail": words }).to_string());
    }
    assert_eq!(service.engine().runs(&RunFilter::new()).len(), 1, "nothing was made");
    let background = [("stream", "false"), ("background", "true")];
    assert_eq!(create("adas-key", "c", &background).await.status(), 202, "it follows nothing");
    assert_eq!(create("bens-key", "d", &[]).await.status(), 200, "another caller has theirs");
    drop(held);
    assert_eq!(create("adas-key", "e", &[]).await.status(), 200, "what is over is given back");
}
