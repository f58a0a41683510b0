//! [`Address`]: where the database is, as libpq says it, with what `tokio-postgres` does not know.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use quell_core::store::StoreError;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::passfile::{self, PORT};

/// Where the database is.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// How it is reached. It hides its password when it is printed.
    pub(crate) config: Config,
    pub(crate) trust: Trust,
    /// Who is trusted to say who the server is; none for the authorities of the system.
    pub(crate) root_cert: Option<PathBuf>,
    /// The file that would have been asked for a password if others had no right to it.
    pub(crate) open_file: Option<PathBuf>,
}

/// How sure it has to be who the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Whoever it is.
    Anybody,
    /// Who has a certificate of a known authority.
    Authority,
    /// Who has one for this host.
    Host,
}

impl Address {
    /// Reads an address, and looks for a password that is not named.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read, or names an option that is not known. No word of the error is
    /// part of a password.
    pub(crate) fn read(text: &str) -> Result<Self, StoreError> {
        let (mut address, passfile) = Self::parse(text)?;
        if address.config.get_password().is_none() {
            match passfile::find(&address.config, passfile.as_deref()) {
                Ok(Some(password)) => drop(address.config.password(password)),
                Ok(None) => {}
                Err(open) => address.open_file = Some(open),
            }
        }
        Ok(address)
    }

    /// Reads an address, and yields it with the file that it names for its password.
    fn parse(text: &str) -> Result<(Self, Option<String>), StoreError> {
        let Parts { rest, ours } = parts(text)?;
        let mut config = Config::from_str(&rest).map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            let what = source.unwrap_or_else(|| error.to_string());
            unlike(&if what.contains("`port`") { format!("{what}; {BRACKETS}") } else { what })
        })?;
        let last = |key| ours.iter().rev().find(|(name, _)| *name == key).map(|(_, value)| value);
        let named = last("sslrootcert").filter(|name| *name != "system");
        let root_cert = named.map(PathBuf::from);
        let mode = last("sslmode").map_or("prefer", String::as_str);
        let (ssl, trust) = match mode {
            "disable" => (SslMode::Disable, Trust::Anybody),
            "prefer" => (SslMode::Prefer, Trust::Anybody),
            "require" if root_cert.is_none() => (SslMode::Require, Trust::Anybody),
            "require" | "verify-ca" => (SslMode::Require, Trust::Authority),
            "verify-full" => (SslMode::Require, Trust::Host),
            _ => {
                let known = "disable, prefer, require, verify-ca and verify-full";
                return Err(unreadable(&format!("set sslmode to one of {known}")));
            }
        };
        config.ssl_mode(ssl);
        if config.get_user().is_none_or(str::is_empty) {
            return Err(unlike("it names no user"));
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(unlike("it names no host"));
        }
        if config.get_hosts().len().max(config.get_hostaddrs().len()) > 1 {
            // A standby would answer reads with what it has by then.
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if config.get_application_name().is_none() {
            config.application_name(format!("quell, process {}", std::process::id()));
        }
        notice_dead_peers(&mut config);
        let address = Self { config, trust, root_cert, open_file: None };
        Ok((address, last("passfile").cloned()))
    }

    /// Says in words where it is.
    pub(crate) fn words(&self) -> String {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(nth, host)| {
            let port = ports.get(nth).or(ports.first()).copied().unwrap_or(PORT);
            match host {
                // As it stands in an address: so it can be copied from there.
                Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
                Host::Tcp(name) => format!("{name}:{port}"),
                #[cfg(unix)]
                Host::Unix(folder) => format!("{}/.s.PGSQL.{port}", folder.display()),
            }
        });
        let addrs = self.config.get_hostaddrs().iter().map(ToString::to_string);
        let all: Vec<_> =
            if self.config.get_hosts().is_empty() { addrs.collect() } else { hosts.collect() };
        all.join(", ")
    }
}

/// Has a peer that is gone noticed within half a minute, unless the address says otherwise.
fn notice_dead_peers(config: &mut Config) {
    if config.get_keepalives_idle() == KEEPALIVES_IDLE_OF_LIBRARY {
        config.keepalives_idle(Duration::from_secs(10));
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(Duration::from_secs(5));
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(3);
    }
}

/// An address without the options that only we know, and those.
struct Parts {
    rest: String,
    ours: Vec<(&'static str, String)>,
}

/// Splits an address.
fn parts(text: &str) -> Result<Parts, StoreError> {
    let mut ours = Vec::new();
    if !is_url(text) {
        if text.split_once('=').is_none_or(|(key, _)| key.contains("://")) {
            return Err(unreadable(
                "it begins with neither postgres:// nor postgresql://, and is not made of pairs \
                 such as host=HOST user=USER dbname=DATABASE",
            ));
        }
        let words = words(text)?;
        words.iter().try_for_each(|(key, _)| is_known(key))?;
        let rest = words.into_iter().filter_map(|(key, value)| match own(&key) {
            Some(key) => {
                ours.push((key, value));
                None
            }
            None => Some(format!("{key}='{}'", value.replace('\\', r"\\").replace('\'', r"\'"))),
        });
        let rest = rest.collect::<Vec<_>>().join(" ");
        return Ok(Parts { rest, ours });
    }
    // A password may have a question mark, and no `@`: what is behind the first one is told.
    if text.matches('@').count() > 1 {
        return Err(unlike(&format!("it has more than one @: {ESCAPES}")));
    }
    let (who, place) = text.split_at(text.find('@').unwrap_or_default());
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    if place.contains(['&', '=', ' ']) {
        return Err(unlike("its options come behind a `?`, and have an `&` between them"));
    }
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        is_known(key)?;
        match own(key) {
            Some(key) => {
                let value = percent_decode_str(value).decode_utf8();
                let value = value.map_err(|_| unlike(&format!("{key} is not UTF-8")))?;
                ours.push((key, value.into_owned()));
            }
            None => kept.push(pair),
        }
    }
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    Ok(Parts { rest: format!("{who}{place}{query}"), ours })
}

/// Reads `key=value key='value'` as libpq does.
fn words(text: &str) -> Result<Vec<(String, String)>, StoreError> {
    let (mut all, mut rest) = (Vec::new(), text.trim_start());
    while !rest.is_empty() {
        let (key, behind) = rest.split_once('=').ok_or_else(|| unlike("a key has no value"))?;
        let (mut value, mut left) = (String::new(), behind.trim_start().chars());
        let is_quoted = left.as_str().starts_with('\'');
        if is_quoted {
            left.next();
        }
        loop {
            match left.next() {
                Some('\'') if is_quoted => break,
                Some(space) if !is_quoted && space.is_whitespace() => break,
                Some('\\') => value.extend(left.next()),
                Some(other) => value.push(other),
                None if is_quoted => return Err(unlike("a quote has no end")),
                None => break,
            }
        }
        all.push((key.trim().to_owned(), value));
        rest = left.as_str().trim_start();
    }
    Ok(all)
}

/// Tells whether only we know an option.
fn own(key: &str) -> Option<&'static str> {
    OWN.into_iter().find(|own| *own == key)
}

/// Checks that an option is known. A word that is none is not told: it may be of a password with a
/// space, or a `?`.
fn is_known(key: &str) -> Result<(), StoreError> {
    if OWN.contains(&key) || OF_LIBRARY.contains(&key) {
        return Ok(());
    }
    let name = if OTHERS.contains(&key) { key } else { "what stands in it" };
    let all = OF_LIBRARY.join(", ");
    Err(unreadable(&format!(
        "leave out {name}, which is no option that is known: those are sslmode, sslrootcert, \
         passfile, {all}; {ESCAPES}"
    )))
}

fn is_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

/// Says what is wrong with an address that is not written as one.
fn unlike(what: &str) -> StoreError {
    unreadable(&format!("write it as postgres://USER@HOST/DATABASE ({what})"))
}

fn unreadable(what: &str) -> StoreError {
    StoreError::Address { what: what.to_owned() }
}

/// Yields what of an address may be printed: host, port and database.
pub(crate) fn without_secrets(text: &str) -> String {
    match Address::parse(text) {
        Ok((address, _)) => {
            let database = address.config.get_dbname().unwrap_or_default();
            format!("{}/{database}", address.words())
        }
        Err(_) => "…".into(),
    }
}

/// How an address of IPv6 stands in an address.
const BRACKETS: &str = "an address of IPv6 stands in brackets, as [::1]:5432";

/// How a password stands in an address.
const ESCAPES: &str = "a password in a URL has its %, ?, @, : and / as %25, %3F, %40, %3A, %2F";

/// Options that only we know.
const OWN: [&str; 3] = ["sslmode", "sslrootcert", "passfile"];

/// Options that `tokio-postgres` knows.
const OF_LIBRARY: [&str; 17] = [
    "user",
    "password",
    "dbname",
    "host",
    "hostaddr",
    "port",
    "options",
    "application_name",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

/// Options of libpq that nobody here knows.
const OTHERS: [&str; 14] = [
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslcrl",
    "sslcrldir",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "gssencmode",
    "krbsrvname",
    "requirepeer",
    "require_auth",
    "service",
    "client_encoding",
    "fallback_application_name",
];

/// What stands for an address that says nothing.
const KEEPALIVES_IDLE_OF_LIBRARY: Duration = Duration::from_hours(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Address {
        Address::read(text).unwrap()
    }

    #[test]
    fn both_forms_are_read_with_what_only_we_know() {
        let url = "postgres://ada:p%40ss@db.example:5433/runs?sslmode=verify-full&connect_timeout=3\
            &sslrootcert=%2Fetc%2Fa%20b.pem";
        let pairs = r"host=db.example port = 5433 user=ada password='p@ss' dbname=runs
            sslmode=verify-full sslrootcert='/etc/a b.pem' connect_timeout=3";
        for text in [url, pairs] {
            let Address { config, trust, root_cert, .. } = read(text);
            assert_eq!(config.get_password(), Some(&b"p@ss"[..]), "{text}");
            assert_eq!((config.get_dbname(), config.get_ports()), (Some("runs"), &[5433][..]));
            assert_eq!((config.get_ssl_mode(), trust), (SslMode::Require, Trust::Host));
            assert_eq!(root_cert, Some("/etc/a b.pem".into()));
            assert_eq!(config.get_connect_timeout().unwrap().as_secs(), 3);
        }
    }

    #[test]
    fn of_several_hosts_none_is_asked_that_may_not_be_written() {
        for (hosts, attrs) in [
            ("host=a", TargetSessionAttrs::Any),
            ("host=a,b", TargetSessionAttrs::ReadWrite),
            ("hostaddr=127.0.0.1,127.0.0.2", TargetSessionAttrs::ReadWrite),
        ] {
            let address = read(&format!("{hosts} user=u"));
            assert_eq!(address.config.get_target_session_attrs(), attrs, "{hosts}");
        }
    }

    #[test]
    fn a_mode_means_what_libpq_says() {
        for (options, ssl, trust) in [
            ("", SslMode::Prefer, Trust::Anybody),
            ("sslmode=disable", SslMode::Disable, Trust::Anybody),
            ("sslmode=require", SslMode::Require, Trust::Anybody),
            ("sslmode=require sslrootcert=system", SslMode::Require, Trust::Anybody),
            ("sslmode=require sslrootcert=a.pem", SslMode::Require, Trust::Authority),
            ("sslmode=verify-ca", SslMode::Require, Trust::Authority),
        ] {
            let address = read(&format!("host=h user=u {options}"));
            assert_eq!((address.config.get_ssl_mode(), address.trust), (ssl, trust), "{options}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_without_the_password() {
        for text in [
            "postgres://u:SECRET@h/d?sslmode=perhaps",
            "postgres://u:SECRET@h/d?sslcert=me.pem",
            "postgres://u:SECRET@h:port/d",
            "postgres://:SECRET@h/d",
            "user=u password=SECRET dbname=d",
            "host=h user=u password='SECRET",
            "host=h user=u password=SECRET nothing",
            "host=h user=u password=my SECRET=1",
            "postgres://u:my@h/d?SECRET@h/d",
            "postgres://u@h/d?sslmode=SECRET",
            "mysql://u:SECRET@h/d",
            "jdbc:postgresql://u:SECRET@h/d",
            " postgres://u:SECRET@h/d",
            "postgres://u:my@SECRET@h/d",
            "postgres://u:my@SECRET/more@h/d",
            "postgres://u:my?a=b@SECRET@h/d",
            "postgres://u@h/d&password=SECRET",
            "postgres://u@h/d password=SECRET",
            "SECRET",
            "",
        ] {
            let error = Address::read(text).unwrap_err();
            assert!(matches!(error, StoreError::Address { .. }), "{text}: {error:?}");
            assert!(!format!("{error} {error:?}").contains("SECRET"), "{error}");
            assert!(!without_secrets(text).contains("SECRET"), "{text}");
        }
        let bare = Address::read("postgres://u@::1:5432/d").unwrap_err();
        assert!(bare.to_string().contains("stands in brackets, as [::1]:5432"), "{bare}");
        let named = Address::read("postgres://u@h/d?sslcert=me.pem").unwrap_err();
        assert!(named.to_string().contains("leave out sslcert, which is no option"), "{named}");
        let address = read(r"host=h user=u password='it\'s SECRET' dbname=d");
        assert_eq!(address.config.get_password(), Some(&b"it's SECRET"[..]));
        assert!(!format!("{address:?} {}", address.words()).contains("SECRET"));
        assert_eq!(without_secrets("postgres://u:SECRET@h/d"), "h:5432/d");
        assert_eq!(without_secrets("postgres://u:SECRET@[::1]:7/d"), "[::1]:7/d");
        let address = read("postgres://u:my/SECRET?@h/d?sslmode=disable");
        assert_eq!(address.config.get_password(), Some(&b"my/SECRET?"[..]));
    }
}
