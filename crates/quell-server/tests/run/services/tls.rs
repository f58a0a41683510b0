//! A service behind https is asked if its certificate is trusted, and within the time for that.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::peer::read;
use super::run_of;
use crate::site::Site;
use crate::support::Scratch;

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

/// Makes a certificate authority.
pub(crate) fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("an authority")
}

/// Starts a service for a host, which answers with what it is asked.
pub(crate) fn service(authority: &Authority, host: &str) -> SocketAddr {
    answering(authority, host, None)
}

/// Starts a service for a host, which answers with a text.
pub(crate) fn saying(authority: &Authority, host: &str, text: &str) -> SocketAddr {
    answering(authority, host, Some(text.to_owned()))
}

fn answering(authority: &Authority, host: &str, says: Option<String>) -> SocketAddr {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![host.to_owned()]).expect("the name of a host");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("a configuration");
    let config = Arc::new(config);
    listen(move |socket| {
        let connection = ServerConnection::new(Arc::clone(&config)).expect("a configuration");
        let mut tls = StreamOwned::new(connection, socket);
        // A client that does not trust it asks nothing.
        let Some(asked) = read(&mut tls) else { return };
        let body = says.clone().unwrap_or(asked.body);
        let length = body.len();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        let _ = write!(tls, "{head}\r\ncontent-length: {length}\r\n\r\n{body}");
        tls.conn.send_close_notify();
        let _ = tls.flush();
    })
}

/// Starts what answers connections.
fn listen(answer: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(answer));
    address
}

/// Runs a service by its address, with a file of authorities that are trusted.
fn run(address: SocketAddr, trusted: &str, options: &str) -> Value {
    let scratch = Scratch::new();
    let file = format!("[agents.it]\nurl = \"https://{address}/run\"\n{options}\n");
    scratch.write("quell.toml", &file);
    let path = scratch.write("authority.pem", trusted);
    let path = path.to_str().expect("a path in UTF-8");
    let env = [("SSL_CERT_FILE", path), ("SSL_CERT_DIR", "")];
    let site = Site::with_env(scratch, &["--config", "quell.toml"], &env);
    run_of(&site, "one", &json!({ "topic": "tea" }))
}

#[test]
fn a_service_with_a_certificate_of_a_trusted_authority_is_asked() {
    let ours = authority("ours");
    let run = run(service(&ours, "127.0.0.1"), &ours.pem(), "connect_timeout = \"1h\"");
    let right = json!({ "topic": "tea" });
    assert_eq!((&run["status"], &run["output"]), (&"completed".into(), &right), "{run}");
    assert_eq!(run["rows"][0]["quiescent"], true, "{run}");
}

#[test]
fn why_a_service_is_not_trusted_is_told_and_what_to_do() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let plain = listen(|mut socket| {
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
        // What is closed while there is more to read may be reset.
        let _ = socket.read_to_end(&mut Vec::new());
    });
    for (address, trusted, says) in [
        (
            service(&theirs, "127.0.0.1"),
            ours.pem(),
            "invalid peer certificate: UnknownIssuer; the file of certificates that SSL_CERT_FILE",
        ),
        (service(&ours, "elsewhere.test"), ours.pem(), "certificate not valid for name"),
        (plain, ours.pem(), "it does not speak https there: expected an address with http://"),
        (plain, String::new(), "SSL_CERT_FILE and SSL_CERT_DIR name those that are trusted"),
    ] {
        let run = run(address, &trusted, "retries = 0\nconnect_timeout = \"1h\"");
        let error = run["rows"][0]["error"].as_str().unwrap_or_default();
        assert!(error.contains(says), "{says}: {run}");
        assert_eq!(run["rows"][0]["abandoned"], json!([]), "nothing was sent: {run}");
    }
}

#[test]
fn a_service_that_says_nothing_in_the_handshake_is_given_up_after_the_time_to_connect() {
    // Its connections are made, and nobody takes them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("it has one");
    let options = "retries = 1\nconnect_timeout = \"200ms\"";
    let run = run(address, &authority("ours").pem(), options);
    let error = run["rows"][0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("no connection with TLS within 200ms (`connect_timeout`)"), "{run}");
    assert_eq!(run["rows"][0]["abandoned"], json!([]), "nothing was sent: {run}");
}
