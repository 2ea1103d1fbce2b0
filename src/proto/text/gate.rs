//! Which lines change items, and which of them depend on the item that is there.
//!
//! Owns no rules of verbs: it names what [`Asking::ask`] must know of each line. Called by the session for each line
//! while there is a backing. Parses the line once more than its command does.

use super::parse::{TextCommand, parse};
use crate::proto::gate::{Asking, Gate};
use crate::proto::tokens::Tokens;
use crate::proto::{lookahead, meta};
use crate::store::Mode;

/// Asks whether the command of `line`, newline included, may run; `rest` holds the bytes received after it. A storage
/// command whose value has not arrived depends on no item yet: it asks again at its end.
pub(in crate::proto) fn ask(asking: &Asking<'_, '_>, line: &[u8], rest: &[u8]) -> Gate {
    let (key, silent, unwanted) = match parse(line) {
        Ok(TextCommand::Set(line)) => {
            let unwanted = line.vlen as usize + 2;
            let depends = line.set.mode != Mode::Set && rest.len() >= unwanted;
            (depends.then_some(line.key), line.set.noreply, unwanted)
        }
        Ok(
            TextCommand::Delete { key, noreply }
            | TextCommand::Arith { key, noreply, .. }
            | TextCommand::Touch { key, noreply, .. },
        ) => (Some(key), noreply, 0),
        // Misses wait in slots.
        Ok(TextCommand::Multiget { exptime: Some(_), .. }) => (None, false, 0),
        Ok(TextCommand::Meta(text)) => return meta::ask(asking, text, rest),
        Ok(TextCommand::Other(text)) => match Tokens::split(text) {
            tokens if tokens.is(0, "flush_all") => (None, tokens.last() == b"noreply", 0),
            _ => return Gate::Open,
        },
        _ => return Gate::Open,
    };
    asking.ask(key.map(|key| lookahead::key(key, None)).as_ref(), silent, unwanted)
}
