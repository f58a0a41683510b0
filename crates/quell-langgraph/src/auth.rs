//! Authentication and permissions: who calls, and whether they may change something.

use axum::http::HeaderMap;
use quell_flow::Contract;
use quell_http::View;

use crate::app::App;
use crate::wire::refusal::Refusal;

impl App {
    /// Sees the service with the eyes of whoever calls.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<View, Refusal> {
        let principal = self.service().access_of().check(headers)?;
        Ok(self.service().view(Contract::LangGraph, principal))
    }

    /// As [`App::caller`], for one who changes something.
    pub(crate) fn writer(&self, headers: &HeaderMap) -> Result<View, Refusal> {
        let view = self.caller(headers)?;
        if view.principal().is_read_only() { Err(Refusal::forbidden()) } else { Ok(view) }
    }
}
