//! [`Hosts`]: which hosts webhooks may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::address::{Address, bare};
use crate::wire::refusal::Refusal;

/// Which hosts webhooks may reach. A host that is named may be anywhere; others are reached only at
/// public addresses, and only if none is named, or `*` is.
#[derive(Debug)]
pub(crate) struct Hosts {
    named: Vec<Named>,
    has_others: bool,
}

/// A host that is named: itself, or all below it.
#[derive(Debug)]
struct Named {
    host: String,
    port: Option<u16>,
    is_below: bool,
}

impl Hosts {
    pub(crate) fn new(all: &[String]) -> Self {
        let named = all.iter().filter_map(|name| Named::read(name)).collect();
        Self { named, has_others: all.is_empty() || all.iter().any(|name| name == "*") }
    }

    /// Tells whether a host is named, so that it may be anywhere.
    pub(crate) fn has(&self, address: &Address) -> bool {
        self.named.iter().any(|named| named.has(address))
    }

    /// Refuses what is known now not to be reached. A name may mean another address later: that is
    /// looked at when it is connected to.
    pub(crate) fn check(&self, address: &Address) -> Result<(), Refusal> {
        if self.has(address) {
            return Ok(());
        }
        if !self.has_others {
            return Err(Refusal::invalid("webhook: host not among those of webhook_hosts"));
        }
        let host = address.host().trim_end_matches('.');
        let is_local = host == "localhost" || host.ends_with(".localhost");
        if is_local || host.parse().is_ok_and(|ip| !is_public(ip)) {
            return Err(Refusal::invalid(format!("webhook: host blocked: {NOT_PUBLIC}")));
        }
        Ok(())
    }
}

impl Named {
    fn read(name: &str) -> Option<Self> {
        let (is_below, name) = match name.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, name),
        };
        let is_bare_ip = name.parse::<Ipv6Addr>().is_ok();
        let with_port =
            || name.rsplit_once(':').filter(|(host, _)| !is_bare_ip && !host.is_empty());
        let (host, port) = match with_port() {
            Some((host, port)) if !port.ends_with(']') => {
                (host, Some(port.parse().ok().filter(|port| *port > 0)?))
            }
            _ => (name, None),
        };
        let host = bare(host).trim_end_matches('.').to_ascii_lowercase();
        let is_ip = host.parse::<IpAddr>().is_ok();
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_host = !host.is_empty() && host.chars().all(is_of_name) && !host.starts_with('.');
        (is_ip && !is_below || is_host).then_some(Self { host, port, is_below })
    }

    fn has(&self, address: &Address) -> bool {
        let host = address.host().trim_end_matches('.').to_ascii_lowercase();
        let is_same = if self.is_below {
            host.strip_suffix(&self.host).is_some_and(|below| below.ends_with('.'))
        } else {
            let is_same_ip = |ip: IpAddr| self.host.parse() == Ok(ip);
            host == self.host || host.parse().is_ok_and(is_same_ip)
        };
        is_same && self.port.is_none_or(|port| port == address.port())
    }
}

/// Tells whether a text names hosts: `*`, a host, or `*.` before one, with a port or without.
pub(crate) fn is_host(name: &str) -> bool {
    name == "*" || Named::read(name).is_some()
}

/// Tells whether an address is one of the internet: neither of this machine, nor of a network that
/// is somebody's own, nor of many.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let is_shared = a == 100 && b & 0xc0 == 64;
    let is_assigned = a == 192 && b == 0 && c == 0 || a == 192 && b == 88 && c == 99;
    let is_measured = a == 198 && b & 0xfe == 18;
    !(a == 0
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || is_shared
        || is_assigned
        || is_measured
        // Many hosts, and what is reserved.
        || a >= 224)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let all = ip.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match all {
        // Another form of an address of version 4, and one that is translated to it.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            embedded(high, low)
        }
        [0x2002, high, low, ..] => embedded(high, low),
        // Tunnels, and examples.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

pub(crate) const NOT_PUBLIC: &str = "its address is not public, and webhook_hosts does not name it";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &[&str], url: &str) -> bool {
        let names: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
        Hosts::new(&names).check(&Address::read(url).expect(url)).is_ok()
    }

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
        ] {
            assert!(!is_public(ip.parse().expect(ip)), "{ip}");
        }
        for ip in [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.216.34",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::",
            "2606:4700::1111",
            "2001:4860:4860::8888",
        ] {
            assert!(is_public(ip.parse().expect(ip)), "{ip}");
        }
    }

    #[test]
    fn a_host_that_is_named_may_be_anywhere_and_others_only_if_none_is_or_a_star() {
        assert!(check(&[], "https://example.com/x") && check(&[], "http://8.8.8.8/x"));
        for url in
            ["http://127.0.0.1/", "http://[::1]/", "http://localhost:1/", "http://a.localhost/"]
        {
            assert!(!check(&[], url) && !check(&["*"], url), "{url}");
        }
        assert!(!check(&["a.example"], "https://example.com/"));
        assert!(check(&["a.example", "*"], "https://example.com/"));
        assert!(check(&["A.example"], "http://a.EXAMPLE./"));
        assert!(check(&["127.0.0.1:8000"], "http://127.0.0.1:8000/x"));
        assert!(!check(&["127.0.0.1:8000"], "http://127.0.0.1:8001/x"));
        assert!(check(&["::1"], "http://[::1]:9/") && check(&["[0::1]:9"], "http://[::1]:9/"));
        assert!(check(&["*.corp"], "http://a.b.corp/") && !check(&["*.corp"], "http://corp/"));
        assert!(!check(&["*.corp"], "http://acorp/") && !check(&["a:443"], "http://a/"));
        assert!(check(&["a:443"], "https://a/"));
    }

    #[test]
    fn what_names_no_host_is_none() {
        for name in ["", "*.", "http://a", "a/b", "a b", "a:", "a:0", "a:99999", ":80", ".a", "a@b"]
        {
            assert!(!is_host(name), "{name}");
        }
        for name in ["*", "*.a", "a", "a:1", "a_b.c-d", "::1", "[::1]", "[::1]:80", "10.0.0.1:1"] {
            assert!(is_host(name), "{name}");
        }
    }
}
