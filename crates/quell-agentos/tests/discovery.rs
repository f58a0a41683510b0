//! What there is, and what this server keeps none of.

use axum::body::Body;
use axum::http::{Method, Request};
use quell::{Engine, Failure, Payload, RunContext};
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, CommandStep, Component, Member, Model, Plan, Runner, Team};
use quell_http::{Access, Key};
use serde_json::{Value, json};

use crate::support::Site;
use crate::support::http::refused;

const fn method(word: &str) -> Method {
    match word.as_bytes() {
        b"POST" => Method::POST,
        b"PATCH" => Method::PATCH,
        b"DELETE" => Method::DELETE,
        _ => Method::GET,
    }
}

async fn asked(site: &Site, line: &str, key: &str) -> quell_test_support::Answer {
    let (word, path) = line.split_once(' ').unwrap();
    let request = Request::builder().method(method(word)).uri(path);
    let request = request.header("authorization", format!("Bearer {key}"));
    site.send(request.body(Body::empty()).unwrap()).await
}

/// Every list that has no rows, with its scope.
const PAGES: [(&str, &str); 7] = [
    ("GET /memories", "memories:read"),
    ("GET /user_memory_stats", "memories:read"),
    ("GET /knowledge/content", "knowledge:read"),
    ("POST /knowledge/search", "knowledge:read"),
    ("GET /eval-runs", "evals:read"),
    ("GET /traces", "traces:read"),
    ("POST /traces/search", "traces:read"),
];

/// Every change that is refused, with its scope and what there is none of.
const CHANGES: [(&str, &str, &str); 11] = [
    ("POST /memories", "memories:write", "memories"),
    ("PATCH /memories/m", "memories:write", "memories"),
    ("DELETE /memories/m", "memories:delete", "memories"),
    ("DELETE /memories", "memories:delete", "memories"),
    ("POST /optimize-memories", "memories:write", "memories"),
    ("POST /knowledge/content", "knowledge:write", "knowledge"),
    ("PATCH /knowledge/content/c", "knowledge:write", "knowledge"),
    ("DELETE /knowledge/content", "knowledge:delete", "knowledge"),
    ("POST /eval-runs", "evals:write", "evaluation runs"),
    ("PATCH /eval-runs/e", "evals:write", "evaluation runs"),
    ("DELETE /eval-runs", "evals:delete", "evaluation runs"),
];

#[tokio::test]
async fn what_there_is_none_of_is_listed_as_empty_in_pages() {
    let site = Site::open();
    for (line, _) in PAGES {
        let answer = asked(&site, &format!("{line}?limit=7&page=3&sort_by=x"), "").await;
        let meta = json!({
            "page": 3, "limit": 7, "total_pages": 0, "total_count": 0, "search_time_ms": 0.0
        });
        let expected = json!({ "data": [], "meta": meta });
        assert_eq!((answer.status.as_u16(), answer.json()), (200, expected), "{line}");
        let answer = asked(&site, &format!("{line}?limit=0&page=x"), "").await;
        assert_eq!(answer.status, 422, "{line}");
        let faults = answer.json()["detail"].as_array().map(Vec::len);
        assert_eq!(faults, Some(2), "{line}");
    }
    let stats = site.get("/trace_session_stats").await.json();
    assert_eq!(stats["meta"]["limit"], 20);
    assert_eq!(site.get("/memory_topics").await.json(), json!([]));
    assert_eq!(site.get("/metrics").await.json(), json!({ "metrics": [], "updated_at": null }));
    assert_eq!(site.post("/metrics/refresh").await.json(), json!([]));
    assert_eq!(site.get("/metrics/refresh/status").await.json()["status"], "idle");
    assert_eq!(site.get("/knowledge/config").await.json()["readers"], json!({}));
}

#[tokio::test]
async fn one_of_what_there_is_none_of_is_404_and_a_change_is_refused_in_words() {
    let site = Site::open();
    for (path, words) in [
        ("/memories/m", "Memory with ID m not found"),
        ("/knowledge/content/c%20d", "Content not found: c d"),
        ("/knowledge/content/c/status", "Content not found: c"),
        ("/eval-runs/e", "Eval run with id 'e' not found"),
        ("/traces/t", "Trace not found"),
    ] {
        refused(&site.get(path).await, 404, words, Some("NOT_FOUND"));
    }
    for (line, _, what) in CHANGES {
        let words = format!("This AgentOS keeps no {what}");
        refused(&asked(&site, line, "").await, 400, &words, Some("BAD_REQUEST"));
    }
}

#[tokio::test]
async fn each_of_these_needs_its_own_scope() {
    let reads = [
        ("GET /memory_topics", "memories:read"),
        ("GET /memories/m", "memories:read"),
        ("GET /knowledge/config", "knowledge:read"),
        ("GET /knowledge/content/c/status", "knowledge:read"),
        ("GET /eval-runs/e", "evals:read"),
        ("GET /traces/t", "traces:read"),
        ("GET /trace_session_stats", "traces:read"),
        ("GET /metrics", "metrics:read"),
        ("GET /metrics/refresh/status", "metrics:read"),
        ("POST /metrics/refresh", "metrics:write"),
    ];
    let changes = CHANGES.into_iter().map(|(line, scope, _)| (line, scope));
    for (line, scope) in PAGES.into_iter().chain(reads).chain(changes) {
        let key = |key: Key| Site::new(Options::default(), Access::open().key(key));
        let site = key(Key::new("ada", "secret").scopes(["agents:read", "config:read"]));
        assert_eq!(asked(&site, line, "wrong").await.status, 401, "{line}");
        let words = format!("Insufficient permissions. Required scope(s): {scope}");
        refused(&asked(&site, line, "secret").await, 403, &words, None);
        let site = key(Key::new("ada", "secret").scopes([scope]));
        let status = asked(&site, line, "secret").await.status;
        assert!([200, 400, 404].contains(&status.as_u16()), "{line}: {status}");
    }
}

/// Runs no commands.
#[derive(Clone)]
struct NoCommands;

impl Runner for NoCommands {
    async fn run(&self, _ctx: RunContext, _step: CommandStep) -> Result<Payload, Failure> {
        Err(Failure::new("there are none"))
    }
}

fn named_site(options: Options, access: Access) -> Site {
    let same = async |_ctx, input: Payload| Ok(input);
    let model = || Model::new("m-1", "M one", "Maker");
    let ann = Component::agent("ann", same).display_name("Ann of Ghent").model(model());
    let bob = Component::agent("bob", same).describe("Knows.").model(model());
    let catalog = Catalog::new().with(ann).with(bob);
    let member = |id: &str| Member::of(catalog.named(id).unwrap());
    let pair = Team::route("pair", async |_ctx, _task| Ok("ann"))
        .leader(Model::new("m-2", "M two", "Maker"))
        .with_member(member("ann"))
        .with_member(member("bob").named("second"))
        .member("third", same);
    let plan = "{ name: letter, steps: [{ name: draft, component: ann }] }";
    let plan = Plan::from_yaml(plan).unwrap().link(&catalog).unwrap();
    let catalog = catalog
        .with(pair.into_component().display_name("The pair"))
        .with(plan.into_component("letter", NoCommands));
    Site::made_of(Witness::default(), catalog, Engine::new(), options, access)
}

/// Finds the component with this id in a list.
fn of<'a>(list: &'a Value, id: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|one| one["id"] == id).unwrap()
}

#[tokio::test]
async fn the_configuration_names_everything_as_upstream_does() {
    let mut options = Options::default();
    options.description = Some("For trying things.".into());
    options.os_id = "os-1".into();
    let site = named_site(options, Access::open());
    let config = site.get("/config").await.json();
    assert_eq!(
        (&config["os_id"], &config["description"]),
        (&json!("os-1"), &json!("For trying things."))
    );
    let models = config["available_models"].as_array().unwrap();
    for id in ["m-1", "m-2", "tick-model"] {
        let count = models.iter().filter(|model| model["id"] == id).count();
        assert_eq!(count, 1, "{id}: {models:?}");
    }
    let database = &config["session"]["dbs"][0];
    assert_eq!(database["db_id"], config["databases"][0]);
    assert_eq!(config["memory"], json!({ "dbs": [] }));
    let ann = json!({
        "id": "ann", "name": "Ann of Ghent", "db_id": "quell",
        "model": { "id": "m-1", "provider": "Maker" },
    });
    assert_eq!(of(&config["agents"], "ann"), &ann);
    assert_eq!(of(&config["agents"], "bob")["description"], "Knows.");
    let pair = of(&config["teams"], "pair");
    assert_eq!((&pair["name"], &pair["mode"]), (&json!("The pair"), &json!("route")));
    assert_eq!(of(&site.get("/agents").await.json(), "ann")["name"], "Ann of Ghent");
    let shown = site.get("/teams/pair").await.json();
    let members = json!([
        { "id": "ann", "name": "Ann of Ghent" }, { "id": "bob", "name": "second" },
        { "id": "third", "name": "third" },
    ]);
    assert_eq!(shown["members"], members, "as people read them");
    let shown = site.get("/workflows/letter").await.json();
    assert_eq!(shown["steps"][0]["agent"], json!({ "id": "ann", "name": "Ann of Ghent" }));
}

#[tokio::test]
async fn runs_have_the_name_that_people_read_and_the_id_that_finds_them() {
    let site = named_site(Options::default(), Access::open());
    let fields = [("message", "hi"), ("stream", "false")];
    let run = site.create("/agents/ann/runs", &fields).await.json();
    assert_eq!((&run["agent_id"], &run["agent_name"]), (&json!("ann"), &json!("Ann of Ghent")));
}

#[tokio::test]
async fn the_root_says_where_to_begin_and_the_configuration_has_what_the_caller_may_read() {
    let access =
        Access::open().key(Key::new("ada", "secret").scopes(["config:read", "agents:ann:read"]));
    let site = named_site(Options::default(), access);
    let home = json!({ "name": "quell", "health": "/health", "info": "/info" });
    assert_eq!(site.get("/").await.json(), home);
    let config = asked(&site, "GET /config", "secret").await.json();
    assert_eq!(config["agents"].as_array().map(Vec::len), Some(1));
    assert_eq!((&config["teams"], &config["workflows"]), (&json!([]), &json!([])));
    let models = json!([{ "id": "m-1", "provider": "Maker" }]);
    assert_eq!(config["available_models"], models, "no model of what is hidden");
    let info = site.get("/info").await.json();
    assert_eq!((&info["user_isolation"], &info["mcp"]["enabled"]), (&json!(true), &json!(false)));
}
