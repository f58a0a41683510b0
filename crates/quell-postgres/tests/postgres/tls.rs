//! Who the server has to be.

use std::fs;

use quell_core::store::{Store, StoreError};
use quell_postgres::{PostgresOptions, PostgresStore};
use quell_test_support::PostgresServer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::fixture::{Place, block_on};

/// An authority, with a certificate for a host.
struct Authority {
    root: String,
    root_key: String,
    certificate: String,
    key: String,
}

fn authority(host: &str) -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Authority {
        root: issuer.pem(),
        root_key: issuer.key().serialize_pem(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

#[test]
fn a_mode_says_who_the_server_has_to_be() {
    let server = PostgresServer::start(&["listen_addresses=127.0.0.1"]);
    let (ours, other) = (authority("localhost"), authority("localhost"));
    let file = |name: &str, text: &str| {
        let file = server.folder().join(name);
        fs::write(&file, text).unwrap();
        server.own(&file);
        file.display().to_string()
    };
    let (certificate, key) = (file("cert.pem", &ours.certificate), file("key.pem", &ours.key));
    let (root, wrong) = (file("root.pem", &ours.root), file("wrong.pem", &other.root));
    let place = Place::on(&server);
    let opens = |host: &str, rest: &str| {
        let Place { database, .. } = &place;
        let (port, on) = (server.port(), "hostaddr=127.0.0.1");
        let address = format!("postgres://quell@{host}:{port}/{database}?{on}&{rest}");
        block_on(async {
            let store = PostgresStore::open(PostgresOptions::new(address)).await?;
            let ssl = "select bool_or(ssl) from pg_stat_ssl s join pg_stat_activity a using (pid)
                where a.application_name like 'quell%'";
            let is_encrypted = place.sql(ssl) == "t";
            store.close().await?;
            Ok::<_, StoreError>(is_encrypted)
        })
    };
    assert_eq!(opens("localhost", "sslmode=prefer"), Ok(false));
    let without = opens("localhost", "sslmode=require").unwrap_err();
    assert!(without.to_string().contains("does not support TLS"), "{without}");
    for set in [format!("cert_file = '{certificate}'"), format!("key_file = '{key}'")] {
        server.sql("postgres", &format!("alter system set ssl_{set}"));
    }
    server.sql("postgres", "alter system set ssl = on");
    server.stop_at_once();
    server.start_again();
    for (host, rest, encrypted) in [
        ("localhost", "sslmode=disable".to_owned(), Some(false)),
        ("localhost", String::new(), Some(true)),
        ("elsewhere", "sslmode=require".to_owned(), Some(true)),
        ("elsewhere", format!("sslmode=require&sslrootcert={root}"), Some(true)),
        ("elsewhere", format!("sslmode=require&sslrootcert={wrong}"), None),
        ("elsewhere", format!("sslmode=verify-ca&sslrootcert={root}"), Some(true)),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={wrong}"), None),
        ("localhost", format!("sslmode=verify-full&sslrootcert={root}"), Some(true)),
        ("elsewhere", format!("sslmode=verify-full&sslrootcert={root}"), None),
        ("localhost", format!("sslmode=verify-full&sslrootcert={wrong}"), None),
    ] {
        let opened = opens(host, &rest);
        if let Some(encrypted) = encrypted {
            assert_eq!(opened, Ok(encrypted), "{host} {rest}");
        } else {
            let words = opened.unwrap_err().to_string();
            let advice = "the database lets nobody in like that: name who has signed the \
                certificate of the server as sslrootcert";
            assert!(words.starts_with(advice), "{host} {rest}: {words}");
        }
    }
    // A certificate that is its own authority, as the manual of PostgreSQL makes it.
    for (set, text) in [("cert", &ours.root), ("key", &ours.root_key)] {
        let file = file(&format!("own-{set}.pem"), text);
        server.sql("postgres", &format!("alter system set ssl_{set}_file = '{file}'"));
    }
    server.stop_at_once();
    server.start_again();
    assert_eq!(opens("localhost", "sslmode=require"), Ok(true));
    let own = opens("localhost", &format!("sslmode=verify-ca&sslrootcert={root}")).unwrap_err();
    assert!(own.to_string().contains("with basicConstraints=CA:FALSE, or set sslmode"), "{own}");
    let missing = opens("localhost", "sslmode=verify-full&sslrootcert=/no/such.pem");
    assert!(matches!(missing, Err(StoreError::Address { .. })), "{missing:?}");
}
