//! The meta commands: `mg`, `ms`, `md`, `ma`, `mn`, `me`.
//!
//! `parse` owns their grammar; here a parsed command runs and replies; `cache` owns its effect on items. A command is a
//! key and flags, each a letter with its argument attached. The reply answers the flags that request output, in the
//! order given. Called by the text dispatcher, since meta commands share its lines.

mod arith;
mod delete;
mod gate;
mod get;
mod inspect;
mod key;
mod parse;
mod reply;
mod set;

pub(super) use gate::{ask, changes};
pub(super) use key::decode;
pub(super) use set::finish;

use super::command_result::CommandResult;
use super::line::Run;
use super::lookahead;
use super::tokens::Tokens;
use crate::stats::CommandKind;
use parse::{MetaCommand, MetaVerb, parse};

/// Runs the command of a line; `rest` holds the bytes received after it. `hash` is that of a key
/// that is not base64, if known.
#[inline]
pub(super) fn run(run: &mut Run<'_, '_>, text: &[u8], rest: &[u8], hash: Option<u64>) -> CommandResult {
    let words = Tokens::split(text);
    let command = match parse(&words) {
        Ok(MetaCommand { verb: MetaVerb::Noop, .. }) => {
            run.cx.note(CommandKind::MetaNoop);
            run.reply("MN");
            return CommandResult::done();
        }
        Ok(command) => command,
        Err(line) => {
            run.cx.note(CommandKind::Other);
            return CommandResult::refused(run, line, rest);
        }
    };
    run.cx.note(kind(command.verb));
    let decoded = if command.flags.base64 { key::decode(command.key()) } else { None };
    let key = match &decoded {
        Some(decoded) => lookahead::key(decoded.bytes(), None),
        None => lookahead::key(command.key(), hash),
    };
    match command.verb {
        MetaVerb::Get => get::run(run, &command, &key),
        MetaVerb::Set { mode, vlen } => return set::run(run, &command, &key, (mode, vlen as usize), rest),
        MetaVerb::Delete => delete::run(run, &command, &key),
        MetaVerb::Arith { incr } => arith::run(run, &command, &key, incr),
        MetaVerb::Inspect => inspect::run(run, &key, command.flags.base64),
        MetaVerb::Noop => {}
    }
    CommandResult::done()
}

#[inline]
fn kind(verb: MetaVerb) -> CommandKind {
    match verb {
        MetaVerb::Get => CommandKind::MetaGet,
        MetaVerb::Set { .. } => CommandKind::MetaSet,
        MetaVerb::Delete => CommandKind::MetaDelete,
        MetaVerb::Arith { .. } => CommandKind::MetaArith,
        MetaVerb::Inspect => CommandKind::MetaInspect,
        MetaVerb::Noop => CommandKind::MetaNoop,
    }
}
