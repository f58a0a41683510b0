//! The document and the routes say the same. That every answer is in it is looked up in every test
//! of this crate (`quell_test_support::documented`).

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use quell::EngineConfig;
use quell_http::{Access, Key};
use quell_langgraph::Options;
use serde_json::Value;
use uuid::Uuid;

use crate::talk::Server;

/// Yields every operation of the document: its method, its path, what is said of it.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap().iter();
        operations.map(|(method, told)| (method.to_uppercase(), path.clone(), told.clone()))
    });
    all.collect()
}

/// Puts ids where a path has names.
fn with_ids(path: &str) -> String {
    let id = Uuid::nil().to_string();
    path.split('/')
        .map(|part| if part.starts_with('{') { &id } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

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
        let (verb, at) = (Method::from_bytes(method.as_bytes()).unwrap(), with_ids(&path));
        let is_public = told["security"].is_null();
        let answer = server.send(verb.clone(), &at, "{}").await;
        assert_eq!(answer.status != 401, is_public, "{method} {path}");
        let answer = known.send(verb, &at, "{}").await;
        assert!(![401, 405].contains(&answer.status.as_u16()), "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_method_that_is_served_is_in_the_document() {
    let server = Server::new();
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path, _) in operations(&quell_langgraph::document()) {
        known.entry(path).or_default().insert(method);
    }
    for (path, methods) in known {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let answer = server.send(method.clone(), &with_ids(&path), "{}").await;
            let is_served = answer.status != 405;
            assert_eq!(is_served, methods.contains(method.as_str()), "{method} {path}");
        }
    }
}

#[test]
fn every_name_in_the_document_is_one_of_its_schemas_and_every_schema_is_named() {
    let document = quell_langgraph::document();
    let text = document.to_string();
    let named = text.split("\"#/components/schemas/").skip(1);
    let named: BTreeSet<_> = named.filter_map(|rest| rest.split('"').next()).collect();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert_eq!(named, schemas.keys().map(String::as_str).collect());
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
            told.extend(methods.iter().map(|method| format!("{method} {}", any_id(&path))));
            last = path;
        }
    }
    let document = operations(&quell_langgraph::document());
    let served = document.iter().map(|(method, path, _)| format!("{method} {}", any_id(path)));
    assert_eq!(told, served.collect());
}

fn any_id(path: &str) -> String {
    path.split('/')
        .map(|part| if part.starts_with('{') { "{}" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}
