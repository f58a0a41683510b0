//! [`Traces`], of a binary that was built without the feature `otel`: there are none.

use std::future::{Ready, ready};

use axum::http::HeaderMap;
use tracing_subscriber::layer::Identity;

use super::endpoint::endpoint;
use crate::signals::Signals;

/// No spans are exported.
#[derive(Debug)]
pub(crate) struct Traces(());

impl Traces {
    pub(crate) fn open() -> (Self, Option<Identity>) {
        (Self(()), None)
    }

    /// Yields what should be otherwise, if the environment asks for spans.
    pub(crate) fn warning(&self) -> Option<String> {
        let Self(()) = self;
        let key = endpoint()?;
        Some(format!(
            "{key} is set, but this quell was built without OpenTelemetry: no span is exported; \
             `cargo install quell-server --features otel` builds one that exports them"
        ))
    }

    /// Does nothing.
    pub(crate) fn close(&self, _: &mut Signals, _: u32) -> Ready<()> {
        let Self(()) = self;
        ready(())
    }
}

/// The trace that a request belongs to, of which nobody hears.
pub(crate) struct Trace(());

impl Trace {
    pub(crate) const fn of(_: &HeaderMap) -> Self {
        Self(())
    }

    /// Answers the request.
    pub(crate) fn within<F: Future>(self, answer: F) -> F {
        let Self(()) = self;
        answer
    }
}
