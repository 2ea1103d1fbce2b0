//! Owns the certificate that all servers of a run present, and the client that trusts it. Called by `server` and
//! `wire`.

use std::sync::{Arc, LazyLock};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tempfile::TempDir;

struct Identity {
    directory: TempDir,
    client: Arc<ClientConfig>,
}

static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(directory.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(directory.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert.der().to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = builder.with_root_certificates(roots).with_no_client_auth();
    Identity { directory, client: Arc::new(client) }
});

/// Value of `-o` with the certificate and its key.
pub fn options() -> String {
    let directory = IDENTITY.directory.path().display();
    format!("ssl_chain_cert={directory}/cert.pem,ssl_key={directory}/key.pem")
}

/// A client before its first byte.
pub fn client() -> ClientConnection {
    ClientConnection::new(Arc::clone(&IDENTITY.client), "localhost".try_into().unwrap()).unwrap()
}
