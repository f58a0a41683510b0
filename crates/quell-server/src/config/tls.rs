//! [`TlsEntry`]: the certificate with which a server speaks TLS, `[tls]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use quell_flow::PlanError;
use quell_http::Access;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::access::{IS_MISSING, KEY_BYTES_MAX, Trusted};
use super::file::Config;
use crate::quoted::of_path;
use crate::small_file;

/// `[tls]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TlsEntry {
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

impl Config {
    /// Reads the certificate and its key, with what should be otherwise; none if the file has no
    /// `[tls]`.
    ///
    /// # Errors
    ///
    /// Fails if one of the two is missing or cannot be read, if one certificate of the chain is
    /// none, or if the key is not of the first.
    pub(super) fn tls(&self) -> Result<Option<Warned>, PlanError> {
        let TlsEntry { cert_file, key_file } = &self.tls;
        let fault = |key: &str, words: &str| self.fault(&["tls", key], words);
        let (cert, key) = match (cert_file, key_file) {
            (None, None) => return Ok(None),
            (Some(cert), Some(key)) => (cert, key),
            (None, Some(_)) => return Err(fault("cert_file", IS_MISSING)),
            (Some(_), None) => return Err(fault("key_file", IS_MISSING)),
        };
        let chain = pem(&self.folder.join(cert)).and_then(|pem| certificates(&pem));
        let chain = chain.map_err(|words| fault("cert_file", &words))?;
        let now = SystemTime::now();
        let told = chain.iter().enumerate().map(|(at, one)| told_of(at + 1, one, now));
        let told =
            told.collect::<Result<Vec<_>, _>>().map_err(|words| fault("cert_file", &words))?;
        let warnings = told.iter().flatten().map(|words| fault("cert_file", words)).collect();
        let key = pem(&self.folder.join(key)).and_then(|pem| {
            PrivateKeyDer::from_pem_slice(&pem).map_err(|_| "no private key in PEM".to_owned())
        });
        let key = key.map_err(|words| fault("key_file", &words))?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut config = config.map_err(|error| fault("cert_file", &error.to_string()))?;
        // What is served: HTTP/1.1 alone.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some((Arc::new(config), warnings)))
    }

    /// Warns that other machines reach a server that asks for keys, and does not speak TLS.
    pub(super) fn plain_warning(
        &self,
        trusted: &Trusted,
        asked: Option<SocketAddr>,
    ) -> Option<PlanError> {
        let listen = self.listen(asked);
        let is_own = Access::open().check_listener(listen.ip()).is_ok();
        if is_own || trusted.tls.is_some() || trusted.access.is_open() {
            return None;
        }
        Some(match asked {
            Some(_) => PlanError::new(format!("--listen {listen}: {PLAIN}")),
            None => self.fault(&["listen"], PLAIN),
        })
    }
}

/// What speaks TLS, with what should be otherwise.
type Warned = (Arc<ServerConfig>, Vec<PlanError>);

/// Tells of a certificate of a chain, the first of which is number 1, that it is not valid now.
///
/// # Errors
///
/// Fails if it is no certificate.
fn told_of(
    number: usize,
    certificate: &CertificateDer<'_>,
    now: SystemTime,
) -> Result<Option<String>, String> {
    let named =
        if number == 1 { "the certificate".to_owned() } else { format!("certificate {number}") };
    let read = Certificate::from_der(certificate)
        .map_err(|_| format!("{named} of this file is none, although it is in PEM"))?;
    let valid = read.tbs_certificate.validity;
    let (begin, end) = (valid.not_before.to_system_time(), valid.not_after.to_system_time());
    let at = humantime::format_rfc3339_seconds;
    Ok(if now > end {
        Some(format!("{named} has expired, at {}: clients refuse it", at(end)))
    } else if now < begin {
        Some(format!("{named} is not valid before {}: clients refuse it until then", at(begin)))
    } else {
        None
    })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) | Err(_) => Err("no certificate in PEM".to_owned()),
    }
}

fn pem(file: &Path) -> Result<Vec<u8>, String> {
    let read = small_file::read(file, KEY_BYTES_MAX as u64);
    read.map_err(|error| of_path(&file.display().to_string(), &error.to_string()))
}

const PLAIN: &str = "other machines reach this address without TLS: who is between reads keys and \
                     answers; expected `[tls]`, or a proxy in front of it that speaks TLS and is \
                     the only one that can reach it";
