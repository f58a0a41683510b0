//! The part of the table that is about what this server keeps none of.

use axum::extract::State;
use axum::routing::{MethodFilter, on};
use quell_http::PathTexts;
use quell_http::described::schema::{list_of, named, object, text};
use quell_http::described::{get, post};
use serde_json::{Value, json};

use crate::routes::caller::Caller;
use crate::routes::described::dialect::{Operation, Routes, Shared};
use crate::routes::extract::Query;
use crate::routes::nothing;
use crate::wire::nothing::{metrics, of_knowledge, refresh};

/// Adds memories, knowledge, evaluation runs, traces, and the metrics of each day.
pub(super) fn about_nothing(routes: Routes) -> Routes {
    let routes = about_evals(about_knowledge(about_memories(routes)));
    let status = same("metrics", refresh).answers(200, named("MetricsRefresh"));
    let again = post(
        async |State(app): Shared, Caller(view): Caller| {
            app.answer(nothing::same(&view, ("metrics", "write"), json!([])))
        },
        NONE,
    );
    about_traces(routes)
        .at("/metrics/refresh", [again.refuses([401]).answers(200, list_of(object()))])
        .at("/metrics/refresh/status", [status])
}

/// Adds `/metrics`, which other contracts have as well.
pub(super) fn about_metrics(routes: Routes) -> Routes {
    let metrics = same("metrics", metrics).answers(200, named("Metrics"));
    let unread = ["starting_date", "ending_date", "user_id", "db_id", "table"];
    let metrics = unread.into_iter().fold(metrics, |it, name| it.query(name, text()));
    routes.at("/metrics", [metrics])
}

fn about_memories(routes: Routes) -> Routes {
    let topics = same("memories", || json!([])).answers(200, list_of(text()));
    routes
        .at("/memories", [pages("memories"), adds("memories"), removes("memories")])
        .at(
            "/memories/{memory}",
            [
                absent("memories", |path| format!("Memory with ID {} not found", id(path))),
                changes("memories"),
                removes("memories"),
            ],
        )
        .at("/memory_topics", [topics])
        .at("/user_memory_stats", [pages("memories")])
        .at("/optimize-memories", [adds("memories")])
}

fn about_knowledge(routes: Routes) -> Routes {
    let unknown = |path: &PathTexts| format!("Content not found: {}", id(path));
    let config = same("knowledge", of_knowledge).answers(200, object());
    routes
        .at("/knowledge/content", [pages("knowledge"), adds("knowledge"), removes("knowledge")])
        .at(
            "/knowledge/content/{content}",
            [absent("knowledge", unknown), changes("knowledge"), removes("knowledge")],
        )
        .at("/knowledge/content/{content}/status", [absent("knowledge", unknown)])
        .at("/knowledge/config", [config])
        .at("/knowledge/search", [finds("knowledge")])
}

fn about_evals(routes: Routes) -> Routes {
    let unknown = |path: &PathTexts| format!("Eval run with id '{}' not found", id(path));
    routes
        .at("/eval-runs", [pages("evals"), adds("evals"), removes("evals")])
        .at("/eval-runs/{eval_run}", [absent("evals", unknown), changes("evals")])
}

fn about_traces(routes: Routes) -> Routes {
    routes
        .at("/traces", [pages("traces")])
        .at("/traces/{trace}", [absent("traces", |_| "Trace not found".to_owned())])
        .at("/traces/search", [finds("traces")])
        .at("/trace_session_stats", [pages("traces")])
}

/// A list of which there are no rows.
fn pages(resource: &'static str) -> Operation {
    let page = get(
        async move |State(app): Shared, Caller(view): Caller, query: Query| {
            app.answer(nothing::page(&view, resource, &query))
        },
        NONE,
    );
    let from = |least: u64| json!({ "type": "integer", "minimum": least });
    page.query("limit", from(1))
        .query("page", from(0))
        .answers(200, named("NoRows"))
        .refuses([401, 422])
}

/// A search, whose body is not read: nothing is found.
fn finds(resource: &'static str) -> Operation {
    let page = post(
        async move |State(app): Shared, Caller(view): Caller, query: Query| {
            app.answer(nothing::page(&view, resource, &query))
        },
        NONE,
    );
    page.answers(200, named("NoRows")).refuses([401, 422])
}

/// What is always the same.
fn same(resource: &'static str, body: fn() -> Value) -> Operation {
    let same = get(
        async move |State(app): Shared, Caller(view): Caller| {
            app.answer(nothing::same(&view, (resource, "read"), body()))
        },
        NONE,
    );
    same.refuses([401])
}

fn absent(resource: &'static str, detail: fn(&PathTexts) -> String) -> Operation {
    let one = get(
        async move |State(app): Shared, Caller(view): Caller, path: PathTexts| {
            app.answer(nothing::absent(&view, resource, &detail(&path)))
        },
        NONE,
    );
    one.refuses([401, 404])
}

fn adds(resource: &'static str) -> Operation {
    refused(("post", MethodFilter::POST), resource, "write")
}

fn changes(resource: &'static str) -> Operation {
    refused(("patch", MethodFilter::PATCH), resource, "write")
}

fn removes(resource: &'static str) -> Operation {
    refused(("delete", MethodFilter::DELETE), resource, "delete")
}

/// What is refused, whatever its body.
fn refused(
    (method, filter): (&'static str, MethodFilter),
    resource: &'static str,
    action: &'static str,
) -> Operation {
    let handler = async move |State(app): Shared, Caller(view): Caller| {
        app.answer(nothing::refused(&view, resource, action))
    };
    let summary = "Is refused: this server keeps none";
    Operation::new(method, on(filter, handler), summary).refuses([400, 401])
}

/// Yields the id in a path; that of one that cannot be decoded is empty.
fn id(path: &PathTexts) -> &str {
    let names = ["memory", "content", "eval_run"];
    names.into_iter().find_map(|name| path.get(name)).unwrap_or_default()
}

const NONE: &str = "Says what there is of this: nothing";
