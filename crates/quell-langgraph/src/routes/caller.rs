//! [`Caller`] and [`Writer`]: authentication, and the right to change something.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use quell_http::View;

use crate::app::App;
use crate::options::CONTRACT;
use crate::wire::refusal::Refusal;

/// The service as the caller sees it. Rejects with 401.
pub(super) struct Caller(pub(super) View);

/// As [`Caller`], for a caller with the right to change something. Rejects with 401 or 403.
pub(super) struct Writer(pub(super) View);

impl FromRequestParts<App> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let principal = app.service().access_of().check(&parts.headers)?;
        app.start_tasks();
        Ok(Self(app.service().view(CONTRACT, principal)))
    }
}

impl FromRequestParts<App> for Writer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let Caller(view) = Caller::from_request_parts(parts, app).await?;
        if view.principal().is_read_only() {
            return Err(Refusal::forbidden(view.principal().lack_to_run(None)));
        }
        Ok(Self(view))
    }
}
