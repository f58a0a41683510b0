//! [`document`], and the table of all routes.

use axum::response::IntoResponse as _;
use quell_http::described::schema::{list, named, object};
use quell_http::described::{get, post};
use serde_json::{Value, json};

use crate::options::Options;
use crate::routes::cancel::cancel;
use crate::routes::credentials::{get_sdk_secrets, get_tokens};
use crate::routes::describe::describe;
use crate::routes::described::dialect::{DIALECT, Operation, Routes};
use crate::routes::described::schemas::schemas;
use crate::routes::prefix::path;
use crate::routes::read::{get_result, list_runs, list_teams, list_workflows};
use crate::routes::run::{get_run_id, run_workflow};
use crate::wire::Refusal;

/// Makes the `OpenAPI` document of the contract: every route of [`router`](crate::router), what it
/// takes, and every answer to it. Its paths have the prefixes of the options, and are below that of
/// the router, whose `GET /openapi.json` answers it.
///
/// # Examples
///
/// ```
/// use quell_playbook3d::{Options, document};
///
/// let mut options = Options::default();
/// options.api_prefix = "api".into();
/// let document = document(&options);
/// let path = "/api/cancel/{team_id}/{run_id}";
/// assert!(document["paths"][path]["post"]["responses"]["200"].is_object());
/// ```
pub fn document(options: &Options) -> Value {
    let (_, paths) = table(options).into_parts();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "quell: Playbook3D",
            "description": "The run API of Playbook3D, as quell serves it.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        // Where the document is, wherever the router is nested.
        "servers": [{ "url": "." }],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
                "apiKey": { "type": "apiKey", "in": "header", "name": "x-api-key" },
            },
        },
    })
}

/// Makes the routes of this contract.
pub(in crate::routes) fn table(options: &Options) -> Routes {
    let describe = get(describe, "Describes the API").needs_nobody().answers(200, object());
    let routes = Routes::new(DIALECT)
        .without_v07_checks()
        .refuses_slow_reads(|| Refusal::Internal.into_response())
        .at("/openapi.json", [full(describe)]);
    of_api(of_accounts(routes, &path(&options.accounts_prefix)), &path(&options.api_prefix))
}

/// Adds what the vendor has on its host *accounts*.
fn of_accounts(routes: Routes, prefix: &str) -> Routes {
    let tokens = get(get_tokens, "Makes a token for the holder of a key").needs_nobody();
    let result = get(get_result, "Shows what a run has brought");
    routes
        .at(
            &format!("{prefix}/token-wrapper/get-tokens/{{api_key}}"),
            [full(tokens).answers(200, named("Token")).refuses([401])],
        )
        .at(
            &format!("{prefix}/runs"),
            [lists(get(list_runs, "Lists the runs of the caller's teams"), "Run").refuses([429])],
        )
        .at(
            &format!("{prefix}/runs/{{run_id}}/result"),
            [asks(full(result)).answers(200, named("Result")).refuses([400, 404, 429])],
        )
        .at(
            &format!("{prefix}/teams"),
            [lists(get(list_teams, "Lists the teams of the caller"), "Team")],
        )
        .at(
            &format!("{prefix}/workflows"),
            [lists(get(list_workflows, "Lists workflows, once for each team"), "Workflow")],
        )
}

/// Adds what the vendor has on its host *api*.
fn of_api(routes: Routes, prefix: &str) -> Routes {
    let secrets = get(get_sdk_secrets, "Says URLs, and the key of the platform").needs_nobody();
    let id = get(get_run_id, "Hands out the id of a run to come");
    let cancel = post(cancel, "Cancels a run");
    routes
        .at(
            &format!("{prefix}/get-sdk-secrets/{{api_key}}"),
            [full(secrets).answers(200, named("SdkSecrets")).refuses([400, 401])],
        )
        .at(&format!("{prefix}/get_run_id"), [asks(full(id)).answers(200, named("RunId"))])
        .at(
            &format!("{prefix}/run_workflow/{{team_id}}"),
            [starts("Starts a run with an id of the server")],
        )
        .at(
            &format!("{prefix}/run_workflow/{{team_id}}/{{run_id}}"),
            [starts("Starts a run with the id of the caller")],
        )
        .at(
            &format!("{prefix}/cancel/{{team_id}}/{{run_id}}"),
            [asks(cancel)
                .answers(200, named("CancelAnswer"))
                .with_headers(200, ["quell-disposition", "quell-cause", "quell-quiescent"])
                .answers(404, named("ErrorResponse"))
                .with_headers(404, ["quell-disposition"])
                .refuses([400, 402, 415])],
        )
}

fn starts(summary: &'static str) -> Operation {
    asks(full(post(run_workflow, summary)))
        .header("Idempotency-Key", json!({ "type": "string", "minLength": 1 }))
        .takes_as(&["application/json"], "RunWorkflow")
        .answers(200, named("Queued"))
        .refuses([400, 402, 404, 415, 429])
}

/// An operation that yields a list of what the schema of this name is.
fn lists(operation: Operation, schema: &str) -> Operation {
    asks(full(operation)).answers(200, list(schema))
}

/// It asks for credentials, if any are asked for.
fn asks(operation: Operation) -> Operation {
    operation.refuses([401])
}

/// A server that is full refuses it; a cancel it never does.
fn full(operation: Operation) -> Operation {
    operation.refuses([503])
}
