//! Health, configuration and the lists of components (contract, section 10).

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use quell_flow::{Component, ComponentKind};
use quell_http::{AccessMode, Service, View};
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::{Action, component, guarded};
use crate::options::CONTRACT;
use crate::options::Options;
use crate::routes::caller::Caller;
use crate::routes::config::configuration;
use crate::routes::described::document;
use crate::wire::kinds::names_of;
use crate::wire::listing::{auth_mode, component_in_full, component_in_list, summary};
use crate::wire::refusal::Refusal;

pub(super) async fn home(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "name": app.options.name, "health": "/health", "info": "/info" }))
}

pub(super) async fn health(State(app): State<Arc<App>>) -> Json<Value> {
    let since = humantime::format_rfc3339_micros(app.since).to_string();
    Json(json!({ "status": "ok", "instantiated_at": since }))
}

/// Yields what `/info` answers; where another contract is served under the same path, its keys are
/// added to these.
pub fn info(service: &Service, options: &Options) -> Value {
    let count = |kind| {
        let listed = service.catalog().listed(CONTRACT);
        listed.filter(|component| component.kind() == kind).count()
    };
    let mode = guarded(service.clone(), options).access_of().mode();
    json!({
        "os_id": options.os_id,
        "name": options.name,
        "os_version": env!("CARGO_PKG_VERSION"),
        "agno_version": AGNO_VERSION,
        "agent_count": count(ComponentKind::Agent),
        "team_count": count(ComponentKind::Team),
        "workflow_count": count(ComponentKind::Workflow),
        "mcp": { "enabled": false, "path": null, "oauth": null, "tool_run_endpoint": false },
        "auth_mode": auth_mode(mode),
        // Whose a run is follows from the key or the token alone, unless all have one key.
        "user_isolation": mode != AccessMode::Open && options.security_key.is_none(),
    })
}

pub(super) async fn show_info(State(app): State<Arc<App>>) -> Json<Value> {
    Json(info(&app.service, &app.options))
}

/// Anybody may ask for it: it is written once.
pub(super) async fn describe() -> ([(HeaderName, &'static str); 1], &'static str) {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());
    ([(CONTENT_TYPE, "application/json")], &DOCUMENT)
}

pub(super) async fn config(State(app): State<Arc<App>>, Caller(view): Caller) -> Response {
    app.answer(config_of(&app, &view))
}

fn config_of(app: &App, view: &View) -> Result<Response, Refusal> {
    // Two names of one scope.
    if !["config", "system"].iter().any(|name| view.principal().has_scope(name, None, "read")) {
        return Err(Refusal::forbidden("config", "read"));
    }
    let readable = |kind| readable(view, kind).map(|it| summary(it, &app.options.db_id));
    let [agents, teams, workflows] = ComponentKind::ALL.map(|kind| readable(kind).collect());
    Ok(Json(configuration(&app.options, [agents, teams, workflows])).into_response())
}

pub(super) fn list(app: &App, view: &View, kind: ComponentKind) -> Result<Response, Refusal> {
    let found: Vec<_> =
        readable(view, kind).map(|it| component_in_list(it, &app.options.db_id)).collect();
    let plural = names_of(kind).plural;
    if found.is_empty() && !view.principal().has_scope(plural, None, "read") {
        return Err(Refusal::forbidden(plural, "read"));
    }
    Ok(Json(found).into_response())
}

/// Yields the components of a kind that the caller may read.
fn readable(view: &View, kind: ComponentKind) -> impl Iterator<Item = &Component> {
    let of_kind = view.components().filter(move |component| component.kind() == kind);
    of_kind.filter(|component| view.principal().may_read(component)).map(AsRef::as_ref)
}

pub(super) fn one(
    app: &App,
    view: &View,
    kind: ComponentKind,
    id: &str,
) -> Result<Response, Refusal> {
    let component = component(view, kind, id, Action::Read)?;
    Ok(Json(component_in_full(&component, &app.options.db_id)).into_response())
}

/// The version of agno whose wire this is.
const AGNO_VERSION: &str = "3.1.10";
