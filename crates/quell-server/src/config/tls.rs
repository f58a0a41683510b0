//! [`TlsEntry`]: the certificate with which a server speaks TLS, `[tls]`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quell_flow::PlanError;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

use super::access::{IS_MISSING, KEY_BYTES_MAX};
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
    /// Reads the certificate and its key; none if the file has no `[tls]`.
    ///
    /// # Errors
    ///
    /// Fails if one of the two is missing or cannot be read, or if the key is not of the
    /// certificate.
    pub(super) fn tls(&self) -> Result<Option<Arc<ServerConfig>>, PlanError> {
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
        Ok(Some(Arc::new(config)))
    }
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
