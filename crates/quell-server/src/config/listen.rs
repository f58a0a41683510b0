//! [`parse`] and [`deserialize`] read an address to listen on.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserializer;
use serde::de::{Error, Visitor};

use crate::quoted::quoted;

/// Reads an address with its port. Of names only `localhost` is known.
pub(crate) fn parse(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix("localhost:").and_then(|port| port.parse::<u16>().ok());
    match port {
        Some(port) => Ok((Ipv4Addr::LOCALHOST, port).into()),
        None => text
            .parse()
            .map_err(|_| format!("invalid address `{}`; expected {RIGHT}", quoted(text))),
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
        for bad in ["localhost", "8080", ":8080", "localhost:99999", "box.lan:80", "", "::1:7"] {
            let words = parse(bad).expect_err(bad);
            assert!(
                words.starts_with(&format!("invalid address `{bad}`; expected one")),
                "{words}"
            );
        }
    }
}
