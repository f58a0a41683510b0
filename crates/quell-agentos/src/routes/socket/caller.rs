//! [`Caller`]: who is at the other end of a socket, which says so in a message.

use std::sync::Arc;
use std::time::Duration;

use quell_http::{AccessError, AccessMode, Charge, View};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::app::App;
use crate::options::CONTRACT;
use crate::wire::socket::{auth_error, authenticated, not_authenticated};

/// The other end of a socket.
pub(super) enum Caller {
    /// It has not said who it is.
    Unknown(Patience),
    /// It has.
    Known(Known),
}

/// What a client may do before it has said who it is.
pub(super) struct Patience {
    until: Instant,
    messages: usize,
    bytes: usize,
    _permit: OwnedSemaphorePermit,
}

/// A client that has said who it is.
pub(super) struct Known {
    view: View,
    /// None while access is open.
    token: Option<String>,
    _charge: Charge,
}

impl Caller {
    /// Makes that of open access.
    pub(super) const fn open(view: View, charge: Charge) -> Self {
        Self::Known(Known { view, token: None, _charge: charge })
    }

    /// Makes one that has a short time to say who it is.
    pub(super) fn unknown(permit: OwnedSemaphorePermit) -> Self {
        let until = Instant::now() + SAYS_WITHIN;
        let (messages, bytes) = (MESSAGES_BEFORE, BYTES_BEFORE);
        Self::Unknown(Patience { until, messages, bytes, _permit: permit })
    }

    /// Yields until when a client has to say who it is; none if it has.
    pub(super) const fn says_until(&self) -> Option<Instant> {
        match self {
            Self::Unknown(patience) => Some(patience.until),
            Self::Known(_) => None,
        }
    }

    /// Counts a message; false if it is one too many, or too long, for who is not known.
    pub(super) fn may_send(&mut self, bytes: usize) -> bool {
        let Self::Unknown(patience) = self else { return true };
        let left = (patience.messages.checked_sub(1), patience.bytes.checked_sub(bytes));
        let (Some(messages), Some(bytes)) = left else { return false };
        (patience.messages, patience.bytes) = (messages, bytes);
        true
    }

    /// Yields the service as the client saw it when it said who it is; none if it has not.
    pub(super) const fn known(&self) -> Option<&View> {
        match self {
            Self::Known(known) => Some(&known.view),
            Self::Unknown(_) => None,
        }
    }

    /// Yields the name under which the client has said who it is; none if it has not, or has none.
    pub(super) fn subject(&self) -> Option<Arc<str>> {
        self.known()?.principal().owner().cloned()
    }

    /// Yields the service as the client sees it by now: a token may have expired since it came.
    /// None if it has not said who it is.
    pub(super) fn view(&self, app: &App) -> Result<Option<View>, AccessError> {
        let Self::Known(Known { view, token, .. }) = self else { return Ok(None) };
        let Some(token) = token else { return Ok(Some(view.clone())) };
        let principal = app.service.access_of().check_bearer(token)?;
        Ok(Some(app.service.view(CONTRACT, principal)))
    }

    /// Takes a token, and yields the answer. If it is not good the client is who it was before.
    pub(super) fn authenticate(&mut self, app: &App, token: Option<&str>) -> Value {
        let Some(token) = token.map(str::trim).filter(|token| !token.is_empty()) else {
            return not_authenticated("Token is required");
        };
        let (access, by_token) = (app.service.access_of(), is_by_token(app));
        let principal = match access.check_bearer(token) {
            Ok(principal) => principal,
            Err(error) => return auth_error(error, by_token),
        };
        let said = authenticated(by_token, principal.subject());
        if access.is_open() {
            return said;
        }
        let view = app.service.view(CONTRACT, principal);
        match view.charge_stream() {
            Err(error) => not_authenticated(&error.to_string()),
            Ok(charge) => {
                let token = Some(token.to_owned());
                *self = Self::Known(Known { view, token, _charge: charge });
                said
            }
        }
    }
}

/// Tells whether tokens are asked for, and not keys alone.
pub(super) fn is_by_token(app: &App) -> bool {
    app.service.access_of().mode() == AccessMode::Tokens
}

/// How long a client may take to say who it is; as upstream's.
const SAYS_WITHIN: Duration = Duration::from_secs(10);

/// How much it may send until then.
const MESSAGES_BEFORE: usize = 16;
const BYTES_BEFORE: usize = 64 << 10;
