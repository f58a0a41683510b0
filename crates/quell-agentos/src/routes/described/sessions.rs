//! The part of the table that is about sessions.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use quell_http::described::schema::{list, named, text};
use quell_http::described::{delete, get, post};
use serde_json::{Value, json};

use crate::routes::described::dialect::{Operation, Routes, Shared};
use crate::routes::extract::SessionRequest;
use crate::routes::{session_runs, sessions};

/// Adds the sessions.
pub(super) fn about_sessions(routes: Routes) -> Routes {
    let show = get(
        async |State(app): Shared, request: SessionRequest| {
            app.answer(sessions::read(&app, &request).await)
        },
        "Shows a session",
    );
    let remove = delete(
        async |State(app): Shared, request: SessionRequest| {
            app.answer(sessions::remove(&app, &request.view, vec![request.session]).await)
        },
        "Deletes a session, and stops its runs",
    );
    let rename = post(
        async |State(app): Shared, request: SessionRequest, head: HeaderMap, body: Body| {
            app.answer(sessions::rename(&app, &request, &head, body).await)
        },
        "Gives a session another name",
    );
    let rename = of_kind(rename).takes_as(JSON, "SessionRename");
    about_runs(
        routes
            .at("/sessions", [lists(), removes_many()])
            .at(
                "/sessions/{session}",
                [
                    of_kind(show).answers(200, named("Session")).refuses([404, 422]),
                    of_kind(remove).answers_empty(204),
                ],
            )
            .at(
                "/sessions/{session}/rename",
                [rename.answers(200, named("Session")).refuses([400, 404, 408, 413, 422])],
            ),
    )
}

fn lists() -> Operation {
    let all = get(
        async |State(app): Shared, request: SessionRequest| {
            app.answer(sessions::list(&app, &request).await)
        },
        "Lists sessions",
    );
    of_kind(all)
        .query("component_id", text())
        .query("session_name", text())
        .query("limit", from(1))
        .query("page", from(0))
        .query("sort_by", text())
        .query("sort_order", json!({ "enum": ["asc", "desc"] }))
        .answers(200, named("Sessions"))
        .refuses([422])
}

fn removes_many() -> Operation {
    let many = delete(
        async |State(app): Shared, request: SessionRequest, head: HeaderMap, body: Body| {
            app.answer(sessions::remove_many(&app, &request, &head, body).await)
        },
        "Deletes sessions, and stops their runs",
    );
    unread(many.asks())
        .takes_as(JSON, "SessionsDelete")
        .answers_empty(204)
        .refuses([400, 408, 413, 422])
}

fn about_runs(routes: Routes) -> Routes {
    let all = get(
        async |State(app): Shared, request: SessionRequest| {
            app.answer(session_runs::of_session(&app, &request).await)
        },
        "Lists the runs of a session",
    );
    let previews = get(
        async |State(app): Shared, request: SessionRequest| {
            app.answer(session_runs::previews(&app, &request).await)
        },
        "Lists the runs of a session in short",
    );
    let one = get(
        async |State(app): Shared, request: SessionRequest| {
            app.answer(session_runs::one(&app, &request).await)
        },
        "Shows a run of a session",
    );
    routes
        .at("/sessions/{session}/runs", [of_runs(all).answers(200, list("SessionRun"))])
        .at(
            "/sessions/{session}/run-previews",
            [of_runs(previews).answers(200, list("SessionRunPreview"))],
        )
        .at(
            "/sessions/{session}/runs/{run}",
            [of_kind(one).answers(200, named("SessionRun")).refuses([404, 422])],
        )
}

/// An operation of those runs of a session that are meant.
fn of_runs(operation: Operation) -> Operation {
    let seconds = || json!({ "type": "integer" });
    of_kind(operation)
        .query("status", json!({ "type": "array", "items": text() }))
        .query("created_after", seconds())
        .query("created_before", seconds())
        .query("limit", from(1))
        .query("page", from(0))
        .refuses([400, 404, 422])
}

/// An operation of sessions of one kind, or of all.
fn of_kind(operation: Operation) -> Operation {
    unread(operation.asks().query("type", json!({ "enum": ["agent", "team", "workflow"] })))
}

/// Parameters that upstream's clients send, and that say nothing here.
fn unread(operation: Operation) -> Operation {
    ["user_id", "db_id", "table"].into_iter().fold(operation, |it, name| it.query(name, text()))
}

pub(super) fn from(least: u64) -> Value {
    json!({ "type": "integer", "minimum": least })
}

const JSON: &[&str] = &["application/json"];
