//! Certificates, a server that uses them, and clients for it.

use oxcached::proto::Shared;
use oxcached::server::{Running, Server};
use oxcached::settings::{Action, Settings, parse};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "never came: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

/// A certificate authority.
pub struct Authority {
    pub cert: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert = params.self_signed(&key).unwrap().pem();
        Self { cert, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `localhost`, identified by `name`.
    pub fn sign(&self, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        Pair { cert: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}

/// An authority, its certificates, and a directory with their files.
pub struct Files {
    pub authority: Authority,
    pub server: Pair,
    pub dir: TempDir,
}

impl Files {
    pub fn new() -> Self {
        let authority = Authority::new("authority");
        let files = Self { server: authority.sign("server"), authority, dir: TempDir::new().unwrap() };
        files.write("chain.pem", &files.server.cert);
        files.write("key.pem", &files.server.key);
        files.write("ca.pem", &files.authority.cert);
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Options of a server with these certificates; `more` goes to the `-o` list.
    pub fn options(&self, more: &str) -> String {
        let dir = self.dir.path().display();
        format!("-Z -o ssl_chain_cert={dir}/chain.pem,ssl_key={dir}/key.pem,{}", more.replace("DIR", &dir.to_string()))
    }

    /// A client that trusts this authority and presents `pair`.
    pub fn client_config(&self, versions: &[&'static SupportedProtocolVersion], pair: Option<&Pair>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.cert.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = vec![CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.resumption = Resumption::disabled();
        config
    }
}

pub fn settings(args: &str) -> Settings {
    let words = std::iter::once("oxcached").chain(args.split_ascii_whitespace());
    match parse(words.map(Into::into)).unwrap() {
        Action::Run(settings) => *settings,
        other => panic!("{other:?}"),
    }
}

/// A running server.
pub struct Host {
    pub files: Files,
    pub shared: Arc<Shared>,
    running: Option<Running>,
}

impl Host {
    /// One worker, one listener; `more` goes to the `-o` list.
    pub fn new(more: &str) -> Self {
        Self::with("-p -1 -l 127.0.0.1 -t 1", more)
    }

    pub fn with(args: &str, more: &str) -> Self {
        let files = Files::new();
        let server = Server::start(settings(&format!("{args} {}", files.options(more)))).unwrap();
        let shared = Arc::clone(server.shared());
        Self { files, shared, running: Some(server.spawn().unwrap()) }
    }

    pub fn address(&self, listener: usize) -> SocketAddr {
        self.running.as_ref().unwrap().addresses()[listener]
    }

    pub fn tcp(&self, listener: usize) -> TcpStream {
        let socket = TcpStream::connect(self.address(listener)).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    pub fn client(&self) -> Client {
        self.client_with(0, self.files.client_config(rustls::ALL_VERSIONS, None)).unwrap()
    }

    /// A client of `config` that has requested the version, which reveals any failure of the handshake.
    pub fn client_with(&self, listener: usize, config: impl Into<Arc<ClientConfig>>) -> io::Result<Client> {
        Client::over(self.tcp(listener), config)
    }

    /// `handshake_errors`, `proto_errors`, `new_sessions`.
    pub fn counts(&self) -> (u64, u64, u64) {
        use std::sync::atomic::Ordering::Relaxed;
        let counters = self.shared.tls.as_ref().unwrap().counters();
        let load = |cell: &std::sync::atomic::AtomicU64| cell.load(Relaxed);
        (load(&counters.handshake_errors), load(&counters.proto_errors), load(&counters.new_sessions))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().unwrap();
        }
    }
}

/// A TLS client.
pub struct Client {
    pub stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl Client {
    /// [`Host::client_with`] over a connected socket.
    pub fn over(socket: TcpStream, config: impl Into<Arc<ClientConfig>>) -> io::Result<Self> {
        let tls = ClientConnection::new(config.into(), "localhost".try_into().unwrap()).unwrap();
        let mut client = Self { stream: BufReader::new(StreamOwned::new(tls, socket)) };
        client.stream.get_mut().write_all(b"version\r\n")?;
        let mut line = String::new();
        client.stream.read_line(&mut line)?;
        if line == "VERSION 1.6.45\r\n" { Ok(client) } else { Err(io::Error::other(line)) }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// The next line without its end.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.line()
    }

    #[track_caller]
    pub fn expect(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        self.stream.read_exact(&mut bytes).unwrap();
        assert!(bytes == expected, "{} bytes differ", expected.len());
    }

    /// Rows of a `stats` reply.
    pub fn stats(&mut self, what: &str) -> Vec<(String, String)> {
        self.send(format!("stats{what}\r\n"));
        let mut rows = Vec::new();
        loop {
            let line = self.line();
            if line == "END" {
                return rows;
            }
            let mut words = line.splitn(3, ' ').skip(1).map(str::to_owned);
            rows.push((words.next().unwrap(), words.next().unwrap_or_default()));
        }
    }

    pub fn tls(&self) -> &ClientConnection {
        &self.stream.get_ref().conn
    }

    /// The certificate that the server presented.
    pub fn server_certificate(&self) -> CertificateDer<'static> {
        self.tls().peer_certificates().unwrap()[0].clone().into_owned()
    }
}
