//! Which meta lines change items, and which of them depend on the item that is there.
//!
//! Owns no rules of verbs: it names what [`Asking::ask`] must know of each line. Called for each line while there is a
//! backing.

use super::key;
use super::parse::{MetaVerb, parse};
use crate::proto::gate::{Asking, Gate};
use crate::proto::lookahead;
use crate::proto::tokens::Tokens;
use crate::store::Mode;

/// Asks whether the command of `text` may run; `rest` holds the bytes received after its line.
///
/// A plain `mg` that wins the token of a stale item is not asked for: reads must not wait for room.
pub(in crate::proto) fn ask(asking: &Asking<'_, '_>, text: &[u8], rest: &[u8]) -> Gate {
    let words = Tokens::split(text);
    let Ok(command) = parse(&words) else { return Gate::Open };
    let (depends, unwanted) = match command.verb {
        MetaVerb::Get if changes_on_fetch(&command.flags) => (false, 0), // misses wait in slots
        MetaVerb::Get | MetaVerb::Inspect | MetaVerb::Noop => return Gate::Open,
        MetaVerb::Set { mode, vlen } => {
            let unwanted = vlen as usize + 2;
            (mode != Mode::Set && rest.len() >= unwanted, unwanted)
        }
        MetaVerb::Delete | MetaVerb::Arith { .. } => (true, 0),
    };
    let decoded = if command.flags.base64 { key::decode(command.key()) } else { None };
    let key = lookahead::key(decoded.as_ref().map_or(command.key(), |decoded| decoded.bytes()), None);
    asking.ask(depends.then_some(&key), false, unwanted)
}

/// Whether the command of a line that waited in a slot changes items.
pub(in crate::proto) fn changes(text: &[u8]) -> bool {
    parse(&Tokens::split(text)).is_ok_and(|command| changes_on_fetch(&command.flags))
}

/// Whether a fetch with these flags may change its item, or create one.
fn changes_on_fetch(flags: &super::parse::Flags) -> bool {
    flags.touch.is_some() || flags.vivify.is_some() || flags.recache.is_some()
}
