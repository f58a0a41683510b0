//! [`ThreadPath`], [`RunPath`] and others: the ids in the path of a request.
//!
//! A path that cannot be decoded is refused like any other text that is not an id.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use quell_http::PathTexts;
use uuid::Uuid;

use crate::app::App;
use crate::wire::query::{assistant_id, checkpoint_id, cron_id, run_id, thread_id};
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

/// The state of a thread that a path names. Rejects with 422.
pub(super) struct CheckpointPath {
    pub(super) thread: Uuid,
    pub(super) checkpoint: Uuid,
}

/// The assistant that a path names. Rejects with 422.
pub(super) struct AssistantPath(pub(super) Uuid);

/// The cron that a path names. Rejects with 422.
pub(super) struct CronPath(pub(super) Uuid);

/// The graph that a path names, by its id or by that of an assistant.
pub(super) struct GraphPath(pub(super) String);

/// A part of the graph that a path names.
pub(super) struct SubgraphPath {
    pub(super) graph: String,
    pub(super) name: String,
}

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

    /// Spells the path of the run, as the scope names it.
    pub(super) fn text(&self) -> String {
        match self.scope.thread() {
            Some(thread) => format!("/threads/{thread}/runs/{}", self.run),
            None => format!("/runs/{}", self.run),
        }
    }
}

impl RunPath {
    pub(super) const fn within(&self) -> Uuid {
        self.scope.0
    }
}

impl FromRequestParts<App> for ThreadPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        id(parts, "thread", thread_id).await.map(Self)
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
        Ok(Self { scope, run: id(parts, "run", run_id).await? })
    }
}

impl FromRequestParts<App> for CheckpointPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        let thread = id(parts, "thread", thread_id).await?;
        Ok(Self { thread, checkpoint: id(parts, "checkpoint", checkpoint_id).await? })
    }
}

impl FromRequestParts<App> for AssistantPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        id(parts, "assistant", assistant_id).await.map(Self)
    }
}

impl FromRequestParts<App> for CronPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        id(parts, "cron", cron_id).await.map(Self)
    }
}

impl FromRequestParts<App> for GraphPath {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Infallible> {
        text(parts, "assistant").await.map(Self)
    }
}

impl FromRequestParts<App> for SubgraphPath {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Infallible> {
        Ok(Self { graph: text(parts, "assistant").await?, name: text(parts, "name").await? })
    }
}

/// Reads an id of the path. A path that cannot be decoded names an empty text, which is none.
async fn id(
    parts: &mut Parts,
    name: &str,
    read: fn(&str) -> Result<Uuid, Refusal>,
) -> Result<Uuid, Refusal> {
    let Ok(text) = text(parts, name).await;
    read(&text)
}

/// Reads a text of the path. One that cannot be decoded is empty.
async fn text(parts: &mut Parts, name: &str) -> Result<String, Infallible> {
    let path = PathTexts::from_request_parts(parts, &()).await?;
    Ok(path.get(name).unwrap_or_default().to_owned())
}
