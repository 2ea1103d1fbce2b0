//! Owns the certificate of the servers under test, and the benchmark's side of TLS. Called by `server`'s callers for
//! options, by `stream` and `dialogue` for connections.

use std::fs;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::Outcome;
use crate::server::Server;

const NAME: &str = "localhost";

/// A self-signed certificate in files, and a client that trusts it.
pub struct Tls {
    directory: TempDir,
    config: Arc<ClientConfig>,
}

impl Tls {
    pub fn new() -> Outcome<Tls> {
        let directory = tempfile::tempdir()?;
        let pair = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
        fs::write(directory.path().join("chain.pem"), pair.cert.pem())?;
        fs::write(directory.path().join("key.pem"), pair.signing_key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(pair.cert.der().clone())?;
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        // Each handshake is a full one.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Tls { directory, config: Arc::new(config) })
    }

    /// Words of the command line that make a server speak TLS.
    pub fn options(&self) -> Vec<String> {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        let files = format!("ssl_chain_cert={},ssl_key={}", path("chain.pem"), path("key.pem"));
        vec!["-Z".to_owned(), "-o".to_owned(), files]
    }

    /// A blocking connection to a listener of `server` that speaks TLS.
    pub fn connect(&self, server: &Server, listener: usize) -> Outcome<StreamOwned<ClientConnection, TcpStream>> {
        Ok(StreamOwned::new(self.client()?, server.connect_to(listener)?))
    }

    /// The client's half of a new connection.
    pub fn client(&self) -> Outcome<ClientConnection> {
        Ok(ClientConnection::new(self.config.clone(), ServerName::try_from(NAME)?)?)
    }
}
