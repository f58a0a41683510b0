//! The origins and hosts that are trusted: only one that is as browsers write it is ever met.

use std::net::IpAddr;

use quell_flow::{PlanError, limits};

use super::file::Config;
use crate::quoted::quoted;

impl Config {
    /// Finds the origins and hosts that no request has.
    pub(super) fn origin_faults(&self) -> Vec<PlanError> {
        type Find = fn(&str) -> Option<String>;
        let lists: [(_, _, _, Find); 3] = [
            ("server", "trusted_hosts", &self.server.trusted_hosts, host_fault),
            ("server", "trusted_origins", &self.server.trusted_origins, origin_fault),
            ("agentos", "cors_origins", &self.agentos.cors_origins, origin_fault),
        ];
        let faults_of = |(table, key, list, find): (&str, &str, &Vec<String>, Find)| {
            let all = list.iter().enumerate();
            let found = all.filter_map(|(at, text)| Some((at.to_string(), find(text)?)));
            let fault = |(at, words): (String, String)| self.fault(&[table, key, &at], &words);
            found.take(limits::PLAN_FAULTS_MAX).map(fault).collect::<Vec<_>>()
        };
        lists.into_iter().flat_map(faults_of).collect()
    }
}

/// Says what an origin has to be, if this one is none: a scheme, a host in small letters, and a
/// port that is not the one of the scheme.
fn origin_fault(text: &str) -> Option<String> {
    // That of a page without an origin of its own, such as a file.
    if text == "null" {
        return None;
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None if is_of_this_machine(text) => ("http".to_owned(), text),
        None => ("https".to_owned(), text),
    };
    let host = host_of(rest).to_ascii_lowercase();
    let port = match &*scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let host = host.strip_suffix(port).filter(|_| !port.is_empty()).unwrap_or(&host);
    let right = format!("{scheme}://{host}");
    told(text, &right, "no origin as browsers send it", "https://example.com")
}

/// Says what the name of a host has to be, if this one is none: without scheme, port and path.
fn host_fault(text: &str) -> Option<String> {
    if text.parse::<IpAddr>().is_ok() {
        return None;
    }
    let host = host_of(text.split_once("://").map_or(text, |(_, rest)| rest));
    let right = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    told(text, right, "no name of a host without its port", "box.example.com")
}

/// Yields the message about a text, unless it is the right one.
fn told(text: &str, right: &str, what: &str, example: &str) -> Option<String> {
    let host = right.split_once("://").map_or(right, |(_, rest)| rest);
    let is_of_host = |char: char| char.is_ascii_alphanumeric() || ".-_[]:".contains(char);
    let is_host = !host.is_empty() && host.chars().all(is_of_host);
    if is_host && text == right {
        return None;
    }
    let shown = quoted(text);
    // Where a part of it may be a secret, so may a part of what would be right.
    let is_near = is_host && shown == text && quoted(right) == right;
    let right = if is_near { format!("`{right}`") } else { format!("one such as `{example}`") };
    Some(format!("`{shown}` is {what}; expected {right}"))
}

/// Yields what stands before a path.
fn host_of(text: &str) -> &str {
    text.split(['/', '?', '#']).next().unwrap_or_default()
}

fn is_of_this_machine(text: &str) -> bool {
    ["localhost", "127.", "[::1]"].iter().any(|begin| text.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_as_browsers_send_it() {
        for right in [
            "https://example.com",
            "http://localhost:3000",
            "http://[::1]:80800",
            "https://example.com:80",
            "chrome-extension://abc",
            "null",
        ] {
            assert_eq!(origin_fault(right), None, "{right}");
        }
        for (text, right) in [
            ("example.com", "`https://example.com`"),
            ("localhost:3000", "`http://localhost:3000`"),
            ("https://example.com/", "`https://example.com`"),
            ("https://example.com/app", "`https://example.com`"),
            ("https://Example.com", "`https://example.com`"),
            ("https://example.com:443", "`https://example.com`"),
            ("http://example.com:80", "`http://example.com`"),
            ("*", "one such as `https://example.com`"),
            ("https://*.example.com", "one such as `https://example.com`"),
            ("", "one such as `https://example.com`"),
            ("https://", "one such as `https://example.com`"),
            ("https://ann:hush@h", "one such as `https://example.com`"),
            ("https://h/?key=hush", "one such as `https://example.com`"),
        ] {
            let said = origin_fault(text).expect(text);
            assert!(said.ends_with(&format!("; expected {right}")), "{text}: {said}");
            assert!(!said.contains("hush"), "{said}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_without_a_port() {
        for right in ["box.lan", "Box.LAN", "10.0.0.7", "::1", "box_1"] {
            assert_eq!(host_fault(right), None, "{right}");
        }
        for (text, right) in [
            ("https://box.lan", "`box.lan`"),
            ("box.lan:80", "`box.lan`"),
            ("box.lan/x", "`box.lan`"),
            ("10.0.0.7:80", "`10.0.0.7`"),
            ("[fe80::1]", "`fe80::1`"),
            ("*.lan", "one such as `box.example.com`"),
            ("", "one such as `box.example.com`"),
        ] {
            let said = host_fault(text).expect(text);
            assert!(said.ends_with(&format!("; expected {right}")), "{text}: {said}");
        }
    }
}
