//! The document and the routes say the same. That every answer is in it is looked up in every test
//! of this crate (`quell_test_support::documented`).

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use quell::EngineConfig;
use quell_http::{Access, Key};
use quell_langgraph::Options;
use quell_test_support::{assert_schemas_are_named, operations, routes_of, with_ids};

use crate::talk::Server;

/// An id that nothing has.
const ID: &str = "00000000-0000-0000-0000-000000000000";

#[tokio::test]
async fn the_document_is_answered_to_everybody_and_everything_in_it_is_served() {
    let access = Access::open().key(Key::new("ada", "a-key-of-ada"));
    let server = Server::with(EngineConfig::new(), Options::default(), access);
    let document = server.get("/openapi.json").await.json();
    assert_eq!(document, quell_langgraph::document());
    let (known, mut ids) = (server.saying("x-api-key", "a-key-of-ada"), BTreeSet::new());
    let all = operations(&document);
    assert!(all.len() > 40, "{}", all.len());
    for (method, path, told) in all {
        let id = told["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "{method} {path}: its id is that of another one");
        let at = with_ids(&path, ID);
        let is_public = told["security"].is_null();
        let answer = server.send(method.clone(), &at, "{}").await;
        assert_eq!(answer.status != 401, is_public, "{method} {path}");
        let answer = known.send(method.clone(), &at, "{}").await;
        assert!(![401, 405].contains(&answer.status.as_u16()), "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_method_that_is_served_is_in_the_document() {
    let server = Server::new();
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path, _) in operations(&quell_langgraph::document()) {
        known.entry(path).or_default().insert(method.to_string());
    }
    for (path, methods) in known {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let answer = server.send(method.clone(), &with_ids(&path, ID), "{}").await;
            let is_served = answer.status != 405;
            assert_eq!(is_served, methods.contains(method.as_str()), "{method} {path}");
        }
    }
}

#[test]
fn every_name_in_the_document_is_one_of_its_schemas_and_every_schema_is_named() {
    assert_schemas_are_named(&quell_langgraph::document());
}

#[test]
fn the_table_of_the_contract_has_the_routes_of_the_document() {
    let contract = include_str!("../src/contract.md");
    let table = contract.split("## 2. System").next().unwrap();
    let mut told = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let cell = row.split('|').nth(1).unwrap();
        let (mut methods, mut last) = (Vec::new(), String::new());
        for word in cell.split([',', ' ']).filter(|word| !word.is_empty()) {
            let Some(path) = word.strip_prefix('`').and_then(|word| word.strip_suffix('`')) else {
                if !last.is_empty() {
                    methods.clear();
                    last.clear();
                }
                methods.push(word.to_owned());
                continue;
            };
            // `/assistants/{id}/graph`, `/schemas`: what stands behind the id.
            let path = match last.split_once("{id}/") {
                Some((before, _)) if !path.starts_with("/assistants") => {
                    format!("{before}{{id}}{path}")
                }
                _ => path.to_owned(),
            };
            told.extend(methods.iter().map(|method| format!("{method} {}", with_ids(&path, "{}"))));
            last = path;
        }
    }
    assert_eq!(told, routes_of(&quell_langgraph::document()));
}
