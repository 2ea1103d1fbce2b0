//! `oxctl watch`: the stream of a server's events.
//!
//! Owns the wait for events. Must not know the classes: the server judges them. Called by `main`.

use crate::connection::{Connection, ServerAccess, is_error};
use crate::failure::Failure;
use crate::printer::{Printer, json_event, shown};

/// Prints events until the server or the reader of the output leaves. Each event is shown at once.
///
/// # Errors
/// [`Failure::Refused`] for classes that the server does not have; [`Failure::Unavailable`] when it leaves.
pub(crate) fn run(access: &ServerAccess, classes: &[String], as_json: bool, out: &mut Printer) -> Result<(), Failure> {
    let mut connection = Connection::open(access)?;
    let classes = classes.join(" ");
    connection.send(format!("watch {classes}\r\n").as_bytes())?;
    match connection.line()? {
        b"OK" => {}
        line if is_error(line) => {
            let (address, line) = (&access.address, shown(line));
            return Err(Failure::Refused(format!("{address} refuses 'watch {classes}': {line}")));
        }
        line => {
            let line = line.to_owned();
            return Err(connection.misfit(&line));
        }
    }
    connection.wait_endlessly();
    loop {
        if !connection.has_line() {
            out.flush()?;
        }
        let line = shown(connection.line()?);
        if as_json {
            out.json(&json_event(&line))?;
        } else {
            out.line(&line)?;
        }
    }
}
