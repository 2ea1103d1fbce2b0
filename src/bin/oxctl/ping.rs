//! `oxctl ping`: whether a server answers, for health checks.
//!
//! Owns what counts as an answer. Called by `main`.

use crate::connection::{Connection, ServerAccess};
use crate::failure::Failure;
use crate::printer::{Printer, shown};
use serde_json::json;
use std::time::Instant;

/// Connects and asks for the version. A server that wants a login first is alive, too.
///
/// # Errors
/// [`Failure::Unavailable`] for whatever is wrong, so that there are two exit codes; [`Failure::of_output`].
pub(crate) fn run(access: &ServerAccess, as_json: bool, out: &mut Printer) -> Result<(), Failure> {
    let begin = Instant::now();
    let version = ask(access).map_err(|failure| match failure {
        Failure::Refused(text) => Failure::Unavailable(text),
        other => other,
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    if as_json {
        return out.json(&json!({ "server": access.address.to_string(), "version": version, "seconds": seconds }));
    }
    let version = version.map_or("it wants a login".to_owned(), |version| format!("version {version}"));
    out.line(&format!("{} answers in {:.2} ms, {version}", access.address, seconds * 1e3))
}

/// The version; `None` for a server that wants a login.
fn ask(access: &ServerAccess) -> Result<Option<String>, Failure> {
    let mut connection = Connection::open(access)?;
    connection.send(b"version\r\n")?;
    let line = connection.line()?.to_owned();
    match line.strip_prefix(b"VERSION ") {
        Some(version) => Ok(Some(shown(version))),
        None if line == b"CLIENT_ERROR unauthenticated" => Ok(None),
        None => Err(connection.misfit(&line)),
    }
}
