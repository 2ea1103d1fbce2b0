//! The meta commands: `mg`, `ms`, `md`, `ma`, `mn`, `me`.
//!
//! Owns their grammar and replies; their effects on items are `cache`'s. A command is a key and flags, each a letter
//! with its argument attached; flags that request output return in the order given. Called by the text dispatcher,
//! since meta commands share its lines.

mod arith;
mod delete;
mod flags;
mod get;
mod inspect;
mod key;
mod reply;
mod set;

pub(super) use set::{finish, run as set};

use super::line::{BAD_FORMAT, Run};
use super::tokens::Tokens;
use flags::is_sound;

/// Runs a command without a value; `text` is its line. `hash` is that of the second word, if known.
#[inline]
pub(super) fn run(run: &mut Run<'_, '_>, text: &[u8], hash: Option<u64>) {
    let command = match text[1] {
        b'n' => return run.reply("MN"),
        b'g' => get::run,
        b'd' => delete::run,
        b'a' => arith::run,
        _ => inspect::run,
    };
    let tokens = Tokens::split(text);
    if is_sound(&tokens, 2) { command(run, &tokens, hash) } else { run.reply(BAD_FORMAT) }
}
