//! [`Caller`] and [`component`]: authentication and permissions, in the order of the contract.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use quell_flow::{Component, ComponentKind};
use quell_http::{Access, AccessMode, Key, Service, View};

use crate::app::App;
use crate::options::CONTRACT;
use crate::options::Options;
use crate::wire::kinds::names_of;
use crate::wire::refusal::{Refusal, access_error};

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

/// The service as the caller sees it. Rejects with 401.
pub(crate) struct Caller(pub(crate) View);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let access = app.service.access_of();
        match access.check_authorization(&parts.headers) {
            Ok(principal) => Ok(Self(app.service.view(CONTRACT, principal))),
            Err(error) => {
                let by_token = access.mode() == AccessMode::Tokens;
                let text = access_error(error, by_token);
                Err(app.refuse(Refusal::new(StatusCode::UNAUTHORIZED, text)))
            }
        }
    }
}

/// Finds a component with which the caller may do something.
///
/// # Errors
///
/// Fails with 403, and then with 404.
pub(crate) fn component(
    view: &View,
    kind: ComponentKind,
    id: &str,
    action: Action,
) -> Result<Arc<Component>, Refusal> {
    let names = names_of(kind);
    if !view.principal().has_scope(names.plural, Some(id), action.as_str()) {
        return Err(forbidden(names.plural, action.as_str()));
    }
    let component = view.component(kind, id).map(Arc::clone);
    component.ok_or_else(|| Refusal::not_found(names.no_component))
}

/// Replaces the service's keys and tokens by the option's static key; without one, open
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

/// Refuses a caller who lacks a scope.
pub(crate) fn forbidden(resource: &str, action: &str) -> Refusal {
    let detail = format!("Insufficient permissions. Required scope(s): {resource}:{action}");
    Refusal::new(StatusCode::FORBIDDEN, detail)
}
