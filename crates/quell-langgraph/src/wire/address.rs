//! [`Address`]: where a webhook is sent.

use std::fmt;

use axum::http::Uri;

use crate::wire::refusal::Refusal;

/// Where a webhook is sent. Shown, it is the scheme, the host and the port: its path and its query
/// may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address(Uri);

impl Address {
    /// Reads the text of a request.
    ///
    /// # Errors
    ///
    /// Fails with 422 and words, which repeat nothing of the text.
    pub(crate) fn read(text: &str) -> Result<Self, Refusal> {
        let wrong = |words: &str| Refusal::invalid(format!("webhook: {words}"));
        if text.len() > BYTES_MAX {
            return Err(wrong("must be at most 4096 bytes long"));
        }
        if text.starts_with('/') {
            return Err(wrong("a path of this server is not served; send a whole URL"));
        }
        let uri: Uri = text.parse().map_err(|_| wrong(EXPECTED))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong(EXPECTED));
        };
        if !["http", "https"].contains(&scheme) {
            return Err(wrong("scheme not allowed; must be http or https"));
        }
        if authority.as_str().contains('@') {
            return Err(wrong("user and password in a URL are not sent; use its query"));
        }
        let has_port = authority.as_str() != authority.host();
        if authority.host().is_empty() || has_port && uri.port_u16().is_none_or(|port| port == 0) {
            return Err(wrong(EXPECTED));
        }
        Ok(Self(uri))
    }

    pub(crate) const fn uri(&self) -> &Uri {
        &self.0
    }

    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Yields the name of its host, without the brackets of an address.
    pub(crate) fn host(&self) -> &str {
        bare(self.0.host().unwrap_or_default())
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        write!(f, "{}://{authority}", self.0.scheme_str().unwrap_or_default())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Yields a host without the brackets of an address.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

const EXPECTED: &str = "must be a URL with a host, such as https://example.com/hook";

/// The longest URL, as of upstream.
const BYTES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_whole_url_without_a_password_and_its_words_repeat_nothing_of_it() {
        for (text, says) in [
            ("", "must be a URL"),
            ("hush", "must be a URL"),
            ("/hush", "a path of this server"),
            ("//hush/x", "a path of this server"),
            ("ftp://hush/x", "scheme not allowed"),
            ("http://hush:hush@a/", "user and password"),
            ("http://:80/hush", "must be a URL"),
            ("http://a:0/hush", "must be a URL"),
            ("http://a:99999/hush", "must be a URL"),
            ("http://a b/hush", "must be a URL"),
        ] {
            let refusal = Address::read(text).expect_err(text);
            assert!(refusal.status == 422 && refusal.detail.contains(says), "{text}: {refusal:?}");
            assert!(!refusal.detail.contains("hush"), "{text}: {refusal:?}");
        }
        assert!(Address::read(&format!("http://a/{}", "x".repeat(5_000))).is_err());
    }

    #[test]
    fn an_address_shows_neither_path_nor_query() {
        let address = Address::read("https://[::1]/hook/hush?key=hush").unwrap();
        assert_eq!((address.host(), address.port()), ("::1", 443));
        assert_eq!(format!("{address} {address:?}"), "https://[::1] https://[::1]");
        assert_eq!(Address::read("http://a:81?x").unwrap().port(), 81);
    }
}
