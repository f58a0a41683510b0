use axum::http::StatusCode;
use quell_http::{Access, Key, router};

use crate::support::{JSON, send, service};

fn access() -> Access {
    Access::open()
        .key(Key::new("ada", "key-of-ada"))
        .key(Key::new("ada", "key-of-one").scopes(["agents:sleeper:run"]))
        .key(Key::new("ada", "key-of-screen").scopes(["agents:read", "teams:run"]))
        .key(Key::new("ada", "key-of-teams").scopes(["teams:run"]))
        .key(Key::new("ada", "key-of-lists").scopes(["agents:read"]))
        .key(Key::new("ada", "key-of-eve").read_only())
        .key(Key::new("auditor", "key-of-auditor").admin().read_only())
}

#[tokio::test]
async fn a_refusal_says_which_scope_is_needed_as_a_key_spells_it() {
    let app = router(service().access(access()));
    let start = |id| format!(r#"{{"component": "agent/{id}", "id": "r"}}"#);
    let ada = [JSON, ("authorization", "Bearer key-of-ada")];
    let started = send(&app, "POST", "/v1/runs", &ada, start("sleeper")).await;
    assert_eq!(started.status, StatusCode::CREATED);
    let (run, cancel) = ("/v1/runs/r", "/v1/runs/r/cancel");
    let events = "/v1/runs/r/events?on_disconnect=cancel";
    let (echo, sleeper) =
        ("this needs the scope `agents:echo:run`", "this needs the scope `agents:sleeper:run`");
    let any = "this needs a scope that ends with `:run`";
    let read_only = "these credentials are read-only";
    for (who, method, path, detail) in [
        ("one", "POST", "/v1/runs", echo),
        ("screen", "POST", "/v1/runs", echo),
        ("screen", "POST", cancel, sleeper),
        ("screen", "GET", events, sleeper),
        ("teams", "GET", run, "this needs the scope `agents:sleeper:read`"),
        ("lists", "POST", cancel, any),
        ("screen", "PATCH", run, sleeper),
        ("lists", "PATCH", run, any),
        ("eve", "PATCH", run, read_only),
        ("eve", "POST", "/v1/runs", read_only),
        ("eve", "POST", cancel, read_only),
        ("auditor", "GET", events, read_only),
    ] {
        let key = format!("Bearer key-of-{who}");
        let body = match (method, path) {
            ("PATCH", _) => r#"{"timeout_ms": 0}"#.into(),
            (_, "/v1/runs") => start("echo"),
            _ => String::new(),
        };
        let answer = send(&app, method, path, &[JSON, ("authorization", &key)], body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{who} {method} {path}");
        assert_eq!(answer.json()["detail"], detail, "{who} {method} {path}");
        assert_eq!(answer.json()["type"], "urn:quell:problem:forbidden");
    }
}

#[tokio::test]
async fn an_unknown_component_is_named_with_a_guess_among_those_that_the_caller_may_start() {
    let both = Key::new("ada", "key-of-both").scopes(["agents:sleeper:run", "agents:gone:run"]);
    let app = router(service().access(access().key(both)));
    let listed = "unknown component `agent/gone`; expected one of `agent/sleeper`";
    for (key, id, detail) in [
        ("key-of-ada", "sleepr", "unknown component `agent/sleepr`; did you mean `agent/sleeper`?"),
        ("key-of-ada", "eco", "unknown component `agent/eco`; did you mean `agent/echo`?"),
        // Of others it says nothing.
        ("key-of-both", "gone", listed),
    ] {
        let body = format!(r#"{{"component": "agent/{id}"}}"#);
        let key = format!("Bearer {key}");
        let answer = send(&app, "POST", "/v1/runs", &[JSON, ("authorization", &key)], body).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{id}");
        assert_eq!(answer.json()["detail"], detail, "{id}");
    }
    let body = r#"{"component": "agent/sleepr"}"#.to_owned();
    let key = [JSON, ("authorization", "Bearer key-of-one")];
    let answer = send(&app, "POST", "/v1/runs", &key, body).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "what it may not start is not looked up");
}
