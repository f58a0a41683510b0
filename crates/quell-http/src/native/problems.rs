//! The problems that several routes answer.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use quell_flow::ComponentKind;
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema as _};

use crate::problem::Problem;
use crate::run_view::RunView;
use crate::service::{NotDone, View};

/// The media type of a problem.
pub(super) const PROBLEM: &str = "application/problem+json";

/// What refuses every request with a JSON body, for the `OpenAPI` description.
pub(super) struct RefusedBody;

impl IntoResponses for RefusedBody {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let refusals = [
            (400, "Not JSON"),
            (401, "Nobody"),
            (403, "Not allowed"),
            (408, "A slow body"),
            (413, "Over 16 MiB"),
            (415, "Not JSON by name"),
            (422, "Another shape"),
        ];
        described(refusals)
    }
}

/// What refuses every request for a part of what a run has, for the `OpenAPI` description.
pub(super) struct RefusedPart;

impl IntoResponses for RefusedPart {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        described([
            (401, "Nobody"),
            (403, "Not allowed"),
            (404, "No such run"),
            (422, "Bad parameter"),
            (429, "No room for a large answer"),
            (503, "The store cannot be read"),
        ])
    }
}

fn described<const N: usize>(refusals: [(u16, &str); N]) -> BTreeMap<String, RefOr<Response>> {
    let problem = || Content::new(Some(Ref::from_schema_name(Problem::name())));
    let refused = refusals.map(|(status, description)| {
        let response = ResponseBuilder::new().description(description);
        (status.to_string(), response.content(PROBLEM, problem()).build().into())
    });
    refused.into()
}

pub(crate) fn unknown_run() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown-run", "there is no such run")
}

/// Names a component that is not there, and guesses which one is meant: among those that the caller
/// may start, so that nobody learns of others.
pub(super) fn unknown_component(view: &View, kind: ComponentKind, id: &str) -> Problem {
    let known = view.components().filter(|component| view.principal().may_run(component));
    let name = format!("{kind}/{id}");
    let words = quell_flow::unknown_component(known, &name, &name);
    Problem::new(StatusCode::NOT_FOUND, "unknown-component", words)
}

/// Says why a run was not changed.
pub(super) fn not_done<E: std::error::Error>(
    view: &View,
    run: &RunView,
    error: NotDone<E>,
    refused: impl FnOnce(E) -> Problem,
) -> Problem {
    match error {
        NotDone::Unknown => unknown_run(),
        NotDone::NotDecided { .. } => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-decided", error.to_string())
        }
        NotDone::NotKnown { .. } => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-known", error.to_string())
        }
        NotDone::Forbidden => forbidden(view.lack_to_stop(run)),
        NotDone::NoAnswer(error) => {
            let detail = format!("the {error}, and it still does");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no-answer", detail)
        }
        NotDone::Refused(error) => refused(error),
    }
}

/// Refuses a caller, and says what they lack.
pub(crate) fn forbidden(lack: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", lack)
}

pub(crate) fn unreadable(header: &str) -> Problem {
    let detail = format!("header {header} is not readable text");
    Problem::new(StatusCode::BAD_REQUEST, "bad-header", detail)
}
