//! What the parsers of widely used clients make of the replies.
//!
//! Each parser here follows the rules of one client's source, as far as they decide whether a reply is accepted and
//! which servers it names: what must stand where, and what is ignored. `tests/clients/` runs those that can be
//! installed.

use super::{client, shared};
use crate::support::Client;

const COMMAND: &[u8] = b"config get cluster\r\n";

/// Three nodes, each with host and address: what every client needs.
const FULL: &str = "12\na.example.net|10.0.0.1|11211 b.example.net|10.0.0.2|11212\nc|10.0.0.3|1\n";

/// Its nodes by host, and by address.
const HOSTS: [(&str, u16); 3] = [("a.example.net", 11211), ("b.example.net", 11212), ("c", 1)];
const ADDRESSES: [(&str, u16); 3] = [("10.0.0.1", 11211), ("10.0.0.2", 11212), ("10.0.0.3", 1)];

type Parsed = Option<(i32, Vec<(String, u16)>)>;

fn node(word: &str, field: usize) -> Option<(String, u16)> {
    let fields: Vec<_> = word.split('|').collect();
    let [_, _, port] = fields[..] else { return None };
    Some((fields[field].to_owned(), port.parse().ok()?))
}

fn nodes(words: &str, field: usize) -> Option<Vec<(String, u16)>> {
    words.split(' ').map(|word| node(word, field)).collect()
}

/// The value of a reply whose first line is `CONFIG cluster FLAGS LENGTH`, by its length, before CRLF and `END`.
fn by_length(reply: &str) -> Option<&str> {
    let (first, rest) = reply.split_once("\r\n")?;
    let words: Vec<_> = first.split(' ').collect();
    let ["CONFIG", "cluster", flags, len] = words[..] else { return None };
    flags.parse::<u16>().ok()?;
    let (value, end) = rest.split_at_checked(len.parse().ok()?)?;
    (end == "\r\nEND\r\n").then_some(value)
}

/// Amazon's client for Java, text: by length; after trimming exactly two lines, and a version of 64 bits.
fn java(reply: &str) -> Parsed {
    let lines: Vec<_> = by_length(reply)?.trim().lines().collect();
    let [version, words] = lines[..] else { return None };
    Some((version.parse::<i64>().ok()?.try_into().ok()?, nodes(words, 0)?))
}

/// Amazon's library for .NET: by length; the version of 32 bits before the first line feed, then addresses alone.
fn dot_net(reply: &str) -> Parsed {
    let mut lines = by_length(reply)?.split('\n');
    Some((lines.next()?.parse().ok()?, nodes(lines.next()?, 1)?))
}

/// Amazon's libmemcached, on which PHP's client stands: by length; at most 8196 bytes; skips the first line; words that
/// blanks part, and a port that ends at any other character.
fn libmemcached(reply: &str) -> Parsed {
    let value = by_length(reply).filter(|value| value.len() <= 8196)?;
    let (version, words) = value.split_once('\n')?;
    Some((version.parse().ok()?, nodes(words.trim_end_matches('\n'), 0)?))
}

/// folsom: line by line; hosts alone; an empty line after the nodes, and `END`.
fn folsom(reply: &str) -> Parsed {
    let lines: Vec<_> = reply.lines().collect();
    let [first, version, words, "", "END"] = lines[..] else { return None };
    first.starts_with("CONFIG cluster ").then_some(())?;
    Some((version.parse().ok()?, nodes(words, 0)?))
}

/// xmemcached: all lines but the first, up to `END`, without their ends; the lines must end with CRLF, so that the value
/// with its line feeds is one of them.
fn xmemcached(reply: &str) -> Parsed {
    let body = reply.strip_suffix("\r\nEND\r\n")?;
    let (first, value) = body.split_once("\r\n")?;
    first.starts_with("CONFIG").then_some(())?;
    let (version, words) = value.split_once('\n')?;
    Some((version.parse().ok()?, nodes(words.trim(), 0)?))
}

/// pymemcache and django-elastipymemcache: up to LF CRLF `END`, without which they read on; the last line.
fn pymemcache(reply: &str) -> Parsed {
    let lines: Vec<_> = reply.strip_suffix("\n\r\nEND\r\n")?.lines().collect();
    let [_, version, words] = lines[..] else { return None };
    Some((version.parse().ok()?, nodes(words, 1)?))
}

/// elasticache-auto-discovery (Python): up to `END`; the third line.
fn auto_discovery(reply: &str) -> Parsed {
    let lines: Vec<_> = reply.ends_with("END\r\n").then(|| reply.split('\n'))?.collect();
    Some((lines.get(1)?.parse().ok()?, nodes(lines.get(2)?, 1)?))
}

/// elasticache-pyclient (Python): six parts between line ends, the fifth of them `END`.
fn pyclient(reply: &str) -> Parsed {
    let text = reply.replace("\r\n", "\n");
    let parts: Vec<_> = text.split('\n').collect();
    let [_, version, words, _, "END", _] = parts[..] else { return None };
    Some((version.parse().ok()?, nodes(words, 0)?))
}

/// dalli-elasticache (Ruby): lines up to one that contains `END`; the version is a line of digits, and a node has a host
/// and an IPv4 address.
fn dalli(reply: &str) -> Parsed {
    let lines: Vec<_> = reply.lines().take_while(|line| !line.contains("END")).collect();
    let version = lines.iter().find(|line| line.bytes().all(|byte| byte.is_ascii_digit()))?;
    let words = lines.iter().find(|line| line.contains('|'))?;
    let has_address = |word: &str| node(word, 1).is_some_and(|(ip, _)| ip.parse::<std::net::Ipv4Addr>().is_ok());
    words.split(' ').all(has_address).then_some(())?;
    Some((version.parse().ok()?, nodes(words, 0)?))
}

/// Google's gomemcache: the lines after the first with `CONFIG`; addresses alone.
fn gomemcache(reply: &str) -> Parsed {
    let mut lines = reply.lines().map(str::trim).skip_while(|line| !line.contains("CONFIG")).skip(1);
    Some((lines.next()?.parse().ok()?, nodes(lines.next()?, 1)?))
}

/// memcached-elasticache (JavaScript): the client beneath it hands over what stands between the first line and `END`.
fn javascript(reply: &str) -> Parsed {
    let mut lines = by_length(reply)?.split('\n');
    Some((lines.next()?.parse().ok()?, nodes(lines.next()?, 0)?))
}

fn parsed(version: i32, nodes: &[(&str, u16)]) -> Parsed {
    Some((version, nodes.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect()))
}

#[test]
fn every_client_finds_the_nodes() {
    let reply = String::from_utf8(Client::new(&shared("", FULL)).ask(COMMAND)).unwrap();
    for (name, parse) in [
        ("Java", java as fn(&str) -> Parsed),
        ("libmemcached", libmemcached),
        ("folsom", folsom),
        ("xmemcached", xmemcached),
        ("elasticache-pyclient", pyclient),
        ("dalli", dalli),
        ("JavaScript", javascript),
    ] {
        assert_eq!(parse(&reply), parsed(12, &HOSTS), "{name}");
    }
    for (name, parse) in [
        (".NET", dot_net as fn(&str) -> Parsed),
        ("pymemcache", pymemcache),
        ("elasticache-auto-discovery", auto_discovery),
        ("gomemcache", gomemcache),
    ] {
        assert_eq!(parse(&reply), parsed(12, &ADDRESSES), "{name}");
    }
}

#[test]
fn the_longest_list_and_the_highest_version_fit_all_of_them() {
    let list: String = (0..210).map(|n| format!("cache-{n:03}.example.net|10.0.0.{n}|11211\n")).collect();
    let mut client = Client::new(&shared("", &format!("{}\n{list}", i32::MAX)));
    let reply = String::from_utf8(client.ask(COMMAND)).unwrap();
    assert!(reply.len() > 8000, "{}", reply.len());
    for parse in [java, dot_net, libmemcached, folsom, xmemcached, pymemcache, pyclient, dalli, gomemcache] {
        assert_eq!(parse(&reply).map(|(version, nodes)| (version, nodes.len())), Some((i32::MAX, 210)));
    }
}

/// Some ask for the command by the version of the server: 1.4.14 has it. .NET and dalli read it from `stats`, the others
/// from `version`.
#[test]
fn the_version_of_the_server_has_the_command() {
    let at_least = |version: &str| {
        let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
        assert!(parts.len() == 3 && parts >= vec![1, 4, 14], "{version}");
    };
    let mut client = client();
    let reply = String::from_utf8(client.ask(b"version\r\n")).unwrap();
    at_least(reply.strip_prefix("VERSION ").unwrap().trim_end());
    let rows = String::from_utf8(client.ask(b"stats\r\n")).unwrap();
    at_least(rows.lines().find_map(|row| row.strip_prefix("STAT version ")).unwrap());
}
