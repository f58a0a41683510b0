//! [`Caller`]: authentication, in the form of the contract.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use quell_http::{AccessMode, View};

use crate::app::App;
use crate::options::CONTRACT;
use crate::wire::refusal::{Refusal, access_error};

/// The service as the caller sees it. Rejects with 401.
pub(super) struct Caller(pub(super) View);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let access = app.service.access_of();
        match access.check_authorization(&parts.headers) {
            Ok(principal) => Ok(Self(app.service.view(CONTRACT, principal))),
            Err(error) => {
                let by_token = access.mode() == AccessMode::Tokens;
                let text = access_error(error, by_token);
                Err(app.refuse(Refusal::new(StatusCode::UNAUTHORIZED, text)))
            }
        }
    }
}
