//! Components of `quell.toml`: services elsewhere, and models.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, TRANSFER_ENCODING,
};
use quell_flow::{Component, PlanError, is_plain};

use super::access;
use super::components::{ComponentEntry, made};
use super::file::Config;
use super::model::ModelEntry;
use super::words::HIDDEN;
use crate::remote::{Caller, Cancel, Remote, Secrets, address, below};

/// What is wrong with an entry: the keys in it, and the message.
type Fault = (Vec<String>, String);

/// How a service is asked, by the keys of a component or of its `model`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asks<'a> {
    /// The key that has the others, if there is one.
    within: Option<&'static str>,
    url: &'a str,
    cancel: Option<&'a str>,
    cancel_timeout: Option<Duration>,
    headers: &'a BTreeMap<String, String>,
    headers_env: &'a BTreeMap<String, String>,
    key_env: Option<&'a String>,
    retries: Option<u32>,
    connect_timeout: Option<Duration>,
    confirm: Option<Duration>,
    /// The model that the service is, if it is one.
    model: Option<&'a ModelEntry>,
}

impl<'a> Asks<'a> {
    pub(super) fn of_service(entry: &'a ComponentEntry) -> Self {
        Self {
            within: None,
            url: entry.url.as_deref().unwrap_or_default(),
            cancel: entry.cancel.as_deref(),
            cancel_timeout: entry.cancel_timeout,
            headers: &entry.headers,
            headers_env: &entry.headers_env,
            key_env: entry.key_env.as_ref(),
            retries: entry.retries,
            connect_timeout: entry.connect_timeout,
            confirm: entry.confirm,
            model: None,
        }
    }

    pub(super) fn of_model(model: &'a ModelEntry) -> Self {
        Self {
            within: Some("model"),
            url: model.url.as_deref().unwrap_or_default(),
            cancel: None,
            cancel_timeout: None,
            headers: &model.headers,
            headers_env: &model.headers_env,
            key_env: model.key_env.as_ref(),
            retries: model.retries,
            connect_timeout: model.connect_timeout,
            confirm: model.confirm,
            model: Some(model),
        }
    }

    /// Yields the keys that go with `url`, those that are there.
    pub(super) fn given(self) -> impl Iterator<Item = &'static str> {
        let all = [
            ("cancel", self.cancel.is_some()),
            ("cancel_timeout", self.cancel_timeout.is_some()),
            ("headers", !self.headers.is_empty()),
            ("headers_env", !self.headers_env.is_empty()),
            ("key_env", self.key_env.is_some()),
            ("retries", self.retries.is_some()),
            ("connect_timeout", self.connect_timeout.is_some()),
            ("confirm", self.confirm.is_some()),
        ];
        all.into_iter().filter_map(|(key, is_there)| is_there.then_some(key))
    }

    /// Makes the component. One whose secrets are not there fails when it runs, as a program that
    /// is not there.
    pub(super) fn component(
        self,
        kind: &str,
        id: &str,
        config: &Config,
    ) -> Result<Component, Vec<PlanError>> {
        let (mut addresses, mut found) = (Vec::new(), self.option_faults());
        for (key, text) in [("url", Some(self.url)), ("cancel", self.cancel)] {
            match text.map(address) {
                Some(Ok(uri)) if self.model.is_some() && uri.path().ends_with(CHATS) => {
                    let words = format!("ends in `{CHATS}`, which is added; expected it without");
                    found.push((self.keys(&[key]), words));
                }
                Some(Ok(uri)) => addresses.push(uri),
                Some(Err(words)) => {
                    found.push((self.keys(&[key]), without_scheme(words, text)));
                }
                None => {}
            }
        }
        if let [url, cancel] = &addresses[..]
            && url.scheme_str() == Some("https")
            && cancel.scheme_str() == Some("http")
        {
            let words = "is not encrypted, and gets the headers of `url`, which is; expected https";
            found.push((self.keys(&["cancel"]), words.into()));
        }
        if !found.is_empty() {
            let fault = |(keys, words): Fault| {
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                config.fault(&[&[kind, id], &*keys].concat(), &words)
            };
            return Err(found.into_iter().map(fault).collect());
        }
        let remote = self.remote(&addresses).map(Arc::new);
        Ok(made(kind, id, move |ctx, input| {
            let remote = remote.clone();
            async move { remote.map_err(quell::Failure::new)?.run(ctx, input).await }
        }))
    }

    /// Makes the service of its address, and that of its cancel if there is one.
    fn remote(self, addresses: &[Uri]) -> Result<Remote, String> {
        let [url, cancel @ ..] = addresses else { return Err("no address".into()) };
        let mut secrets = self.secrets().map_err(|(_, words)| words)?;
        for address in addresses {
            secrets.add_address(address);
        }
        let is_tls = addresses.iter().any(|uri| uri.scheme_str() == Some("https"));
        let connect_timeout = self.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        let cancel_timeout = self.cancel_timeout.unwrap_or(CANCEL_TIMEOUT);
        Ok(Remote {
            url: if self.model.is_some() { below(url, &CHATS[1..])? } else { url.clone() },
            caller: Arc::new(Caller::new(is_tls, connect_timeout, secrets)?),
            cancel: cancel.first().map(|uri| Cancel::new(uri.clone(), cancel_timeout)),
            retries: self.retries.unwrap_or(RETRIES),
            confirm: self.confirm.unwrap_or(match cancel {
                [] => CONFIRM_BY_NOTHING,
                _ => CONFIRM,
            }),
            chat: self.model.map(ModelEntry::chat),
        })
    }

    /// Yields the keys in the entry.
    fn keys(self, keys: &[&str]) -> Vec<String> {
        self.within.iter().chain(keys).map(|key| (*key).to_owned()).collect()
    }

    /// Finds what is wrong with the options of a service, but for its secrets.
    fn option_faults(self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut at = |keys: &[&str], words: String| faults.push((self.keys(keys), words));
        if let Some(retries) = self.retries.filter(|retries| *retries > RETRIES_MAX) {
            at(&["retries"], format!("found {retries}; expected at most {RETRIES_MAX}"));
        }
        if self.connect_timeout.is_some_and(|timeout| timeout.is_zero()) {
            at(
                &["connect_timeout"],
                "time is zero; expected a time above zero such as \"10s\"".into(),
            );
        }
        if self.cancel_timeout.is_some_and(|timeout| timeout.is_zero()) {
            at(&["cancel_timeout"], "no service can answer in no time".into());
        }
        if self.cancel_timeout.is_some() && self.cancel.is_none() {
            at(&["cancel_timeout"], "goes with `cancel`".into());
        }
        let mut known = BTreeMap::new();
        for (table, headers) in [("headers", self.headers), ("headers_env", self.headers_env)] {
            for (name, value) in headers {
                if let Some((of, first)) = known.insert(name.to_ascii_lowercase(), (table, name)) {
                    let first = if is_plain(first) { first } else { HIDDEN };
                    let words = format!("`{table}` repeats `{first}` of `{of}`");
                    at(&[table, name], words + "; expected one of them");
                }
                let fault = header(name).and_then(|name| {
                    Secrets::default().add(name, "", if table == "headers" { value } else { "" })
                });
                if let Err(words) = fault {
                    at(&[table, name], words);
                }
            }
        }
        let is_of_key = |name: &&String| name.eq_ignore_ascii_case(AUTHORIZATION.as_str());
        let mut headers = self.headers.keys().chain(self.headers_env.keys());
        if self.key_env.is_some() && headers.any(|name| is_of_key(&name)) {
            at(
                &["key_env"],
                "the headers have `authorization` already; expected one of them".into(),
            );
        }
        faults
    }

    /// Finds the secrets of a service that are not there, or not fit.
    pub(super) fn secret_fault(self) -> Option<Fault> {
        // What is wrong with the headers themselves is said already.
        if self.option_faults().is_empty() { self.secrets().err() } else { None }
    }

    /// Yields the headers of every request.
    fn secrets(self) -> Result<Secrets, Fault> {
        let mut secrets = Secrets::default();
        for (name, value) in self.headers {
            let keys = || self.keys(&["headers", name]);
            header(name)
                .and_then(|name| secrets.add(name, "", value))
                .map_err(|words| (keys(), words))?;
        }
        for (name, variable) in self.headers_env {
            let keys = || self.keys(&["headers_env", name]);
            let secret = access::secret(variable).map_err(|words| (keys(), words))?;
            header(name)
                .and_then(|name| secrets.add(name, "", &secret))
                .map_err(|words| (keys(), words))?;
        }
        if let Some(variable) = self.key_env {
            let at = |words| (self.keys(&["key_env"]), words);
            let secret = access::secret(variable).map_err(at)?;
            secrets.add(AUTHORIZATION, "Bearer ", &secret).map_err(at)?;
        }
        Ok(secrets)
    }

    /// Yields the variables that hold secrets of a service.
    pub(super) fn secret_names(self) -> impl Iterator<Item = &'a String> {
        self.headers_env.values().chain(self.key_env)
    }
}

/// Leaves out of the message about an address its scheme, which may be a secret unless it is near
/// to one that is known.
fn without_scheme(words: String, address: Option<&str>) -> String {
    let scheme = address.and_then(|text| text.split_once("://")).map_or("", |(scheme, _)| scheme);
    if scheme.is_empty() || words.ends_with('?') || SCHEMES.contains(&scheme) {
        return words;
    }
    words.replace(&format!("`{scheme}`"), "`…`")
}

/// Reads the name of a header that a component may set.
fn header(name: &str) -> Result<HeaderName, String> {
    let name: HeaderName = name.parse().map_err(|_| "is no name of a header".to_owned())?;
    if [CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING].contains(&name)
        || name.as_str().starts_with("quell-")
    {
        return Err("is set by quell".into());
    }
    Ok(name)
}

/// Schemes of other addresses, which no service of a component has.
const SCHEMES: [&str; 8] = ["file", "ftp", "grpc", "tcp", "udp", "unix", "ws", "wss"];

/// What is below the address of a model.
const CHATS: &str = "/chat/completions";

/// How long a connection may take, unless it is configured.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer to a cancel is waited for, unless it is configured.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a request is sent again, unless it is configured, and at most.
const RETRIES: u32 = 2;
const RETRIES_MAX: u32 = 10;

/// How long a service may take to confirm after the end of a run, unless it is configured.
const CONFIRM: Duration = Duration::from_mins(1);

/// The same without a cancel: nothing confirms then. Shorter, since the run keeps its slot.
const CONFIRM_BY_NOTHING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_without_a_cancel_keeps_its_slot_for_a_shorter_time() {
        let confirm = |text: &str| {
            let entry: ComponentEntry = toml::from_str(text).unwrap();
            let asks = Asks::of_service(&entry);
            let addresses = [Some(asks.url), asks.cancel].into_iter().flatten();
            let addresses: Vec<Uri> = addresses.map(|it| it.parse().unwrap()).collect();
            asks.remote(&addresses).unwrap().confirm.as_secs()
        };
        let (url, cancel) = ("url = 'http://h/run'\n", "cancel = 'http://h/stop'\n");
        assert_eq!(confirm(url), 5);
        assert_eq!(confirm(&[url, cancel].concat()), 60);
        assert_eq!(confirm(&[url, "confirm = '7s'"].concat()), 7);
        assert_eq!(confirm(&[url, cancel, "confirm = '7s'"].concat()), 7);
    }
}
