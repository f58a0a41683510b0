//! [`Renewal`]: reads again, at SIGHUP, what says who is let in, and the certificate.

use std::convert::Infallible;
use std::sync::Arc;

use quell_flow::PlanError;
use quell_http::Access;
use tokio::sync::Notify;

use super::log::Log;
use super::published::{Lookup, Published};
use super::tls::Tls;
use crate::config::{Source, Trusted};

/// What is read again, and who has it.
pub(super) struct Renewal {
    /// Told of each signal.
    asked: Arc<Notify>,
    source: Source,
    access: Access,
    published: Published,
    /// None if the server speaks without TLS.
    tls: Option<Tls>,
}

impl Renewal {
    /// Begins with what was read at the start, and asks issuers for their keys.
    ///
    /// # Errors
    ///
    /// Fails if one is asked through TLS, and the system trusts no certificates.
    pub(super) async fn begin(
        trusted: Trusted,
        source: Source,
        asked: Arc<Notify>,
    ) -> Result<Self, String> {
        // What should be otherwise was said before.
        let Trusted { access, published: issuers, tls, warnings: _ } = trusted;
        let published = Published::of(issuers)?;
        published.read().await;
        Ok(Self { asked, source, access, published, tls: tls.map(Tls::new) })
    }

    pub(super) fn access(&self) -> Access {
        self.access.clone()
    }

    pub(super) fn lookup(&self) -> Lookup {
        Lookup { access: self.access.clone(), published: self.published.clone() }
    }

    /// Yields how an address of the server begins.
    pub(super) const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    pub(super) fn tls(&self) -> Option<Tls> {
        self.tls.clone()
    }

    /// Reads again at signals, and asks issuers from time to time.
    ///
    /// # Cancel safety
    ///
    /// Dropped, what was asked for last may not be done.
    pub(super) async fn go_on(&self, log: &Log) -> Infallible {
        tokio::select! {
            biased;
            never = self.at_signals(log) => never,
            never = self.published.keep_reading() => never,
        }
    }

    /// Reads again whenever that is asked for. What cannot be read leaves all as it was.
    async fn at_signals(&self, log: &Log) -> Infallible {
        loop {
            self.asked.notified().await;
            match self.read(log).await {
                Ok((keys, issuers)) => log.say(&format!(
                    "SIGHUP: keys were read again, and the certificate if there is one; from now \
                     on callers have {}",
                    counted(keys, issuers)
                )),
                Err(faults) => log.warn(&format!(
                    "{}\nSIGHUP: what was read is wrong, and keys stay as they were",
                    faults.join("\n")
                )),
            }
        }
    }

    /// Reads keys, tokens and the certificate, and yields how many keys and issuers there are.
    async fn read(&self, log: &Log) -> Result<(usize, usize), Vec<String>> {
        let (source, known) = (self.source.clone(), self.published.known());
        let again = known.clone();
        // Files may be on a disk that is slow.
        let read = tokio::task::spawn_blocking(move || source.trusted(&again)).await;
        let read = read.map_err(|error| vec![error.to_string()])?;
        let trusted =
            read.map_err(|found| found.iter().map(PlanError::to_string).collect::<Vec<_>>())?;
        if trusted.tls.is_some() != self.tls.is_some() {
            return Err(vec![format!("`[tls]`: it came or went; {ANOTHER_START}")]);
        }
        let published = Published::of(trusted.published).map_err(|error| vec![error])?;
        // Before an issuer counts that is new: its keys are to be known by then.
        published.read_new(&known).await?;
        let keys = self.access.replace_keys(&trusted.access);
        keys.map_err(|error| vec![format!("{error}; {ANOTHER_START}")])?;
        if let (Some(tls), Some(config)) = (&self.tls, trusted.tls) {
            tls.replace(config);
        }
        self.published.replace(&published);
        for warning in trusted.warnings {
            log.warn(&warning.to_string());
        }
        // Only now: a key that was removed waits for no issuer.
        published.read_known(&known).await;
        Ok(self.access.credentials())
    }
}

fn counted(keys: usize, issuers: usize) -> String {
    let key = if keys == 1 { "key" } else { "keys" };
    let issuer = if issuers == 1 { "issuer" } else { "issuers" };
    format!("{keys} {key} and {issuers} {issuer} of tokens")
}

/// What is not changed while the server runs.
const ANOTHER_START: &str = "that needs another start";
