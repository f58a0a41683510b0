//! The document and the routes say the same. That every answer is in it is looked up in every test
//! of this crate (`quell_test_support::documented`).

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::{Method, Request};
use quell_agentos::Options;
use quell_http::{Access, Key};
use quell_test_support::{assert_schemas_are_named, operations, routes_of, with_ids};

use crate::support::Site;

#[tokio::test]
async fn the_document_is_answered_to_everybody_and_everything_in_it_is_served() {
    let site = Site::new(Options::default(), Access::open().key(Key::new("ada", "a-key-of-ada")));
    let document = site.get("/openapi/agentos.json").await.json();
    assert_eq!(document, quell_agentos::document());
    let (all, mut ids) = (operations(&document), BTreeSet::new());
    assert!(all.len() > 30, "{}", all.len());
    for (method, path, told) in all {
        let id = told["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "{method} {path}: its id is that of another one");
        let (is_public, at) = (told["security"].is_null(), with_ids(&path, "nothing"));
        // With a slash at its end it is the same.
        for at in [at.clone(), format!("{}/", at.trim_end_matches('/'))] {
            let request = || Request::builder().method(method.clone()).uri(&at);
            let answer = site.send(request().body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status != 401, is_public, "{method} {at}");
            let known = request().header("authorization", "Bearer a-key-of-ada");
            let answer = site.send(known.body(Body::empty()).unwrap()).await;
            assert!(![401, 405].contains(&answer.status.as_u16()), "{method} {at}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_method_that_is_served_is_in_the_document() {
    let site = Site::open();
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path, _) in operations(&quell_agentos::document()) {
        known.entry(path).or_default().insert(method.to_string());
    }
    for (path, methods) in known {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let request = Request::builder().method(method.clone()).uri(with_ids(&path, "nothing"));
            let answer = site.send(request.body(Body::empty()).unwrap()).await;
            let is_served = answer.status != 405;
            assert_eq!(is_served, methods.contains(method.as_str()), "{method} {path}");
        }
    }
}

#[test]
fn every_name_in_the_document_is_one_of_its_schemas_and_every_schema_is_named() {
    assert_schemas_are_named(&quell_agentos::document());
}

#[test]
fn the_table_of_the_contract_has_the_routes_of_the_document() {
    let contract = include_str!("../src/contract.md");
    let table = contract.split("## 1. Routes").nth(1).unwrap().split("## 2. ").next().unwrap();
    let mut told = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        for routes in row.split('|').nth(1).unwrap().split(", ") {
            let (method, path) = routes.trim().split_once(' ').unwrap_or(("GET", routes.trim()));
            let path = path.trim_matches('`');
            for kind in ["agents", "teams", "workflows"] {
                told.insert(format!(
                    "{method} {}",
                    with_ids(&path.replacen("/K", &format!("/{kind}"), 1), "{}")
                ));
            }
        }
    }
    // A web socket has no place in a document; without one the path is that of a workflow.
    assert!(told.remove("GET /workflows/ws"));
    assert_eq!(told, routes_of(&quell_agentos::document()));
}
