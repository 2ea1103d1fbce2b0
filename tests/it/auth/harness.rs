//! Users, the client's side of SCRAM and CRAM-MD5, and servers with users.

use crate::binary::packet::{Packet, req};
use crate::support::{settings, shared_with_auth};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use oxcached::auth::{Auth, Check, Credentials, Format, Seed, Ticket, hash_line};
use oxcached::proto::Shared;
use oxcached::server::{Loaded, Running, Server};
use oxcached::stats::Counter;
use ring::{digest, hmac as ring_hmac, pbkdf2};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Reached only by a failing test.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub const LIST: u8 = 0x20;
pub const AUTH: u8 = 0x21;
pub const STEP: u8 = 0x22;

/// A user line with a hashed password, which is slow to check.
pub fn hashed(user: &str, password: &str) -> String {
    hash_line(user, password.as_bytes(), 4096).unwrap()
}

fn users(text: &str, format: Format) -> Credentials {
    Credentials::parse(text.as_bytes(), format, &Seed::from_bytes(&[1; 32])).unwrap()
}

pub fn tokens(text: &str) -> Auth {
    Auth::of(Some(users(text, Format::Tokens)), None).unwrap()
}

pub fn sasl(text: &str) -> Auth {
    Auth::of(None, Some(users(text, Format::Pwdb))).unwrap()
}

/// State of a server that accepts the text users `text`.
pub fn text_server(text: &str) -> Arc<Shared> {
    shared_with_auth(settings("-t 1"), tokens(text))
}

/// State of a server that accepts the SASL users `text`.
pub fn packet_server(text: &str) -> Arc<Shared> {
    shared_with_auth(settings("-t 1"), sasl(text))
}

/// `auth_cmds`, `auth_errors`.
pub fn counts(shared: &Shared) -> (u64, u64) {
    let totals = shared.stats.totals();
    (totals.get(Counter::AuthCmds), totals.get(Counter::AuthErrors))
}

pub fn plain(user: &str, password: &str) -> Packet {
    req(AUTH).key("PLAIN").value(format!("\0{user}\0{password}"))
}

/// CRAM-MD5's response to a challenge.
pub fn cram(challenge: &[u8], user: &str, password: &str) -> String {
    let mut mac = Hmac::<md5::Md5>::new_from_slice(password.as_bytes()).unwrap();
    mac.update(challenge);
    let digest: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{user} {digest}")
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    ring_hmac::sign(&ring_hmac::Key::new(ring_hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

/// The client's side of SCRAM-SHA-256.
pub struct Scram {
    bare: String,
    password: String,
}

impl Scram {
    pub fn new(user: &str, password: &str) -> Self {
        Self { bare: format!("n={user},r=fyko+d2lbbFgONRv9qkxdawL"), password: password.to_owned() }
    }

    pub fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The final message, and the server's expected reply.
    pub fn last(&self, server_first: &str) -> (String, String) {
        let mut parts = server_first.split(',');
        let (nonce, salt, count) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let salt = BASE64.decode(&salt[2..]).unwrap();
        let count: NonZeroU32 = count[2..].parse().unwrap();
        let mut salted = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, count, &salt, self.password.as_bytes(), &mut salted);
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, &client_key);
        let without_proof = format!("c=biws,{nonce}");
        let text = format!("{},{server_first},{without_proof}", self.bare);
        let proof: Vec<u8> =
            client_key.iter().zip(sign(stored_key.as_ref(), text.as_bytes())).map(|(a, b)| a ^ b).collect();
        let signature = sign(&sign(&salted, b"Server Key"), text.as_bytes());
        let last = format!("{without_proof},p={}", BASE64.encode(proof));
        (last, format!("v={}", BASE64.encode(signature)))
    }
}

/// A running server.
pub struct Host {
    pub shared: Arc<Shared>,
    running: Option<Running>,
}

impl Host {
    pub fn new(args: &str, auth: Auth) -> Self {
        let loaded = Loaded { auth: Some(auth), ..Loaded::default() };
        let server = Server::start_with(settings(&format!("-p -1 -l 127.0.0.1 -t 1 {args}")), loaded).unwrap();
        Self { shared: Arc::clone(server.shared()), running: Some(server.spawn().unwrap()) }
    }

    /// Advances the clock second by second; the only worker sees each second through a `question`, to which `client`
    /// expects `answer`. On return all deadlines up to then have been evaluated.
    #[track_caller]
    pub fn pass(&self, seconds: u32, client: &mut Client, question: &[u8], answer: &[u8]) {
        for _ in 0..seconds {
            self.shared.clock.advance(1);
            client.ask(question, answer);
        }
        // Deadlines are evaluated after the poll that follows the one that saw the second, and after its replies.
        (0..2).for_each(|_| client.ask(question, answer));
    }

    /// Queues a check of a wrong password without a connection; `done` runs when it ends.
    pub fn submit(&self, address: Option<&str>, done: impl FnOnce() + Send + 'static) -> Ticket {
        let auth = self.shared.auth.as_ref().unwrap();
        let users = auth.tokens().or(auth.sasl()).unwrap();
        let source = address.map(|address| address.parse().unwrap());
        auth.submit(Check::password(&users, b"", b""), source, Box::new(done))
    }

    /// Keeps the password-checking thread busy until the returned value is dropped.
    pub fn hold_checks(&self) -> impl Sized {
        let ((hold, held), (began, begun)) = (channel::<()>(), channel());
        let ticket = self.submit(None, move || {
            began.send(()).unwrap();
            let _ = held.recv();
        });
        begun.recv().unwrap();
        (hold, ticket)
    }

    pub fn client(&self) -> Client {
        self.client_from("127.0.0.1")
    }

    /// A client with this local source address.
    pub fn client_from(&self, address: &str) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let local: SocketAddr = (address.parse::<IpAddr>().unwrap(), 0).into();
        socket.bind(&local.into()).unwrap();
        socket.connect(&self.running.as_ref().unwrap().addresses()[0].into()).unwrap();
        let socket = TcpStream::from(socket);
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Client(socket)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().unwrap();
        }
    }
}

pub struct Client(pub TcpStream);

impl Client {
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    #[track_caller]
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let mut got = vec![0; expected.as_ref().len()];
        self.0.read_exact(&mut got).unwrap();
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected.as_ref()));
    }

    /// Sends, and expects this reply.
    #[track_caller]
    pub fn ask(&mut self, bytes: impl AsRef<[u8]>, expected: impl AsRef<[u8]>) {
        self.send(bytes);
        self.expect(expected);
    }

    /// Closes so that the peer sees a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).unwrap();
    }

    #[track_caller]
    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        // A close with unread bytes shows as a reset.
        if let Err(error) = self.0.read_to_end(&mut rest) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}
