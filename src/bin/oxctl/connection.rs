//! A connection that speaks memcached's text protocol: bounded lines, values of known length, time limits, the login.
//!
//! Owns the receive buffer. Must not know what a command's lines mean. Used by every command.

use crate::address::ServerAddress;
use crate::failure::Failure;
use crate::printer::shown;
use crate::stream::{ServerStream, TlsFiles, time_left};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// Longest line of a reply in bytes, and size of the receive buffer. memcached's longest are below 2 KiB; rows with
/// paths and lists of options may have more.
const LINE_MAX: usize = 64 << 10;

/// How to reach a server and log in.
#[derive(Clone, Debug)]
pub(crate) struct ServerAccess {
    pub(crate) address: ServerAddress,
    pub(crate) timeout: Duration,
    pub(crate) tls: Option<TlsFiles>,
    /// Name and password for servers of `-Y`.
    pub(crate) login: Option<(String, Vec<u8>)>,
}

impl ServerAccess {
    /// A reply that memcached's protocol does not have here.
    pub(crate) fn misfit(&self, line: &[u8]) -> Failure {
        Failure::Unavailable(format!("{} does not answer as memcached: {}", self.address, shown(line.trim_ascii_end())))
    }
}

/// How long a connection waits for the server.
#[derive(Clone, Copy)]
enum Patience {
    /// Until this moment, over any number of reads and writes.
    Until(Instant),
    /// The timeout for each read or write.
    EachCall,
    /// Without end.
    Endless,
}

/// A connection, logged in if a login is given.
pub(crate) struct Connection {
    stream: ServerStream,
    access: ServerAccess,
    patience: Patience,
    buffer: Box<[u8]>,
    /// The unread bytes are `buffer[start..end]`.
    start: usize,
    end: usize,
}

impl Connection {
    /// Connects and logs in. One timeout covers both, and the first request too.
    ///
    /// # Errors
    /// [`Failure::Unavailable`]; [`Failure::Refused`] for a login that is not accepted.
    pub(crate) fn open(access: &ServerAccess) -> Result<Self, Failure> {
        let deadline = Instant::now() + access.timeout;
        let stream = ServerStream::connect(&access.address, access.tls.as_ref(), deadline)?;
        let mut connection = Self {
            stream,
            access: access.clone(),
            patience: Patience::Until(deadline),
            buffer: vec![0; LINE_MAX].into_boxed_slice(),
            start: 0,
            end: 0,
        };
        if let Some((user, password)) = &access.login {
            connection.log_in(user, password)?;
        }
        Ok(connection)
    }

    /// The `set` whose value is a name and a password; the key is not used.
    fn log_in(&mut self, user: &str, password: &[u8]) -> Result<(), Failure> {
        let value = [user.as_bytes(), b" ", password].concat();
        self.send(&[format!("set auth 0 0 {}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat())?;
        match self.line()? {
            b"STORED" => Ok(()),
            line => Err(Failure::Refused(format!("the server refuses the login of {user}: {}", shown(line)))),
        }
    }

    pub(crate) fn address(&self) -> &ServerAddress {
        &self.access.address
    }

    /// Gives the next replies, all together, the timeout.
    pub(crate) fn restart_timeout(&mut self) {
        self.patience = Patience::Until(Instant::now() + self.access.timeout);
    }

    /// From now on the timeout bounds each read and write, for transfers of any length.
    pub(crate) fn bound_each_call(&mut self) {
        self.patience = Patience::EachCall;
    }

    /// From now on reads wait endlessly.
    pub(crate) fn wait_endlessly(&mut self) {
        self.patience = Patience::Endless;
    }

    fn arm(&self) -> io::Result<()> {
        self.stream.set_timeout(match self.patience {
            Patience::Until(deadline) => Some(time_left(deadline)?),
            Patience::EachCall => Some(self.access.timeout),
            Patience::Endless => None,
        })
    }

    fn lost(&self, error: &io::Error) -> Failure {
        let address = &self.access.address;
        Failure::Unavailable(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("no answer from {address} within {} s", self.access.timeout.as_secs_f64())
            }
            io::ErrorKind::UnexpectedEof => format!("{address} closed the connection"),
            _ => format!("lost the connection to {address}: {error}"),
        })
    }

    /// See [`ServerAccess::misfit`].
    pub(crate) fn misfit(&self, line: &[u8]) -> Failure {
        self.access.misfit(line)
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// [`Failure::Unavailable`].
    pub(crate) fn send(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            match self.arm().and_then(|()| self.stream.write(bytes)) {
                Ok(0) => return Err(self.lost(&io::ErrorKind::WriteZero.into())),
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(&error)),
            }
        }
        self.stream.flush().map_err(|error| self.lost(&error))
    }

    /// Receives more bytes behind `end`, which must be below [`LINE_MAX`].
    fn fill(&mut self) -> Result<(), Failure> {
        loop {
            match self.arm().and_then(|()| self.stream.read(&mut self.buffer[self.end..])) {
                Ok(0) => return Err(self.lost(&io::ErrorKind::UnexpectedEof.into())),
                Ok(received) => {
                    self.end += received;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    /// The next line without its `\n`, and with a `\r` before that.
    ///
    /// # Errors
    /// [`Failure::Unavailable`]; also for a line above [`LINE_MAX`].
    pub(crate) fn raw_line(&mut self) -> Result<&[u8], Failure> {
        let mut searched = 0;
        loop {
            if let Some(length) = memchr::memchr(b'\n', &self.buffer[self.start + searched..self.end]) {
                let line = self.start..self.start + searched + length;
                self.start = line.end + 1;
                return Ok(&self.buffer[line]);
            }
            searched = self.end - self.start;
            if searched == LINE_MAX {
                let address = &self.access.address;
                return Err(Failure::Unavailable(format!("{address} sends a line of more than {LINE_MAX} bytes")));
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, searched);
            self.fill()?;
        }
    }

    /// The next line without its line end. Errors: as [`Self::raw_line`].
    pub(crate) fn line(&mut self) -> Result<&[u8], Failure> {
        let line = self.raw_line()?;
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// Whether a whole line is in the buffer: the next call of [`Self::line`] does not wait.
    pub(crate) fn has_line(&self) -> bool {
        memchr::memchr(b'\n', &self.buffer[self.start..self.end]).is_some()
    }

    /// Copies a value of `length` bytes to `out`, and takes the line end behind it.
    ///
    /// # Errors
    /// [`Failure::Unavailable`]; [`Failure::of_output`] for those of `out`.
    pub(crate) fn value(&mut self, length: u64, out: &mut dyn Write) -> Result<(), Failure> {
        let mut left = length;
        while left > 0 {
            if self.start == self.end {
                (self.start, self.end) = (0, 0);
                self.fill()?;
            }
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.end - self.start);
            out.write_all(&self.buffer[self.start..self.start + here]).map_err(|error| Failure::of_output(&error))?;
            self.start += here;
            left -= here as u64;
        }
        match self.line()? {
            b"" => Ok(()),
            line => {
                let line = line.to_owned();
                Err(self.misfit(&line))
            }
        }
    }
}

/// Whether a line is one of the protocol's error replies.
pub(crate) fn is_error(line: &[u8]) -> bool {
    line == b"ERROR" || [&b"ERROR "[..], b"CLIENT_ERROR", b"SERVER_ERROR", b"BUSY"].iter().any(|e| line.starts_with(e))
}
