//! The `-l` list.
//!
//! Owns its grammar and error texts. Must not know sockets: names are not resolved and ports not checked against the
//! system. Called by `check`; `net` opens the result.

use super::check::PORTS;
use super::number::strict_i32;
use super::parse::{Exit, OS_ERROR};
use super::{ProtocolChoice, Settings};

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

/// One entry: an address to listen on. It stands for a TCP listener when [`Settings::port`] is not 0 and for a UDP
/// socket when [`Settings::udpport`] is not 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSpec {
    /// Name or address to resolve, without brackets. May be empty, which no resolver accepts. `None` = every address.
    pub host: Option<String>,
    /// The entry's own port, -1 to 65535; `None` = the port of `-p` or `-U`.
    pub port: Option<i32>,
    /// What wraps its clients' bytes.
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
        ListenSpec { host: None, port: None, transport, protocol, tag: None }
    }
}

/// Network listeners that the settings ask for. Empty, with the list unread, when a unix socket replaces them or both
/// ports are 0.
pub(super) fn listeners(settings: &Settings) -> Result<Vec<ListenSpec>, Exit> {
    if settings.socketpath.is_some() || (settings.port == 0 && settings.udpport == 0) {
        return Ok(Vec::new());
    }
    let Some(list) = settings.inter.as_deref() else {
        return Ok(vec![ListenSpec::any(settings.binding_protocol, settings.ssl.enabled)]);
    };
    let entries = list.split([',', ';']).filter(|entry| !entry.is_empty());
    entries.map(|entry| parse_entry(entry, list, settings)).collect()
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
    (spec.host, spec.port) = host_and_port(rest, settings)?;
    Ok(spec)
}

/// An abbreviated name matches; an unknown one changes nothing.
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
        Ok(settings.binding_protocol)
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
            ("proto[what]:a", Some("a"), None, ProtocolChoice::Negotiating, None),
            ("tag[web]:a", Some("a"), None, ProtocolChoice::Negotiating, Some("web")),
            ("tag_12345678_:a", Some("a"), None, ProtocolChoice::Negotiating, Some("12345678")),
            ("proto[ascii]:tag[x]:[::]:5", Some("::"), Some(5), ProtocolChoice::Ascii, Some("x")),
            ("proto[ascii]", Some(""), None, ProtocolChoice::Ascii, None),
        ] {
            let expected = ListenSpec {
                host: host.map(str::to_owned),
                port,
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
        let seen: Vec<_> = read.iter().map(|spec| (spec.transport, spec.host.as_deref(), spec.port)).collect();
        let expected = [
            (Transport::Plain, Some("a"), Some(1)),
            (Transport::TlsNoPeer, Some("b"), None),
            (Transport::TlsPeer, Some("::"), Some(2)),
            (Transport::Tls, Some("c"), None),
        ];
        assert_eq!(seen, expected);
        assert_eq!(read[2].protocol, ProtocolChoice::Ascii);
        settings.inter = None;
        assert_eq!(listeners(&settings).unwrap()[0].transport, Transport::Tls);
    }

    #[test]
    fn several_entries_and_no_entry() {
        let hosts: Vec<_> = read(",a;b:1,,*").unwrap().into_iter().map(|spec| (spec.host, spec.port)).collect();
        assert_eq!(hosts, vec![(Some("a".to_owned()), None), (Some("b".to_owned()), Some(1)), (None, None)]);
        assert_eq!(read("").unwrap(), vec![]);
    }

    #[test]
    fn the_list_is_not_read_when_nothing_listens() {
        let settings = Settings { inter: Some("notls:a".to_owned()), port: 0, ..Settings::default() };
        assert_eq!(listeners(&settings).unwrap(), vec![]);
    }
}
