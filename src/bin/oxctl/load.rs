//! `oxctl load`: stores the items of a dump.
//!
//! Owns the pipeline: records are sent without waiting for each reply, some at a time. Must not know how a record
//! looks; `record` does. Called by `main`.

use crate::args::DumpPlace;
use crate::connection::{Connection, ServerAccess};
use crate::failure::Failure;
use crate::printer::{Printer, shown};
use crate::record::{RECORD_LINE_MAX, RecordHead};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

/// Records without a reply. Their replies, one short line each, always fit into the socket's buffers, so that the
/// server never waits for this side while this side waits for the server.
const WINDOW: u32 = 64;
/// Bytes that are collected before they are sent.
const CHUNK: usize = 64 << 10;

struct Loading<'a> {
    connection: Connection,
    input: &'a mut dyn BufRead,
    /// Bytes to be sent.
    pending: Vec<u8>,
    /// Records that are sent or pending, and have no reply yet.
    open: u32,
    tally: LoadTally,
}

#[derive(Default)]
struct LoadTally {
    stored: u64,
    /// Not stored, since an item of that key exists.
    existing: u64,
    /// Not stored, since it is too large or memory is short.
    refused: u64,
    /// The first such reply.
    reason: Option<String>,
}

/// `oxctl load`. Items that exist stay, unless `overwrite` is set. Prints what became of the items, also on failure.
///
/// # Errors
/// [`Failure::Unavailable`] for the server, the file or a record in it; [`Failure::Refused`] if the server refuses
/// items.
pub(crate) fn run(
    access: &ServerAccess,
    from: &DumpPlace,
    overwrite: bool,
    as_json: bool,
    out: &mut Printer,
) -> Result<(), Failure> {
    let mut input: Box<dyn BufRead> = match from {
        DumpPlace::Standard => Box::new(io::stdin().lock()),
        DumpPlace::Path(path) => {
            let failed = |error| Failure::Unavailable(format!("cannot read {}: {error}", path.display()));
            Box::new(BufReader::with_capacity(CHUNK, File::open(path).map_err(failed)?))
        }
    };
    let mut connection = Connection::open(access)?;
    connection.bound_each_call();
    let mut loading =
        Loading { connection, input: &mut *input, pending: Vec::new(), open: 0, tally: LoadTally::default() };
    let done = loading.all(overwrite);
    let LoadTally { stored, existing, refused, reason } = loading.tally;
    if as_json {
        out.json(&json!({ "stored": stored, "existing": existing, "refused": refused, "reason": reason }))?;
    } else {
        out.line(&format!("stored {stored} items; {existing} exist already; {refused} were refused"))?;
    }
    done?;
    match reason {
        Some(reason) => Err(Failure::Refused(format!("{} refuses items: {reason}", access.address))),
        None => Ok(()),
    }
}

impl Loading<'_> {
    fn all(&mut self, overwrite: bool) -> Result<(), Failure> {
        let mut record = 0_u64;
        loop {
            record += 1;
            let at = |what: &str| Failure::Unavailable(format!("record {record}: {what}"));
            let line = match self.record_line() {
                Ok(Some(line)) => line,
                Ok(None) => return self.settle(),
                Err(error) => return self.settle().and(Err(at(&error.to_string()))),
            };
            let head = match RecordHead::parse(&line) {
                Ok(head) => head,
                Err(what) => return self.settle().and(Err(at(what))),
            };
            if head.length > CHUNK as u64 {
                // This one is sent in parts. Where the input ends within it, no reply may be open: a server that waits
                // for a value can hold the replies before it back.
                self.settle()?;
            }
            let begin = self.pending.len();
            self.pending.extend(head.line(overwrite));
            if let Err(failure) = self.copy_value(head.length)? {
                self.pending.truncate(begin);
                let what = format!("the value of {}: {failure}", head.shown_key());
                return self.settle().and(Err(at(&what)));
            }
            self.open += 1;
            if self.open == WINDOW {
                self.settle()?;
            } else if self.pending.len() >= CHUNK {
                self.send()?;
            }
        }
    }

    /// The next line of the input without its line end; `None` at the end of the input.
    fn record_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        (&mut *self.input).take(RECORD_LINE_MAX as u64 + 2).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        match line.strip_suffix(b"\n") {
            Some(line) => Ok(Some(line.strip_suffix(b"\r").unwrap_or(line).to_owned())),
            None if line.len() > RECORD_LINE_MAX => Err(io::Error::other("its line is too long")),
            None => Err(io::Error::other("the file ends within its line")),
        }
    }

    /// Moves a value and the line end behind it from the input to `pending`, and sends values above [`CHUNK`] in parts.
    /// The inner error is the input's.
    fn copy_value(&mut self, length: u64) -> Result<io::Result<()>, Failure> {
        let mut left = length;
        while left > 0 {
            let bytes = match self.input.fill_buf() {
                Ok([]) => return Ok(Err(io::Error::other("the file ends within it"))),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Err(error)),
            };
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            self.pending.extend_from_slice(&bytes[..here]);
            self.input.consume(here);
            left -= here as u64;
            if length > CHUNK as u64 && self.pending.len() >= CHUNK {
                self.send()?;
            }
        }
        let mut end = Vec::new();
        if let Err(error) = (&mut *self.input).take(2).read_until(b'\n', &mut end) {
            return Ok(Err(error));
        }
        if end != b"\r\n" && end != b"\n" {
            return Ok(Err(io::Error::other("no line end follows it")));
        }
        self.pending.extend_from_slice(b"\r\n");
        Ok(Ok(()))
    }

    fn send(&mut self) -> Result<(), Failure> {
        self.connection.send(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    /// Sends what is pending and receives the replies that are open.
    fn settle(&mut self) -> Result<(), Failure> {
        self.send()?;
        while self.open > 0 {
            let line = self.connection.line()?.to_owned();
            self.open -= 1;
            match line.as_slice() {
                b"STORED" | b"HD" => self.tally.stored += 1,
                b"NOT_STORED" | b"NS" => self.tally.existing += 1,
                // The server has skipped the value, and goes on with the next command.
                line if line.starts_with(b"SERVER_ERROR") => {
                    self.tally.refused += 1;
                    self.tally.reason.get_or_insert_with(|| shown(line));
                }
                // After any other error the server may take values for commands.
                line if crate::connection::is_error(line) => {
                    let address = self.connection.address();
                    return Err(Failure::Refused(format!("{address} refuses to store: {}", shown(line))));
                }
                line => return Err(self.connection.misfit(line)),
            }
        }
        Ok(())
    }
}
