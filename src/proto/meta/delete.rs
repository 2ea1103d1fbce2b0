//! `md`: delete, empty or mark stale.

use super::flags::{LONG_OPAQUE, parse};
use super::reply::echo;
use crate::cache::{MetaDelete, MetaDeleted};
use crate::proto::line::Run;
use crate::proto::tokens::Tokens;

/// Runs the command; `hash` is that of the second word, if known.
#[inline]
pub fn run(run: &mut Run<'_, '_>, tokens: &Tokens<'_>, hash: Option<u64>) {
    let Some(flags) = parse(run, tokens, 2) else { return };
    if flags.long_opaque.is_some() {
        return run.reply(LONG_OPAQUE);
    }
    let Some(key) = run.key(flags.key(), hash.filter(|_| !flags.is_base64())) else { return };
    let discarded = run.verbs.discard(
        &key,
        MetaDelete {
            compare: flags.compare,
            stale: flags.stale,
            empty: flags.empty.then_some(flags.flags),
            exptime: flags.touch.map(|(_, exptime)| exptime),
            chosen: flags.chosen,
        },
    );
    let status = match discarded {
        MetaDeleted::Done if flags.quiet => return,
        MetaDeleted::Done => b"HD",
        MetaDeleted::NotFound => b"NF",
        MetaDeleted::Exists => b"EX",
        MetaDeleted::NoMemory => return run.reply("SERVER_ERROR out of memory"),
    };
    run.out.put(status);
    for at in 2..tokens.len() {
        echo(run.out, tokens.get(at), key.bytes(), flags.is_base64());
    }
    run.out.put(b"\r\n");
}
