//! [`component`] and [`guarded`]: who may do what, and who is let in.

use std::sync::Arc;

use quell_flow::{Component, ComponentKind};
use quell_http::{Access, Key, Service, View};

use crate::options::Options;
use crate::wire::kinds::names_of;
use crate::wire::refusal::Refusal;

/// What a caller does with a component or its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Read,
    Run,
}

impl Action {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Run => "run",
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
        return Err(Refusal::forbidden(names.plural, action.as_str()));
    }
    let component = view.component(kind, id).map(Arc::clone);
    component.ok_or_else(|| Refusal::not_found(names.no_component))
}

/// Refuses a caller who may not do something with all that there is of a kind.
///
/// # Errors
///
/// Fails with 403.
pub(crate) fn may(view: &View, resource: &str, action: &str) -> Result<(), Refusal> {
    let may = view.principal().has_scope(resource, None, action);
    if may { Ok(()) } else { Err(Refusal::forbidden(resource, action)) }
}

/// Replaces the service's keys and tokens by the option's static key; open access, and web sockets,
/// trust the origins of the options.
pub(crate) fn guarded(service: Service, options: &Options) -> Service {
    let access = match options.security_key.as_deref() {
        Some(secret) if !secret.is_empty() => {
            Access::open().key(Key::new("security-key", secret).admin())
        }
        _ => service.access_of().clone(),
    };
    let access = options.cors_origins.iter().fold(access, Access::trust_origin);
    service.access(access)
}
