//! [`TeamPath`], [`RunPath`] and [`KeyPath`]: the ids in the path of a request, each in the one
//! spelling of the contract, or a key.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use quell_http::PathTexts;
use uuid::Uuid;

use crate::app::App;
use crate::wire::{Refusal, parse_uuid};

pub(super) type Shared = State<Arc<App>>;

/// The team that a path names, and the run if it names one. Rejects with 400.
pub(super) struct TeamPath {
    pub(super) team: Uuid,
    pub(super) run: Option<NamedRun>,
}

/// A run as a path names it.
pub(super) struct NamedRun {
    pub(super) id: Uuid,
    /// The id as the caller spelt it.
    pub(super) text: String,
}

/// The run that a path names, of any team. Rejects with 400.
pub(super) struct RunPath(pub(super) Uuid);

/// The API key in a path. Rejects with 401.
pub(super) struct KeyPath(pub(super) String);

impl FromRequestParts<Arc<App>> for TeamPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Refusal> {
        let Ok(path) = PathTexts::from_request_parts(parts, &()).await;
        let team = parse_uuid(path.get("team_id").unwrap_or_default())?;
        Ok(Self { team, run: path.get("run_id").map(NamedRun::read).transpose()? })
    }
}

impl NamedRun {
    fn read(text: &str) -> Result<Self, Refusal> {
        Ok(Self { id: parse_uuid(text)?, text: text.to_owned() })
    }
}

impl FromRequestParts<Arc<App>> for RunPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Refusal> {
        let Ok(path) = PathTexts::from_request_parts(parts, &()).await;
        parse_uuid(path.get("run_id").unwrap_or_default()).map(Self)
    }
}

impl FromRequestParts<Arc<App>> for KeyPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Refusal> {
        let Ok(path) = PathTexts::from_request_parts(parts, &()).await;
        let key = path.get("api_key").ok_or(Refusal::Unauthorized)?;
        Ok(Self(key.to_owned()))
    }
}
