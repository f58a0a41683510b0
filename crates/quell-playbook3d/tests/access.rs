use axum::http::Method;
use quell_flow::{ComponentKind, Contract};
use quell_http::{Access, Issuer, Key, Principal, Service, Start};
use quell_playbook3d::Options;
use serde_json::json;

use crate::support::lab::{BAD, Lab, NO_CANCEL, NO_RUN, NOT_FOUND, UNAUTHORIZED};
use quell_demo::playbook3d::{self as demo, ALICE, ALPHA, BOB, SHORT};

/// The id of no workflow.
const UNKNOWN: &str = "dddddddd-0000-4000-8000-000000000002";

/// Every call that needs both headers.
fn guarded() -> Vec<(Method, String)> {
    let run = "dddddddd-0000-4000-8000-000000000001";
    vec![
        (Method::GET, "/get_run_id".into()),
        (Method::POST, format!("/run_workflow/{ALPHA}")),
        (Method::POST, format!("/run_workflow/{ALPHA}/{run}")),
        (Method::POST, format!("/cancel/{ALPHA}/{run}")),
        (Method::POST, "/cancel/nonsense/nonsense".into()),
        (Method::POST, "/cancel/%ff/%ff".into()),
        (Method::GET, "/runs".into()),
        (Method::GET, format!("/runs/{run}/result")),
        (Method::GET, "/runs/nonsense/result".into()),
        (Method::GET, "/teams".into()),
        (Method::GET, "/workflows".into()),
    ]
}

#[tokio::test]
async fn a_request_without_both_headers_is_refused_before_anything_else() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let both = |name: &'static str, value: &str| {
        let mut client = alice.clone();
        client.set(name, value);
        client
    };
    let without = |name: &str| {
        let mut client = alice.clone();
        client.headers.remove(name);
        client
    };
    let bearer = alice.headers["authorization"].to_str().expect("text");
    let token = bearer.strip_prefix("Bearer ").expect("a token");
    let foreign = Issuer::hs256("another secret, as long as it has to be")
        .expect("it is long")
        .subject_claim("username");
    let foreign = foreign.issue("alice", std::time::Duration::from_mins(1), []);
    let rows = [
        ("none", lab.nobody()),
        ("no key", without("x-api-key")),
        ("no bearer", without("authorization")),
        ("wrong key", both("x-api-key", "44444444-4444-4444-8444-444444444444")),
        ("another's key", both("x-api-key", &BOB.to_string())),
        ("empty key", both("x-api-key", "")),
        ("wrong scheme", both("authorization", &format!("Basic {token}"))),
        ("no scheme", both("authorization", token)),
        ("no token", both("authorization", "Bearer ")),
        ("cut", both("authorization", &bearer[..bearer.len() - 4])),
        ("the key as token", both("authorization", &format!("Bearer {ALICE}"))),
        ("signed by another", both("authorization", &format!("Bearer {foreign}"))),
    ];
    for (name, client) in rows {
        for (method, path) in guarded() {
            let answer = client.call(method, &path, "{".into()).await;
            assert_eq!(answer.status, 401, "{name} {path}");
            answer.assert_refused(401, UNAUTHORIZED);
            assert_eq!(answer.header("quell-disposition"), None);
        }
    }
}

#[tokio::test]
async fn a_token_of_the_configured_secret_is_good_as_long_as_it_says() {
    let mut options = Options::default();
    options.token_secret = Some(SECRET.into());
    let lab = Lab::with(options);
    let mut alice = lab.alice().await;
    // Both were signed with it, by another library; the first one expired in 2001.
    let rows = [(EXPIRED, 401), (IN_2100, 200), (UNSIGNED, 401)];
    for (token, status) in rows {
        alice.set("authorization", &format!("Bearer {token}"));
        assert_eq!(alice.get("/teams").await.status, status, "{token}");
    }
}

#[tokio::test]
async fn the_key_of_the_user_and_that_of_the_platform_are_both_accepted() {
    let lab = Lab::new();
    let mut alice = lab.alice().await;
    assert_eq!(alice.get("/teams").await.status, 200);
    let secrets = lab.nobody().get(&format!("/get-sdk-secrets/{ALICE}")).await;
    assert_eq!(secrets.status, 200);
    let platform = secrets.body["API_KEY"].as_str().expect("text").to_owned();
    assert_eq!(secrets.body["X_API_KEY"], *platform);
    alice.set("x-api-key", &platform);
    let teams = alice.get("/teams").await;
    assert_eq!(teams.body, json!([{ "id": ALPHA, "name": "Alpha" }]));
    alice.headers.remove("authorization");
    alice.get("/teams").await.assert_refused(401, UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_is_worth_what_its_key_is_worth_by_then() {
    let ops = || Key::new("ops", "o-key").in_teams([ALPHA.to_string()]);
    let keys = |key: Key| demo::access().key(key);
    let lab = Lab::made_of(Options::default(), |catalog| catalog, keys(ops().admin()));
    let token = lab.nobody().get("/token-wrapper/get-tokens/o-key").await;
    let secrets = lab.nobody().get("/get-sdk-secrets/o-key").await;
    let mut client = lab.nobody();
    let token = token.body["access_token"].as_str().expect("a token");
    client.set("authorization", &format!("Bearer {token}"));
    client.set("x-api-key", secrets.body["API_KEY"].as_str().expect("a key"));
    let run = client.start(ALPHA, demo::SLOW, json!({})).await;
    let body = || json!({ "id": SHORT }).to_string();
    let start = format!("/run_workflow/{ALPHA}");
    let now = |access: Access| lab.service.access_of().replace_keys(&access).expect("keys");
    now(keys(ops().read_only()));
    assert_eq!(client.listed(&run).await["id"], run);
    client.post(&start, body()).await.assert_refused(403, NO_RUN);
    client.cancel(ALPHA, &run).await.assert_refused(403, NO_CANCEL);
    now(keys(Key::new("ops", "o-key")));
    client.post(&start, body()).await.assert_refused(403, NO_RUN);
    // Another secret of the same holder, and none.
    for access in [keys(Key::new("ops", "next").in_teams([ALPHA.to_string()])), demo::access()] {
        now(access);
        client.get("/runs").await.assert_refused(401, UNAUTHORIZED);
        client.post(&start, body()).await.assert_refused(401, UNAUTHORIZED);
        client.cancel(ALPHA, &run).await.assert_refused(401, UNAUTHORIZED);
    }
    now(keys(ops()));
    assert_eq!(client.post(&start, body()).await.status, 200);
    assert_eq!(lab.run(&run).row().stopped_at, None);
}

#[tokio::test]
async fn a_token_of_the_secret_that_was_made_for_no_key_is_none_with_the_key_of_the_platform() {
    let mut options = Options::default();
    options.token_secret = Some(SECRET.into());
    let lab = Lab::with(options);
    let secrets = lab.nobody().get(&format!("/get-sdk-secrets/{ALICE}")).await;
    let mut alice = lab.alice().await;
    alice.set("authorization", &format!("Bearer {IN_2100}"));
    assert_eq!(alice.get("/teams").await.status, 200);
    alice.set("x-api-key", secrets.body["API_KEY"].as_str().expect("a key"));
    alice.get("/teams").await.assert_refused(401, UNAUTHORIZED);
}

#[tokio::test]
async fn the_addresses_of_a_router_that_is_served_with_tls_say_so() {
    for (speaks_tls, base) in [(true, "https://localhost:7777"), (false, "http://localhost:7777")] {
        let mut options = Options::default();
        options.speaks_tls = speaks_tls;
        let secrets = Lab::with(options).nobody().get(&format!("/get-sdk-secrets/{ALICE}")).await;
        for url in ["BASE_URL", "ACCOUNTS_URL", "ACCOUNTS_BASE_URL", "API_BASE_URL"] {
            assert_eq!(secrets.body[url], base, "{url}");
        }
    }
}

#[tokio::test]
async fn an_unknown_key_gets_neither_a_token_nor_secrets() {
    let lab = Lab::new();
    let nobody = lab.nobody();
    for key in ["44444444-4444-4444-8444-444444444444", "x", "%ff", "%20"] {
        for call in ["token-wrapper/get-tokens", "get-sdk-secrets"] {
            nobody.get(&format!("/{call}/{key}")).await.assert_refused(401, UNAUTHORIZED);
        }
    }
}

#[tokio::test]
async fn the_secrets_name_the_urls_at_which_the_router_is_reached() {
    let rows = [
        ("", "", None, "http://localhost:7777/pb", "http://localhost:7777/pb"),
        (
            "acc/",
            "/api/v2",
            None,
            "http://localhost:7777/pb/acc",
            "http://localhost:7777/pb/api/v2",
        ),
        ("/acc", "", Some("https://x.org/p/"), "https://x.org/p/acc", "https://x.org/p"),
    ];
    for (accounts, api, public, accounts_url, api_url) in rows {
        let mut options = Options::default();
        options.accounts_prefix = accounts.into();
        options.api_prefix = api.into();
        options.public_url = public.map(Into::into);
        let mut lab = Lab::with(options);
        lab.app = axum::Router::new().nest("/pb", lab.app);
        let path = format!("/pb/{}/get-sdk-secrets/{ALICE}", api.trim_matches('/'));
        let answer = lab.nobody().get(&path.replace("//", "/")).await;
        assert_eq!(answer.status, 200, "{path} {answer:?}");
        let body = answer.body;
        assert_eq!(
            (&body["ACCOUNTS_URL"], &body["BASE_URL"]),
            (&json!(accounts_url), &json!(api_url))
        );
        assert_eq!(body["ACCOUNTS_BASE_URL"], body["ACCOUNTS_URL"]);
        assert_eq!(body["API_BASE_URL"], body["BASE_URL"]);
        assert_eq!(body["WEBSOCKET_BASE_URL"], "");
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(7));
    }
}

#[tokio::test]
async fn without_access_control_nobody_is_asked_and_every_team_is_ones_own() {
    let witness = quell_demo::Witness::default();
    let catalog = crate::support::catalog(&witness);
    let service = Service::new(quell::Engine::new(), catalog);
    let app = crate::support::router(service.clone(), Options::default());
    let lab = Lab { service, witness, app };
    let nobody = lab.nobody();
    let team = uuid::uuid!("99999999-0000-4000-8000-000000000009");
    let workflows = nobody.get("/workflows").await.body;
    let named = |name: &str| {
        let mut all = workflows.as_array().expect("a list").iter();
        all.find(|workflow| workflow["name"] == name).expect("it is exposed")["id"].clone()
    };
    let id = named("slow-workflow").as_str().and_then(|id| id.parse().ok()).expect("a UUID");
    let run = nobody.start(team, id, json!({})).await;
    let answer = nobody.cancel(team, &run).await;
    assert_eq!(answer.message(), "Run successfully canceled.");
    let listed = nobody.listed(&run).await;
    assert_eq!(listed["team"]["id"], json!(team));
    assert_eq!(listed["owner"]["name"], json!(null));
    nobody.cancel(team, "x").await.assert_refused(400, BAD);
    let unknown = json!({ "id": UNKNOWN }).to_string();
    let refused = nobody.post(&format!("/run_workflow/{team}"), unknown).await;
    refused.assert_refused(404, NOT_FOUND);
    let token = nobody.get("/token-wrapper/get-tokens/anything").await;
    assert_eq!(token.status, 200);
    let teams = nobody.get("/teams").await.body;
    assert_eq!(teams[0]["id"], workflows[0]["team_id"]);
}

#[tokio::test]
async fn a_hook_can_say_who_it_is() {
    let options = Options::default().authenticate(async |bearer, key| {
        let teams = [ALPHA.to_string()];
        (bearer == "b" && key == "k").then(|| Principal::named("hooked").in_teams(teams))
    });
    let lab = Lab::with(options);
    let mut client = lab.nobody();
    client.set("authorization", "Bearer b");
    client.set("x-api-key", "wrong");
    client.get("/runs").await.assert_refused(401, UNAUTHORIZED);
    client.set("x-api-key", "k");
    let run = client.start(ALPHA, SHORT, json!({})).await;
    assert_eq!(client.listed(&run).await["owner"], json!({ "name": "hooked" }));
}

#[tokio::test]
async fn a_token_says_no_more_than_the_key_it_is_for() {
    let reader = Key::new("reader", "r-key").in_teams([ALPHA.to_string()]).read_only();
    let agents = Key::new("agents", "a-key").in_teams([ALPHA.to_string()]).scopes(["agents:*"]);
    let only = Key::new("only", "o-key")
        .in_teams([ALPHA.to_string()])
        .scopes(["workflows:short-workflow:run", "workflows:*:read"]);
    let access = demo::access().key(reader).key(agents).key(only);
    let lab = Lab::made_of(Options::default(), |catalog| catalog, access);
    let alice = lab.alice().await;
    let secrets = lab.nobody().get(&format!("/get-sdk-secrets/{ALICE}")).await;
    let platform = secrets.body["API_KEY"].as_str().expect("text").to_owned();
    let run = alice.start(ALPHA, demo::SLOW, json!({})).await;
    let body = |workflow| json!({ "id": workflow }).to_string();
    for (key, may_read, may_run_short) in
        [("r-key", true, false), ("a-key", false, false), ("o-key", true, true)]
    {
        let token = lab.nobody().get(&format!("/token-wrapper/get-tokens/{key}")).await;
        let token = token.body["access_token"].as_str().expect("a token").to_owned();
        for api_key in [key, &platform] {
            let mut client = lab.nobody();
            client.set("authorization", &format!("Bearer {token}"));
            client.set("x-api-key", api_key);
            let seen = client.listed(&run).await["id"] == run;
            assert_eq!(seen, may_read, "{key} {api_key}");
            let path = format!("/run_workflow/{ALPHA}");
            client.post(&path, body(demo::SLOW)).await.assert_refused(403, NO_RUN);
            let unknown = client.post(&path, json!({ "id": UNKNOWN }).to_string()).await;
            // Who reads every workflow sees which ones there are.
            let (status, text) = if may_read { (404, NOT_FOUND) } else { (403, NO_RUN) };
            unknown.assert_refused(status, text);
            let short = client.post(&path, body(SHORT)).await;
            assert_eq!(short.status == 200, may_run_short, "{key} {api_key}");
            let cancelled = client.cancel(ALPHA, &run).await;
            if may_read {
                cancelled.assert_refused(403, NO_CANCEL);
            } else {
                assert_eq!(cancelled.status, 404);
            }
        }
    }
    assert!(!lab.run(&run).status().is_terminal());
}

#[tokio::test]
async fn the_token_of_a_reader_changes_nothing_even_if_it_sees_everything() {
    let auditor = Key::new("auditor", "a-key").in_teams([ALPHA.to_string()]).admin().read_only();
    let limited = Key::new("limited", "l-key").scopes(["quell:admin"]).read_only();
    let access = demo::access().key(auditor).key(limited);
    let lab = Lab::made_of(Options::default(), |catalog| catalog, access);
    let alice = lab.alice().await;
    let run = alice.start(ALPHA, demo::SLOW, json!({})).await;
    for key in ["a-key", "l-key"] {
        let nobody = lab.nobody();
        let token = nobody.get(&format!("/token-wrapper/get-tokens/{key}")).await;
        let token = token.body["access_token"].as_str().expect("a token").to_owned();
        let secrets = nobody.get(&format!("/get-sdk-secrets/{key}")).await;
        for api_key in [key, secrets.body["X_API_KEY"].as_str().expect("a key")] {
            let mut client = lab.nobody();
            client.set("authorization", &format!("Bearer {token}"));
            client.set("x-api-key", api_key);
            assert_eq!(client.listed(&run).await["id"], run, "{key} {api_key}");
            let path = format!("/run_workflow/{ALPHA}");
            let body = json!({ "id": SHORT }).to_string();
            client.post(&path, body).await.assert_refused(403, NO_RUN);
            client.cancel(ALPHA, &run).await.assert_refused(403, NO_CANCEL);
        }
    }
    assert_eq!(lab.run(&run).row().stopped_at, None);
}

#[tokio::test]
async fn a_reader_does_not_cancel_an_id_that_another_key_of_theirs_has_allocated() {
    let reader = Key::new("alice", "r-key").in_teams([ALPHA.to_string()]).read_only();
    let lab = Lab::made_of(Options::default(), |catalog| catalog, demo::access().key(reader));
    let alice = lab.alice().await;
    let mut reader = alice.clone();
    reader.set("x-api-key", "r-key");
    let id = alice.get("/get_run_id").await.body["run_id"].clone();
    let id = id.as_str().expect("an id");
    reader.cancel(ALPHA, id).await.assert_refused(403, NO_CANCEL);
    let body = json!({ "id": SHORT, "inputs": {} }).to_string();
    let started = alice.post(&format!("/run_workflow/{ALPHA}/{id}"), body).await;
    assert_eq!(started.status, 200);
    assert_eq!(lab.run(id).ended().await.status, quell::RunStatus::Completed);
}

#[tokio::test]
async fn nobody_puts_a_run_into_a_team_of_which_they_are_not_a_member() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let starters = [
        (Principal::named("ada"), false),
        (Principal::named("bob").in_teams([demo::BETA.to_string()]), false),
        (Principal::named("eve").in_teams([ALPHA.to_string()]), true),
    ];
    for (starter, is_seen) in starters {
        let view = lab.service.view(Contract::named("agentos"), starter.clone());
        let slow = view.component(ComponentKind::Workflow, "slow-workflow").expect("it is exposed");
        let start = Start::new(slow, "tick_ms=2".into()).session(ALPHA.to_string());
        let run = view.start(start).await.expect("it starts").run;
        let id = run.id().to_string();
        assert_eq!(alice.listed(&id).await["id"] == *id, is_seen, "{starter:?}");
        assert_eq!(alice.result(&id).await["quell"].is_object(), is_seen, "{starter:?}");
        let cancelled = alice.cancel(ALPHA, &id).await;
        assert_eq!(cancelled.status, if is_seen { 200 } else { 404 }, "{starter:?}");
        assert_eq!(run.row().stopped_at.is_some(), is_seen, "{starter:?}");
    }
}

#[test]
fn an_open_listener_is_for_loopback_only() {
    assert!(Access::open().check_listener([127, 0, 0, 1].into()).is_ok());
    assert!(Access::open().check_listener([0, 0, 0, 0].into()).is_err());
}

/// What signs them.
const SECRET: &str = "a secret of at least thirty-two bytes";

/// Of alice, until September 2001.
const EXPIRED: &str = concat!(
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VybmFtZSI6ImFsaWNlIiwiZXhwI",
    "joxMDAwMDAwMDAwfQ.QTTegBngKeJYnKYrQ3pIMnITz0CXnFvriNkhkasjPas",
);

/// Of alice, until 2100.
const IN_2100: &str = concat!(
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VybmFtZSI6ImFsaWNlIiwiZXhwI",
    "jo0MTAyNDQ0ODAwfQ.3Hj2hh9snmq_uaki2IvOY7i8Z5QKf8QZMKca57XX6oM",
);

/// Of alice, until 2100, `alg: none`.
const UNSIGNED: &str = concat!(
    "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJ1c2VybmFtZSI6ImFsaWNlIiwiZXhwIj",
    "o0MTAyNDQ0ODAwfQ.",
);
