//! [`ModelEntry`]: what a component says of its model, which may be the component itself.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::Uri;
use quell_flow::Model;
use serde::Deserialize;

use super::services::Asks;
use super::shapes::some_time;
use crate::remote::{Chat, address};

/// `model` of a component. With `url` the component is the model; without it is only shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ModelEntry {
    id: Option<String>,
    name: Option<String>,
    provider: Option<String>,
    /// Where the endpoint for chats is, without `/chat/completions`.
    pub(super) url: Option<String>,
    system: Option<String>,
    temperature: Option<f64>,
    max_tokens: Option<u64>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) headers_env: BTreeMap<String, String>,
    pub(super) key_env: Option<String>,
    pub(super) retries: Option<u32>,
    #[serde(deserialize_with = "some_time")]
    pub(super) connect_timeout: Option<Duration>,
    #[serde(deserialize_with = "some_time")]
    pub(super) confirm: Option<Duration>,
}

impl ModelEntry {
    /// Yields what components show of it.
    pub(super) fn shown(&self) -> Option<Model> {
        let name = self.name.as_ref()?;
        let url = self.url.as_deref().and_then(|url| address(url).ok());
        let host = url.as_ref().and_then(Uri::authority).map_or("", |host| host.as_str());
        let provider = self.provider.as_deref().unwrap_or(host);
        Some(Model::new(self.id.as_ref().unwrap_or(name), name, provider))
    }

    /// Yields what it is asked.
    pub(super) fn chat(&self) -> Chat {
        Chat {
            name: self.name.clone().unwrap_or_default(),
            system: self.system.clone(),
            temperature: self.temperature,
            max_tokens: self.max_tokens,
        }
    }

    /// Finds what is wrong with it, but for how it is asked: a key, if one is there, and a message.
    /// Keys that are lost because of a fault have it already.
    pub(super) fn faults(
        &self,
        is_lost: impl Fn(&str) -> bool,
    ) -> Vec<(Option<&'static str>, String)> {
        let mut faults = Vec::new();
        let needed = [("id", &self.id), ("name", &self.name), ("provider", &self.provider)];
        let is_asked = self.url.is_some() || is_lost("url");
        for (key, value) in needed {
            if value.is_none() && !is_lost(key) && (!is_asked || key == "name") {
                faults.push((None, format!("`{key}` is missing")));
            }
        }
        let of_asked = [
            ("system", self.system.is_some()),
            ("temperature", self.temperature.is_some()),
            ("max_tokens", self.max_tokens.is_some()),
        ];
        if !is_asked {
            let of_asked =
                of_asked.into_iter().filter_map(|(key, is_there)| is_there.then_some(key));
            let stray = of_asked.chain(Asks::of_model(self).given());
            faults.extend(stray.map(|key| (Some(key), "goes with `url`".to_owned())));
        }
        if let Some(found) = self.temperature.filter(|value| !(0.0..=2.0).contains(value)) {
            faults.push((Some("temperature"), format!("found {found}; expected 0 to 2")));
        }
        if self.max_tokens == Some(0) {
            faults.push((Some("max_tokens"), "a model that writes nothing answers nothing".into()));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_address_the_host_is_shown() {
        for url in ["http://h:1?key=hush", "http://h:1/v1?key=hush"] {
            let name = Some("m".to_owned());
            let entry = ModelEntry { name, url: Some(url.to_owned()), ..ModelEntry::default() };
            let shown = format!("{:?}", entry.shown());
            assert!(shown.contains("\"h:1\""), "{shown}");
        }
    }
}
