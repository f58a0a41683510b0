//! [`Caller`]: who asks, as the routes extract it.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use quell_http::View;

use crate::app::App;
use crate::options::CONTRACT;
use crate::wire::Refusal;

/// The service as the caller sees it: the runs of their teams, of all owners. Rejects with 401.
pub(super) struct Caller(pub(super) View);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let principal = app.auth.authenticate(&parts.headers).await?;
        Ok(Self(app.service.view(CONTRACT, principal).by_team()))
    }
}
