//! [`Renewal`]: reads again, at SIGHUP, what says who is let in.

use std::convert::Infallible;
use std::sync::Arc;

use quell_flow::PlanError;
use quell_http::Access;
use tokio::sync::Notify;

use super::log::Log;
use super::published::Published;
use crate::config::Source;

/// What is read again, and who has it.
pub(super) struct Renewal {
    /// Told of each signal.
    pub(super) asked: Arc<Notify>,
    pub(super) source: Source,
    pub(super) access: Access,
    pub(super) published: Published,
}

impl Renewal {
    /// Reads again whenever that is asked for. What cannot be read leaves all as it was.
    ///
    /// # Cancel safety
    ///
    /// Dropped, what was asked for last may not be done.
    pub(super) async fn at_signals(&self, log: &Log) -> Infallible {
        loop {
            self.asked.notified().await;
            match self.read().await {
                Ok((keys, issuers)) => log.say(&format!(
                    "SIGHUP: keys were read again; from now on callers have {}",
                    counted(keys, issuers)
                )),
                Err(faults) => log.say(&format!(
                    "SIGHUP: keys stay as they were, since these are wrong:\n{}",
                    faults.join("\n")
                )),
            }
        }
    }

    /// Reads keys and tokens, and yields how many there are.
    async fn read(&self) -> Result<(usize, usize), Vec<String>> {
        let (source, known) = (self.source.clone(), self.published.known());
        // Files may be on a disk that is slow.
        let read = tokio::task::spawn_blocking(move || source.trusted(&known)).await;
        let read = read.map_err(|error| vec![error.to_string()])?;
        let trusted = read.map_err(|found| found.iter().map(PlanError::to_string).collect::<Vec<_>>())?;
        let keys = self.access.replace_keys(&trusted.access);
        keys.map_err(|error| vec![format!("{error}; that needs another start")])?;
        self.published.replace(trusted.published).map_err(|error| vec![error])?;
        self.published.read().await;
        Ok(self.access.credentials())
    }
}

fn counted(keys: usize, issuers: usize) -> String {
    let key = if keys == 1 { "key" } else { "keys" };
    let issuer = if issuers == 1 { "issuer" } else { "issuers" };
    format!("{keys} {key} and {issuers} {issuer} of tokens")
}
