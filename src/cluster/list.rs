//! Grammar of the cluster file.
//!
//! Owns what a version and a node may look like, and the bound of the list. Reads bytes and nothing else. Called by the
//! cluster's watch.
//!
//! ```text
//! # a comment, to the end of the line
//! 12
//! cache-1.example.net|10.0.0.1|11211
//! cache-2.example.net|10.0.0.2|11211 cache-3.example.net||11211
//! ```
//!
//! A number alone on the first line is the version; it may be absent. Every other word is a node. That is also what a
//! client gets, so a reply of another server can be kept in a file as it is.

use crate::limits::CLUSTER_LIST_MAX;
use std::net::IpAddr;

/// Highest version. Two clients (Amazon's for .NET, folsom) read it as a signed number of 32 bits.
pub(super) const VERSION_MAX: u32 = i32::MAX as u32;

/// Longest host name in DNS.
const HOST_MAX: usize = 253;

/// Content of a cluster file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeList {
    /// 1 to [`VERSION_MAX`]; `None` = the file has none.
    pub version: Option<u32>,
    /// Number of nodes; at least 1.
    pub count: u32,
    /// `host|ip|port` of each node, with a blank between two.
    pub nodes: String,
}

impl NodeList {
    /// Parses the bytes of a file.
    ///
    /// # Errors
    /// What is wrong, with the number of its line, for the operator.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|e| {
            let line = 1 + text[..e.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
            format!("line {line} is no UTF-8")
        })?;
        let mut list = Self { version: None, count: 0, nodes: String::new() };
        for (line, words) in (1..).zip(text.lines()) {
            let words = words.split_once('#').map_or(words, |(words, _)| words);
            let first = words.trim();
            if list.version.is_none() && list.count == 0 && !first.is_empty() && is_digits(first) {
                list.version =
                    Some(version(first).ok_or_else(|| {
                        format!("line {line}: the version must be from 1 to {VERSION_MAX}: \"{first}\"")
                    })?);
                continue;
            }
            for word in words.split_ascii_whitespace() {
                list.add(word).map_err(|complaint| format!("line {line}: {complaint}: \"{word}\""))?;
            }
        }
        if list.count == 0 {
            return Err("it names no node".to_owned());
        }
        Ok(list)
    }

    fn add(&mut self, word: &str) -> Result<(), String> {
        let mut fields = word.split('|');
        let (Some(host), Some(ip), Some(port), None) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err("a node must be host|ip|port".to_owned());
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if host.is_empty() || host.len() > HOST_MAX || !host.bytes().all(fits) {
            return Err("the host must be a name or an IPv4 address".to_owned());
        }
        if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
            return Err("the second field must be an IP address, or empty".to_owned());
        }
        if !is_digits(port) || !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err("the port must be from 1 to 65535".to_owned());
        }
        let is_same = |other: &str| {
            let (other_host, rest) = other.split_once('|').unwrap_or_default();
            let other_port = rest.rsplit('|').next().and_then(|port| port.parse::<u16>().ok());
            other_host.eq_ignore_ascii_case(host) && other_port == port.parse().ok()
        };
        if self.nodes.split(' ').any(is_same) {
            return Err("the node is there twice".to_owned());
        }
        if self.nodes.len() + 1 + word.len() > CLUSTER_LIST_MAX {
            return Err(format!("more than {CLUSTER_LIST_MAX} bytes of nodes"));
        }
        if self.count > 0 {
            self.nodes.push(' ');
        }
        self.nodes.push_str(word);
        self.count += 1;
        Ok(())
    }
}

fn is_digits(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn version(word: &str) -> Option<u32> {
    word.parse().ok().filter(|version| (1..=VERSION_MAX).contains(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(version: Option<u32>, count: u32, nodes: &str) -> Result<NodeList, String> {
        Ok(NodeList { version, count, nodes: nodes.to_owned() })
    }

    #[test]
    fn files_parse_to_lists() {
        for (text, expected) in [
            ("a||1", list(None, 1, "a||1")),
            ("12\na|10.0.0.1|11211 b|::1|65535\n", list(Some(12), 2, "a|10.0.0.1|11211 b|::1|65535")),
            (
                "# fleet\r\n\r\n 2147483647 # last\r\n\ta||1\t b_2.c-d||2#x\r\n",
                list(Some(VERSION_MAX), 2, "a||1 b_2.c-d||2"),
            ),
            ("a||1\na||2\n", list(None, 2, "a||1 a||2")),
        ] {
            assert_eq!(NodeList::parse(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn bad_files_name_the_line() {
        for (text, complaint) in [
            ("", "it names no node"),
            ("7\n# a||1\n", "it names no node"),
            ("0\na||1", "line 1: the version must be from 1 to 2147483647: \"0\""),
            ("\n2147483648\na||1", "line 2: the version must be from 1 to 2147483647: \"2147483648\""),
            ("a||1\n3\n", "line 2: a node must be host|ip|port: \"3\""),
            ("1\n2\na||1", "line 2: a node must be host|ip|port: \"2\""),
            ("1 a||1", "line 1: a node must be host|ip|port: \"1\""),
            ("a|1", "line 1: a node must be host|ip|port: \"a|1\""),
            ("a||1|", "line 1: a node must be host|ip|port: \"a||1|\""),
            ("|10.0.0.1|1", "line 1: the host must be a name or an IPv4 address: \"|10.0.0.1|1\""),
            ("::1||1", "line 1: the host must be a name or an IPv4 address: \"::1||1\""),
            ("a|10.0.0|1", "line 1: the second field must be an IP address, or empty: \"a|10.0.0|1\""),
            ("a||0", "line 1: the port must be from 1 to 65535: \"a||0\""),
            ("a||65536", "line 1: the port must be from 1 to 65535: \"a||65536\""),
            ("a||+1", "line 1: the port must be from 1 to 65535: \"a||+1\""),
            ("a||1\nA|10.0.0.1|01", "line 2: the node is there twice: \"A|10.0.0.1|01\""),
        ] {
            assert_eq!(NodeList::parse(text.as_bytes()), Err(complaint.to_owned()), "{text}");
        }
        assert_eq!(NodeList::parse(b"a||1\nb\xff||1"), Err("line 2 is no UTF-8".to_owned()));
        let long = format!("{}||1", "h".repeat(HOST_MAX + 1));
        assert!(NodeList::parse(long.as_bytes()).unwrap_err().starts_with("line 1: the host must be"));
    }

    #[test]
    fn the_list_is_bounded() {
        let nodes = |count: usize| (0..count).map(|n| format!("n{n:04}||1\n")).collect::<String>();
        let most = CLUSTER_LIST_MAX / "n0000||1 ".len();
        assert_eq!(NodeList::parse(nodes(most).as_bytes()).map(|list| list.count), Ok(most as u32));
        let line = most + 1;
        let complaint = format!("line {line}: more than {CLUSTER_LIST_MAX} bytes of nodes: \"n{most:04}||1\"");
        assert_eq!(NodeList::parse(nodes(line).as_bytes()), Err(complaint));
    }
}
