//! Addresses of servers: `HOST`, `HOST:PORT`, `[V6]:PORT`, or the path of a unix socket.
//!
//! Owns their grammar. Must not know sockets. Used by the command line and by `stream`.

use std::fmt;

/// memcached's port.
const PORT: u16 = 11211;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerAddress {
    /// A host by name or number, without brackets, and a port.
    Tcp { host: String, port: u16 },
    /// The path of a unix socket.
    Unix(String),
}

impl ServerAddress {
    /// The server of a command line that names none.
    pub(crate) fn local() -> Self {
        Self::Tcp { host: "127.0.0.1".to_owned(), port: PORT }
    }

    /// Reads an address. Whatever contains a slash is a path, as for memcached-tool.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Ok(Self::Unix(text.to_owned()));
        }
        let wrong = |what: &str| format!("'{text}' is no address: {what}");
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("the bracket is not closed"))?;
            if rest.is_empty() {
                (host, None)
            } else {
                (host, Some(rest.strip_prefix(':').ok_or_else(|| wrong("only :PORT follows a bracket"))?))
            }
        } else {
            match text.split_once(':') {
                Some((_, rest)) if rest.contains(':') => return Err(wrong("brackets are needed, as in [::1]:11211")),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() {
            return Err(wrong("the host is missing"));
        }
        let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port {
            None => PORT,
            Some(port) => {
                let number = port.parse().ok().filter(|number| digits(port) && *number > 0);
                number.ok_or_else(|| wrong("a port is a number from 1 to 65535"))?
            }
        };
        Ok(Self::Tcp { host: host.to_owned(), port })
    }

    /// Whether `text` looks like an address and not like a word: it has a dot, colon or slash, or is `localhost`.
    pub(crate) fn resembles(text: &str) -> bool {
        text == "localhost" || text.contains(['.', ':', '/'])
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> ServerAddress {
        ServerAddress::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn hosts_ports_and_paths_are_told_apart() {
        let parse = |text| ServerAddress::parse(text).unwrap();
        assert_eq!(parse("cache1"), tcp("cache1", 11211));
        assert_eq!(parse("10.0.0.5:7"), tcp("10.0.0.5", 7));
        assert_eq!(parse("[::1]"), tcp("::1", 11211));
        assert_eq!(parse("[fe80::1]:65535"), tcp("fe80::1", 65535));
        assert_eq!(parse("/run/a:1"), ServerAddress::Unix("/run/a:1".to_owned()));
        assert_eq!(parse("./here"), ServerAddress::Unix("./here".to_owned()));
        assert_eq!(parse("[::1]:5").to_string(), "[::1]:5");
        assert_eq!(parse("a:5").to_string(), "a:5");
    }

    #[test]
    fn bad_addresses_are_refused() {
        for text in ["", ":", ":1", "a:", "a:0", "a:65536", "a:+1", "a:x", "::1", "[::1", "[::1]5", "[]:1", "[::1]:"] {
            assert!(ServerAddress::parse(text).is_err(), "{text}");
        }
    }
}
