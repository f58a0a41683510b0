//! What handlers take of a request besides its headers and its body.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::response::Response;
use quell_http::View;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::auth::Caller;

/// The texts of a path. Those of a path that cannot be decoded are empty, and name nothing.
pub(super) struct PathTexts<T>(pub(super) T);

/// The query of a request.
pub(super) struct Query(Option<String>);

/// A request about a run.
pub(super) struct RunRequest {
    pub(super) view: View,
    pub(super) component: String,
    pub(super) run: String,
    pub(super) query: Query,
}

impl Query {
    /// Yields the last value of a parameter. An empty one counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let pairs = form_urlencoded::parse(self.0.as_deref().unwrap_or_default().as_bytes());
        let found = pairs.filter(|(key, value)| key == name && !value.is_empty()).last();
        found.map(|(_, value)| value.into_owned())
    }
}

impl<T: DeserializeOwned + Default + Send> FromRequestParts<Arc<App>> for PathTexts<T> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let texts = Path::<T>::from_request_parts(parts, app).await;
        Ok(Self(texts.map(|Path(texts)| texts).unwrap_or_default()))
    }
}

impl FromRequestParts<Arc<App>> for RunRequest {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let Caller(view) = Caller::from_request_parts(parts, app).await?;
        let Ok(PathTexts((component, run))) = PathTexts::from_request_parts(parts, app).await;
        let query = Query(parts.uri.query().map(str::to_owned));
        Ok(Self { view, component, run, query })
    }
}
