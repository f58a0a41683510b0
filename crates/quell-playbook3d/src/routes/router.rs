//! [`router`]: the routes of the contract.

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use quell_http::{BodyKinds, Service, answer_in_time, catch_panics, guard_open};

use crate::app::App;
use crate::options::Options;
use crate::routes::cancel::cancel;
use crate::routes::credentials::{get_sdk_secrets, get_tokens};
use crate::routes::prefix::path;
use crate::routes::read::{get_result, list_runs, list_teams, list_workflows};
use crate::routes::run::{get_run_id, run_workflow};
use crate::wire::Refusal;

/// Makes the router of the contract. Nest it under a path: other contracts have `/runs`, `/teams`
/// and `/workflows` too, and its fallback answers whatever else is below that path.
pub fn router(service: Service, options: Options) -> Router {
    let (accounts, api) = (path(&options.accounts_prefix), path(&options.api_prefix));
    let at = |prefix: &str, rest: &str| format!("{prefix}{rest}");
    let read = |served| answer_in_time(served, || Refusal::Internal.into_response());
    let app = Router::new()
        .without_v07_checks()
        .route(&at(&accounts, "/token-wrapper/get-tokens/{api_key}"), read(get(get_tokens)))
        .route(&at(&accounts, "/runs"), read(get(list_runs)))
        .route(&at(&accounts, "/runs/{run_id}/result"), read(get(get_result)))
        .route(&at(&accounts, "/teams"), read(get(list_teams)))
        .route(&at(&accounts, "/workflows"), read(get(list_workflows)))
        .route(&at(&api, "/get-sdk-secrets/{api_key}"), read(get(get_sdk_secrets)))
        .route(&at(&api, "/get_run_id"), get(get_run_id))
        .route(&at(&api, "/run_workflow/{team_id}"), post(run_workflow))
        .route(&at(&api, "/run_workflow/{team_id}/{run_id}"), post(run_workflow))
        .route(&at(&api, "/cancel/{team_id}/{run_id}"), post(cancel))
        .fallback(async || Refusal::NotFound)
        .method_not_allowed_fallback(async || Refusal::WrongMethod);
    let app = catch_panics(app, || Refusal::Internal.into_response());
    let app = guard_open(app, &service, BodyKinds::Json);
    app.with_state(Arc::new(App::new(service, options)))
}
