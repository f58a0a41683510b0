//! [`ComponentPath`], [`RunRequest`] and [`SessionRequest`]: what handlers take of a request
//! besides headers and body.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Response;
use quell_http::{PathTexts, View};

use crate::app::App;
use crate::routes::caller::Caller;

/// The component that a path names. That of a path that cannot be decoded is empty, and names none.
pub(super) struct ComponentPath(pub(super) String);

/// The query of a request.
pub(super) struct Query(Option<String>);

/// A request about a run.
pub(super) struct RunRequest {
    pub(super) view: View,
    pub(super) component: String,
    pub(super) run: String,
    pub(super) query: Query,
}

/// A request about sessions. What its path does not name is empty.
pub(super) struct SessionRequest {
    pub(super) view: View,
    pub(super) session: String,
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

    /// Yields all values of a parameter that are not empty.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = String> {
        let pairs = form_urlencoded::parse(self.0.as_deref().unwrap_or_default().as_bytes());
        let found = pairs.filter(move |(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.into_owned())
    }
}

impl FromRequestParts<Arc<App>> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Infallible> {
        Ok(Self(parts.uri.query().map(str::to_owned)))
    }
}

impl FromRequestParts<Arc<App>> for ComponentPath {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Infallible> {
        let path = PathTexts::from_request_parts(parts, &()).await?;
        Ok(Self(text(&path, "id")))
    }
}

impl FromRequestParts<Arc<App>> for RunRequest {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let Caller(view) = Caller::from_request_parts(parts, app).await?;
        let Ok(path) = PathTexts::from_request_parts(parts, &()).await;
        let Ok(query) = Query::from_request_parts(parts, app).await;
        Ok(Self { view, component: text(&path, "id"), run: text(&path, "run"), query })
    }
}

impl FromRequestParts<Arc<App>> for SessionRequest {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let Caller(view) = Caller::from_request_parts(parts, app).await?;
        let Ok(path) = PathTexts::from_request_parts(parts, &()).await;
        let Ok(query) = Query::from_request_parts(parts, app).await;
        Ok(Self { view, session: text(&path, "session"), run: text(&path, "run"), query })
    }
}

fn text(path: &PathTexts, name: &str) -> String {
    path.get(name).unwrap_or_default().to_owned()
}
