//! Reports that memcached does not have: hot keys, latency, slow turns, large values.
//!
//! Owns the words for a server that lacks them. Must not know their rows; `grid` shapes any. Called by `main`.

use crate::connection::{Connection, ServerAccess};
use crate::failure::Failure;
use crate::grid::ShapedReport;
use crate::printer::Printer;
use crate::report::{self, Reply, SHORT_REPORT_MAX};

/// Prints `stats NAME WORDS`; with `reset`, has the server forget it.
///
/// # Errors
/// [`Failure::Refused`] for a server that has no such report, or does not give it.
pub(crate) fn run(
    access: &ServerAccess,
    name: &str,
    words: &[String],
    as_json: bool,
    out: &mut Printer,
) -> Result<(), Failure> {
    let address = &access.address;
    let request = [&[name.to_owned()], words].concat().join(" ");
    match report::ask(&mut Connection::open(access)?, &request, SHORT_REPORT_MAX)? {
        Reply::Rows(rows) if as_json => out.pretty_json(&ShapedReport::of(&rows).json()),
        Reply::Rows(rows) => {
            let shaped = ShapedReport::of(&rows);
            if shaped.is_empty() { out.line("none") } else { shaped.print(out) }
        }
        Reply::Word(word) if words.iter().any(|word| word == "reset") => {
            if as_json {
                out.json(&word.into())
            } else {
                out.line(&word)
            }
        }
        Reply::Error(line) if line != "ERROR" => Err(report::refused(address, &request, &line)),
        Reply::Word(line) | Reply::Error(line) => Err(Failure::Refused(format!(
            "{address} has no 'stats {request}' (it answers {line}); memcached has no such report, oxcached has"
        ))),
    }
}
