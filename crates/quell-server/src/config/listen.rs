//! [`parse`] and [`deserialize`] read an address to listen on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Deserializer;
use serde::de::{Error, Visitor};

use super::server::DEFAULT_PORT;
use crate::quoted::quoted;

/// Reads an address with its port. Of names only `localhost` is known.
pub(crate) fn parse(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix("localhost:").and_then(|port| port.parse::<u16>().ok());
    match port {
        Some(port) => Ok((Ipv4Addr::LOCALHOST, port).into()),
        None => text.parse().map_err(|_| {
            let right = meant(text).unwrap_or_else(|| format!("expected {RIGHT}"));
            format!("invalid address `{}`; {right}", quoted(text))
        }),
    }
}

/// Asks whether an address was meant, where a text is a part of one.
fn meant(text: &str) -> Option<String> {
    let is_host = text == "localhost" || text.parse::<IpAddr>().is_ok();
    let is_web = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
    let port = text.strip_prefix(':').unwrap_or(text);
    if port.parse::<u16>().is_err() {
        let address = meant_address(text).filter(|_| is_host || is_web)?;
        return Some(format!("did you mean `{address}`?"));
    }
    let [own, all] = [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED];
    Some(format!(
        "did you mean `{own}:{port}` or, for every address of the machine, `{all}:{port}`?"
    ))
}

/// Yields the address that a word means: one as it is, without a port, of the host of an address of
/// the web, or a port. A server listens on an address of its own machine: that of a name is
/// loopback.
pub(crate) fn meant_address(word: &str) -> Option<SocketAddr> {
    let of_web = word.strip_prefix("http://").or_else(|| word.strip_prefix("https://"));
    let host = of_web.map_or(word, |rest| rest.split('/').next().unwrap_or_default());
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, DEFAULT_PORT));
    }
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (name, port) = host.rsplit_once(':').unwrap_or(("", host));
    let is_name = name.chars().all(|char| char.is_ascii_alphanumeric() || ".-".contains(char));
    match port.parse() {
        Ok(port) => is_name.then(|| loopback(port)),
        Err(_) => (of_web.is_some() || host == "localhost").then(|| loopback(DEFAULT_PORT)),
    }
}

/// Reads an address of a file.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<SocketAddr>, D::Error> {
    from.deserialize_str(Address).map(Some)
}

struct Address;

impl Visitor<'_> for Address {
    type Value = SocketAddr;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(RIGHT)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SocketAddr, E> {
        parse(text).map_err(E::custom)
    }
}

const RIGHT: &str = "one such as \"127.0.0.1:7777\", \"localhost:7777\", \"[::1]:7777\" or, for \
                     every address of the machine, \"0.0.0.0:7777\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_known_and_what_is_no_address_is_refused_with_right_ones() {
        for (text, right) in [
            ("localhost:8080", "127.0.0.1:8080"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:7", "[::1]:7"),
        ] {
            assert_eq!(parse(text).expect(text).to_string(), right);
        }
        for bad in ["localhost:99999", "70000", "box.lan:80", "box.lan", ""] {
            let words = parse(bad).expect_err(bad);
            assert!(
                words.starts_with(&format!("invalid address `{bad}`; expected one")),
                "{words}"
            );
        }
        for (part, right) in [
            ("8080", "127.0.0.1:8080` or, for every address of the machine, `0.0.0.0:8080"),
            (":80", "127.0.0.1:80` or, for every address of the machine, `0.0.0.0:80"),
            ("localhost", "127.0.0.1:7777"),
            ("10.0.0.7", "10.0.0.7:7777"),
            ("::1", "[::1]:7777"),
            ("http://localhost:80", "127.0.0.1:80"),
            ("http://10.0.0.7:80/x", "10.0.0.7:80"),
        ] {
            let words = parse(part).expect_err(part);
            assert!(words.ends_with(&format!("; did you mean `{right}`?")), "{words}");
        }
    }
}
