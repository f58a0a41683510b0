//! [`address`]: where a service is, as a configuration names it.

use hyper::Uri;
use quell_flow::guess;

/// What is said about an address that is wrong.
#[derive(Clone, Copy)]
pub(crate) struct Meant {
    /// What is right.
    pub(crate) right: &'static str,
    /// Where a user and a password, or a key, are to be instead.
    pub(crate) key: &'static str,
}

/// Reads the address of a service, or says what is wrong with it.
pub(crate) fn address(text: &str) -> Result<Uri, String> {
    address_of(text, SERVICE)
}

/// Reads the address of something that answers HTTP, or says what is wrong with it.
pub(crate) fn address_of(text: &str, meant: Meant) -> Result<Uri, String> {
    let Meant { right, key } = meant;
    // `localhost:80/x` is no address at all, although `127.0.0.1` is one.
    let no_scheme = || format!("no scheme and host; {right}");
    let is_whole = text.contains("://");
    let uri: Uri = text
        .parse()
        .map_err(|error| if is_whole { format!("{error}; {right}") } else { no_scheme() })?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(no_scheme());
    };
    if !SCHEMES.contains(&scheme) {
        let guessed = guess(scheme, SCHEMES).map(|meant| format!("did you mean `{meant}`?"));
        return Err(format!("unknown scheme `{scheme}`; {}", guessed.as_deref().unwrap_or(right)));
    }
    // A password would be in the file, and in messages.
    if authority.as_str().contains('@') {
        return Err(format!("user and password in an address; expected {key}"));
    }
    if authority.host().is_empty() {
        return Err(format!("no host; {right}"));
    }
    // A port that is no port would be that of the scheme.
    if uri.port_u16().is_none_or(|port| port == 0) && authority.as_str() != authority.host() {
        return Err("no port; expected one from 1 to 65535, or none".into());
    }
    if text.contains('#') {
        return Err(format!("a fragment, which is not sent; {right}"));
    }
    Ok(uri)
}

/// Yields the address of something below another one, with the query of that.
pub(crate) fn below(uri: &Uri, path: &str) -> Result<Uri, String> {
    let mut parts = uri.clone().into_parts();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let whole = format!("{}/{path}{query}", uri.path().trim_end_matches('/'));
    parts.path_and_query = Some(whole.parse().map_err(|error| format!("{whole}: {error}"))?);
    Uri::from_parts(parts).map_err(|error| error.to_string())
}

/// Yields the scheme, host and port of an address: its path may hold a secret, as its query may.
pub(crate) fn shown(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("{scheme}://{authority}")
}

const SCHEMES: [&str; 2] = ["http", "https"];

const SERVICE: Meant = Meant {
    right: "expected one such as \"http://127.0.0.1:8000/run\"",
    key: "`key_env`, or `headers_env`",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host_and_no_password() {
        for (text, says) in [
            ("", "expected one such as"),
            ("localhost:8000/run", "no scheme and host; expected one such as"),
            ("/run", "no scheme and host"),
            ("127.0.0.1:8000", "no scheme and host"),
            ("htp://a/b", "unknown scheme `htp`; did you mean `http`?"),
            ("ftp://a/b", "unknown scheme `ftp`"),
            ("http://ann:hush@a/b", "`key_env`"),
            ("http://a b", "expected one such as"),
            ("http://:80/b", "no host; expected one such as"),
            ("http://a:99999/b", "expected one from 1 to 65535"),
            ("http://[::1]:0/b", "expected one from 1 to 65535"),
            ("http://a/b#c", "a fragment"),
        ] {
            let fault = address(text).expect_err(text);
            assert!(fault.contains(says) && !fault.contains("hush"), "{text}: {fault}");
        }
    }

    #[test]
    fn a_port_may_be_there_or_not() {
        for text in ["http://a", "https://a:8443/b", "http://[::1]/b", "http://[::1]:80/b"] {
            assert!(address(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_below_an_address_keeps_its_query() {
        for (of, right) in [
            ("http://a/v1", "http://a/v1/chat"),
            ("http://a/v1/", "http://a/v1/chat"),
            ("http://a", "http://a/chat"),
            ("http://a/v1?api=2", "http://a/v1/chat?api=2"),
        ] {
            let uri = below(&address(of).expect(of), "chat").expect(of);
            assert_eq!(uri, right);
        }
    }

    #[test]
    fn neither_the_path_nor_the_query_of_an_address_is_shown() {
        let uri = address("https://a:1/hook/hush?key=hush").expect("an address");
        assert_eq!(shown(&uri), "https://a:1");
    }
}
