//! TLS options: `-Z` and the `ssl_*` names.
//!
//! Owns their values, value rules, help texts and error texts. Must not know certificates or sockets: `tls` opens the
//! files and checks their contents. The rows are read by `parse` and `help`, through `options`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::number::{strict_i32, strict_u32};
use super::parse::{Draft, Exit, FAILURE};
use super::row::Sub;

/// Handling of client certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyMode {
    /// 0: not requested.
    Nothing,
    /// 1: requested, and verified if the client sends one.
    Request,
    /// 2: a client without a valid one is refused.
    Require,
    /// 3: as 2; without renegotiation there is no second request.
    Once,
}

impl VerifyMode {
    /// Number in `stats settings`: OpenSSL's flags, which scripts know.
    pub fn flags(self) -> u32 {
        match self {
            VerifyMode::Nothing => 0,
            VerifyMode::Request => 1,
            VerifyMode::Require => 3,
            VerifyMode::Once => 7,
        }
    }
}

/// Oldest protocol version that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MinVersion {
    /// 0: TLS 1.0.
    Tls10,
    /// 1: TLS 1.1.
    Tls11,
    /// 2: TLS 1.2.
    Tls12,
    /// 3: TLS 1.3.
    Tls13,
}

impl MinVersion {
    /// Name in `-h` and `stats settings`.
    pub fn text(self) -> &'static str {
        match self {
            MinVersion::Tls10 => "tlsv1.0",
            MinVersion::Tls11 => "tlsv1.1",
            MinVersion::Tls12 => "tlsv1.2",
            MinVersion::Tls13 => "tlsv1.3",
        }
    }
}

/// TLS settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Ssl {
    /// `-Z`: TCP listeners use TLS unless their entry says otherwise.
    pub enabled: bool,
    /// `-o ssl_chain_cert`.
    pub chain_cert: Option<PathBuf>,
    /// `-o ssl_key`.
    pub key: Option<PathBuf>,
    /// `-o ssl_ca_cert`.
    pub ca_cert: Option<PathBuf>,
    /// `-o ssl_verify_mode`.
    pub verify_mode: VerifyMode,
    /// `-o ssl_keyformat`: OpenSSL's number of a file type, not range-checked; 1 is PEM, 2 is DER.
    pub keyformat: i32,
    /// `-o ssl_ciphers`: OpenSSL cipher list for suites up to TLS 1.2; `None` = all supported ones.
    pub ciphers: Option<String>,
    /// `-o ssl_wbuf_size`, in bytes: maximum plain text that is encrypted before it is sent.
    pub wbuf_size: u32,
    /// `-o ssl_session_cache`: clients may resume sessions.
    pub session_cache: bool,
    /// `-o ssl_min_version`.
    pub min_version: MinVersion,
}

impl Default for Ssl {
    fn default() -> Self {
        Ssl {
            enabled: false,
            chain_cert: None,
            key: None,
            ca_cert: None,
            verify_mode: VerifyMode::Nothing,
            keyformat: 1,
            ciphers: None,
            wbuf_size: 16 * 1024,
            session_cache: false,
            min_version: MinVersion::Tls12,
        }
    }
}

fn path(value: &[u8]) -> Option<PathBuf> {
    Some(PathBuf::from(OsStr::from_bytes(value)))
}

/// A whole number; the error text names the option.
fn number<T>(parsed: Option<T>, name: &str) -> Result<T, Exit> {
    parsed.ok_or_else(|| Exit::line(FAILURE, format_args!("could not parse argument to {name}")))
}

fn set_verify_mode(draft: &mut Draft, value: &[u8]) -> Result<(), Exit> {
    draft.settings.ssl.verify_mode = match number(strict_i32(value), "ssl_verify_mode")? {
        0 => VerifyMode::Nothing,
        1 => VerifyMode::Request,
        2 => VerifyMode::Require,
        3 => VerifyMode::Once,
        _ => return Err(Exit::line(FAILURE, "Invalid ssl_verify_mode. Use help to see valid options.")),
    };
    Ok(())
}

fn set_min_version(draft: &mut Draft, value: &[u8]) -> Result<(), Exit> {
    draft.settings.ssl.min_version = match number(strict_i32(value), "ssl_min_version")? {
        0 => MinVersion::Tls10,
        1 => MinVersion::Tls11,
        2 => MinVersion::Tls12,
        3 => MinVersion::Tls13,
        _ => return Err(Exit::line(FAILURE, "Invalid ssl_min_version. Use help to see valid options.")),
    };
    Ok(())
}

/// The `-o` names of TLS, in the order of `-h`.
pub(super) static SUBS: &[Sub] = &[
    Sub::value(
        "ssl_chain_cert",
        "Missing ssl_chain_cert argument",
        "certificate chain of the server, PEM",
        |draft, value| {
            draft.settings.ssl.chain_cert = path(value);
            Ok(())
        },
    )
    .takes("<file>"),
    Sub::value("ssl_key", "Missing ssl_key argument", "private key of that certificate", |draft, value| {
        draft.settings.ssl.key = path(value);
        Ok(())
    })
    .takes("<file>"),
    Sub::value(
        "ssl_keyformat",
        "Missing ssl_keyformat argument",
        "1 the key file is PEM, 2 it is DER",
        |draft, value| {
            draft.settings.ssl.keyformat = number(strict_i32(value), "ssl_keyformat")?;
            Ok(())
        },
    )
    .one_of(&["1", "2"])
    .default(|settings| settings.ssl.keyformat.to_string()),
    Sub::value(
        "ssl_verify_mode",
        "Missing ssl_verify_mode argument",
        "client certificates: 0 none, 1 judged if there is one,\n2 and 3 required (default: 0)",
        set_verify_mode,
    )
    .one_of(&["0", "1", "2", "3"]),
    Sub::value(
        "ssl_ciphers",
        "Missing ssl_ciphers argument",
        "cipher suites of TLS 1.2, as an OpenSSL list",
        |draft, value| {
            draft.settings.ssl.ciphers = Some(String::from_utf8_lossy(value).into_owned());
            Ok(())
        },
    )
    .takes("<ciphers>"),
    Sub::value(
        "ssl_ca_cert",
        "Missing ssl_ca_cert argument",
        "certificates of those who may sign clients', PEM",
        |draft, value| {
            draft.settings.ssl.ca_cert = path(value);
            Ok(())
        },
    )
    .takes("<file>"),
    Sub::value(
        "ssl_wbuf_size",
        "Missing ssl_wbuf_size argument",
        "kilobytes encrypted at a time for one connection",
        |draft, value| {
            draft.settings.ssl.wbuf_size =
                number(strict_u32(value).and_then(|size| size.checked_mul(1024)), "ssl_wbuf_size")?;
            Ok(())
        },
    )
    .takes("<kilobytes>")
    .default(|settings| (settings.ssl.wbuf_size / 1024).to_string()),
    Sub::switch("ssl_session_cache", "let clients resume their sessions", |settings| {
        settings.ssl.session_cache = true;
    }),
    Sub::not_yet("ssl_kernel_tls", "the kernel's TLS is not used"),
    Sub::value(
        "ssl_min_version",
        "Missing ssl_min_version argument",
        "oldest version to accept: 2 for tlsv1.2, 3 for tlsv1.3",
        set_min_version,
    )
    .one_of(&["2", "3"])
    .default(|settings| settings.ssl.min_version.text().to_owned()),
];
