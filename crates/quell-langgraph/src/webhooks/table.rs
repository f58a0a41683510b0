//! [`Webhooks`]: the webhooks of a service that are owed, within bounds for all and for each owner.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use parking_lot::Mutex;
use quell::RunId;
use quell_http::{Charge, Ledger, Overdrawn, ServiceLimits};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::options::Options;
use crate::webhooks::post::Poster;
use crate::webhooks::turns::{Turn, Turns};
use crate::wire::address::Address;
use crate::wire::hosts::Hosts;
use crate::wire::refusal::Refusal;

/// The webhooks of a service.
#[derive(Debug)]
pub(crate) struct Webhooks {
    hosts: Hosts,
    attempts: u32,
    timeout: Duration,
    /// How many are owed: of live runs, and of ended ones whose receiver has not got them.
    owed: Ledger,
    /// The bodies that wait, in bytes.
    bodies: Ledger,
    turns: Turns,
    poster: Poster,
    /// The ended runs whose webhooks this process sends.
    sending: Mutex<HashSet<RunId>>,
    /// Notified when one is left that could not be sent, and when the service is gone.
    pub(crate) left: Arc<Notify>,
}

/// The place of a webhook among those that are owed. Dropped, it gives the place back.
#[derive(Debug)]
#[must_use = "dropped at once, it holds nothing"]
pub(crate) struct Owed {
    _place: Charge,
}

/// The bytes of a body that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    _bytes: Charge,
}

/// Why a receiver has not taken a webhook, without the path and the query of its address.
#[derive(Debug)]
pub(crate) struct Untaken {
    pub(crate) why: String,
    /// It may take it soon.
    pub(crate) is_passing: bool,
}

impl Webhooks {
    pub(crate) fn new(options: &Options, limits: &ServiceLimits) -> Self {
        let share = limits.owner_share_percent;
        let bytes = limits.kept_bytes_max / PARTS_OF_KEPT;
        Self {
            hosts: Hosts::new(&options.webhook_hosts),
            attempts: options.webhook_attempts,
            timeout: options.webhook_timeout,
            owed: Ledger::counting("webhooks", options.webhooks_max, share),
            bodies: Ledger::new("webhooks that wait", bytes, share),
            turns: Turns::default(),
            poster: Poster::default(),
            sending: Mutex::default(),
            left: Arc::default(),
        }
    }

    /// Refuses one that is known now not to be sent.
    pub(crate) fn check(&self, address: &Address) -> Result<(), Refusal> {
        if self.attempts == 0 || self.timeout.is_zero() || self.owed.max() == 0 {
            return Err(Refusal::invalid("webhook: this server sends none"));
        }
        self.hosts.check(address)
    }

    /// Takes a place for one.
    ///
    /// # Errors
    ///
    /// Fails if there are as many as there may be.
    pub(crate) fn owe(&self, owner: Option<&Arc<str>>) -> Result<Owed, Overdrawn> {
        Ok(Owed { _place: self.owed.charge(owner, 1)? })
    }

    /// Takes room for a body.
    ///
    /// # Errors
    ///
    /// Fails if there is none.
    pub(crate) fn hold(
        &self,
        owner: Option<&Arc<str>>,
        bytes: usize,
    ) -> Result<Waiting, Overdrawn> {
        Ok(Waiting { _bytes: self.bodies.charge(owner, bytes)? })
    }

    /// Notes that this process sends that of a run; false if it does already.
    pub(crate) fn begin(&self, run: RunId) -> bool {
        self.sending.lock().insert(run)
    }

    /// Tells whether this process sends that of a run.
    pub(crate) fn is_sending(&self, run: RunId) -> bool {
        self.sending.lock().contains(&run)
    }

    pub(crate) fn end(&self, run: RunId) {
        self.sending.lock().remove(&run);
    }

    /// Tells whether there is a try behind this one.
    pub(crate) fn goes_on_behind(&self, nth: u32) -> bool {
        nth < self.attempts
    }

    /// Waits until a post to a receiver may begin.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn turn(&self, owner: Option<&Arc<str>>, address: &Address) -> Turn {
        self.turns.take(owner, &address.to_string()).await
    }

    /// Posts a body once. The address is looked at again: what is allowed may have changed since it
    /// was given.
    ///
    /// # Errors
    ///
    /// Fails with why it was not taken, and whether it may be soon.
    pub(crate) async fn post(&self, address: &Address, body: &Bytes) -> Result<(), Untaken> {
        let never = |why| Untaken { why, is_passing: false };
        self.check(address).map_err(|refusal| never(refusal.detail.into_owned()))?;
        let post = self.poster.post(address, self.hosts.has(address), body.clone());
        match timeout(self.timeout, post).await {
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) => {
                Err(Untaken { why: format!("answered {status}"), is_passing: is_passing(status) })
            }
            Ok(Err(why)) => Err(Untaken { why, is_passing: true }),
            Err(_) => {
                let time = humantime::format_duration(self.timeout);
                Err(Untaken { why: format!("no answer within {time}"), is_passing: true })
            }
        }
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        // Whoever waits for it ends.
        self.left.notify_one();
    }
}

/// Tells whether an answer may be another one soon.
fn is_passing(status: StatusCode) -> bool {
    let also = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_server_error() || also.contains(&status)
}

/// Yields the pause behind a try that has failed.
pub(crate) fn pause_behind(nth: u32) -> Duration {
    PAUSE.saturating_mul(1_u32.checked_shl(nth - 1).unwrap_or(u32::MAX)).min(PAUSE_MAX)
}

/// The pause behind the first try; each is twice as long as the one before, up to the longest one.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Bodies that wait: this part of what contracts keep, besides it.
const PARTS_OF_KEPT: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let pauses: Vec<_> = (1..8).map(|nth| pause_behind(nth).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pause_behind(u32::MAX), PAUSE_MAX);
        let webhooks = Webhooks::new(&Options::default(), &ServiceLimits::default());
        assert!(webhooks.goes_on_behind(4) && !webhooks.goes_on_behind(5));
    }

    #[test]
    fn one_owner_has_a_share_of_the_places() {
        let options = Options { webhooks_max: 4, ..Options::default() };
        let webhooks = Webhooks::new(&options, &ServiceLimits::default());
        let (ada, ben): (Arc<str>, Arc<str>) = ("ada".into(), "ben".into());
        let held = webhooks.owe(Some(&ada)).unwrap();
        assert!(webhooks.owe(Some(&ada)).is_err() && webhooks.owe(Some(&ben)).is_ok());
        drop(held);
        assert!(webhooks.owe(Some(&ada)).is_ok());
    }

    #[test]
    fn a_server_that_sends_none_refuses_those_that_ask_for_one() {
        for zero in 0..3 {
            let mut options = Options::default();
            match zero {
                0 => options.webhook_attempts = 0,
                1 => options.webhook_timeout = Duration::ZERO,
                _ => options.webhooks_max = 0,
            }
            let webhooks = Webhooks::new(&options, &ServiceLimits::default());
            let refusal = webhooks.check(&Address::read("http://a/").unwrap()).unwrap_err();
            assert_eq!(refusal.detail, "webhook: this server sends none");
        }
    }
}
