//! The document and the routes say the same. That every answer is in it is looked up in every test
//! of this crate (`quell_test_support::documented`).

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::Method;
use quell_demo::playbook3d::ALICE;
use quell_playbook3d::{Options, document};
use quell_test_support::{assert_schemas_are_named, operations, routes_of, with_ids};
use serde_json::Value;

use crate::support::lab::Lab;

/// The document of a router without prefixes.
fn plain() -> Value {
    document(&Options::default())
}

#[tokio::test]
async fn the_document_is_answered_to_everybody_and_everything_in_it_is_served() {
    let lab = Lab::new();
    let (nobody, alice) = (lab.nobody(), lab.alice().await);
    let answer = nobody.get("/openapi.json").await;
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &plain()));
    let (all, mut ids) = (operations(&answer.body), BTreeSet::new());
    assert_eq!(all.len(), 11);
    for (method, path, told) in all {
        let id = told["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "{method} {path}: its id is that of another one");
        // A key that is known is one in a path, too, and any UUID is the id of a team or a run.
        let at = with_ids(&path, &ALICE.to_string());
        let answer = nobody.call(method.clone(), &at, Body::empty()).await;
        assert_eq!(answer.status != 401, told["security"].is_null(), "{method} {path}");
        let answer = alice.call(method.clone(), &at, Body::empty()).await;
        assert!(![401, 405].contains(&answer.status.as_u16()), "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_method_that_is_served_is_in_the_document() {
    let alice = Lab::new().alice().await;
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path, _) in operations(&plain()) {
        known.entry(path).or_default().insert(method.to_string());
    }
    for (path, methods) in known {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let at = with_ids(&path, &ALICE.to_string());
            let answer = alice.call(method.clone(), &at, Body::empty()).await;
            let is_served = answer.status != 405;
            assert_eq!(is_served, methods.contains(method.as_str()), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_document_has_the_paths_of_the_two_hosts_where_the_options_put_them() {
    let mut options = Options::default();
    options.accounts_prefix = "/{a}/*/".into();
    options.api_prefix = "api".into();
    let answer = Lab::with(options.clone()).nobody().get("/openapi.json").await;
    assert_eq!(answer.body, document(&options));
    for path in ["/openapi.json", "/%7Ba%7D/*/runs", "/api/cancel/{team_id}/{run_id}"] {
        assert!(answer.body["paths"][path].is_object(), "{path}");
    }
    let of = |path: &str| answer.body["paths"][path]["get"]["tags"][0].clone();
    assert_eq!((of("/%7Ba%7D/*/runs"), of("/%7Ba%7D/*/teams")), ("Runs".into(), TEAMS.into()));
}

#[test]
fn every_name_in_the_document_is_one_of_its_schemas_and_every_schema_is_named() {
    assert_schemas_are_named(&plain());
}

#[test]
fn both_credentials_are_asked_for_together() {
    let document = plain();
    let asked = &document["paths"]["/teams"]["get"]["security"];
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    assert_eq!(asked[0].as_object().unwrap().len(), 2, "{asked}");
    assert!(asked[0].as_object().unwrap().keys().all(|name| schemes.contains_key(name)));
}

#[test]
fn the_table_of_the_contract_has_the_routes_of_the_document() {
    let contract = include_str!("../src/contract.md");
    let table = contract.split("## 3. Calls").nth(1).unwrap().split("## 4. ").next().unwrap();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let routes =
        cells.filter(|cell| !cell.starts_with('`')).filter_map(|cell| cell.split_once(" `"));
    let told: BTreeSet<_> = routes
        .map(|(method, path)| format!("{method} {}", with_ids(path.trim_end_matches('`'), "{}")))
        .collect();
    assert_eq!(told, routes_of(&plain()));
}

const TEAMS: &str = "Teams and workflows";
