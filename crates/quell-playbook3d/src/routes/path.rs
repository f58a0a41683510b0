//! What the path of a request names: ids, each in the one spelling of the contract, or a key.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::request::Parts;
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
        let [team, run] = texts(parts, ["team_id", "run_id"]).await.ok_or(Refusal::Malformed)?;
        let team = parse_uuid(&team.unwrap_or_default())?;
        Ok(Self { team, run: run.map(NamedRun::read).transpose()? })
    }
}

impl NamedRun {
    fn read(text: String) -> Result<Self, Refusal> {
        Ok(Self { id: parse_uuid(&text)?, text })
    }
}

impl FromRequestParts<Arc<App>> for RunPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Refusal> {
        let [run] = texts(parts, ["run_id"]).await.ok_or(Refusal::Malformed)?;
        parse_uuid(&run.unwrap_or_default()).map(Self)
    }
}

impl FromRequestParts<Arc<App>> for KeyPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Refusal> {
        let [key] = texts(parts, ["api_key"]).await.ok_or(Refusal::Unauthorized)?;
        key.map(Self).ok_or(Refusal::Unauthorized)
    }
}

/// Yields the texts of a path, each if the route has it; none if the path cannot be decoded.
async fn texts<const N: usize>(parts: &mut Parts, names: [&str; N]) -> Option<[Option<String>; N]> {
    let all = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    let text = |name| all.iter().find(|(key, _)| *key == name).map(|(_, text)| text.to_owned());
    Some(names.map(text))
}
