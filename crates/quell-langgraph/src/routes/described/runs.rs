//! The part of the table that is about runs.

use quell_http::described::schema::{list, named, number, text, texts};
use quell_http::described::{delete, get, post};
use serde_json::json;

use crate::routes::create::{Answer, create};
use crate::routes::described::dialect::{Operation, Routes, flag};
use crate::routes::path::{Scope, Stateless, ThreadPath};
use crate::routes::{batch, cancel, join, runs};

/// Adds the runs of threads.
pub(super) fn about_runs(routes: Routes) -> Routes {
    let list_runs = get(runs::list, "Lists the runs of a thread, the newest first")
        .asks()
        .query("limit", number())
        .query("offset", number())
        .query("status", text())
        .query("select", texts())
        .answers(200, list("RunPart"))
        .refuses([404, 422]);
    routes
        .at("/threads/{thread}/runs", [starts::<ThreadPath>(Answer::Run), list_runs])
        .at("/threads/{thread}/runs/stream", [starts::<ThreadPath>(Answer::Stream)])
        .at("/threads/{thread}/runs/wait", [starts::<ThreadPath>(Answer::Wait)])
        .at(
            "/threads/{thread}/runs/{run}",
            [
                get(runs::read, "Shows a run")
                    .asks()
                    .answers(200, named("Run"))
                    .refuses([404, 422]),
                delete(runs::delete, "Deletes a run, and stops it")
                    .asks()
                    .answers_empty(204)
                    .refuses([404, 422]),
            ],
        )
        .at(
            "/threads/{thread}/runs/{run}/join",
            [get(join::join, "Waits for a run")
                .waits()
                .asks()
                .query("cancel_on_disconnect", flag())
                .answers(200, named("FinalBody"))
                .with_headers(200, PLACES)
                .refuses([404, 422])],
        )
        .at(
            "/threads/{thread}/runs/{run}/stream",
            [streams(get(join::stream::<ThreadPath>, "Joins the stream of a run"))],
        )
        .at(
            "/threads/{thread}/runs/{run}/cancel",
            [cancels(post(cancel::one, "Cancels a run"))
                .query("wait", text())
                .query("timeout", text())
                .answers(200, json!({ "type": "object" }))
                .answers_empty(202)
                .with_headers(200, WAITED)
                .with_headers(202, WAITED)],
        )
}

/// Adds the runs without a thread.
pub(super) fn about_stateless_runs(routes: Routes) -> Routes {
    let batch = post(batch::create, "Starts several runs")
        .asks()
        .header("Idempotency-Key", json!({ "type": "string", "minLength": 1 }))
        .takes("RunBatch")
        .answers(200, list("Run"))
        .refuses([400, 404, 409]);
    routes
        .at("/runs", [starts::<Stateless>(Answer::Run)])
        .at("/runs/batch", [batch])
        .at("/runs/stream", [starts::<Stateless>(Answer::Stream)])
        .at("/runs/wait", [starts::<Stateless>(Answer::Wait)])
        .at(
            "/runs/{run}/stream",
            [streams(get(join::stream::<Stateless>, "Joins the stream of a stateless run"))],
        )
        .at(
            "/runs/cancel",
            [cancels(post(cancel::many, "Cancels runs by status or by ids"))
                .header("quell-if-run", text())
                .takes("RunsCancel")
                .answers_empty(204)
                .with_headers(204, ["quell-disposition", "quell-cause"])],
        )
}

/// An operation that makes a run.
fn starts<S: Scope>(answer: Answer) -> Operation {
    let summary = match answer {
        Answer::Run => "Starts a run in the background",
        Answer::Stream => "Starts a run and streams it",
        Answer::Wait => "Starts a run and waits for it",
    };
    let operation = Operation::new("post", create::<S>(answer), summary)
        .asks()
        .header("Idempotency-Key", json!({ "type": "string", "minLength": 1 }))
        .takes("RunCreate")
        .refuses([400, 404, 409]);
    match answer {
        Answer::Run => operation.answers(200, named("Run")).with_headers(200, ["content-location"]),
        Answer::Stream => {
            operation.answers_as(200, EVENTS, named("Event")).with_headers(200, PLACES)
        }
        Answer::Wait => operation.answers(200, named("FinalBody")).with_headers(200, PLACES),
    }
}

/// An operation that joins a stream.
fn streams(operation: Operation) -> Operation {
    operation
        .waits()
        .asks()
        .query("stream_mode", texts())
        .query("cancel_on_disconnect", flag())
        .header("Last-Event-ID", text())
        .answers_as(200, EVENTS, named("Event"))
        .with_headers(200, PLACES)
        .refuses([404, 422])
}

/// An operation that cancels.
fn cancels(operation: Operation) -> Operation {
    operation.asks().query("action", text()).refuses([404, 422])
}

/// Where clients come back to, and the run.
const PLACES: [&str; 2] = ["location", "content-location"];

const EVENTS: &str = "text/event-stream";

const WAITED: [&str; 5] =
    ["quell-disposition", "quell-cause", "quell-quiescent", "location", "content-location"];
