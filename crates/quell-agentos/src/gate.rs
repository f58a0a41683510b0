//! Who asks, whether they may, and of what: the checks before every route, in the contract's order.

use std::sync::Arc;
use std::time::SystemTime;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use quell::{RunKind, RunRef};
use quell_flow::{Component, Contract};
use quell_http::{AccessMode, Service, View, same_id};

use crate::gather::session_of;
use crate::options::Options;
use crate::wire::problem::Refusal;
use crate::wire::words::{access_error, words};

/// What the routes serve.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) service: Service,
    pub(crate) options: Options,
    pub(crate) since: SystemTime,
}

/// What a caller does with a component or its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Read,
    Run,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Run => "run",
        }
    }
}

impl Site {
    /// Finds out who asks: 401.
    pub(crate) fn view(&self, headers: &HeaderMap) -> Result<View, Refusal> {
        let access = self.service.access_of();
        let principal = access.check_authorization(headers).map_err(|error| {
            let by_token = access.mode() == AccessMode::Tokens;
            Refusal::new(StatusCode::UNAUTHORIZED, access_error(error, by_token))
        })?;
        Ok(self.service.view(Contract::AgentOs, principal))
    }

    /// Finds out who asks, whether they may, and whether there is such a component: 401, 403, 404.
    pub(crate) fn component(
        &self,
        headers: &HeaderMap,
        kind: RunKind,
        id: &str,
        action: Action,
    ) -> Result<(View, Arc<Component>), Refusal> {
        let (view, words) = (self.view(headers)?, words(kind));
        if !view.principal().has_scope(words.plural, Some(id), action.as_str()) {
            return Err(forbidden(words.plural, action.as_str()));
        }
        let component = view.component(kind, id).map(Arc::clone);
        Ok((view, component.ok_or_else(|| Refusal::not_found(words.no_component))?))
    }

    /// Writes the answer of a handler.
    pub(crate) fn answer(&self, result: Result<Response, Refusal>) -> Response {
        result.unwrap_or_else(|refusal| refusal.answer(self.options.error_codes))
    }
}

/// Refuses for want of a scope.
pub(crate) fn forbidden(resource: &str, action: &str) -> Refusal {
    let detail = format!("Insufficient permissions. Required scope(s): {resource}:{action}");
    Refusal::new(StatusCode::FORBIDDEN, detail)
}

/// Finds a run of a component, in a session if one is named.
pub(crate) fn find(
    view: &View,
    component: &Component,
    id: &str,
    session: Option<&str>,
) -> Option<RunRef> {
    let run = view.run_of(component, id)?;
    session.is_none_or(|session| same_id(&session_of(&run), session)).then_some(run)
}
