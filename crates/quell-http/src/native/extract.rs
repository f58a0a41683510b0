//! [`Caller`], [`RunPath`], [`NoQuery`] and [`json_body`]: extract the parts of a request; each
//! rejects with a problem document.

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use quell::RunId;
use utoipa::IntoParams;

use crate::body::Upload;
use crate::ids::{BadId, parse_id};
use crate::native::query::no_parameters;
use crate::open_access::{is_json, not_json};
use crate::path_texts::PathTexts;
use crate::problem::Problem;
use crate::service::{NATIVE, Service, View};

/// The service as the caller sees it. Rejects with 401.
pub(crate) struct Caller(pub(crate) View);

/// The id of the run that a path names. Rejects with 422.
#[derive(IntoParams)]
#[into_params(names("id"), parameter_in = Path)]
pub(crate) struct RunPath(
    /// The id of a run
    #[param(value_type = String, min_length = 1, max_length = 128,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$")]
    pub(crate) RunId,
);

impl FromRequestParts<Service> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Problem> {
        let principal = service.access_of().check(&parts.headers)?;
        Ok(Self(service.view(NATIVE, principal)))
    }
}

impl FromRequestParts<Service> for RunPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Problem> {
        let Ok(path) = PathTexts::from_request_parts(parts, service).await;
        // A path of its own, which may be that of a run as well.
        let is_cancel = parts.uri.path().ends_with("/cancel");
        let named = path.get("id").or(is_cancel.then_some("cancel"));
        Ok(Self(parse_id(named.ok_or(BadId)?)?))
    }
}

/// The query of a path that takes no parameters. Rejects every parameter with 422, before anything
/// is done: what somebody has asked for, as a preview, must not be ignored.
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::get};
/// use quell_http::NoQuery;
///
/// let app: Router = Router::new().route("/size", get(async |_: NoQuery| "3"));
/// # drop(app);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct NoQuery;

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        no_parameters(&parts.method, parts.uri.query())?;
        Ok(Self)
    }
}

/// Reads a body that has to be JSON, and parses it.
pub(crate) async fn json_body<T: Send + 'static>(
    view: &View,
    headers: &HeaderMap,
    body: Body,
    parse: impl FnOnce(&Bytes) -> Result<T, Problem> + Send + 'static,
) -> Result<(T, Upload), Problem> {
    // A page of another origin cannot send this content type without a preflight, so it cannot
    // start runs on a server of loopback.
    let is_json = is_json(headers);
    view.parse_body(headers, body, |text| async move {
        if text.is_empty() || is_json { parse(&text) } else { Err(not_json()) }
    })
    .await
}
