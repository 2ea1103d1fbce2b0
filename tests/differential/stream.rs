//! Owns the structure of a case: exchanges on a few connections, each a list of commands split into writes. Built by
//! `generate` and `corpus`, run by `drive`, reduced by `shrink`.

use crate::compare::Compare;

/// Maximum concurrent text connections of a case.
pub const CONNECTIONS: usize = 3;

/// Maximum concurrent connections, including those for packets, which come last.
pub const ALL_CONNECTIONS: usize = 5;

/// Transport of a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Over a unix socket.
    #[default]
    Unix,
    /// Over TCP with TLS.
    Tls,
    /// As datagrams, one per command, each with its header.
    Udp,
}

/// All requests to one pair of new servers.
#[derive(Clone, Default)]
pub struct Case {
    pub transport: Transport,
    /// Further flags of both servers.
    pub flags: Vec<&'static str>,
    pub exchanges: Vec<Exchange>,
}

/// Requests on one connection, before any on another.
#[derive(Clone)]
pub struct Exchange {
    pub connection: usize,
    pub commands: Vec<Command>,
    pub end: End,
    pub compare: Compare,
}

/// The unit of shrinking: usually a command line with its value.
#[derive(Clone, Default)]
pub struct Command {
    pub parts: Vec<Part>,
}

#[derive(Clone)]
pub enum Part {
    Bytes(Vec<u8>),
    /// The cas id that the reference last showed for this key.
    Cas(Vec<u8>),
    /// The same as eight bytes.
    CasNumber(Vec<u8>),
    /// Ends a write.
    Split,
    /// Ends a write, and waits until the server has read it.
    Barrier,
}

/// End of an exchange's replies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A last command with an unmistakable reply.
    Sentinel,
    /// The client closes its sending side, and reads until the server closes.
    HalfClose,
}

impl Command {
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Command {
        Command { parts: vec![Part::Bytes(bytes.into())] }
    }

    pub fn then(mut self, part: Part) -> Command {
        self.parts.push(part);
        self
    }

    pub fn then_bytes(self, bytes: impl Into<Vec<u8>>) -> Command {
        self.then(Part::Bytes(bytes.into()))
    }
}

impl Exchange {
    pub fn new(connection: usize, commands: Vec<Command>) -> Exchange {
        Exchange { connection, commands, end: End::Sentinel, compare: Compare::Exact }
    }

    /// Whether packets are sent.
    pub fn is_binary(&self) -> bool {
        self.connection >= CONNECTIONS
    }
}

impl Case {
    /// The case as text, one line per write.
    pub fn describe(&self) -> String {
        let mut text = format!("server flags: {:?}\n", self.flags);
        if self.transport != Transport::Unix {
            text += &format!("over {:?}\n", self.transport);
        }
        for exchange in &self.exchanges {
            for command in &exchange.commands {
                text += &format!("  connection {}: ", exchange.connection);
                for part in &command.parts {
                    match part {
                        Part::Bytes(bytes) => text += &shown(bytes, 600),
                        Part::Cas(key) | Part::CasNumber(key) => text += &format!("<last cas of {}>", shown(key, 300)),
                        Part::Split => text += "<next write>",
                        Part::Barrier => text += "<next write, when this one was read>",
                    }
                }
                text.push('\n');
            }
            if exchange.end == End::HalfClose {
                text += &format!("  connection {}: <close for sending>\n", exchange.connection);
            }
        }
        text
    }
}

/// Bytes as printable text, with the middle of long ones omitted.
pub fn shown(bytes: &[u8], most: usize) -> String {
    if bytes.len() <= most {
        return bytes.escape_ascii().to_string();
    }
    let (head, tail) = (&bytes[..most / 2], &bytes[bytes.len() - most / 2..]);
    format!("{}<{} bytes>{}", head.escape_ascii(), bytes.len() - most / 2 * 2, tail.escape_ascii())
}
