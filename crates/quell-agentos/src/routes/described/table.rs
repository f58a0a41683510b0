//! [`document`], and the table of all routes.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use quell_flow::ComponentKind;
use quell_http::described::schema::{list, named, object, text};
use quell_http::described::{get, post};
use serde_json::{Value, json};

use crate::auth::{Action, component};
use crate::routes::caller::Caller;
use crate::routes::described::dialect::{DIALECT, Operation, Routes, Shared};
use crate::routes::described::sessions::from;
use crate::routes::described::{answers, bodies, nothing, sessions};
use crate::routes::extract::{ComponentPath, RunRequest};
use crate::routes::{cancel, create, discover, go_on, read, resume, session_runs};
use crate::wire::kinds::names_of;

/// Makes the `OpenAPI` document of the contract: every route of [`router`](crate::router), what it
/// takes, and every answer to it. `GET /openapi/agentos.json` answers it.
///
/// # Examples
///
/// ```
/// let document = quell_agentos::document();
/// let path = "/agents/{agent_id}/runs/{run_id}/cancel";
/// assert!(document["paths"][path]["post"]["responses"]["200"].is_object());
/// ```
pub fn document() -> Value {
    let (_, paths) = shared(of_contract()).into_parts();
    let mut schemas = answers::schemas();
    schemas.extend(bodies::schemas());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "quell: AgentOS",
            "description": "The run API of AgentOS, as quell serves it.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "HTTPBearer": { "type": "http", "scheme": "bearer" } },
        },
    })
}

/// Adds the routes that other contracts have as well.
pub(in crate::routes) fn shared(routes: Routes) -> Routes {
    let info = get(discover::show_info, "Says what the server is");
    nothing::about_metrics(routes).at("/info", [info.needs_nobody().answers(200, named("Info"))])
}

/// Makes the routes of this contract alone.
pub(in crate::routes) fn of_contract() -> Routes {
    let routes = ComponentKind::ALL.into_iter().fold(about_server(), of_kind);
    nothing::about_nothing(sessions::about_sessions(routes))
}

fn about_server() -> Routes {
    let health = get(discover::health, "Says that the server is there").needs_nobody();
    let describe = get(discover::describe, "Describes the API").needs_nobody();
    let config = get(discover::config, "Shows the configuration").refuses([401]);
    let home = get(discover::home, "Says where to begin").needs_nobody();
    Routes::new(DIALECT)
        .at("/", [home.answers(200, named("Home"))])
        .at("/health", [health.answers(200, named("Health"))])
        .at("/config", [config.answers(200, named("Config"))])
        .at("/openapi/agentos.json", [describe.answers(200, object())])
}

/// Adds the routes of one kind of component.
fn of_kind(routes: Routes, kind: ComponentKind) -> Routes {
    let plural = names_of(kind).plural;
    let list_all = get(
        async move |State(app): Shared, Caller(view): Caller| {
            app.answer(discover::list(&app, &view, kind))
        },
        "Lists the components of this kind",
    );
    let one = get(
        async move |State(app): Shared, Caller(view): Caller, ComponentPath(id): ComponentPath| {
            app.answer(discover::one(&app, &view, kind, &id))
        },
        "Shows a component",
    );
    let routes = routes
        .at(&format!("/{plural}"), [list_all.refuses([401]).answers(200, list("Component"))])
        .at(
            &format!("/{plural}/{{id}}"),
            [one.refuses([401, 404]).answers(200, named("Component"))],
        );
    runs_of_kind(routes, kind)
}

/// Adds the routes of the runs of one kind of component.
fn runs_of_kind(routes: Routes, kind: ComponentKind) -> Routes {
    let read = get(
        async move |State(app): Shared, request: RunRequest| {
            app.answer(read::read(kind, &request).await)
        },
        "Shows a run",
    );
    let cancel = post(
        async move |State(app): Shared, request: RunRequest| {
            app.answer(cancel::cancel(&app, kind, &request).await)
        },
        "Cancels a run",
    );
    let all = format!("/{}/{{id}}/runs", names_of(kind).plural);
    routes
        .at(&all, [creates(kind), lists(kind)])
        .at(
            &format!("{all}/{{run}}"),
            [read
                .asks()
                .needs_query("session_id", text())
                .answers(200, named("Run"))
                .refuses([404, 422])],
        )
        .at(
            &format!("{all}/{{run}}/cancel"),
            [cancel
                .asks()
                .query("session_id", text())
                .query("wait", json!({ "enum": ["false", "true", "quiescent"] }))
                .answers(200, object())
                .with_headers(200, ["quell-disposition", "quell-cause", "quell-quiescent"])
                .refuses([404, 422])],
        )
        .at(&format!("{all}/{{run}}/continue"), [continues(kind)])
        .at(&format!("{all}/{{run}}/resume"), [resumes(kind)])
}

fn creates(kind: ComponentKind) -> Operation {
    let create = post(
        async move |State(app): Shared,
                    Caller(view): Caller,
                    ComponentPath(id): ComponentPath,
                    request: Request| {
            let component = component(&view, kind, &id, Action::Run);
            // Not as two arguments: the headers would be a copy.
            let (head, body) = request.into_parts();
            app.answer(match component {
                Ok(component) => create::create(&app, &view, &component, &head.headers, body).await,
                Err(refusal) => Err(refusal),
            })
        },
        "Starts a run",
    );
    started(create.header("Idempotency-Key", key())).takes_as(FORMS, "RunCreate")
}

fn lists(kind: ComponentKind) -> Operation {
    let list_runs = get(
        async move |State(app): Shared, request: RunRequest| {
            app.answer(session_runs::of_component(&app, kind, &request).await)
        },
        "Lists the runs of a session",
    );
    list_runs
        .asks()
        .needs_query("session_id", text())
        .query("status", text())
        .query("limit", from(1))
        .query("page", from(0))
        .answers(200, list("SessionRun"))
        .refuses([404, 422])
}

fn continues(kind: ComponentKind) -> Operation {
    let go_on = post(
        async move |State(app): Shared, request: RunRequest, headers: HeaderMap, body: Body| {
            app.answer(go_on::go_on(&app, kind, &request, &headers, body).await)
        },
        "Gives a paused run its answer, or makes a run behind an ended one",
    );
    started(go_on.header("Idempotency-Key", key())).takes_as(FORMS, bodies::answer_of(kind))
}

fn resumes(kind: ComponentKind) -> Operation {
    let resume = post(
        async move |State(app): Shared, request: RunRequest, headers: HeaderMap, body: Body| {
            app.answer(resume::resume(&app, kind, &request, &headers, body).await)
        },
        "Goes on with the stream of a run in the background",
    );
    resume
        .asks()
        .takes_as(FORMS, "RunResume")
        .answers_as(200, EVENTS, named("Event"))
        .refuses([400, 404, 408, 413, 422])
}

/// An operation that is answered as the start of a run is.
fn started(operation: Operation) -> Operation {
    operation
        .asks()
        .answers(200, named("Run"))
        .answers_as(200, EVENTS, named("Event"))
        .answers(202, named("RunAccepted"))
        .refuses([400, 404, 408, 409, 413, 422])
}

fn key() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

const FORMS: &[&str] = &["application/x-www-form-urlencoded", "multipart/form-data"];

const EVENTS: &str = "text/event-stream";
