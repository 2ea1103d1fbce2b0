//! Which requests may be answered at all.
//!
//! Owns the rules for `Host`, `Origin` and the token. Must not know routes.
//!
//! Browsers are the danger: a page of another site may send requests to this machine (`Origin` tells), and a site whose
//! name it makes resolve to 127.0.0.1 is the same site to the browser (`Host` tells).

use super::AdminCounters;
use super::answer::{self, Answer};
use crate::settings::{Admin, Settings};
use crate::sys::error_text;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap};
use hyper::{Request, StatusCode, Version};
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use subtle::ConstantTimeEq;

/// Shortest token: it can be guessed as fast as the network allows.
const TOKEN_MIN: usize = 16;

/// Longest token; it must fit into a head.
const TOKEN_MAX: usize = 1024;

/// A token; only its digest is kept, so that a comparison takes the same time for every length.
#[derive(Clone, Copy)]
pub struct AdminToken([u8; 32]);

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken")
    }
}

impl AdminToken {
    /// Reads the token that `settings` name; `None` without one.
    ///
    /// # Errors
    /// The line for the operator.
    pub fn load(settings: &Settings) -> Result<Option<Self>, String> {
        let Some(path) = &settings.admin.token_file else { return Ok(None) };
        Self::read(&settings.locate(path)).map(Some).map_err(|why| format!("admin token: {}: {why}", path.display()))
    }

    fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read(path).map_err(|e| error_text(&e))?;
        let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii();
        if !(TOKEN_MIN..=TOKEN_MAX).contains(&line.len()) || !line.iter().all(u8::is_ascii_graphic) {
            return Err(format!("the first line must be {TOKEN_MIN} to {TOKEN_MAX} visible characters"));
        }
        Ok(Self::of(line))
    }

    fn of(token: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token).as_ref());
        Self(bytes)
    }

    /// Whether the request has the token: as bearer token, or as password of basic authentication, which browsers ask
    /// their user for.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let Some((scheme, rest)) = one(headers, header::AUTHORIZATION).and_then(|value| value.split_once(' ')) else {
            return false;
        };
        let given = match scheme.to_ascii_lowercase().as_str() {
            "bearer" => rest.trim().as_bytes().to_vec(),
            "basic" => {
                let Ok(pair) = STANDARD.decode(rest.trim()) else { return false };
                let Some(colon) = memchr::memchr(b':', &pair) else { return false };
                pair[colon + 1..].to_vec()
            }
            _ => return false,
        };
        Self::of(&given).0.ct_eq(&self.0).into()
    }
}

/// The rules of one listener.
#[derive(Debug)]
pub(super) struct Guard {
    /// Lock rank: see docs/locking.md.
    token: Mutex<Option<AdminToken>>,
    /// Names beside the addresses of this machine.
    hosts: Vec<String>,
    /// Only the listed names and this machine's own are the server's.
    checks_host: bool,
}

impl Guard {
    /// `is_loopback`: the listener has an address of the loopback interface.
    pub(super) fn new(admin: &Admin, token: Option<AdminToken>, is_loopback: bool) -> Self {
        // Elsewhere an operator may have any name for the machine; there a token is asked for, which no browser sends
        // for a page of another site. No browser reaches a unix socket.
        let checks_host = is_loopback || !admin.hosts.is_empty();
        Self { token: Mutex::new(token), hosts: admin.hosts.clone(), checks_host }
    }

    pub(super) fn set_token(&self, token: Option<AdminToken>) {
        *self.token.lock() = token;
    }

    /// Refusal of a request; `None` if it may be answered.
    pub(super) fn refusal<B>(
        &self,
        request: &Request<B>,
        needs_token: bool,
        counters: &AdminCounters,
    ) -> Option<Answer> {
        let headers = request.headers();
        // A request line with a whole URL names the server too.
        let target = request.uri().authority().map(|authority| authority.as_str());
        let named = one(headers, header::HOST);
        if headers.get_all(header::HOST).iter().count() > 1 || (named.is_none() && request.version() > Version::HTTP_10)
        {
            return Some(answer::line(StatusCode::BAD_REQUEST, "one Host header is required"));
        }
        if [target, named].into_iter().flatten().any(|host| !self.is_ours(host)) {
            AdminCounters::add(&counters.host_refused);
            return Some(answer::line(StatusCode::FORBIDDEN, "not a name of this server; see -o admin_host"));
        }
        if headers.contains_key(header::ORIGIN) && !self.is_same_site(headers, target.or(named)) {
            AdminCounters::add(&counters.origin_refused);
            return Some(answer::line(StatusCode::FORBIDDEN, "a request from another site"));
        }
        let token = *self.token.lock();
        if needs_token && token.is_some_and(|token| !token.is_in(headers)) {
            AdminCounters::add(&counters.token_refused);
            let refusal = answer::line(StatusCode::UNAUTHORIZED, "the token is required");
            return Some(answer::and(refusal, header::WWW_AUTHENTICATE, "Basic realm=\"oxcached\", charset=\"UTF-8\""));
        }
        None
    }

    /// Whether `host` (with its port, if it has one) names this server.
    fn is_ours(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = without_port(&host);
        let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        // A name with a number as its address is no site's that an attacker could make resolve to another.
        !self.checks_host || ip.is_ok() || name == "localhost" || self.is_listed(&host)
    }

    fn is_listed(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| known == host || known == without_port(host))
    }

    /// Whether the page that sends the request is this server's own, or a listed one.
    fn is_same_site(&self, headers: &HeaderMap, host: Option<&str>) -> bool {
        let Some(origin) = one(headers, header::ORIGIN).map(str::to_ascii_lowercase) else { return false };
        let Some((_, authority)) = origin.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        else {
            return false;
        };
        host.is_some_and(|host| host.eq_ignore_ascii_case(authority)) || self.is_listed(authority)
    }
}

/// The value of a header that must not occur twice.
fn one(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())?.to_str().ok()
}

/// `name` of `name`, `name:port`, `[v6]` and `[v6]:port`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(guard: &Guard, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri("/stats.json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        guard.refusal(&request, true, &AdminCounters::default()).map_or(200, |answer| answer.status().as_u16())
    }

    fn guard(hosts: &[&str], token: Option<&str>, is_local: bool) -> Guard {
        let admin = Admin { hosts: hosts.iter().map(|&host| host.to_owned()).collect(), ..Admin::default() };
        Guard::new(&admin, token.map(|token| AdminToken::of(token.as_bytes())), is_local)
    }

    #[test]
    fn a_local_listener_knows_its_names() {
        let local = guard(&["cache1", "cache2:81"], None, true);
        for host in
            ["localhost", "LocalHost:80", "127.0.0.1:11212", "[::1]:9", "[::1]", "10.0.0.1", "cache1:7", "cache2:81"]
        {
            assert_eq!(judge(&local, &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "cache2", "cache2:82", "127.0.0.1.evil", ""] {
            assert_eq!(judge(&local, &[("host", host)]), 403, "{host}");
        }
        assert_eq!(judge(&local, &[]), 400);
        assert_eq!(judge(&local, &[("host", "localhost"), ("host", "localhost")]), 400);
        assert_eq!(judge(&guard(&[], None, false), &[("host", "any.example")]), 200);
        assert_eq!(judge(&guard(&["a"], None, false), &[("host", "any.example")]), 403);
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let local = guard(&["front.example"], None, true);
        for (origin, status) in [
            ("http://localhost:1", 200),
            ("https://LOCALHOST:1", 200),
            ("https://front.example", 200),
            ("http://localhost:2", 403),
            ("http://localhost", 403),
            ("http://evil.example", 403),
            ("file://localhost:1", 403),
            ("localhost:1", 403),
            ("null", 403),
            ("", 403),
        ] {
            assert_eq!(judge(&local, &[("host", "localhost:1"), ("origin", origin)]), status, "{origin}");
        }
        let twice = [("host", "a"), ("origin", "http://a"), ("origin", "http://a")];
        assert_eq!(judge(&guard(&[], None, false), &twice), 403);
    }

    #[test]
    fn tokens() {
        let guard = guard(&[], Some("0123456789abcdef"), true);
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (value, status) in [
            ("Bearer 0123456789abcdef".to_owned(), 200),
            ("bearer  0123456789abcdef ".to_owned(), 200),
            (basic(":0123456789abcdef"), 200),
            (basic("any:0123456789abcdef"), 200),
            (basic("0123456789abcdef"), 401),
            (basic("0123456789abcdef:"), 401),
            ("Bearer 0123456789abcdeg".to_owned(), 401),
            ("Bearer 0123456789abcde".to_owned(), 401),
            ("Bearer".to_owned(), 401),
            ("Basic !".to_owned(), 401),
            ("Digest 0123456789abcdef".to_owned(), 401),
        ] {
            let headers = [("host", "localhost"), ("authorization", value.as_str())];
            assert_eq!(judge(&guard, &headers), status, "{value}");
        }
        assert_eq!(judge(&guard, &[("host", "localhost")]), 401);
    }

    #[test]
    fn token_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        for (text, fits) in [
            ("0123456789abcdef", true),
            (" 0123456789abcdef \r\nmore\n", true),
            ("0123456789abcde", false),
            ("0123456789abc def", false),
            ("", false),
            ("\n0123456789abcdef", false),
        ] {
            std::fs::write(&path, text).unwrap();
            let read = AdminToken::read(&path);
            assert_eq!(read.is_ok(), fits, "{text:?}");
            assert!(read.is_err() || read.unwrap().0 == AdminToken::of(b"0123456789abcdef").0);
        }
        let settings = Admin { token_file: Some("/nothing/there".into()), ..Admin::default() };
        let settings = Settings { admin: settings, ..Settings::default() };
        assert_eq!(AdminToken::load(&settings).unwrap_err(), "admin token: /nothing/there: No such file or directory");
    }
}
