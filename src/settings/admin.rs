//! Options of the admin listener: `--admin` and the `admin_*` names.
//!
//! Owns their values, value rules, help texts and error texts. Must not know sockets: `admin` resolves and binds the
//! address, and judges there whether it needs a token. The rows are read by `parse` and `help`, through `options`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::listen::Transport;
use super::number::strict_u32;
use super::options::within;
use super::parse::{Draft, Exit, FAILURE, USAGE};
use super::row::{Flag, Sub};
use super::{Settings, Ssl, VerifyMode};
use crate::limits;

/// Code of `--admin` in the scan: it has no letter, because each letter may become one of memcached's.
const NO_LETTER: u8 = 0x80;

/// Where the admin listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddr {
    /// A TCP port.
    Tcp {
        /// Name or address to resolve, without brackets; `None` = every address.
        host: Option<String>,
        /// 0 = any free port.
        port: u16,
        /// What wraps its clients' bytes.
        transport: Transport,
    },
    /// A unix socket.
    Unix(PathBuf),
}

/// Time limits of the admin listener. Not options: tests shorten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminTimes {
    /// From the first byte of a request's head to its last; of a body, from its first read.
    pub head: Duration,
    /// From an answer to the next request.
    pub idle: Duration,
    /// In which a peer may take nothing of what is sent to it.
    pub write: Duration,
    /// For a whole answer; event streams have no such limit.
    pub answer: Duration,
    /// Between two pings of a WebSocket.
    pub ping: Duration,
    /// From a ping to its pong.
    pub pong: Duration,
    /// From one tick of the main thread to the moment at which `/healthz` reports it as stuck.
    pub tick: Duration,
}

impl Default for AdminTimes {
    fn default() -> Self {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Self {
            head: seconds(limits::ADMIN_HEAD_SECONDS),
            idle: seconds(limits::ADMIN_IDLE_SECONDS),
            write: seconds(limits::ADMIN_WRITE_SECONDS),
            answer: seconds(limits::ADMIN_ANSWER_SECONDS),
            ping: seconds(limits::ADMIN_PING_SECONDS),
            pong: seconds(limits::ADMIN_PONG_SECONDS),
            tick: seconds(limits::ADMIN_TICK_SECONDS),
        }
    }
}

/// Settings of the admin listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// `--admin` as given; `None` = no listener.
    pub text: Option<String>,
    /// Its meaning.
    pub addr: Option<AdminAddr>,
    /// `-o admin_conns`: maximum simultaneous connections; at least 1.
    pub conns: u32,
    /// `-o admin_token_file`.
    pub token_file: Option<PathBuf>,
    /// `-o admin_insecure`: an address that other machines reach needs no token.
    pub insecure: bool,
    /// `-o admin_write`: requests may change settings.
    pub write: bool,
    /// `-o admin_host`: names of the server in `Host` and `Origin`, besides its own, in lower case.
    pub hosts: Vec<String>,
    /// Time limits.
    pub times: AdminTimes,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            text: None,
            addr: None,
            conns: limits::ADMIN_CONNS,
            token_file: None,
            insecure: false,
            write: false,
            hosts: Vec::new(),
            times: AdminTimes::default(),
        }
    }
}

impl Admin {
    /// Whether every client proves what it is: by a token, or by a certificate.
    pub fn asks_for_proof(&self, ssl: &Ssl) -> bool {
        let requires = matches!(ssl.verify_mode, VerifyMode::Require | VerifyMode::Once);
        self.token_file.is_some()
            || match self.addr {
                Some(AdminAddr::Tcp { transport: Transport::TlsPeer, .. }) => true,
                Some(AdminAddr::Tcp { transport: Transport::Tls, .. }) => requires,
                _ => false,
            }
    }
}

impl Settings {
    /// Descriptors on top of `-c`, for the admin listener. Where a client beyond `-c` waits in the backlog, there are
    /// none: there the system must refuse its descriptor.
    pub fn admin_descriptors(&self) -> u32 {
        let is_apart = self.admin.addr.is_some() && self.maxconns_fast;
        if is_apart { self.admin.conns + limits::ADMIN_DESCRIPTORS } else { 0 }
    }
}

/// Gives `--admin` its meaning, once all options are known.
pub(super) fn finish(settings: &mut Settings) -> Result<(), Exit> {
    settings.admin.addr = match &settings.admin.text {
        Some(text) => Some(address(text, settings.ssl.enabled)?),
        None => None,
    };
    Ok(())
}

/// Parses `[notls:|btls:|mtls:]` and then `host:port`, `[v6]:port`, `*:port`, a port of 127.0.0.1, or a path with a
/// slash.
fn address(text: &str, ssl: bool) -> Result<AdminAddr, Exit> {
    let bad = || Exit::line(USAGE, format_args!("ERROR: Invalid address for --admin: \"{text}\""));
    let prefixes = [("notls:", Transport::Plain), ("btls:", Transport::TlsNoPeer), ("mtls:", Transport::TlsPeer)];
    let found = prefixes.into_iter().find_map(|(prefix, transport)| Some((text.strip_prefix(prefix)?, transport)));
    if found.is_some() && !ssl {
        return Err(Exit::line(USAGE, format_args!("ERROR: The prefix of --admin needs -Z: \"{text}\"")));
    }
    let usual = if ssl { Transport::Tls } else { Transport::Plain };
    let (place, transport) = found.unwrap_or((text, usual));
    if place.contains('/') {
        // TLS is of no use between processes of one machine, and would be expected after a prefix.
        return if found.is_none() { Ok(AdminAddr::Unix(place.into())) } else { Err(bad()) };
    }
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None => ("127.0.0.1", place),
    };
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').filter(|v6| !v6.is_empty()).ok_or_else(bad)?,
        None if host.is_empty() || host.contains(':') => return Err(bad()),
        None => host,
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| digits).ok_or_else(bad)?;
    Ok(AdminAddr::Tcp { host: (host != "*").then(|| host.to_owned()), port, transport })
}

/// A name or address, and its port if it has one.
fn add_host(draft: &mut Draft, value: &[u8]) -> Result<(), Exit> {
    let name = String::from_utf8_lossy(value).to_ascii_lowercase();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(Exit::line(FAILURE, "admin_host must be a name or an address, with :port if it has one"));
    }
    draft.settings.admin.hosts.push(name);
    Ok(())
}

/// `--admin`.
pub(super) const FLAG: Flag = Flag::value(
    NO_LETTER,
    "admin",
    "<addr>",
    "address of the admin listener: metrics, health, events\n\
     and a page to look at over HTTP. host:port, [IPv6]:port,\n\
     a port of 127.0.0.1, or the path of a unix socket; with\n\
     -Z, in front, notls:, btls: or mtls: as for -l. Off by\n\
     default",
    |draft, value| {
        draft.settings.admin.text = Some(String::from_utf8_lossy(value).into_owned());
        Ok(())
    },
);

/// The `-o` names of the admin listener, in the order of `-h`.
pub(super) static SUBS: &[Sub] = &[
    Sub::value(
        "admin_conns",
        "Missing numeric argument for admin_conns",
        "most connections of the admin listener",
        |draft, value| {
            const COMPLAINT: &str = "admin_conns must be a number from 1 to 1024";
            let range = 1..=limits::ADMIN_CONNS_MAX;
            if strict_u32(value).is_none() {
                return Err(Exit::line(FAILURE, COMPLAINT));
            }
            draft.settings.admin.conns = within(value, range, COMPLAINT)?;
            Ok(())
        },
    )
    .takes("<num>")
    .default(|settings| settings.admin.conns.to_string()),
    Sub::value(
        "admin_token_file",
        "Missing admin_token_file argument",
        "file whose first line clients of the admin listener must\nsend, as bearer token or as password",
        |draft, value| {
            draft.settings.admin.token_file = Some(PathBuf::from(OsStr::from_bytes(value)));
            Ok(())
        },
    )
    .takes("<file>"),
    Sub::switch("admin_insecure", "serve addresses that other machines reach without a token", |settings| {
        settings.admin.insecure = true
    }),
    Sub::switch("admin_write", "let clients of the admin listener change settings", |settings| {
        settings.admin.write = true;
    }),
    Sub::value(
        "admin_host",
        "Missing admin_host argument",
        "another name by which browsers reach the admin listener;\nmay be repeated",
        add_host,
    )
    .takes("<name>")
    .repeated(),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: Option<&str>, port: u16, transport: Transport) -> AdminAddr {
        AdminAddr::Tcp { host: host.map(str::to_owned), port, transport }
    }

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("11212", tcp(Some("127.0.0.1"), 11212, Transport::Plain)),
            ("localhost:0", tcp(Some("localhost"), 0, Transport::Plain)),
            ("*:65535", tcp(None, 65535, Transport::Plain)),
            ("[::1]:9", tcp(Some("::1"), 9, Transport::Plain)),
            ("/run/a.sock", AdminAddr::Unix("/run/a.sock".into())),
            ("./a:1", AdminAddr::Unix("./a:1".into())),
        ] {
            assert_eq!(address(text, false), Ok(expected), "{text}");
        }
        for text in
            ["", ":1", "a", "a:", "a:-1", "a:+1", "a:65536", "a:1x", "::1:9", "[::1]", "[]:1", "[::1:9", "[a]b:1"]
        {
            assert_eq!(address(text, false).unwrap_err().code, USAGE, "{text}");
        }
    }

    #[test]
    fn prefixes_need_tls() {
        for (text, transport) in [
            ("a:1", Transport::Tls),
            ("notls:a:1", Transport::Plain),
            ("btls:a:1", Transport::TlsNoPeer),
            ("mtls:a:1", Transport::TlsPeer),
        ] {
            assert_eq!(address(text, true), Ok(tcp(Some("a"), 1, transport)), "{text}");
        }
        assert!(address("mtls:a:1", false).is_err() && address("mtls:/a", true).is_err());
        assert_eq!(address("/a", true), Ok(AdminAddr::Unix("/a".into())));
    }
}
