//! The description of the native API, made from the code.

use utoipa::OpenApi;

use crate::native::routes;

/// The native API as `OpenAPI` describes it.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "quell",
        description = "Runs of agents, teams and workflows that stop when told, on time, and say \
            what stopped."
    ),
    paths(
        routes::start_run, routes::list_runs, routes::get_run, routes::stream_run,
        routes::cancel_run, routes::health, routes::ready,
    ),
    tags(
        (name = "runs", description = "Start, watch and cancel runs"),
        (name = "server", description = "The server itself"),
    )
)]
pub(crate) struct Document;

/// Writes the description as JSON.
pub(crate) fn json() -> String {
    Document::openapi().to_json().unwrap_or_else(|_| "{}".into())
}
