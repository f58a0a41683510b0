//! Authentication and permissions: what a caller may see, and whether they may change something.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use quell_flow::Contract;
use quell_http::View;

use crate::app::App;
use crate::wire::refusal::Refusal;

/// What the caller may see. Rejects with 401.
pub(crate) struct Caller(pub(crate) View);

/// What a caller may see who may also change something. Rejects with 401 or 403.
pub(crate) struct Writer(pub(crate) View);

impl FromRequestParts<App> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let principal = app.service().access_of().check(&parts.headers)?;
        Ok(Self(app.service().view(Contract::LangGraph, principal)))
    }
}

impl FromRequestParts<App> for Writer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let Caller(view) = Caller::from_request_parts(parts, app).await?;
        if view.principal().is_read_only() { Err(Refusal::forbidden()) } else { Ok(Self(view)) }
    }
}
