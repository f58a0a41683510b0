//! Authentication and permissions: the checks before every route, in the contract's order.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use quell::RunKind;
use quell_flow::{Component, Contract};
use quell_http::{Access, AccessMode, Key, Service, View};

use crate::app::App;
use crate::options::Options;
use crate::wire::refusal::Refusal;
use crate::wire::words::{access_error, words};

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

impl App {
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
}

/// Puts the option's static key in the place of the service's keys and tokens; without one, open
/// access trusts the origins of the options.
pub(crate) fn guarded(service: Service, options: &Options) -> Service {
    match options.security_key.as_deref() {
        Some(secret) if !secret.is_empty() => {
            service.access(Access::open().key(Key::new("security-key", secret).admin()))
        }
        _ => {
            let access = service.access_of().clone();
            let access = options.cors_origins.iter().fold(access, Access::trust_origin);
            service.access(access)
        }
    }
}

/// Refuses for want of a scope.
pub(crate) fn forbidden(resource: &str, action: &str) -> Refusal {
    let detail = format!("Insufficient permissions. Required scope(s): {resource}:{action}");
    Refusal::new(StatusCode::FORBIDDEN, detail)
}
