//! The ids in the path of a request.
//!
//! A path that cannot be decoded names no id, and is refused as any other text that is none.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use uuid::Uuid;

use crate::app::App;
use crate::wire::query::{assistant_id, run_id, thread_id};
use crate::wire::refusal::Refusal;

/// The thread that a path names. Rejects with 422.
pub(super) struct ThreadPath(pub(super) Uuid);

/// A path that names no thread.
pub(super) struct Stateless;

/// The run that a path names, within a scope. Rejects with 422.
pub(super) struct RunPath<S = ThreadPath> {
    scope: S,
    pub(super) run: Uuid,
}

/// The assistant that a path names. Rejects with 422.
pub(super) struct AssistantPath(pub(super) Uuid);

/// Where runs are made and found: in the thread that the path names, or in any.
pub(super) trait Scope: FromRequestParts<App, Rejection = Refusal> + Send + 'static {
    /// Yields the thread, if the path names one.
    fn thread(&self) -> Option<Uuid>;
}

impl Scope for ThreadPath {
    fn thread(&self) -> Option<Uuid> {
        Some(self.0)
    }
}

impl Scope for Stateless {
    fn thread(&self) -> Option<Uuid> {
        None
    }
}

impl<S: Scope> RunPath<S> {
    /// Yields the thread, if the path names one.
    pub(super) fn thread(&self) -> Option<Uuid> {
        self.scope.thread()
    }
}

impl RunPath {
    /// Spells the path of the run.
    pub(super) fn text(&self) -> String {
        format!("/threads/{}/runs/{}", self.scope.0, self.run)
    }
}

impl FromRequestParts<App> for ThreadPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        thread_id(&text(parts, "thread").await).map(Self)
    }
}

impl FromRequestParts<App> for Stateless {
    type Rejection = Refusal;

    async fn from_request_parts(_: &mut Parts, _: &App) -> Result<Self, Refusal> {
        Ok(Self)
    }
}

impl<S: Scope> FromRequestParts<App> for RunPath<S> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let scope = S::from_request_parts(parts, app).await?;
        Ok(Self { scope, run: run_id(&text(parts, "run").await)? })
    }
}

impl FromRequestParts<App> for AssistantPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        assistant_id(&text(parts, "assistant").await).map(Self)
    }
}

/// Yields a part of the path; an empty text, if the path cannot be decoded.
async fn text(parts: &mut Parts, name: &str) -> String {
    let all = RawPathParams::from_request_parts(parts, &()).await;
    let text = all.iter().flatten().find(|(key, _)| *key == name);
    text.map(|(_, text)| text.to_owned()).unwrap_or_default()
}
