//! [`router`]: the routes of the contract.

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use quell_http::{BodyKinds, Service, catch_panics, guard_open};

use crate::app::App;
use crate::options::Options;
use crate::routes::described::table;
use crate::wire::Refusal;

/// Makes the router of the contract. Nest it under a path: other contracts have `/runs`, `/teams`
/// and `/workflows` too, and its fallback answers whatever else is below that path.
pub fn router(service: Service, options: Options) -> Router {
    let (app, _) = table(&options).into_parts();
    let app = app
        .fallback(async || Refusal::NotFound)
        .method_not_allowed_fallback(async || Refusal::WrongMethod);
    let app = catch_panics(app, || Refusal::Internal.into_response());
    let app = guard_open(app, &service, BodyKinds::Json);
    app.with_state(Arc::new(App::new(service, options)))
}
