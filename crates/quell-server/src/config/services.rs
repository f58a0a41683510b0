//! Components of `quell.toml`: services elsewhere.

use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, TRANSFER_ENCODING,
};
use quell_flow::{Component, PlanError};

use super::access;
use super::components::{ComponentEntry, made};
use super::file::Config;
use crate::remote::{Caller, Cancel, Remote, Secrets, address};

/// What is wrong with an entry: the keys in it, and the message.
type Fault = (Vec<String>, String);

impl ComponentEntry {
    /// Makes the component of a service. One whose secrets are not there fails when it runs, as a
    /// program that is not there.
    pub(super) fn service(
        &self,
        kind: &str,
        id: &str,
        url: &str,
        config: &Config,
    ) -> Result<Component, Vec<PlanError>> {
        let (mut addresses, mut faults) = (Vec::new(), Vec::new());
        for (key, text) in [("url", Some(url)), ("cancel", self.cancel.as_deref())] {
            let Some(text) = text else { continue };
            match address(text) {
                Ok(uri) => addresses.push(uri),
                Err(words) => faults.push(config.fault(&[kind, id, key], &words)),
            }
        }
        for (keys, words) in self.option_faults() {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            faults.push(config.fault(&[&[kind, id], &*keys].concat(), &words));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let remote = self.remote(&addresses).map(Arc::new);
        Ok(made(kind, id, move |ctx, input| {
            let remote = remote.clone();
            async move { remote.map_err(quell::Failure::new)?.run(ctx, input).await }
        }))
    }

    /// Makes the service of its address, and that of its cancel if there is one.
    fn remote(&self, addresses: &[Uri]) -> Result<Remote, String> {
        let [url, cancel @ ..] = addresses else { return Err("no address".into()) };
        let secrets = self.secrets().map_err(|(_, words)| words)?;
        let is_tls = addresses.iter().any(|uri| uri.scheme_str() == Some("https"));
        let connect_timeout = self.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        Ok(Remote {
            url: url.clone(),
            caller: Arc::new(Caller::new(is_tls, connect_timeout, secrets)?),
            cancel: cancel.first().cloned().map(Cancel),
            retries: self.retries.unwrap_or(RETRIES),
            confirm: self.confirm.unwrap_or(CONFIRM),
        })
    }

    /// Finds what is wrong with the options of a service, but for its secrets.
    fn option_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut at = |keys: &[&str], words: String| {
            faults.push((keys.iter().map(|key| (*key).to_owned()).collect(), words));
        };
        if let Some(retries) = self.retries.filter(|retries| *retries > RETRIES_MAX) {
            at(&["retries"], format!("found {retries}; expected at most {RETRIES_MAX}"));
        }
        if self.connect_timeout.is_some_and(|timeout| timeout.is_zero()) {
            at(&["connect_timeout"], "no service can be reached in no time".into());
        }
        for (table, headers) in [("headers", &self.headers), ("headers_env", &self.headers_env)] {
            for (name, value) in headers {
                let fault = header(name).and_then(|name| {
                    Secrets::default().add(name, "", if table == "headers" { value } else { "" })
                });
                if let Err(words) = fault {
                    at(&[table, name], words);
                }
            }
        }
        faults
    }

    /// Finds the secrets of a service that are not there, or not fit.
    pub(super) fn secret_fault(&self) -> Option<Fault> {
        self.url.as_ref()?;
        // What is wrong with the headers themselves is said already.
        if self.option_faults().is_empty() { self.secrets().err() } else { None }
    }

    /// Yields the headers of every request.
    fn secrets(&self) -> Result<Secrets, Fault> {
        let mut secrets = Secrets::default();
        for (name, value) in &self.headers {
            let keys = || vec!["headers".to_owned(), name.clone()];
            header(name)
                .and_then(|name| secrets.add(name, "", value))
                .map_err(|words| (keys(), words))?;
        }
        for (name, variable) in &self.headers_env {
            let keys = || vec!["headers_env".to_owned(), name.clone()];
            let secret = access::secret(variable).map_err(|words| (keys(), words))?;
            header(name)
                .and_then(|name| secrets.add(name, "", &secret))
                .map_err(|words| (keys(), words))?;
        }
        if let Some(variable) = &self.key_env {
            let at = |words| (vec!["key_env".to_owned()], words);
            let secret = access::secret(variable).map_err(at)?;
            secrets.add(AUTHORIZATION, "Bearer ", &secret).map_err(at)?;
        }
        Ok(secrets)
    }

    /// Yields the variables that hold secrets of a service.
    pub(super) fn secret_names(&self) -> impl Iterator<Item = &String> {
        self.headers_env.values().chain(&self.key_env)
    }
}

/// Reads the name of a header that a component may set.
fn header(name: &str) -> Result<HeaderName, String> {
    let name: HeaderName = name.parse().map_err(|_| "is no name of a header".to_owned())?;
    if [CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING].contains(&name) {
        return Err("is set by quell".into());
    }
    Ok(name)
}

/// How long a connection may take, unless it is configured.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a request is sent again, unless it is configured, and at most.
const RETRIES: u32 = 2;
const RETRIES_MAX: u32 = 10;

/// How long a service may take to confirm after the end of a run, unless it is configured.
const CONFIRM: Duration = Duration::from_mins(1);
