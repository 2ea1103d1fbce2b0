//! The `-l` list, and the group of unix sockets.
//!
//! Owns their grammar and error texts. Must not know sockets: names are not resolved and ports not checked against the
//! system. Called by `check`; `net` opens the result.

use super::check::PORTS;
use super::number::{strict_i32, strict_u32};
use super::parse::{Exit, NO_USER, OS_ERROR, USAGE};
use super::row::Sub;
use super::{ProtocolChoice, Settings};
use crate::sys::user::find_group;
use std::net::IpAddr;
use std::path::PathBuf;

/// What wraps the bytes of a TCP listener; datagrams are always plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Nothing: plain TCP or UDP.
    Plain,
    /// TLS; client certificates by [`super::Ssl::verify_mode`].
    Tls,
    /// `btls:`: TLS that never asks for a client certificate.
    TlsNoPeer,
    /// `mtls:`: TLS that requires a client certificate.
    TlsPeer,
}

/// What an entry listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenPlace {
    /// Addresses of the network: a TCP listener each when [`Settings::port`] is not 0, and a UDP socket each when
    /// [`Settings::udpport`] is not 0.
    Network {
        /// Name, address or interface, without brackets. May be empty, which no resolver accepts. `None` = every
        /// address.
        host: Option<String>,
        /// The entry's own port, -1 to 65535; `None` = the port of `-p` or `-U`.
        port: Option<i32>,
    },
    /// `unix:PATH`: a unix socket.
    Unix(PathBuf),
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSpec {
    /// Where it listens.
    pub place: ListenPlace,
    /// What wraps its clients' bytes; of a unix socket always [`Transport::Plain`].
    pub transport: Transport,
    /// Protocol of its clients.
    pub protocol: ProtocolChoice,
    /// Name given with `tag[..]`, 1 to 8 bytes.
    pub tag: Option<String>,
}

impl ListenSpec {
    /// Every address on the general port.
    pub(super) fn any(protocol: ProtocolChoice, ssl: bool) -> Self {
        let transport = if ssl { Transport::Tls } else { Transport::Plain };
        ListenSpec { place: ListenPlace::Network { host: None, port: None }, transport, protocol, tag: None }
    }

    /// Whether it listens on every address of the family of `address`.
    pub fn is_wildcard_of(&self, address: IpAddr) -> bool {
        match &self.place {
            ListenPlace::Network { host: None, .. } => true,
            ListenPlace::Network { host: Some(host), .. } => {
                host.parse::<IpAddr>().is_ok_and(|own| own.is_unspecified() && own.is_ipv4() == address.is_ipv4())
            }
            ListenPlace::Unix(_) => false,
        }
    }
}

/// Group of the unix sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixGroup {
    /// As given.
    pub name: String,
    /// Group id.
    pub gid: u32,
}

/// The `-o` names of this topic, in the order of `-h`.
pub(super) static SUBS: &[Sub] = &[Sub::value(
    "unix_group",
    "Missing argument for unix_group",
    "group of the unix sockets, by name or number",
    |draft, value| {
        let number = || strict_u32(value).filter(|gid| *gid != u32::MAX);
        let name = String::from_utf8_lossy(value).into_owned();
        let Some(gid) = find_group(value).or_else(number) else {
            return Err(Exit::line(NO_USER, format_args!("can't find the group {name} of unix_group")));
        };
        draft.settings.unix_group = Some(UnixGroup { name, gid });
        Ok(())
    },
)
.takes("<group>")];

/// Sets the listeners. `check_start` reports a bad list, after the errors about the user.
///
/// # Errors
/// Code 64 for options of unix sockets that contradict each other.
pub(super) fn finish(settings: &mut Settings) -> Result<(), Exit> {
    let Ok(listeners) = listeners(settings) else {
        settings.listeners = Vec::new();
        return Ok(());
    };
    let has_unix = listeners.iter().any(|spec| matches!(spec.place, ListenPlace::Unix(_)));
    if has_unix && settings.socketpath.is_some() {
        let line = "ERROR: -s and unix: entries of -l exclude each other: give each socket as -l unix:PATH";
        return Err(Exit::line(USAGE, line));
    }
    if settings.unix_group.is_some() && !has_unix && settings.socketpath.is_none() {
        return Err(Exit::line(USAGE, "ERROR: unix_group needs a unix socket (-s or -l unix:PATH)"));
    }
    settings.listeners = listeners;
    Ok(())
}

/// Listeners that the list asks for. Its network entries are unread where they are not served: when a unix socket
/// replaces them (`-s`) or both ports are 0.
pub(super) fn listeners(settings: &Settings) -> Result<Vec<ListenSpec>, Exit> {
    let has_network = settings.socketpath.is_none() && (settings.port != 0 || settings.udpport != 0);
    let Some(list) = settings.inter.as_deref() else {
        let any = has_network.then(|| ListenSpec::any(settings.binding_protocol, settings.ssl.enabled));
        return Ok(any.into_iter().collect());
    };
    let is_read = |entry: &&str| !entry.is_empty() && (has_network || entry.split(':').any(|part| part == "unix"));
    let entries = list.split([',', ';']).filter(is_read);
    let mut specs = entries.map(|entry| parse_entry(entry, list, settings)).collect::<Result<Vec<_>, _>>()?;
    specs.retain(|spec| has_network || matches!(spec.place, ListenPlace::Unix(_)));
    Ok(specs)
}

/// An error text followed by memcached's general line, in which the system's text is "Success".
fn bad(complaint: impl std::fmt::Display, settings: &Settings) -> Exit {
    let list = settings.inter.as_deref().unwrap_or_default();
    let general = format_args!("failed to listen on one of interface(s) {list}: Success");
    Exit::line(OS_ERROR, format_args!("{complaint}{general}"))
}

/// Text after the `:` that follows a bracket; any other character in its place is skipped too.
fn after_colon(text: &str) -> &str {
    let mut rest = text.chars();
    rest.next();
    rest.as_str()
}

/// Prefixes of an entry, their name in the error text, and their meaning. memcached's own text says `otls` for `mtls`.
const PREFIXES: [(&str, &str, Transport); 3] = [
    ("notls", "notls", Transport::Plain),
    ("btls", "btls", Transport::TlsNoPeer),
    ("mtls", "otls", Transport::TlsPeer),
];

fn parse_entry(entry: &str, list: &str, settings: &Settings) -> Result<ListenSpec, Exit> {
    let mut spec = ListenSpec::any(settings.binding_protocol, settings.ssl.enabled);
    let mut rest = entry;
    for (prefix, name, transport) in PREFIXES {
        if let Some(text) = entry.strip_prefix(prefix) {
            if !settings.ssl.enabled {
                return Err(bad(format_args!("'{name}' option is valid only when SSL is enabled\n"), settings));
            }
            spec.transport = transport;
            rest = after_colon(text);
        }
    }
    if let Some(text) = rest.strip_prefix("proto") {
        rest = text;
        if let Some(text) = text.strip_prefix('[') {
            let Some((name, text)) = text.split_once(']') else {
                return Err(bad(format_args!("Invalid protocol spec: \"{rest}\"\n"), settings));
            };
            rest = after_colon(text);
            spec.protocol = protocol(name, list, settings)?;
        }
    }
    if let Some(text) = rest.strip_prefix("tag") {
        rest = text;
        if text.starts_with(['[', '_']) {
            let inner = &text[1..];
            let Some((tag, text)) = inner.split_once(']').or_else(|| inner.split_once('_')) else {
                return Err(bad(format_args!("Invalid tag in socket config: \"{text}\"\n"), settings));
            };
            rest = after_colon(text);
            if !(1..=8).contains(&tag.len()) {
                let complaint = format_args!("Listener tags must be between 1 and 8 characters: \"{tag}\"\n");
                return Err(bad(complaint, settings));
            }
            spec.tag = Some(tag.to_owned());
        }
    }
    spec.place = match unix_path(rest) {
        Some(path) => {
            spec.transport = plain(spec.transport, settings)?;
            unix_place(path, settings)?
        }
        None => {
            let (host, port) = host_and_port(rest, settings)?;
            ListenPlace::Network { host, port }
        }
    };
    Ok(spec)
}

/// The path of `unix:PATH`. With a number in its place, the entry is memcached's: a host named `unix`, and its port.
fn unix_path(text: &str) -> Option<&str> {
    text.strip_prefix("unix:").filter(|path| strict_i32(path.as_bytes()).is_none())
}

fn unix_place(path: &str, settings: &Settings) -> Result<ListenPlace, Exit> {
    if path.is_empty() {
        return Err(bad("Missing path behind \"unix:\"\n", settings));
    }
    // The list is text; other bytes have become this character.
    if path.contains(char::REPLACEMENT_CHARACTER) {
        return Err(bad(format_args!("Path of a unix socket is no UTF-8: \"{path}\"\n"), settings));
    }
    Ok(ListenPlace::Unix(path.into()))
}

/// The transport of a unix socket: never TLS, which its prefixes must not ask for.
fn plain(transport: Transport, settings: &Settings) -> Result<Transport, Exit> {
    match transport {
        Transport::Plain | Transport::Tls => Ok(Transport::Plain),
        Transport::TlsNoPeer | Transport::TlsPeer => Err(bad("A unix socket has no TLS\n", settings)),
    }
}

/// An abbreviated name matches.
fn protocol(name: &str, list: &str, settings: &Settings) -> Result<ProtocolChoice, Exit> {
    let (tokens, sasl) = (settings.auth_file.is_some(), settings.sasl);
    if "ascii".starts_with(name) {
        // Without tokens, these clients would be the only ones that need no login.
        if sasl && !tokens {
            return Err(bad("Cannot use ascii protocol when SASL authentication enabled\n", settings));
        }
        Ok(ProtocolChoice::Ascii)
    } else if "binary".starts_with(name) {
        if tokens {
            return Err(bad("Cannot use binary protocol when ascii authentication enabled\n", settings));
        }
        Ok(ProtocolChoice::Binary)
    } else if "negotiating".starts_with(name) {
        if sasl && !tokens {
            return Err(bad("Cannot use negotiating protocol when SASL authentication enabled\n", settings));
        }
        Ok(ProtocolChoice::Negotiating)
    } else if "proxy".starts_with(name) {
        // memcached truncates its list at the separator that it reached, and shows the rest of the beginning.
        let first = list.trim_start_matches([',', ';']);
        let cut = list.len() - first.len() + first.find([']', ',', ';']).unwrap_or(first.len());
        Err(bad(format_args!("Server not built with proxy: \"{}\"\n", &list[..cut]), settings))
    } else {
        Err(bad(format_args!("Invalid protocol spec: \"[{name}]\"\n"), settings))
    }
}

/// Splits `host`, `host:port`, `[v6]`, `[v6]:port` and bare v6.
fn host_and_port(text: &str, settings: &Settings) -> Result<(Option<String>, Option<i32>), Exit> {
    let (bracketed, rest) = match text.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((host, rest)) => (Some(host), rest),
            // Has no line feed of its own.
            None => return Err(bad(format_args!("Invalid IPV6 address: \"{text}\""), settings)),
        },
        None => (None, text),
    };
    let mut host = rest;
    let mut port = None;
    if let Some((before, after)) = rest.split_once(':') {
        // A second colon without brackets means a bare IPv6 address, which cannot carry a port.
        if bracketed.is_some() || !after.contains(':') {
            host = before;
            let Some(number) = strict_i32(after.as_bytes()).filter(|number| PORTS.contains(number)) else {
                return Err(bad(format_args!("Invalid port number: \"{after}\"\n"), settings));
            };
            port = Some(number);
        }
    }
    let host = bracketed.unwrap_or(host);
    Ok(((host != "*").then(|| host.to_owned()), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Result<Vec<ListenSpec>, Exit> {
        listeners(&Settings { inter: Some(list.to_owned()), ..Settings::default() })
    }

    fn network(host: Option<&str>, port: Option<i32>) -> ListenPlace {
        ListenPlace::Network { host: host.map(str::to_owned), port }
    }

    fn unix(path: &str) -> ListenPlace {
        ListenPlace::Unix(path.into())
    }

    #[test]
    fn hosts_ports_protocols_and_tags() {
        for (list, host, port, protocol, tag) in [
            ("127.0.0.1", Some("127.0.0.1"), None, ProtocolChoice::Negotiating, None),
            ("localhost:11", Some("localhost"), Some(11), ProtocolChoice::Negotiating, None),
            ("*:11", None, Some(11), ProtocolChoice::Negotiating, None),
            ("[::1]:11", Some("::1"), Some(11), ProtocolChoice::Negotiating, None),
            ("[::1]", Some("::1"), None, ProtocolChoice::Negotiating, None),
            ("::1", Some("::1"), None, ProtocolChoice::Negotiating, None),
            ("proto[ascii]:a:11", Some("a"), Some(11), ProtocolChoice::Ascii, None),
            ("proto[as]:a", Some("a"), None, ProtocolChoice::Ascii, None),
            ("proto[]:a", Some("a"), None, ProtocolChoice::Ascii, None),
            ("proto[binary]:a", Some("a"), None, ProtocolChoice::Binary, None),
            ("tag[web]:a", Some("a"), None, ProtocolChoice::Negotiating, Some("web")),
            ("tag_12345678_:a", Some("a"), None, ProtocolChoice::Negotiating, Some("12345678")),
            ("proto[ascii]:tag[x]:[::]:5", Some("::"), Some(5), ProtocolChoice::Ascii, Some("x")),
            ("proto[ascii]", Some(""), None, ProtocolChoice::Ascii, None),
        ] {
            let expected = ListenSpec {
                place: network(host, port),
                transport: Transport::Plain,
                protocol,
                tag: tag.map(str::to_owned),
            };
            assert_eq!(read(list).unwrap(), vec![expected], "{list}");
        }
    }

    #[test]
    fn prefixes_of_the_transport() {
        let mut settings =
            Settings { inter: Some("notls:a:1,btls:b,mtls:proto[ascii]:[::]:2,c".to_owned()), ..Settings::default() };
        let complaint = "'notls' option is valid only when SSL is enabled\nfailed to listen on one of interface(s) ";
        assert!(listeners(&settings).unwrap_err().stderr.starts_with(complaint));
        settings.ssl.enabled = true;
        let read = listeners(&settings).unwrap();
        let seen: Vec<_> = read.iter().map(|spec| (spec.transport, spec.place.clone())).collect();
        let expected = [
            (Transport::Plain, network(Some("a"), Some(1))),
            (Transport::TlsNoPeer, network(Some("b"), None)),
            (Transport::TlsPeer, network(Some("::"), Some(2))),
            (Transport::Tls, network(Some("c"), None)),
        ];
        assert_eq!(seen, expected);
        assert_eq!(read[2].protocol, ProtocolChoice::Ascii);
        settings.inter = None;
        assert_eq!(listeners(&settings).unwrap()[0].transport, Transport::Tls);
    }

    #[test]
    fn several_entries_and_no_entry() {
        let places: Vec<_> = read(",a;b:1,,*").unwrap().into_iter().map(|spec| spec.place).collect();
        assert_eq!(places, [network(Some("a"), None), network(Some("b"), Some(1)), network(None, None)]);
        assert_eq!(read("").unwrap(), vec![]);
    }

    #[test]
    fn the_list_is_not_read_when_nothing_listens() {
        let settings = Settings { inter: Some("notls:a".to_owned()), port: 0, ..Settings::default() };
        assert_eq!(listeners(&settings).unwrap(), vec![]);
    }

    #[test]
    fn unix_sockets_stand_beside_network_addresses() {
        let read_all = |list: &str| read(list).unwrap().into_iter().map(|spec| spec.place).collect::<Vec<_>>();
        assert_eq!(read_all("unix:/run/a,*:5;unix:b"), [unix("/run/a"), network(None, Some(5)), unix("b")]);
        // A number is a port of memcached's host `unix`; so is the name alone.
        assert_eq!(read_all("unix:11211,unix"), [network(Some("unix"), Some(11211)), network(Some("unix"), None)]);
        assert_eq!(read_all("unix:./11211,unix:/a:b"), [unix("./11211"), unix("/a:b")]);
        let spec = read("proto[ascii]:tag[x]:unix:/run/a").unwrap().remove(0);
        assert_eq!(
            (spec.place, spec.protocol, spec.tag.as_deref()),
            (unix("/run/a"), ProtocolChoice::Ascii, Some("x"))
        );
        for (list, complaint) in [
            ("unix:", "Missing path behind \"unix:\"\n"),
            ("unix:/\u{fffd}", "Path of a unix socket is no UTF-8: \"/\u{fffd}\"\n"),
        ] {
            let general = format!("failed to listen on one of interface(s) {list}: Success\n");
            assert_eq!(read(list).unwrap_err().stderr, format!("{complaint}{general}"));
        }
    }

    #[test]
    fn a_unix_socket_has_no_tls() {
        let mut settings = Settings { inter: Some("unix:/a,notls:unix:/b".to_owned()), ..Settings::default() };
        settings.ssl.enabled = true;
        assert!(listeners(&settings).unwrap().iter().all(|spec| spec.transport == Transport::Plain));
        for list in ["btls:unix:/a", "mtls:unix:/a"] {
            settings.inter = Some(list.to_owned());
            assert!(listeners(&settings).unwrap_err().stderr.starts_with("A unix socket has no TLS\n"));
        }
    }

    #[test]
    fn without_ports_only_unix_sockets_are_served() {
        let inter = Some("notls:a,unix:/a,unix:11211,*".to_owned());
        let settings = Settings { inter, port: 0, ..Settings::default() };
        let places: Vec<_> = listeners(&settings).unwrap().into_iter().map(|spec| spec.place).collect();
        assert_eq!(places, [unix("/a")]);
    }

    #[test]
    fn wildcards_are_of_a_family() {
        let (four, six) = ("10.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap());
        for (list, of_four, of_six) in
            [("*", true, true), ("0.0.0.0", true, false), ("[::]:5", false, true), ("10.0.0.1", false, false)]
        {
            let spec = read(list).unwrap().remove(0);
            assert_eq!((spec.is_wildcard_of(four), spec.is_wildcard_of(six)), (of_four, of_six), "{list}");
        }
        assert!(!read("unix:/a").unwrap()[0].is_wildcard_of(four));
    }
}
