//! [`connector`]: TLS as the address wants it.

use std::sync::Arc;

use quell_core::store::StoreError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls::{RootCertStore, client};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::address::{Address, Trust};

/// Makes what connects with TLS.
///
/// # Errors
///
/// Fails if the authorities that are to be trusted cannot be read, or if there is none.
pub(crate) fn connector(address: &Address) -> Result<MakeRustlsConnect, StoreError> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Io { what: format!("no TLS: {error}") })?;
    let config = match address.trust {
        Trust::Host => config.with_root_certificates(roots(address)?),
        Trust::Anybody => config
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Lenient { authorities: None, provider })),
        Trust::Authority => {
            let roots = Arc::new(roots(address)?);
            let built = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
            let authorities =
                Some(built.build().map_err(|error| unknown_roots(address, &error.to_string()))?);
            let lenient = Lenient { authorities, provider };
            config.dangerous().with_custom_certificate_verifier(Arc::new(lenient))
        }
    };
    let mut config: ClientConfig = config.with_no_client_auth();
    // A session would be resumed without a look at the certificate.
    config.resumption = client::Resumption::disabled();
    Ok(MakeRustlsConnect::new(config))
}

/// Reads who is trusted.
fn roots(address: &Address) -> Result<RootCertStore, StoreError> {
    let mut roots = RootCertStore::empty();
    let found = match &address.root_cert {
        Some(file) => {
            let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
            read.map_err(|error| unknown_roots(address, &error.to_string()))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(found);
    if roots.is_empty() {
        return Err(unknown_roots(address, "there is no authority"));
    }
    Ok(roots)
}

fn unknown_roots(address: &Address, what: &str) -> StoreError {
    let whose = address.root_cert.as_ref().map_or_else(
        || "the authorities of the system".into(),
        |file| format!("sslrootcert {}", file.display()),
    );
    let what = format!("have sslrootcert name a file with certificates ({whose}: {what})");
    StoreError::Address { what }
}

/// Does not ask for which host a certificate is, nor, if nobody is trusted, whose it is. That the
/// server has its key is always asked.
#[derive(Debug)]
struct Lenient {
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authorities) = &self.authorities else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified = authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // The name is looked at last: everything else is right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
