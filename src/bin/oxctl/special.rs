//! Reports that memcached does not have: hot keys, latency, slow commands, large requests.
//!
//! Owns their tables, and the words for a server that lacks them. Called by `main`.

use crate::connection::{Connection, ServerAccess};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::report::{self, Reply};

/// Prints `stats NAME WORDS`.
///
/// # Errors
/// [`Failure::Refused`] for a server that has no such report.
pub(crate) fn run(
    access: &ServerAccess,
    name: &str,
    words: &[String],
    as_json: bool,
    out: &mut Printer,
) -> Result<(), Failure> {
    let request = [&[name.to_owned()], words].concat().join(" ");
    match report::ask(&mut Connection::open(access)?, &request)? {
        Reply::Rows(rows) if as_json => out.pretty_json(&report::as_object(&rows)),
        Reply::Rows(rows) => report::print(&rows, out),
        Reply::Word(line) | Reply::Error(line) => Err(Failure::Refused(format!(
            "{} has no 'stats {request}' (it answers {line}); memcached has no such report, oxcached has",
            access.address
        ))),
    }
}
