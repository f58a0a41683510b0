//! Callers that speak TLS, or that should.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd, generate_simple_self_signed};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{AGENT, log, renewed, site};
use crate::site::Site;
use crate::support::Scratch;

const FILE: &str = "[tls]\ncert_file = \"it.pem\"\nkey_file = \"it.key\"\n";

/// Makes a certificate that signs itself.
fn certificate() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a name")
}

fn put(scratch: &Scratch, made: &CertifiedKey<KeyPair>) {
    scratch.write("it.pem", &made.cert.pem());
    scratch.write("it.key", &made.signing_key.serialize_pem());
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Connects as a client that trusts one certificate, and speaks these protocols.
fn connected(site: &Site, trusted: &CertificateDer<'static>, alpn: &[&str]) -> io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a configuration");
    let mut tls = StreamOwned::new(client, TcpStream::connect(site.address())?);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock)?;
    }
    Ok(tls)
}

/// Asks how the server is, on a connection that stays open.
fn healthy(tls: &mut Tls) -> bool {
    write!(tls, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it reads");
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        tls.read_exact(&mut byte).expect("it answers");
        answer.extend(byte);
    }
    let head = String::from_utf8(answer).expect("text").to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|it| it.split('\r').next());
    let mut body = vec![0; length.and_then(|it| it.parse().ok()).expect("a length")];
    tls.read_exact(&mut body).expect("a body");
    head.starts_with("http/1.1 200 ")
}

#[test]
fn a_certificate_that_is_replaced_is_that_of_the_next_connection_and_a_bad_one_is_not_taken() {
    let (scratch, first, next) = (Scratch::new(), certificate(), certificate());
    put(&scratch, &first);
    scratch.write("quell.toml", &format!("{AGENT}{FILE}"));
    let site = site(scratch, &[]);
    let mut open = connected(&site, first.cert.der(), &["h2", "http/1.1"]).expect("it is trusted");
    assert_eq!(open.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(healthy(&mut open));
    connected(&site, first.cert.der(), &["h2"]).expect_err("nobody speaks it");
    connected(&site, next.cert.der(), &[]).expect_err("it is another one");
    let stays = "keys stay as they were";
    // What else is in the chain is looked at by clients alone.
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    put(&site.scratch, &next);
    site.scratch.write("it.pem", &format!("{}{garbage}", next.cert.pem()));
    renewed(&site, 1, stays);
    assert!(log(&site).contains("`cert_file`: certificate 2 of this file is none"));
    assert!(healthy(&mut connected(&site, first.cert.der(), &[]).expect("it is as it was")));
    // The key is not yet that of the certificate.
    site.scratch.write("it.pem", &next.cert.pem());
    for (at, key) in ["", "no key", &first.signing_key.serialize_pem()].iter().enumerate() {
        site.scratch.write("it.key", key);
        renewed(&site, at + 2, stays);
        assert!(healthy(&mut connected(&site, first.cert.der(), &[]).expect("it is as it was")));
    }
    site.scratch.write("quell.toml", AGENT);
    renewed(&site, 5, stays);
    site.scratch.write("quell.toml", &format!("{AGENT}{FILE}"));
    put(&site.scratch, &next);
    // Without keys there is nothing else to read, and the certificate is taken all the same.
    renewed(&site, 1, "keys were read again");
    assert!(healthy(&mut connected(&site, next.cert.der(), &[]).expect("it is trusted")));
    connected(&site, first.cert.der(), &[]).expect_err("it is gone");
    assert!(healthy(&mut open), "what is open goes on");
    assert!(!log(&site).contains("PRIVATE"), "{}", log(&site));
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn a_client_without_tls_is_told_and_those_that_stall_keep_nobody_out() {
    let (scratch, made) = (Scratch::new(), certificate());
    put(&scratch, &made);
    scratch.write("quell.toml", &format!("{AGENT}{FILE}"));
    let site = site(scratch, &[]);
    let mut plain = TcpStream::connect(site.address()).expect("it listens");
    write!(plain, "POST /v1/runs HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{{}}")
        .expect("read");
    let mut answer = String::new();
    plain.read_to_string(&mut answer).expect("no reset");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("speaks TLS"), "{answer}");
    let address = format!("http://{}", site.address());
    let asked = site.scratch.run(&["ps", "--server", &address]);
    asked.assert_code(2);
    let right = "this port speaks TLS: use an address of https:// (400)";
    assert!(asked.stderr.contains(right), "{asked:?}");
    // More than there are handshakes at once: half say nothing, half stop after their first bytes.
    let stalled: Vec<_> = (0..160)
        .map(|at| {
            let mut client = TcpStream::connect(site.address()).expect("it listens");
            if at % 2 == 0 {
                client.write_all(b"\x16\x03\x01\x02\x00\x01").expect("it is taken");
            }
            client
        })
        .collect();
    let mut ours = connected(&site, made.cert.der(), &[]).expect("one gave way");
    assert!(healthy(&mut ours));
    drop(stalled);
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn a_certificate_without_its_key_is_refused_at_the_start_and_its_words_say_where() {
    let (scratch, made, other) = (Scratch::new(), certificate(), certificate());
    put(&scratch, &made);
    scratch.write("other.key", &other.signing_key.serialize_pem());
    for (tls, says) in [
        ("cert_file = 'it.pem'", "`key_file`: is missing"),
        ("key_file = 'it.key'", "`cert_file`: is missing"),
        ("cert_file = 'it.pem'\nkey_file = 'other.key'", "keys may not be consistent"),
        ("cert_file = 'it.key'\nkey_file = 'it.key'", "`cert_file`: no certificate in PEM"),
        ("cert_file = 'it.pem'\nkey_file = 'it.pem'", "`key_file`: no private key in PEM"),
        ("cert_file = 'no.pem'\nkey_file = 'it.key'", "no.pem"),
    ] {
        scratch.write("quell.toml", &format!("{AGENT}[tls]\n{tls}\n"));
        let ended = scratch.run(&["serve", "--config", "quell.toml", "--listen", "127.0.0.1:0"]);
        ended.assert_code(2);
        assert!(ended.stderr.contains(says), "{says}: {ended:?}");
    }
}

#[test]
fn a_certificate_that_is_not_valid_now_is_a_warning_with_the_date() {
    let dated = |from: i32, until: i32| {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let signing_key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&signing_key).expect("a certificate");
        CertifiedKey { cert, signing_key }
    };
    let (scratch, now) = (Scratch::new(), certificate());
    let expired = "the certificate has expired, at 2021-01-01T00:00:00Z";
    let early = "the certificate is not valid before 2999-01-01T00:00:00Z";
    scratch.write("quell.toml", &format!("{AGENT}{FILE}"));
    for (made, says) in [(dated(2020, 2021), expired), (dated(2999, 3000), early)] {
        put(&scratch, &made);
        let checked = scratch.run(&["check"]);
        checked.assert_code(0);
        assert!(checked.stderr.contains(says), "{checked:?}");
    }
    put(&scratch, &now);
    let checked = scratch.run(&["check"]);
    assert_eq!(checked.stderr, "");
    put(&scratch, &dated(2020, 2021));
    let site = site(scratch, &[]);
    let is_warned = |says: &str| {
        log(&site).lines().any(|line| line.contains(says) && line.contains("\"level\":\"WARN\""))
    };
    assert!(is_warned(expired) && !is_warned(early), "{}", log(&site));
    put(&site.scratch, &dated(2999, 3000));
    renewed(&site, 1, "keys were read again");
    assert!(is_warned(early), "{}", log(&site));
    site.signal("TERM");
    site.ended().0.assert_code(0);
}

#[test]
fn keys_that_come_from_other_machines_without_tls_are_a_warning() {
    let (scratch, made) = (Scratch::new(), certificate());
    put(&scratch, &made);
    scratch.write("ada.key", "hush-ada");
    let keys = "[[keys]]\nsubject = \"ada\"\nsecret_file = \"ada.key\"\n";
    let says = "other machines reach this address without TLS";
    for (listen, tls, is_warned) in [
        ("0.0.0.0:7777", "", true),
        ("[::]:7777", "", true),
        ("127.0.0.1:7777", "", false),
        ("0.0.0.0:7777", FILE, false),
    ] {
        scratch.write("quell.toml", &format!("listen = \"{listen}\"\n{AGENT}{keys}{tls}"));
        let checked = scratch.run(&["check"]);
        checked.assert_code(0);
        assert_eq!(checked.stderr.contains(says), is_warned, "{listen}: {checked:?}");
        assert!(!is_warned || checked.stderr.contains("a proxy in front of it"), "{checked:?}");
    }
}
